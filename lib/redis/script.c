/* script: the names of scripts. Redis knows a script by the SHA1 of its source (FIPS 180-4). An own SHA1 of a page,
 * because the alternative, asking Redis with SCRIPT LOAD, needs state per connection and one more permission.
 * Nothing here is a secret. What was named is remembered, so that a line of it can be found again. */
#include "redis/script.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct sha1 {
    uint32_t state[5];
};

static uint32_t rotate(uint32_t x, unsigned n)
{
    return (x << n) | (x >> (32 - n));
}

static void sha1_block(struct sha1 *sha, const unsigned char *block)
{
    uint32_t w[80], a = sha->state[0], b = sha->state[1], c = sha->state[2], d = sha->state[3],
                    e = sha->state[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (i < 40) {
            f = b ^ c ^ d;
            k = 0x6ed9eba1;
        } else if (i < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        } else {
            f = b ^ c ^ d;
            k = 0xca62c1d6;
        }
        uint32_t next = rotate(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    sha->state[0] += a;
    sha->state[1] += b;
    sha->state[2] += c;
    sha->state[3] += d;
    sha->state[4] += e;
}

static void script_name(struct redis_script *script, const char *source)
{
    struct sha1 sha = {{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}};
    size_t len = strlen(source), left = len;
    const unsigned char *at = (const unsigned char *)source;
    for (; left >= 64; left -= 64, at += 64)
        sha1_block(&sha, at);
    unsigned char last[128] = {0}; /* the rest, 0x80, zeroes, and the length in bits at the end of a block */
    memcpy(last, at, left);
    last[left] = 0x80;
    size_t size = left + 9 <= 64 ? 64 : 128;
    for (int i = 0; i < 8; i++)
        last[size - 1 - (size_t)i] = (unsigned char)((uint64_t)len * 8 >> (8 * i));
    for (size_t done = 0; done < size; done += 64)
        sha1_block(&sha, last + done);
    script->source = source;
    for (int i = 0; i < 5; i++)
        snprintf(script->sha + 8 * i, 9, "%08x", (unsigned)sha.state[i]);
}

/* ---- lines ---- */

enum { SOURCES_MAX = 16 };

static _Atomic(const char *) sources[SOURCES_MAX];

static void source_remember(const char *source)
{
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        const char *there = NULL;
        if (atomic_compare_exchange_strong(&sources[i], &there, source) || there == source)
            return;
    }
}

void redis_script_init(struct redis_script *script, const char *source)
{
    script_name(script, source);
    source_remember(source);
}

const char *redis_script_line(const char *sha, unsigned long line)
{
    struct redis_script script;
    const char *at = NULL;
    for (size_t i = 0; i < SOURCES_MAX && at == NULL; i++) {
        const char *source = atomic_load(&sources[i]);
        if (source == NULL)
            return NULL;
        script_name(&script, source);
        at = strncmp(script.sha, sha, sizeof script.sha - 1) == 0 ? source : NULL;
    }
    for (; at != NULL && line > 1; line--) {
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    return at;
}
