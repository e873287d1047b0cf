/* client: sends each call to the node that there is, or to a cluster by the slot of its key. Owns either; fails by a
 * status (redis/command.h). */
#include "redis/client.h"

#include "base/clock.h"
#include "slots.h"
#include "cluster.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS(n) ((int64_t)(n)*1000000)

static_assert((int)REDIS_CLIENT_SLOTS == (int)REDIS_SLOTS, "a cluster has so many");

struct redis_client {
    char *prefix;
    int64_t timeout_ns;
    struct redis_node *node;       /* or */
    struct redis_cluster *cluster; /* a cluster */
};

/* ---- calls ---- */

static enum redis_status client_call(struct redis_client *redis, const struct redis_command *rest, int key,
                                     const struct redis_request *request, redisReply **reply)
{
    int64_t deadline =
        rest->deadline > 0 ? rest->deadline : redis_client_deadline(redis, clock_monotonic_ns());
    if (redis->cluster == NULL)
        return redis_node_call(redis->node, request, deadline, reply);
    const char *name = key < rest->argc ? rest->argv[key] : "";
    size_t n = key < rest->argc && rest->lens != NULL ? rest->lens[key] : strlen(name);
    return redis_cluster_call(redis->cluster, redis_slots_of(name, n), request, deadline, reply);
}

int64_t redis_client_deadline(const struct redis_client *redis, int64_t now_ns)
{
    return now_ns + redis->timeout_ns;
}

enum redis_status redis_client_call(struct redis_client *redis, const struct redis_command *command,
                                    redisReply **reply)
{
    const struct redis_request request = {.rest = command};
    return client_call(redis, command, 1, &request, reply);
}

enum redis_status redis_client_eval(struct redis_client *redis, const struct redis_script *script, int n_keys,
                                    const struct redis_command *args, redisReply **reply)
{
    struct redis_command rest = *args;
    rest.joins = rest.joins && redis->cluster == NULL; /* there the keys of one call are of one slot */
    if (rest.deadline <= 0)
        rest.deadline = redis_client_deadline(redis, clock_monotonic_ns());
    const struct redis_request by_sha = {.n_head = 2,
                                         .head = {"EVALSHA", script->sha},
                                         .head_in_resp = script->call,
                                         .n_keys = n_keys,
                                         .rest = &rest};
    const struct redis_request by_source = {
        .n_head = 2, .head = {"EVAL", script->source}, .n_keys = n_keys, .rest = &rest};
    redisReply *got = NULL;
    enum redis_status status = client_call(redis, &rest, 0, &by_sha, &got);
    if (status == REDIS_ANSWERED && got->type == REDIS_REPLY_ERROR && strncmp(got->str, "NOSCRIPT", 8) == 0) {
        freeReplyObject(got);
        status = client_call(redis, &rest, 0, &by_source, &got);
    }
    if (status == REDIS_ANSWERED)
        *reply = got;
    return status;
}

size_t redis_client_nodes(struct redis_client *redis)
{
    return redis->cluster != NULL ? redis_cluster_nodes(redis->cluster) : 1;
}

enum redis_status redis_client_call_node(struct redis_client *redis, size_t node,
                                         const struct redis_command *command, redisReply **reply)
{
    const struct redis_request request = {.rest = command};
    int64_t deadline =
        command->deadline > 0 ? command->deadline : redis_client_deadline(redis, clock_monotonic_ns());
    if (redis->cluster != NULL)
        return redis_cluster_call_node(redis->cluster, node, &request, deadline, reply);
    return redis_node_call(redis->node, &request, deadline, reply);
}

size_t redis_client_node_of(struct redis_client *redis, unsigned slot)
{
    return redis->cluster != NULL ? redis_cluster_node_of(redis->cluster, slot) : 0;
}

/* ---- slots ---- */

unsigned redis_client_slots(const struct redis_client *redis)
{
    return redis->cluster != NULL ? REDIS_CLIENT_SLOTS : 1;
}

unsigned redis_client_slot(const struct redis_client *redis, const char *key)
{
    return redis->cluster != NULL ? redis_slots_of(key, strlen(key)) : 0;
}

int redis_client_key_beside(const struct redis_client *redis, unsigned slot, const char *name, char *out,
                            size_t size)
{
    if (redis->cluster == NULL)
        return snprintf(out, size, "%s:%s", redis->prefix, name);
    return snprintf(out, size, "%s:%s:{%u}", redis->prefix, name, redis_slots_tag(slot));
}

/* ---- state ---- */

const char *redis_client_prefix(const struct redis_client *redis)
{
    return redis->prefix;
}

bool redis_client_wait(struct redis_client *redis, int64_t timeout_ms)
{
    int64_t until = clock_monotonic_ns() + MS(timeout_ms);
    return redis->cluster != NULL ? redis_cluster_wait(redis->cluster, until)
                                  : redis_node_wait(redis->node, until, false);
}

bool redis_client_is_up(struct redis_client *redis)
{
    return redis->cluster != NULL ? redis_cluster_is_up(redis->cluster) : redis_node_is_up(redis->node);
}

bool redis_client_slot_is_up(struct redis_client *redis, unsigned slot)
{
    return redis->cluster != NULL ? redis_cluster_slot_is_up(redis->cluster, slot)
                                  : redis_node_is_up(redis->node);
}

unsigned redis_client_restarts(struct redis_client *redis, unsigned slot)
{
    return redis->cluster != NULL ? redis_cluster_restarts(redis->cluster, slot)
                                  : redis_node_restarts(redis->node);
}

void redis_client_condition(struct redis_client *redis, struct error *out)
{
    if (redis->cluster != NULL)
        redis_cluster_condition(redis->cluster, out);
    else
        redis_node_condition(redis->node, out);
}

void redis_client_missing(struct redis_client *redis, struct error *out)
{
    *out = (struct error){0};
    if (redis->cluster != NULL)
        redis_cluster_missing(redis->cluster, out);
}

void redis_client_shards(struct redis_client *redis, redis_shard_fn *each, void *arg)
{
    if (redis->cluster != NULL)
        redis_cluster_shards(redis->cluster, each, arg);
    else
        redis_node_shard(redis->node, each, arg);
}

/* ---- its life ---- */

void redis_client_free(struct redis_client *redis)
{
    if (redis == NULL)
        return;
    redis_node_free(redis->node);
    redis_cluster_free(redis->cluster);
    free(redis->prefix);
    free(redis);
}

/* False: out of memory or threads. */
static bool client_make(struct redis_client *redis, const struct redis_config *config, redis_event_fn *event,
                        void *arg, struct error *err)
{
    struct redis_config with_prefix = *config;
    redis->timeout_ns = MS(config->timeout_ms);
    redis->prefix = strdup(config->prefix != NULL ? config->prefix : "rcptgate");
    if (redis->prefix == NULL)
        return false;
    with_prefix.prefix = redis->prefix;
    if (config->topology == REDIS_TOPOLOGY_CLUSTER)
        redis->cluster = redis_cluster_new(&with_prefix, event, arg, err);
    else
        redis->node =
            redis_node_new(&with_prefix, &(struct redis_node_watcher){.event = event, .arg = arg}, err);
    return redis->cluster != NULL || redis->node != NULL;
}

struct redis_client *redis_client_new(const struct redis_config *config, redis_event_fn *event, void *arg,
                                      struct error *err)
{
    struct redis_client *redis = calloc(1, sizeof *redis);
    if (redis != NULL && client_make(redis, config, event, arg, err))
        return redis;
    error_set(err, "out of memory for the Redis client");
    redis_client_free(redis);
    return NULL;
}
