/* script: the names of scripts. Redis knows a script by the SHA1 of its source (FIPS 180-4). To ask it with
 * SCRIPT LOAD would need state per connection and one more permission. Nothing here is a secret. What was named is remembered, so that a line of it can be found again. */
#include "redis/script.h"

#include <openssl/sha.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static void script_name(struct redis_script *script, const char *source)
{
    unsigned char sha[SHA_DIGEST_LENGTH];
    SHA1((const unsigned char *)source, strlen(source), sha);
    script->source = source;
    for (size_t i = 0; i < sizeof sha; i++)
        snprintf(script->sha + 2 * i, 3, "%02x", sha[i]);
    snprintf(script->call, sizeof script->call, "$7\r\nEVALSHA\r\n$40\r\n%s\r\n", script->sha);
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
