/* remote: the counter store in Redis, over the client of redis/client.h and the script counters.lua.
 *
 * Owns nothing. A request becomes one EVALSHA; an answer that makes no sense is COUNTERS_UNSURE, and shows
 * as trouble until a good one came. */
#include "remote.h"
#include "remote_call.h"
#include "remote_keys.h"
#include "remote_script.h"
#include "counters/stores.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char counters_lua[];

/* Of this process alone: "prefix:paid:{random}", or in a cluster, where it stands beside counters, "prefix:paid:random:{tag}". */
static void syncs_name(struct remote *store)
{
    uint64_t id[2];
    const bool alone = store_sites(&store->counters) == 1;
    hash_seed(id);
    snprintf(store->syncs, sizeof store->syncs,
             alone ? "paid:{%016" PRIx64 "%016" PRIx64 "}" : "paid:%016" PRIx64 "%016" PRIx64, id[0], id[1]);
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

static uint64_t remote_junk(struct counters *counters)
{
    return atomic_load(&((struct remote *)counters)->junk);
}

/* By the key's braces: the prefix has none. */
static unsigned remote_site(struct counters *counters, const char *key)
{
    return redis_client_slot(((struct remote *)counters)->redis, key);
}

static bool remote_up(struct counters *counters, unsigned site, unsigned *restarts)
{
    struct redis_client *redis = ((struct remote *)counters)->redis;
    bool up = redis_client_slot_is_up(redis, site); /* first: it is up only after its restart was counted */
    *restarts = redis_client_restarts(redis, site);
    return up;
}

static void remote_missing(struct counters *counters, struct error *out)
{
    redis_client_missing(((struct remote *)counters)->redis, out);
}

static void remote_free(struct counters *counters)
{
    struct remote *store = (struct remote *)counters;
    pthread_mutex_destroy(&store->lock);
    free(store);
}

static const struct counters_ops remote_ops = {
    .ask = remote_script_ask,
    .change = remote_script_change,
    .sync = remote_script_sync,
    .settle = remote_script_settle,
    .refused = remote_script_refused,
    .deferred = remote_script_deferred,
    .retry = remote_script_retry,
    .lease = remote_script_lease,
    .site = remote_site,
    .show = remote_keys_show,
    .reset = remote_keys_reset,
    .up = remote_up,
    .missing = remote_missing,
    .condition = remote_condition,
    .junk = remote_junk,
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
    store->counters.ops = &remote_ops;
    store->counters.n_sites = redis_client_slots(redis);
    store->redis = redis;
    store->prefix = redis_client_prefix(redis);
    redis_script_init(&store->script, counters_lua);
    redis_script_init(&store->look, remote_keys_look);
    syncs_name(store);
    return &store->counters;
}

void remote_follow_caller_clock(struct counters *counters)
{
    atomic_store(&((struct remote *)counters)->follow, true);
}
