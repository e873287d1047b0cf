/* inspect: goes the way of the connector, with more time, and asks what that does not. Owns its connections while it runs; what fails is
 * said, and the rest goes on where it can. */
#include "redis/inspect.h"

#include "base/clock.h"
#include "base/text.h"
#include "connector.h"
#include "redis/answer.h"
#include "sentinels.h"
#include "slots.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 2000, APART_MS = 1000, WORDS = 8 };

struct inspection {
    const struct redis_inspector *inspector;
    const struct redis_config *config;
    struct redis_connector *connector;
    struct redis_connection *connection;
    int slot; /* of the node of a cluster; -1: it is none */
    const char *who;
    int wrongs; /* said */
};

static void say(struct inspection *in, bool wrong, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void say(struct inspection *in, bool wrong, const char *key, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    in->wrongs += wrong;
    in->inspector->say(in->inspector->arg, wrong, key, text);
}

/* The answer, to be freed; NULL, after having said so. words end with NULL. */
static redisReply *ask(struct inspection *in, const char *const *words)
{
    struct error err = {0};
    redisReply *reply = NULL;
    if (!redis_connection_is_open(in->connection))
        return NULL;
    if (redis_connection_ask(in->connection, &words, 1, clock_monotonic_ns() + PATIENCE_MS * INT64_C(1000000),
                             &reply, &err) == REDIS_CONNECTION_OK)
        return reply;
    say(in, true, "/counters/url", "%s", err.text);
    redis_connection_close(in->connection);
    return NULL;
}

/* ---- rights ---- */

/* Every command of ours, so that it does nothing to a key that is not there; but HSET, which makes what HDEL and DEL then
 * remove. The names are those of the ACL in rcptgate(8), in whose order they stand there but for that. */
static const char KEY[] = "key", DB[] = "db"; /* stand for those */
static const struct right {
    const char *name;
    const char *words[WORDS];
} rights[] = {
    {"evalsha", {"EVALSHA", "0000000000000000000000000000000000000000", "1", KEY}},
    {"eval", {"EVAL", "return 1", "1", KEY}},
    {"info", {"INFO", "server"}},
    {"time", {"TIME"}},
    {"scan", {"SCAN", "0", "COUNT", "1"}},
    {"select", {"SELECT", DB}},
    {"hset", {"HSET", KEY, "field", "1"}},
    {"pexpire", {"PEXPIRE", KEY, "10000"}},
    {"hget", {"HGET", KEY, "field"}},
    {"hlen", {"HLEN", KEY}},
    {"hmget", {"HMGET", KEY, "field"}},
    {"hgetall", {"HGETALL", KEY}},
    {"exists", {"EXISTS", KEY}},
    {"pttl", {"PTTL", KEY}},
    {"hdel", {"HDEL", KEY, "field"}},
    {"del", {"DEL", KEY}},
    {"zadd", {"ZADD", KEY, "XX", "1", "member"}},
    {"zscore", {"ZSCORE", KEY, "member"}},
    {"zrem", {"ZREM", KEY, "member"}},
    {"zrevrange", {"ZREVRANGE", KEY, "0", "0"}},
    {"zrangebyscore", {"ZRANGEBYSCORE", KEY, "0", "0"}},
    {"xadd", {"XADD", KEY, "NOMKSTREAM", "*", "field", "1"}},
    {"xrange", {"XRANGE", KEY, "-", "+"}},
    {"xrevrange", {"XREVRANGE", KEY, "+", "-"}},
    {"setrange", {"SETRANGE", KEY, "0", ""}},
    {"client|setname", {"CLIENT", "SETNAME", "rcptgate"}},
    {"role", {"ROLE"}},                    /* only with Sentinels */
    {"cluster|info", {"CLUSTER", "INFO"}}, /* from here on only of a cluster */
    {"cluster|slots", {"CLUSTER", "SLOTS"}},
    {"asking", {"ASKING"}},
};

enum { RIGHTS = sizeof rights / sizeof rights[0] };

/* Is that right needed there? A cluster has no databases with numbers. */
static bool is_needed(enum redis_topology topology, const struct right *right)
{
    bool cluster = strncmp(right->name, "cluster", 7) == 0 || strcmp(right->name, "asking") == 0;
    if (strcmp(right->name, "role") == 0)
        return topology == REDIS_TOPOLOGY_SENTINEL;
    return strcmp(right->name, "select") == 0 ? topology != REDIS_TOPOLOGY_CLUSTER
                                              : !cluster || topology == REDIS_TOPOLOGY_CLUSTER;
}

static redisReply *ask_right(struct inspection *in, const struct right *right, const char *key)
{
    const char *words[WORDS];
    char db[16];
    snprintf(db, sizeof db, "%d", in->config->db);
    for (int i = 0; i < WORDS; i++)
        words[i] = right->words[i] == KEY ? key : right->words[i] == DB ? db : right->words[i];
    return ask(in, words);
}

static void check_rights(struct inspection *in)
{
    const char *prefix = in->config->prefix;
    char key[200], missing[400];
    bool no_key = false;
    struct text text;
    if (in->slot >= 0)
        snprintf(key, sizeof key, "%s:check:{%u}", prefix, redis_slots_tag((unsigned)in->slot));
    else
        snprintf(key, sizeof key, "%s:{check}", prefix);
    text_init(&text, missing, sizeof missing);
    for (int i = 0; i < RIGHTS; i++) {
        if (!is_needed(in->config->topology, &rights[i]))
            continue;
        redisReply *reply = ask_right(in, &rights[i], key);
        if (reply == NULL)
            return;
        bool refused = reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOPERM", 6) == 0;
        bool of_key = refused && strstr(reply->str, " key") != NULL;
        if (refused && !of_key)
            text_addf(&text, " +%s", rights[i].name);
        no_key = no_key || of_key;
        freeReplyObject(reply);
    }
    if (no_key)
        say(in, true, "/counters/url", "the ACL of Redis at %s keeps our keys from us: it needs ~%s:*",
            in->who, prefix);
    if (missing[0] != '\0')
        say(in, true, "/counters/url", "the ACL of Redis at %s lacks%s", in->who, missing);
}

/* ---- what it is ---- */

static void check_replicas(struct inspection *in, const redisReply *info)
{
    char value[64];
    if (strcmp(redis_answer_field(info, "connected_slaves", value, sizeof value), "0") == 0)
        say(in, false, "/counters/url",
            "the master, Redis at %s, has no replica: when it fails there is none to turn to", in->who);
    else if (redis_answer_field(info, "min_slaves_good_slaves", value, sizeof value)[0] == '\0')
        say(in, false, "/counters/url",
            "Redis at %s writes also while it is cut off from its replicas, and what is counted then is "
            "lost: set "
            "min-replicas-to-write 1 and min-replicas-max-lag 2 on all of them",
            in->who);
}

static void check_info(struct inspection *in)
{
    char value[64];
    redisReply *info = ask(in, (const char *[]){"INFO", NULL});
    if (info == NULL)
        return;
    bool sentinel = in->config->topology == REDIS_TOPOLOGY_SENTINEL;
    if (in->slot < 0 && strcmp(redis_answer_field(info, "cluster_enabled", value, sizeof value), "1") == 0)
        say(in, true, "/counters/url", "Redis at %s is a node of a cluster: use redis+cluster://", in->who);
    if (strcmp(redis_answer_field(info, "role", value, sizeof value), "slave") == 0)
        say(in, true, "/counters/url", "Redis at %s is a replica: name the master, or use redis+sentinel://",
            in->who);
    else if (sentinel && info->type == REDIS_REPLY_STRING)
        check_replicas(in, info);
    freeReplyObject(info);
}

static void check_clock(struct inspection *in)
{
    int64_t before = clock_now_ms();
    redisReply *reply = ask(in, (const char *[]){"TIME", NULL});
    int64_t after = clock_now_ms();
    int64_t there;
    if (reply != NULL && redis_answer_time(reply, &there)) {
        int64_t apart = there < before ? before - there : there > after ? there - after : 0;
        if (apart > APART_MS)
            say(in, false, "/counters/url",
                "the clock of Redis at %s is %" PRId64 ".%" PRId64
                " s %s that of this host: let both follow NTP",
                in->who, apart / 1000, apart % 1000 / 100, there < before ? "behind" : "before");
    }
    freeReplyObject(reply);
}

static void check_end(struct inspection *in, int64_t expires, const char *key, const char *what)
{
    char date[CLOCK_TEXT];
    if (expires != 0 && expires < clock_now_ms() / 1000 + REDIS_CERTIFICATE_SOON_S)
        say(in, false, key, "%s is valid until %s only: renew it", what, clock_text(expires * 1000, date));
}

static void check_certificates(struct inspection *in)
{
    char what[300];
    const struct redis_endpoint *endpoint = redis_connector_endpoint(in->connector);
    if (endpoint->tls == NULL)
        return;
    snprintf(what, sizeof what, "the certificate of Redis at %s", in->who);
    check_end(in, redis_connection_expires(in->connection), "/counters/tls", what);
    check_end(in, redis_tls_expires(endpoint->tls), "/counters/tls/cert", "our certificate");
}

/* ---- who says so ---- */

static void check_sentinels(struct inspection *in)
{
    const struct redis_sentinels *sentinels = redis_connector_sentinels(in->connector);
    size_t n = sentinels != NULL ? redis_sentinels_count(sentinels) : 0, silent = 0;
    for (size_t i = 0; i < n; i++)
        silent += redis_sentinels_reason(sentinels, i)[0] != '\0';
    for (size_t i = 0; i < n; i++) {
        const struct redis_host *host = redis_sentinels_host(sentinels, i);
        const char *why = redis_sentinels_reason(sentinels, i);
        if (why[0] != '\0' && silent < n) /* else the probe says it */
            say(in, false, "/counters/url", "%s", why);
        for (int j = 0; j < host->n_addresses; j++)
            in->inspector->reached(in->inspector->arg, (const struct sockaddr *)&host->addresses[j].addr);
    }
}

/* What the probe says is not said again where a right is missing, which is said better. */
static void check_node(struct inspection *in, const struct error *wrong, const struct error *warning)
{
    const struct redis_endpoint *endpoint = redis_connector_endpoint(in->connector);
    struct error err = {0};
    bool unallowed = strstr(wrong->text, "NOPERM") != NULL || strstr(wrong->text, "ACL") != NULL;
    if (wrong->text[0] != '\0' && (endpoint == NULL || !unallowed))
        say(in, true, "/counters/url", "%s", wrong->text);
    else if (warning->text[0] != '\0' && strstr(warning->text, "ACL") == NULL)
        say(in, false, "/counters/url", "%s", warning->text);
    if (endpoint == NULL)
        return;
    in->who = endpoint->name;
    in->inspector->reached(in->inspector->arg, (const struct sockaddr *)&endpoint->addr);
    in->connection = redis_connector_connect(in->connector, &err);
    if (in->connection == NULL) {
        say(in, true, "/counters/url", "%s", err.text);
        return;
    }
    check_certificates(in);
    check_rights(in);
    check_info(in);
    check_clock(in);
    if (unallowed && in->wrongs == 0)
        say(in, true, "/counters/url", "%s", wrong->text);
    redis_connection_free(in->connection);
}

/* One Redis. slot: one of its slots, where it is a node of a cluster; else -1. */
static void inspect_node(const struct redis_config *config, int slot, const struct redis_inspector *inspector)
{
    struct inspection in = {.inspector = inspector, .config = config, .slot = slot};
    struct redis_probe probe = {0};
    struct error err = {0};
    in.connector = redis_connector_new(config, -1);
    if (in.connector == NULL) {
        say(&in, true, "/counters/url", "out of memory");
        return;
    }
    redis_connector_probe_slot(in.connector, slot);
    (void)redis_connector_probe(in.connector, &probe, &err); /* what is wrong is in err */
    check_sentinels(&in);
    check_node(&in, &err, &probe.warning);
    redis_connector_free(in.connector);
}

/* ---- a cluster ---- */

/* What the whole of it looks like to the node that is asked; true: there are masters to look at. */
static bool check_cluster(struct inspection *in, const char *asked, struct redis_slots *slots)
{
    struct error err = {0};
    int64_t epoch;
    size_t without = 0, alone = 0;
    redisReply *info = ask(in, (const char *[]){"CLUSTER", "INFO", NULL});
    redisReply *map = ask(in, (const char *[]){"CLUSTER", "SLOTS", NULL});
    bool good = info != NULL && map != NULL && redis_slots_read_info(info, &epoch, &err) &&
                redis_slots_read(map, asked, slots, &err);
    if (!good && err.text[0] != '\0')
        say(in, true, "/counters/url", "Redis at %s: %s", in->who, err.text);
    for (size_t slot = 0; good && slot < REDIS_SLOTS; slot++)
        without += slots->owner[slot] == REDIS_SLOTS_NONE;
    for (size_t i = 0; good && i < slots->n; i++)
        alone += slots->masters[i].n_replicas == 0;
    if (without > 0)
        say(in, true, "/counters/url",
            "%zu of %d slots of the cluster have no master: see redis-cli --cluster fix", without,
            REDIS_SLOTS);
    if (alone > 0)
        say(in, false, "/counters/url",
            "%zu of the %zu masters of the cluster have no replica: when one fails, what it counts goes on "
            "in each gate "
            "alone until it is back",
            alone, slots->n);
    freeReplyObject(info);
    freeReplyObject(map);
    return good;
}

static void check_coverage(struct inspection *in)
{
    redisReply *reply = ask(in, (const char *[]){"CONFIG", "GET", "cluster-require-full-coverage", NULL});
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_STRING && strcmp(reply->element[1]->str, "yes") == 0)
        say(in, false, "/counters/url",
            "when one master of the cluster fails, all others refuse for a second: set "
            "cluster-require-full-coverage no on all of them");
    freeReplyObject(reply); /* who may not ask is told nothing */
}

