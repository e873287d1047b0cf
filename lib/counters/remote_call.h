/* remote_call: one call of Redis for the counter store: the store's own data, the script, and what its answers are worth.
 *
 * An answer that makes no sense is COUNTERS_UNSURE, and is kept as what is wrong until a good one came. */
#ifndef RCPTGATE_COUNTERS_REMOTE_CALL_H
#define RCPTGATE_COUNTERS_REMOTE_CALL_H

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
    char syncs[48];     /* the name of the keys of what this process synced: its last sequence at a site */
    atomic_bool follow; /* the caller's clock */
    _Atomic uint64_t junk;
    atomic_bool garbled;
    pthread_mutex_t lock; /* of: */
    struct error garbage;
};

/* Notes an answer that makes no sense, for counters_condition(); COUNTERS_UNSURE. */
enum counters_status remote_call_garbled(struct remote *store, const redisReply *reply);

enum counters_status remote_call_status(enum redis_status status);

/* Runs the script until the deadline (as in struct redis_command); *out is an array of numbers, at least one, or a text, and the
 * caller's to free, when COUNTERS_OK. */
enum counters_status remote_call_script(struct remote *store, const struct args *args, int n_keys,
                                        int64_t deadline, redisReply **out);

#endif
