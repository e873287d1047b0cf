/* policy: the table of all keys, their defaults, and the life of a policy. The values live in one pool
 * behind the struct; a policy is changed only while policy_load() makes it. */
#include "policy.h"

#include "policy_load.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct holder { /* what is behind the pointer that policy_load() returns */
    struct policy policy;
    struct pool pool;
    atomic_int references;
};

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
#define MONTH (INT64_C(31) * DAY)

#define POLICY(field) offsetof(struct holder, policy.field)
#define REPLY(key) POLICY(replies[key]), key, 0
#define LIMIT(field) offsetof(struct draft, limit.field)
#define DRAFT(field) offsetof(struct draft, field)

/* One row per key: pointer, parser, field, least, most, choices (of a section: the prefix of its rows),
 * default. Fields of limits are in the draft, all others in the holder. */
// clang-format off
#define POLICY_KEYS(X) \
    X("/mode", parse_choice_flag, POLICY(shadow), 0, 0, "enforce|shadow", "\"enforce\"") \
    X("/milter", parse_section, 0, 0, 0, "/milter", NULL) \
    X("/milter/socket", parse_socket, POLICY(milter.socket), 0, 0, NULL, \
      "\"unix:/var/spool/postfix/rcptgate/milter.sock\"") \
    X("/milter/group", parse_group, POLICY(milter.group), 0, 64, NULL, "\"postfix\"") \
    X("/milter/mode", parse_mode, POLICY(milter.mode), 0, 0, NULL, "\"0660\"") \
    X("/state", parse_path, POLICY(state), 0, POLICY_STATE_MAX, NULL, "\"/var/lib/rcptgate\"") \
    X("/aliases", parse_section, 0, 0, 0, "/aliases", NULL) \
    X("/aliases/database", parse_path, POLICY(aliases.database), 0, 1000, NULL, \
      "\"/var/lib/rcptgate/aliases/aliases.db\"") \
    X("/aliases/subaddress", parse_subaddress, POLICY(aliases.subaddress), 0, 8, NULL, "\"+\"") \
    X("/aliases/max_stale", parse_duration, POLICY(aliases.max_stale_ms), SECOND, 12 * MONTH, NULL, \
      "\"24h\"") \
    X("/aliases/max_shrink", parse_percent, POLICY(aliases.max_shrink), 0, 100, NULL, "\"50%\"") \
    X("/aliases/conceal", parse_flag, POLICY(aliases.conceal), 0, 0, NULL, "false") \
    X("/counters", parse_section, 0, 0, 0, "/counters", NULL) \
    X("/counters/url", parse_url, POLICY(counters), 0, 0, NULL, "\"memory:\"") \
    X("/counters/password_file", parse_path, POLICY(counters.password_file), 0, 1000, NULL, NULL) \
    X("/counters/prefix", parse_prefix, POLICY(counters.prefix), 1, 64, NULL, "\"rcptgate\"") \
    X("/counters/timeout", parse_duration, POLICY(counters.timeout_ms), 1, 10 * SECOND, NULL, "\"100ms\"") \
    X("/counters/when_down", parse_choice, POLICY(counters.when_down), 0, 0, "local|defer|accept", \
      "\"local\"") \
    X("/counters/local_share", parse_percent, POLICY(counters.local_share), 1, 100, NULL, "\"100%\"") \
    X("/counters/client_network", parse_section, 0, 0, 0, "/counters/client_network", NULL) \
    X("/counters/client_network/ipv4", parse_bits, POLICY(counters.ipv4_bits), 0, 32, NULL, "32") \
    X("/counters/client_network/ipv6", parse_bits, POLICY(counters.ipv6_bits), 0, 128, NULL, "64") \
    X("/counters/max_new_subjects", parse_integer, POLICY(counters.max_new_subjects), 1, 1000000000, NULL, \
      "1000") \
    X("/http", parse_section, 0, 0, 0, "/http", NULL) \
    X("/http/listen", parse_listen, POLICY(http), 0, 0, NULL, "\"127.0.0.1:9627\"") \
    X("/http/subjects", parse_flag, POLICY(http.subjects), 0, 0, NULL, "false") \
    X("/log", parse_section, 0, 0, 0, "/log", NULL) \
    X("/log/to", parse_choice_flag, POLICY(log.to_stderr), 0, 0, "syslog|stderr", "\"syslog\"") \
    X("/log/level", parse_choice, POLICY(log.level), 0, 0, "error|warning|info|debug", "\"info\"") \
    X("/queue", parse_section, 0, 0, 0, "/queue", NULL) \
    X("/queue/every", parse_duration, POLICY(queue.every_ms), SECOND, HOUR, NULL, "\"15s\"") \
    X("/queue/command", parse_command, POLICY(queue.command), 0, 0, NULL, \
      "[\"/usr/sbin/postqueue\", \"-j\"]") \
    X("/exempt", parse_section, 0, 0, 0, "/exempt", NULL) \
    X("/exempt/recipients", parse_patterns, POLICY(exempt.recipients), 0, 0, NULL, \
      "[\"postmaster@*\", \"abuse@*\"]") \
    X("/exempt/clients", parse_networks, POLICY(exempt.clients), 0, 0, NULL, "[\"127.0.0.0/8\", \"::1\"]") \
    X("/exempt/senders", parse_patterns, POLICY(exempt.senders), 0, 0, NULL, "[]") \
    X("/exempt/authenticated", parse_flag, POLICY(exempt.authenticated), 0, 0, NULL, "false") \
    X("/limits", parse_limits, 0, 0, 0, NULL, "[]") \
    X("/limits/*/name", parse_limit_name, 0, 1, 64, NULL, NULL) \
    X("/limits/*/per", parse_per, 0, 0, 0, NULL, NULL) \
    X("/limits/*/max", parse_max, 0, 0, INT64_C(1000000000000000), NULL, NULL) \
    X("/limits/*/window", parse_duration, LIMIT(window_ms), SECOND, MONTH, NULL, NULL) \
    X("/limits/*/count", parse_choice, LIMIT(count), 0, 0, "recipients|messages|bytes|attempts|backlog", \
      NULL) \
    X("/limits/*/over", parse_action, LIMIT(over), 0, 0, "defer|reject|discard", NULL) \
    X("/limits/*/reply", parse_limit_reply, 0, 0, 0, NULL, NULL) \
    X("/limits/*/hold", parse_duration, LIMIT(hold_ms), SECOND, MONTH, NULL, NULL) \
    X("/limits/*/share", parse_share, 0, 0, 0, "/limits/*/share", NULL) \
    X("/limits/*/share/of", parse_choice, DRAFT(share_of), 0, 0, "client|sender|sender_domain|recipient", \
      NULL) \
    X("/limits/*/share/max", parse_percent, DRAFT(share_max), 1, 100, NULL, NULL) \
    X("/limits/*/share/above", parse_percent, DRAFT(share_above), 0, 100, NULL, NULL) \
    X("/limits/*/when", parse_when, 0, 0, 0, "/limits/*/when", NULL) \
    X("/limits/*/when/class", parse_classes, LIMIT(when.class_name), 0, 0, NULL, NULL) \
    X("/limits/*/when/recipient_domain", parse_domains, LIMIT(when.recipient_domain), 0, 0, NULL, NULL) \
    X("/limits/*/when/sender_domain", parse_domains, LIMIT(when.sender_domain), 0, 0, NULL, NULL) \
    X("/limits/*/when/client", parse_client_condition, LIMIT(when.client), 0, 0, NULL, NULL) \
    X("/limits/*/when/null_sender", parse_tristate, LIMIT(when.null_sender), 0, 0, NULL, NULL) \
    X("/limits/*/when/authenticated", parse_tristate, LIMIT(when.authenticated), 0, 0, NULL, NULL) \
    X("/limits/*/when/catch_all", parse_tristate, LIMIT(when.catch_all), 0, 0, NULL, NULL) \
    X("/limits/*/when/unknown", parse_tristate, LIMIT(when.unknown), 0, 0, NULL, NULL) \
    X("/limits/*/ramp", parse_duration, LIMIT(ramp_ms), SECOND, MONTH, NULL, NULL) \
    X("/limits/*/shadow", parse_flag, LIMIT(shadow), 0, 0, NULL, NULL) \
    X("/replies", parse_section, 0, 0, 0, "/replies", NULL) \
    X("/replies/unknown", parse_reply, REPLY(REPLY_UNKNOWN), NULL, NULL) \
    X("/replies/alias_reject", parse_reply, REPLY(REPLY_ALIAS_REJECT), NULL, NULL) \
    X("/replies/alias_defer", parse_reply, REPLY(REPLY_ALIAS_DEFER), NULL, NULL) \
    X("/replies/sender_reject", parse_reply, REPLY(REPLY_SENDER_REJECT), NULL, NULL) \
    X("/replies/sender_defer", parse_reply, REPLY(REPLY_SENDER_DEFER), NULL, NULL) \
    X("/replies/client_reject", parse_reply, REPLY(REPLY_CLIENT_REJECT), NULL, NULL) \
    X("/replies/client_defer", parse_reply, REPLY(REPLY_CLIENT_DEFER), NULL, NULL) \
    X("/replies/over_defer", parse_reply, REPLY(REPLY_OVER_DEFER), NULL, NULL) \
    X("/replies/over_reject", parse_reply, REPLY(REPLY_OVER_REJECT), NULL, NULL) \
    X("/replies/bytes_defer", parse_reply, REPLY(REPLY_BYTES_DEFER), NULL, NULL) \
    X("/replies/bytes_reject", parse_reply, REPLY(REPLY_BYTES_REJECT), NULL, NULL) \
    X("/replies/backend", parse_reply, REPLY(REPLY_BACKEND), NULL, NULL) \
    X("/replies/ramp", parse_reply, REPLY(REPLY_RAMP), NULL, NULL) \
    X("/replies/invalid", parse_reply, REPLY(REPLY_INVALID), NULL, NULL)