/* Of those that the policy names, the first that answers says who the masters are. */
static void inspect_cluster(const struct redis_config *config, const struct redis_inspector *inspector)
{
    char name[300];
    struct redis_slots *slots = calloc(1, sizeof *slots);
    bool found = false;
    if (slots == NULL)
        return;
    for (size_t i = 0; i < config->n_addresses && !found; i++) {
        const struct redis_config one = redis_config_at(config, &config->addresses[i]);
        struct inspection in = {.inspector = inspector, .config = &one, .slot = -1};
        struct error err = {0};
        in.who = redis_config_address(&config->addresses[i], name, sizeof name);
        in.connector = redis_connector_new(&one, -1);
        in.connection = in.connector != NULL ? redis_connector_open(in.connector, &err) : NULL;
        if (in.connection == NULL)
            say(&in, i + 1 == config->n_addresses, "/counters/url", "%s", err.text);
        else if ((found = check_cluster(&in, config->addresses[i].host, slots)))
            check_coverage(&in);
        redis_connection_free(in.connection);
        redis_connector_free(in.connector);
    }
    for (size_t i = 0; found && i < slots->n; i++) {
        const struct redis_address address = {slots->masters[i].node.host, slots->masters[i].node.port};
        const struct redis_config one = redis_config_at(config, &address);
        int slot = 0;
        while (slots->owner[slot] != i)
            slot++;
        inspect_node(&one, slot, inspector);
    }
    free(slots);
}

void redis_inspect(const struct redis_config *config, const struct redis_inspector *inspector)
{
    struct redis_config patient = *config;
    if (patient.timeout_ms < PATIENCE_MS)
        patient.timeout_ms = PATIENCE_MS;
    if (patient.prefix == NULL)
        patient.prefix = "rcptgate";
    if (config->topology == REDIS_TOPOLOGY_CLUSTER)
        inspect_cluster(&patient, inspector);
    else
        inspect_node(&patient, -1, inspector);
}
