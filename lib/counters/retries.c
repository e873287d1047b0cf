/* retries: see retries.h. Owns one table of a fixed size; cannot fail once it is made. */
#include "retries.h"
#include "store.h"
#include "base/hash.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETS = 16384, WAYS = COUNTERS_RETRIES / SETS, LOCKS = 64 };

struct retry {
    uint64_t id[2]; /* its hex digits */
    int64_t at;     /* 0: empty */
    bool synced;    /* the other store knows it */
};

struct retries {
    uint64_t seed[2]; /* identifiers can be chosen by strangers, sets cannot */
    pthread_mutex_t locks[LOCKS];
    struct retry (*sets)[WAYS]; /* SETS */
};

static uint64_t parse_half(const char *retry, size_t from)
{
    char digits[17] = "";
    if (strlen(retry) > from)
        snprintf(digits, sizeof digits, "%s", retry + from);
    return strtoull(digits, NULL, 16);
}

static struct retry *retry_set(const struct retries *retries, const char *retry, struct retry *id,
                               size_t *set)
{
    id->id[0] = parse_half(retry, 0);
    id->id[1] = parse_half(retry, 16);
    *set = hash_string(retries->seed, retry) % SETS;
    return retries->sets[*set];
}

static pthread_mutex_t *set_lock(struct retries *retries, size_t set)
{
    pthread_mutex_t *lock = &retries->locks[set % LOCKS];
    pthread_mutex_lock(lock);
    return lock;
}

static bool retry_same(const struct retry *a, const struct retry *b)
{
    return a->at != 0 && a->id[0] == b->id[0] && a->id[1] == b->id[1];
}

bool retries_known(struct retries *retries, const char *retry, int64_t now_ms)
{
    if (retry == NULL)
        return false;
    struct retry id;
    size_t at;
    const struct retry *set = retry_set(retries, retry, &id, &at);
    bool known = false;
    pthread_mutex_t *lock = set_lock(retries, at);
    for (int i = 0; i < WAYS; i++)
        if (retry_same(&set[i], &id))
            known = now_ms - set[i].at >= COUNTERS_RETRY_AFTER_MS &&
                    now_ms - set[i].at <= COUNTERS_RETRY_UNTIL_MS;
    pthread_mutex_unlock(lock);
    return known;
}

void retries_add(struct retries *retries, const struct count_deferral *deferral)
{
    struct retry id = {.at = deferral->at_ms > 0 ? deferral->at_ms : 1};
    size_t at;
    struct retry *set = retry_set(retries, deferral->retry, &id, &at), *to = &set[0];
    pthread_mutex_t *lock = set_lock(retries, at);
    for (int i = 0; i < WAYS; i++) {
        if (retry_same(&set[i], &id)) {
            to = &set[i];
            break;
        }
        if (set[i].at < to->at)
            to = &set[i];
    }
    *to = id;
    pthread_mutex_unlock(lock);
}

/* Copies out what is unsynced in a set, as far as there is room; false: something is left. */
static bool set_unsynced(const struct retry *set, struct count_deferral *out, size_t *n, size_t most)
{
    for (int i = 0; i < WAYS; i++) {
        if (set[i].at == 0 || set[i].synced)
            continue;
        if (*n == most)
            return false;
        struct count_deferral *to = &out[(*n)++];
        snprintf(to->retry, sizeof to->retry, "%016" PRIx64 "%016" PRIx64, set[i].id[0], set[i].id[1]);
        to->at_ms = set[i].at;
    }
    return true;
}

size_t retries_unsynced(struct retries *retries, size_t *cursor, struct count_deferral *out, size_t n)
{
    size_t got = 0;
    for (bool all = true; all && *cursor < SETS; *cursor += all) {
        pthread_mutex_t *lock = set_lock(retries, *cursor);
        all = set_unsynced(retries->sets[*cursor], out, &got, n);
        pthread_mutex_unlock(lock);
    }
    return got;
}

void retries_synced(struct retries *retries, const struct count_deferral *synced, size_t n)
{
    for (size_t t = 0; t < n; t++) {
        struct retry id = {.at = synced[t].at_ms};
        size_t at;
        struct retry *set = retry_set(retries, synced[t].retry, &id, &at);
        pthread_mutex_t *lock = set_lock(retries, at);
        for (int i = 0; i < WAYS; i++)
            if (retry_same(&set[i], &id) && set[i].at == id.at)
                set[i].synced = true;
        pthread_mutex_unlock(lock);
    }
}

void retries_unsync(struct retries *retries)
{
    for (size_t s = 0; s < SETS; s++) {
        pthread_mutex_t *lock = set_lock(retries, s);
        for (int i = 0; i < WAYS; i++)
            if (retries->sets[s][i].synced) /* what was never written stays out of memory */
                retries->sets[s][i].synced = false;
        pthread_mutex_unlock(lock);
    }
}

struct retries *retries_new(void)
{
    struct retries *retries = calloc(1, sizeof *retries);
    if (retries == NULL)
        return NULL;
    hash_seed(retries->seed);
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_init(&retries->locks[i], NULL);
    retries->sets = calloc(SETS, sizeof *retries->sets);
    if (retries->sets == NULL) {
        retries_free(retries);
        return NULL;
    }
    return retries;
}

void retries_free(struct retries *retries)
{
    if (retries == NULL)
        return;
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&retries->locks[i]);
    free(retries->sets);
    free(retries);
}
