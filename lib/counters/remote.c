/* remote: the counter store in Redis, over the client of redis/client.h and the script counters.lua.
 *
 * Owns nothing but its texts. A request becomes one EVALSHA; an answer that makes no sense is COUNTERS_UNSURE, and shows
 * as trouble until a good one came. */
#include "remote.h"
#include "counters/stores.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char counters_lua[];

enum counters_status remote_garbled(struct remote *store, const redisReply *reply)
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
    return COUNTERS_UNSURE;
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

enum counters_status remote_status(enum redis_status status)
{
    return status == REDIS_ANSWERED ? COUNTERS_OK : status == REDIS_DOWN ? COUNTERS_DOWN : COUNTERS_UNSURE;
}

enum counters_status remote_run(struct remote *store, const struct args *args, int n_keys, int64_t deadline,
                                redisReply **out)
{
    const struct redis_command command = {args->argc, args->argv, args->lens, deadline};
    redisReply *reply = NULL;
    enum counters_status status =
        remote_status(redis_client_eval(store->redis, &store->script, n_keys, &command, &reply));
    if (status != COUNTERS_OK)
        return status;
    if (!is_numbers(reply)) {
        status = remote_garbled(store, reply);
        freeReplyObject(reply);
        return status;
    }
    if (atomic_load(&store->garbled))
        atomic_store(&store->garbled, false);
    if (reply->element[0]->integer > 0)
        atomic_fetch_add(&store->junk, (uint64_t)reply->element[0]->integer);
    *out = reply;
    return COUNTERS_OK;
}

char *remote_key(const struct remote *store, const char *key)
{
    size_t n = strlen(store->prefix) + strlen(key) + 2;
    char *full = malloc(n);
    if (full != NULL)
        snprintf(full, n, "%s:%s", store->prefix, key);
    return full;
}

/* Of this process alone: "prefix:paid:{random}". */
static char *syncs_key(const struct remote *store)
{
    uint64_t id[2];
    char key[48];
    hash_seed(id);
    snprintf(key, sizeof key, "paid:{%016" PRIx64 "%016" PRIx64 "}", id[0], id[1]);
    return remote_key(store, key);
}

static void remote_condition(struct counters *counters, struct error *out)
{
    struct remote *store = (struct remote *)counters;
    redis_client_condition(store->redis, out);
    if (!atomic_load(&store->garbled))
        return;
    pthread_mutex_lock(&store->lock);
    error_set(out, "%s", store->garbage.text);
    pthread_mutex_unlock(&store->lock);
}

static uint64_t redis_junk(struct counters *counters)
{
    return atomic_load(&((struct remote *)counters)->junk);
}

static bool remote_up(struct counters *counters, unsigned *restarts)
{
    struct redis_client *redis = ((struct remote *)counters)->redis;
    bool up = redis_client_is_up(redis); /* first: it is up only after its restart was counted */
    *restarts = redis_client_restarts(redis);
    return up;
}

static void remote_free(struct counters *counters)
{
    struct remote *store = (struct remote *)counters;
    pthread_mutex_destroy(&store->lock);
    free(store->syncs);
    free(store);
}

static const struct counters_ops redis_ops = {
    .ask = remote_script_ask,
    .change = remote_script_change,
    .sync = remote_script_sync,
    .settle = remote_script_settle,
    .refused = remote_script_refused,
    .deferred = remote_script_deferred,
    .show = remote_keys_show,
    .reset = remote_keys_reset,
    .up = remote_up,
    .condition = remote_condition,
    .junk = redis_junk,
    .free = remote_free,
};

struct counters *counters_remote_new(struct redis_client *redis, struct error *err)
{
    struct remote *store = calloc(1, sizeof *store);
    if (store == NULL) {
        error_set(err, "out of memory for the counters");
        return NULL;
    }
    pthread_mutex_init(&store->lock, NULL);
    store->counters.ops = &redis_ops;
    store->redis = redis;
    store->prefix = redis_client_prefix(redis);
    redis_script_init(&store->script, counters_lua);
    redis_script_init(&store->look, remote_keys_look);
    store->syncs = syncs_key(store);
    if (store->syncs != NULL)
        return &store->counters;
    error_set(err, "out of memory for the counters");
    remote_free(&store->counters);
    return NULL;
}

void remote_follow_caller_clock(struct counters *counters)
{
    atomic_store(&((struct remote *)counters)->follow, true);
}
