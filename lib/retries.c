#include "retries.h"
#include "counts_ops.h"
#include "hash.h"

#include <pthread.h>
#include <stdlib.h>

enum { SETS = 16384, WAYS = COUNTS_RETRIES / SETS, LOCKS = 64 };

struct retry {
    uint64_t id[2];
    int64_t at; /* 0: empty */
};

struct retries {
    uint64_t seed[2];
    pthread_mutex_t locks[LOCKS];
    struct retry (*sets)[WAYS]; /* SETS */
};

static struct retry *retry_set(struct retries *retries, const char *retry, struct retry *id)
{
    uint64_t other[2] = {~retries->seed[1], retries->seed[0]};
    id->id[0] = hash_string(retries->seed, retry);
    id->id[1] = hash_string(other, retry);
    return retries->sets[id->id[0] % SETS];
}

static pthread_mutex_t *retry_lock(struct retries *retries, const struct retry *id)
{
    pthread_mutex_t *lock = &retries->locks[id->id[0] % LOCKS];
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
    const struct retry *set = retry_set(retries, retry, &id);
    bool known = false;
    pthread_mutex_t *lock = retry_lock(retries, &id);
    for (int i = 0; i < WAYS; i++)
        if (retry_same(&set[i], &id))
            known =
                now_ms - set[i].at >= COUNTS_RETRY_AFTER_MS && now_ms - set[i].at <= COUNTS_RETRY_UNTIL_MS;
    pthread_mutex_unlock(lock);
    return known;
}

void retries_add(struct retries *retries, const char *retry, int64_t now_ms)
{
    struct retry id;
    struct retry *set = retry_set(retries, retry, &id);
    pthread_mutex_t *lock = retry_lock(retries, &id);
    struct retry *to = &set[0];
    for (int i = 0; i < WAYS; i++) {
        if (retry_same(&set[i], &id)) {
            to = &set[i];
            break;
        }
        if (set[i].at < to->at)
            to = &set[i];
    }
    id.at = now_ms > 0 ? now_ms : 1;
    *to = id;
    pthread_mutex_unlock(lock);
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
