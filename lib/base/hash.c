/* hash: see hash.h. Keeps nothing. */
#include "base/hash.h"

#include <endian.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>

/* GRND_INSECURE (getrandom(2), Linux 5.6): at boot what the kernel has so far is better than waiting. Where there is no
 * such call, only our addresses are secret. */
void hash_seed(uint64_t seed[2])
{
    if (getrandom(seed, 2 * sizeof *seed, GRND_INSECURE) == (ssize_t)(2 * sizeof *seed))
        return;
    seed[0] = (uint64_t)(uintptr_t)seed;
    seed[1] = (uint64_t)(uintptr_t)hash_seed;
}

static uint64_t rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static inline void absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

uint64_t hash_bytes(const uint64_t seed[2], const void *bytes, size_t n)
{
    const unsigned char *at = bytes, *end = at + n / sizeof(uint64_t) * sizeof(uint64_t);
    uint64_t v[4] = {seed[0] ^ UINT64_C(0x736f6d6570736575), seed[1] ^ UINT64_C(0x646f72616e646f6d),
                     seed[0] ^ UINT64_C(0x6c7967656e657261), seed[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)n << 56;
    for (; at < end; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        absorb(v, le64toh(word));
    }
    for (size_t i = 0; i < n % sizeof(uint64_t); i++)
        last |= (uint64_t)at[i] << 8 * i;
    absorb(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_string(const uint64_t seed[2], const char *string)
{
    return hash_bytes(seed, string, strlen(string));
}