#define ROW(...) {__VA_ARGS__},
#define NAME(pointer, ...) pointer,
const struct key policy_keys[] = {POLICY_KEYS(ROW)};
static const char *const names[] = {POLICY_KEYS(NAME) NULL};
// clang-format on
const size_t policy_n_keys = sizeof policy_keys / sizeof policy_keys[0];

const char *const *policy_known_keys(void)
{
    return names;
}

static struct holder *holder_of(const struct policy *policy)
{
    return (struct holder *)(uintptr_t)policy; /* its first member; const to everybody else */
}

bool parse_section(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    (void)field;
    if (!json_is_object(place->value))
        return problem_mistyped(loader, place, key, "an object");
    return policy_members(loader, place, key, holder_of(loader->policy), NULL);
}

/* Where the table has no default there is none (password_file, limits), or it is built in (replies). */
static void set_defaults(struct loader *loader, struct holder *holder)
{
    for (int i = 0; i < REPLY_KEYS; i++)
        holder->policy.replies[i] = *reply_default((enum reply_key)i);
    for (size_t i = 0; i < policy_n_keys && !loader->failed; i++) {
        const struct key *key = &policy_keys[i];
        if (key->otherwise == NULL)
            continue;
        json_t *json = json_loads(key->otherwise, JSON_DECODE_ANY, NULL);
        const struct place place = {.name = key->pointer, .value = json};
        loader->failed = loader->failed || json == NULL;
        bool good = !loader->failed && key->parse(loader, &place, key, (char *)holder + key->offset);
        assert(good || loader->failed);
        json_decref(json);
    }
}

