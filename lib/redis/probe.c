/* probe: a PING says PONG on a full node, on a replica and on one that may not save. So the probe writes, in a
 * script, as calls do: SETRANGE of nothing at the beginning of a key that does not exist. Redis refuses it
 * wherever it would refuse a real write (OOM, READONLY, MISCONF, NOREPLICAS, MASTERDOWN, LOADING, BUSY,
 * NOAUTH, NOPERM, MOVED), and otherwise does nothing: no key, no replication, no dirty counter. INFO would
 * only let us guess these states.
 *
 * EVALSHA is asked too, for its permission; NOSCRIPT is a good answer. INFO, where it is allowed, gives
 * run_id and eviction. */
#include "probe.h"

#include "errors.h"
#include "redis/answer.h"
#include "redis/script.h"
#include "rights.h"

#include <stdlib.h>
#include <string.h>

enum question { ASK_EVALSHA, ASK_EVAL, ASK_SERVER, ASK_MEMORY, ASK_STATS, ASK_ROLE, QUESTIONS };

static const char source[] = "return redis.call('SETRANGE',KEYS[1],0,'')";

static enum redis_connection_status judge_write(const redisReply *reply, enum redis_topology topology,
                                                const char *who, struct redis_probe *out, struct error *err)
{
    char right[40];
    if (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "NOSCRIPT", 8) == 0 ||
        strstr(reply->str, "WRONGTYPE") != NULL)
        return REDIS_CONNECTION_OK;
    if (rights_find(reply->str, right, sizeof right) && strcmp(right, "setrange") == 0) {
        error_set(
            &out->warning,
            "the ACL of Redis at %s lacks +setrange: whether it can be written to is only seen when it fails",
            who);
        return REDIS_CONNECTION_OK;
    }
    if (redis_errors_find(reply->str, who, NULL) == REDIS_ERROR_SLOT && topology == REDIS_TOPOLOGY_CLUSTER)
        return REDIS_CONNECTION_OK;
    if (redis_errors_find(reply->str, who, err) != REDIS_ERROR_NONE)
        return REDIS_CONNECTION_REFUSED;
    error_set(err, "Redis at %s cannot run scripts: it says \"%.160s\"", who, reply->str);
    return REDIS_CONNECTION_REFUSED;
}

static void judge_memory(const redisReply *memory, const redisReply *stats, const char *who,
                         struct error *warning)
{
    char policy[64], evicted[32];
    redis_answer_field(memory, "maxmemory_policy", policy, sizeof policy);
    redis_answer_field(stats, "evicted_keys", evicted, sizeof evicted);
    if (policy[0] == '\0' || strcmp(policy, "noeviction") == 0)
        return; /* counters have a time to live, so volatile-* evicts them as well as allkeys-* */
    error_set(
        warning,
        "Redis at %s has maxmemory-policy %s: when it is full, limits vanish silently (%s keys evicted so "
        "far); set it to noeviction",
        who, policy, evicted[0] != '\0' ? evicted : "0");
}

/* A master that was replaced and came back takes writes until a Sentinel makes it a replica: this tells it only from then on. */
static enum redis_connection_status judge_role(const redisReply *reply, const char *who, struct error *err)
{
    const redisReply *role =
        reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 ? reply->element[0] : reply;
    if (role->type == REDIS_REPLY_STRING && strcmp(role->str, "master") == 0)
        return REDIS_CONNECTION_OK;
    if (role->type == REDIS_REPLY_ERROR && redis_errors_find(role->str, who, NULL) == REDIS_ERROR_COMMAND)
        error_set(err, "the ACL of Redis at %s lacks +role, which is needed with Sentinel", who);
    else
        error_set(err, "Redis at %s is no master, but the Sentinels say so: see their logs if that lasts",
                  who);
    return REDIS_CONNECTION_REFUSED;
}

static enum redis_connection_status judge(redisReply *const *replies, enum redis_topology topology,
                                          const char *who, struct redis_probe *out, struct error *err)
{
    struct redis_probe seen = {0};
    for (int i = ASK_EVALSHA; i <= ASK_EVAL; i++) {
        enum redis_connection_status status = judge_write(replies[i], topology, who, &seen, err);
        if (status != REDIS_CONNECTION_OK)
            return status;
    }
    if (topology == REDIS_TOPOLOGY_SENTINEL && judge_role(replies[ASK_ROLE], who, err) != REDIS_CONNECTION_OK)
        return REDIS_CONNECTION_REFUSED;
    redis_answer_field(replies[ASK_SERVER], "run_id", seen.run_id, sizeof seen.run_id);
    judge_memory(replies[ASK_MEMORY], replies[ASK_STATS], who, &seen.warning);
    if (seen.run_id[0] == '\0')
        error_set(&seen.warning, "the ACL of Redis at %s lacks +info: its restarts and evictions go unseen",
                  who);
    *out = seen;
    return REDIS_CONNECTION_OK;
}

enum redis_connection_status redis_probe_run(struct redis_connection *connection, const char *key,
                                             enum redis_topology topology, const char *who, int64_t deadline,
                                             struct redis_probe *out, struct error *err)
{
    struct redis_script script;
    redis_script_init(&script, source);
    const char *const *const questions[QUESTIONS] = {
        [ASK_EVALSHA] = (const char *[]){"EVALSHA", script.sha, "1", key, NULL},
        [ASK_EVAL] = (const char *[]){"EVAL", source, "1", key, NULL},
        [ASK_SERVER] = (const char *[]){"INFO", "server", NULL},
        [ASK_MEMORY] = (const char *[]){"INFO", "memory", NULL},
        [ASK_STATS] = (const char *[]){"INFO", "stats", NULL},
        [ASK_ROLE] = (const char *[]){"ROLE", NULL},
    };
    redisReply *replies[QUESTIONS];
    const int n = topology == REDIS_TOPOLOGY_SENTINEL ? QUESTIONS : ASK_ROLE;
    enum redis_connection_status status =
        redis_connection_ask(connection, questions, n, deadline, replies, err);
    if (status != REDIS_CONNECTION_OK)
        return status;
    status = judge(replies, topology, who, out, err);
    for (int i = 0; i < n; i++)
        freeReplyObject(replies[i]);
    return status;
}
