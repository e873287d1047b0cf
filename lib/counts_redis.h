/* counts_redis: what the parts of the counter store in Redis share: counts_redis.c (the store itself),
 * counts_redis_script.c (what goes through the script: requests, changes, retries) and counts_redis_keys.c
 * (show and reset, key by key). */
#ifndef RCPTGATE_COUNTS_REDIS_H
#define RCPTGATE_COUNTS_REDIS_H

#include "counts_ops.h"
#include "redis.h"
#include "words.h"

#include <pthread.h>
#include <stdatomic.h>

struct redis_counts {
    struct counts counts;
    struct redis *redis; /* borrowed */
    struct redis_script script;
    struct redis_script look; /* many keys at once, for show */
    const char *prefix;       /* the client's */
    char *retries;            /* the key of the retries */
    char *syncs;              /* the key of what this process synced: its last sequence */
    atomic_bool follow;       /* the caller's clock */
    _Atomic uint64_t junk;
    atomic_bool garbled;
    pthread_mutex_t lock; /* of: */
    struct error garbage;
};

extern const char counts_redis_look[]; /* HGETALL of each key; an error in the place of what is no hash */

/* Notes an answer that makes no sense, for counts_trouble(); COUNTS_UNSURE. */
enum counts_status counts_redis_garbled(struct redis_counts *store, const redisReply *reply);

enum counts_status counts_redis_status(enum redis_status status);

/* Runs the script; *out is an array of numbers, at least one, and the caller's to free, when COUNTS_OK. */
enum counts_status counts_redis_run(struct redis_counts *store, const struct args *args, int n_keys,
                                    redisReply **out);

/* "prefix:key", the caller's to free; NULL: out of memory. */
char *counts_redis_key(const struct redis_counts *store, const char *key);

enum counts_status counts_redis_ask(struct counts *counts, enum counts_mode mode,
                                    const struct count_request *request, int64_t now_ms,
                                    struct count_answer *answers);
enum counts_status counts_redis_change(struct counts *counts, const struct count_change *changes, size_t n,
                                       int64_t now_ms);
enum counts_status counts_redis_sync(struct counts *counts, const struct count_change *changes, size_t n,
                                     int64_t now_ms, int64_t sequence);
enum counts_status counts_redis_refused(struct counts *counts, const char *key, const char *limit, int64_t n,
                                        int64_t now_ms);
enum counts_status counts_redis_deferred(struct counts *counts, const struct count_deferral *deferrals,
                                         size_t n, int64_t now_ms);
enum counts_status counts_redis_show(struct counts *counts, const char *const *keys, size_t n, int64_t now_ms,
                                     counts_each_fn *each, void *arg);
enum counts_status counts_redis_reset(struct counts *counts, const char *const *keys, size_t n,
                                      const char *limit, size_t *n_reset);
/* For tests that must hold both stores to the same vectors: Redis, too, then counts by now_ms of each call. */
void counts_redis_follow_caller_clock(struct counts *counts);

#endif