/* What only the file as a whole tells. */
static void complete(struct loader *loader, const struct place *root)
{
    struct policy *policy = loader->policy;
    const struct place counters = place_member(root, "counters"), url = place_member(&counters, "url");
    if (json_object_get(root->value, "aliases") == NULL)
        policy->aliases.database = NULL;
    if (url.map != NULL && url.map->repeated && !counters.map->repeated) {
        policy->counters.kind = COUNTERS_NONE;
        policy->counters.url = "";
    }
    if (policy->counters.password_file != NULL) {
        loader->url_password = policy->counters.password != NULL;
        policy->counters.password = NULL;
    }
    for (size_t i = 0; i < policy->n_limits; i++) {
        policy->needs_bytes = policy->needs_bytes || policy->limits[i].count == LIMIT_BYTES;
        if (policy->limits[i].count == LIMIT_BACKLOG)
            policy->backlog_pers |= 1u << policy->limits[i].per[0];
        if (policy->longest_ramp_ms < policy->limits[i].ramp_ms)
            policy->longest_ramp_ms = policy->limits[i].ramp_ms;
        policy->needs_attempts = policy->needs_attempts || policy->limits[i].count == LIMIT_ATTEMPTS;
    }
    limits_ttl(policy);
}

static const struct key root_section = {.pointer = "", .choices = ""};

