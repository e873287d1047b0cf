/* counts_redis: the counter store in Redis, over the client of redis.h and the script counts.lua.
 *
 * Owns nothing but its texts. A request becomes one EVALSHA; an answer that makes no sense is COUNTS_UNSURE, and shows
 * as trouble until a good one came. */
#include "counts_redis.h"
#include "counts_stores.h"
#include "hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char counts_lua[];

enum counts_status counts_redis_garbled(struct redis_counts *store, const redisReply *reply)
{
    pthread_mutex_lock(&store->lock);
    store->garbage = (struct error){0};
    if (reply->type == REDIS_REPLY_ERROR)
        error_set(&store->garbage, "Redis fails on the counters: %s", reply->str);
    else
        error_set(&store->garbage,
                  "Redis gives answers that make no sense (type %d): is it a Redis, and are the keys "
                  "under \"%s:\" left to the gate alone?",
                  reply->type, store->prefix);
    atomic_store(&store->garbled, true);
    pthread_mutex_unlock(&store->lock);
    return COUNTS_UNSURE;
}

/* An array of numbers, the first of which says how much junk was found. */
static bool is_numbers(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0)
        return false;
    for (size_t i = 0; i < reply->elements; i++)
        if (reply->element[i] == NULL || reply->element[i]->type != REDIS_REPLY_INTEGER)
            return false;
    return reply->element[0]->integer >= 0;
}

enum counts_status counts_redis_status(enum redis_status status)
{
    return status == REDIS_ANSWERED ? COUNTS_OK : status == REDIS_DOWN ? COUNTS_DOWN : COUNTS_UNSURE;
}

enum counts_status counts_redis_run(struct redis_counts *store, const struct args *args, int n_keys,
                                    redisReply **out)
{
    const struct redis_command command = {args->argc, args->argv, args->lens};
    redisReply *reply = NULL;
    enum counts_status status =
        counts_redis_status(redis_eval(store->redis, &store->script, n_keys, &command, &reply));
    if (status != COUNTS_OK)
        return status;
    if (!is_numbers(reply)) {
        status = counts_redis_garbled(store, reply);
        freeReplyObject(reply);
        return status;
    }
    if (atomic_load(&store->garbled))
        atomic_store(&store->garbled, false);
    if (reply->element[0]->integer > 0)
        atomic_fetch_add(&store->junk, (uint64_t)reply->element[0]->integer);
    *out = reply;
    return COUNTS_OK;
}

char *counts_redis_key(const struct redis_counts *store, const char *key)
{
    size_t n = strlen(store->prefix) + strlen(key) + 2;
    char *full = malloc(n);
    if (full != NULL)
        snprintf(full, n, "%s:%s", store->prefix, key);
    return full;
}

/* Of this process alone: "prefix:paid:{random}". */
static char *syncs_key(const struct redis_counts *store)
{
    uint64_t id[2];
    char key[48];
    hash_seed(id);
    snprintf(key, sizeof key, "paid:{%016" PRIx64 "%016" PRIx64 "}", id[0], id[1]);
    return counts_redis_key(store, key);
}

static void redis_counts_trouble(struct counts *counts, struct error *out)
{
    struct redis_counts *store = (struct redis_counts *)counts;
    redis_trouble(store->redis, out);
    if (!atomic_load(&store->garbled))
        return;
    pthread_mutex_lock(&store->lock);
    error_set(out, "%s", store->garbage.text);
    pthread_mutex_unlock(&store->lock);
}

static uint64_t redis_junk(struct counts *counts)
{
    return atomic_load(&((struct redis_counts *)counts)->junk);
}

static bool redis_counts_up(struct counts *counts, unsigned *restarts)
{
    struct redis *redis = ((struct redis_counts *)counts)->redis;
    bool up = redis_is_up(redis); /* first: it is up only after its restart was counted */
    *restarts = redis_restarts(redis);
    return up;
}

static void redis_counts_free(struct counts *counts)
{
    struct redis_counts *store = (struct redis_counts *)counts;
    pthread_mutex_destroy(&store->lock);
    free(store->retries);
    free(store->syncs);
    free(store);
}

static const struct counts_ops redis_ops = {
    .ask = counts_redis_ask,
    .change = counts_redis_change,
    .sync = counts_redis_sync,
    .refused = counts_redis_refused,
    .deferred = counts_redis_deferred,
    .show = counts_redis_show,
    .reset = counts_redis_reset,
    .up = redis_counts_up,
    .trouble = redis_counts_trouble,
    .junk = redis_junk,
    .free = redis_counts_free,
};

struct counts *counts_redis_new(struct redis *redis, struct error *err)
{
    struct redis_counts *store = calloc(1, sizeof *store);
    if (store == NULL) {
        error_set(err, "out of memory for the counters");
        return NULL;
    }
    pthread_mutex_init(&store->lock, NULL);
    store->counts.ops = &redis_ops;
    store->redis = redis;
    store->prefix = redis_prefix(redis);
    redis_script_init(&store->script, counts_lua);
    redis_script_init(&store->look, counts_redis_look);
    store->retries = counts_redis_key(store, "deferred");
    store->syncs = syncs_key(store);
    if (store->retries != NULL && store->syncs != NULL)
        return &store->counts;
    error_set(err, "out of memory for the counters");
    redis_counts_free(&store->counts);
    return NULL;
}

void counts_redis_follow_caller_clock(struct counts *counts)
{
    atomic_store(&((struct redis_counts *)counts)->follow, true);
}
