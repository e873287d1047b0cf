/* remote: what the parts of the counter store in Redis share: remote.c (the store itself),
 * remote_script.c (what goes through the script: requests, changes, retries) and remote_keys.c
 * (show and reset, key by key). */
#ifndef RCPTGATE_COUNTERS_REMOTE_H
#define RCPTGATE_COUNTERS_REMOTE_H

#include "store.h"
#include "redis/client.h"
#include "redis/args.h"

#include <pthread.h>
#include <stdatomic.h>

struct remote {
    struct counters counters;
    struct redis_client *redis; /* borrowed */
    struct redis_script script;
    struct redis_script look; /* many keys at once, for show */
    const char *prefix;       /* the client's */
    char *syncs;              /* the key of what this process synced: its last sequence */
    atomic_bool follow;       /* the caller's clock */
    _Atomic uint64_t junk;
    atomic_bool garbled;
    pthread_mutex_t lock; /* of: */
    struct error garbage;
};

extern const char remote_keys_look[]; /* HGETALL of each key; an error in the place of what is no hash */

/* Notes an answer that makes no sense, for counters_condition(); COUNTERS_UNSURE. */
enum counters_status remote_garbled(struct remote *store, const redisReply *reply);

enum counters_status remote_status(enum redis_status status);

/* Runs the script until the deadline (as in struct redis_command); *out is an array of numbers, at least one, and the caller's to free, when COUNTERS_OK. */
enum counters_status remote_run(struct remote *store, const struct args *args, int n_keys, int64_t deadline,
                                redisReply **out);

/* "prefix:key", the caller's to free; NULL: out of memory. */
char *remote_key(const struct remote *store, const char *key);

enum counters_status remote_script_ask(struct counters *counters, enum counters_mode mode,
                                       const struct count_request *request, int64_t now_ms,
                                       struct count_answer *answers);
enum counters_status remote_script_change(struct counters *counters, const struct count_change *changes,
                                          size_t n, int64_t now_ms);
enum counters_status remote_script_sync(struct counters *counters, const struct count_change *changes,
                                        size_t n, int64_t now_ms, int64_t sequence);
enum counters_status remote_script_settle(struct counters *counters, const struct count_change *changes,
                                          size_t n, int64_t now_ms, struct count_answer *answers);
enum counters_status remote_script_refused(struct counters *counters, const char *key, const char *limit,
                                           int64_t n, int64_t now_ms);
enum counters_status remote_script_deferred(struct counters *counters, const struct count_deferral *deferrals,
                                            size_t n, int64_t now_ms);
enum counters_status remote_keys_show(struct counters *counters, const char *const *keys, size_t n,
                                      int64_t now_ms, counters_each_fn *each, void *arg);
enum counters_status remote_keys_reset(struct counters *counters, const char *const *keys, size_t n,
                                       const char *limit, size_t *n_reset);
/* For tests that must hold both stores to the same vectors: Redis, too, then counts by now_ms of each call. */
void remote_follow_caller_clock(struct counters *counters);

#endif