static void read_policy(struct loader *loader, struct holder *holder, const json_t *json,
                        const struct jsonmap *map)
{
    const struct place root = {.value = json, .map = map};
    set_defaults(loader, holder);
    if (loader->failed)
        return;
    policy_members(loader, &root, &root_section, holder, NULL);
    if (loader->failed)
        return;
    complete(loader, &root);
    policy_warn(loader, &root);
    problems_sort(loader);
}

const struct policy *policy_load(const char *json, size_t n, struct problems *problems)
{
    struct pool scratch = {0};
    struct holder *holder = calloc(1, sizeof *holder);
    if (holder == NULL)
        return NULL;
    atomic_init(&holder->references, 1);
    struct loader loader = {.policy = &holder->policy,
                            .pool = &holder->pool,
                            .scratch = &scratch,
                            .problems = problems,
                            .first_problem = problems->n};
    json_t *root = policy_json(json, n, &loader);
    const struct jsonmap *map = root != NULL ? jsonmap_new(&scratch, json, n) : NULL;
    if (map != NULL)
        read_policy(&loader, holder, root, map);
    json_decref(root);
    pool_done(&scratch);
    if (map != NULL && !loader.failed)
        return &holder->policy;
    policy_unref(&holder->policy);
    return NULL;
}

const struct policy *policy_ref(const struct policy *policy)
{
    atomic_fetch_add(&holder_of(policy)->references, 1);
    return policy;
}

void policy_unref(const struct policy *policy)
{
    if (policy == NULL)
        return;
    struct holder *holder = holder_of(policy);
    if (atomic_fetch_sub(&holder->references, 1) != 1)
        return;
    pool_done(&holder->pool);
    free(holder);
}

void problems_done(struct problems *problems)
{
    free(problems->at);
    *problems = (struct problems){0};
}

/* A warning skips nothing; all else means that the file does not do what it says. */
int problems_status(const struct problems *problems)
{
    int status = 0;
    for (size_t i = 0; i < problems->n; i++) {
        if (problems->at[i].kind == PROBLEM_FATAL)
            return 78;
        if (problems->at[i].kind != PROBLEM_WARNING)
            status = 1;
    }
    return status;
}

static bool half_matches(const char *pattern, const char *value)
{
    return pattern == NULL || strcmp(pattern, value != NULL ? value : "") == 0;
}

bool pattern_match(const struct patterns *patterns, const char *local, const char *domain)
{
    for (size_t i = 0; i < patterns->n; i++)
        if (half_matches(patterns->at[i].local, local) && half_matches(patterns->at[i].domain, domain))
            return true;
    return false;
}

bool networks_contain(const struct networks *networks, const struct network *address)
{
    for (size_t i = 0; address->set && i < networks->n; i++)
        if (network_contains(&networks->at[i], address))
            return true;
    return false;
}
