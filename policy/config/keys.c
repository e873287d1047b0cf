/* keys: the table of all keys of a policy file: where each value goes, who reads it, its bounds and its default.
 * Adding a key is a row here, its line in the schema and in the manual. */
#include "loader.h"

#include <stddef.h>

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
#define MONTH (INT64_C(31) * DAY)

#define POLICY(field) offsetof(struct policy, field)
#define REPLY(key) POLICY(replies[key]), key, 0
#define LIMIT(field) offsetof(struct draft, limit.field)
#define DRAFT(field) offsetof(struct draft, field)

/* One row per key: pointer, parser, field, least, most, choices (of a section: the prefix of its rows),
 * default. Fields of limits are in the draft, all others in the policy. */
// clang-format off
#define POLICY_KEYS(X) \
    X("/mode", values_choice_flag, POLICY(shadow), 0, 0, "enforce|shadow", "\"enforce\"") \
    X("/milter", config_json_section, 0, 0, 0, "/milter", NULL) \
    X("/milter/socket", endpoints_socket, POLICY(milter.socket), 0, 0, NULL, \
      "\"unix:/var/spool/postfix/rcptgate/milter.sock\"") \
    X("/milter/group", values_group, POLICY(milter.group), 0, 64, NULL, "\"postfix\"") \
    X("/milter/mode", values_mode, POLICY(milter.mode), 0, 0, NULL, "\"0660\"") \
    X("/state", values_path, POLICY(state), 0, POLICY_STATE_MAX, NULL, "\"/var/lib/rcptgate\"") \
    X("/aliases", config_json_section, 0, 0, 0, "/aliases", NULL) \
    X("/aliases/database", values_path, POLICY(aliases.database), 0, 1000, NULL, \
      "\"/var/lib/rcptgate/aliases/aliases.db\"") \
    X("/aliases/subaddress", values_subaddress, POLICY(aliases.subaddress), 0, 8, NULL, "\"+\"") \
    X("/aliases/max_stale", values_duration, POLICY(aliases.max_stale_ms), SECOND, 12 * MONTH, NULL, \
      "\"24h\"") \
    X("/aliases/max_shrink", values_percent, POLICY(aliases.max_shrink), 0, 100, NULL, "\"50%\"") \
    X("/aliases/conceal", values_flag, POLICY(aliases.conceal), 0, 0, NULL, "false") \
    X("/counters", config_json_section, 0, 0, 0, "/counters", NULL) \
    X("/counters/url", endpoints_url, POLICY(counters), 0, 0, NULL, "\"memory:\"") \
    X("/counters/password_file", values_path, POLICY(counters.redis.password_file), 0, 1000, NULL, NULL) \
    X("/counters/prefix", values_prefix, POLICY(counters.redis.prefix), 1, 64, NULL, "\"rcptgate\"") \
    X("/counters/timeout", values_duration, POLICY(counters.redis.timeout_ms), 1, 10 * SECOND, NULL, "\"100ms\"") \
    X("/counters/when_down", values_choice, POLICY(counters.when_down), 0, 0, "local|defer|accept", \
      "\"local\"") \
    X("/counters/local_share", values_percent, POLICY(counters.local_share), 1, 100, NULL, "\"100%\"") \
    X("/counters/client_network", config_json_section, 0, 0, 0, "/counters/client_network", NULL) \
    X("/counters/client_network/ipv4", values_bits, POLICY(counters.ipv4_bits), 0, 32, NULL, "32") \
    X("/counters/client_network/ipv6", values_bits, POLICY(counters.ipv6_bits), 0, 128, NULL, "64") \
    X("/counters/max_new_subjects", values_integer, POLICY(counters.max_new_subjects), 1, 1000000000, NULL, \
      "1000") \
    X("/counters/local_subjects", values_integer, POLICY(counters.local_subjects), 1000, 100000000, NULL, \
      "200000") \
    X("/http", config_json_section, 0, 0, 0, "/http", NULL) \
    X("/http/listen", endpoints_listen, POLICY(http), 0, 0, NULL, "\"127.0.0.1:9627\"") \
    X("/http/subjects", values_flag, POLICY(http.subjects), 0, 0, NULL, "false") \
    X("/log", config_json_section, 0, 0, 0, "/log", NULL) \
    X("/log/to", values_choice_flag, POLICY(log.to_stderr), 0, 0, "syslog|stderr", "\"syslog\"") \
    X("/log/level", values_choice, POLICY(log.level), 0, 0, "error|warning|info|debug", "\"info\"") \
    X("/queue", config_json_section, 0, 0, 0, "/queue", NULL) \
    X("/queue/every", values_duration, POLICY(queue.every_ms), SECOND, HOUR, NULL, "\"15s\"") \
    X("/queue/command", endpoints_command, POLICY(queue.command), 0, 0, NULL, \
      "[\"/usr/sbin/postqueue\", \"-j\"]") \
    X("/exempt", config_json_section, 0, 0, 0, "/exempt", NULL) \
    X("/exempt/recipients", endpoints_patterns, POLICY(exempt.recipients), 0, 0, NULL, \
      "[\"postmaster@*\", \"abuse@*\"]") \
    X("/exempt/clients", endpoints_networks, POLICY(exempt.clients), 0, 0, NULL, "[\"127.0.0.0/8\", \"::1\"]") \
    X("/exempt/senders", endpoints_patterns, POLICY(exempt.senders), 0, 0, NULL, "[]") \
    X("/exempt/authenticated", values_flag, POLICY(exempt.authenticated), 0, 0, NULL, "false") \
    X("/limits", limit_list, 0, 0, 0, NULL, "[]") \
    X("/limits/*/name", values_limit_name, 0, 1, 64, NULL, NULL) \
    X("/limits/*/per", limit_per, 0, 0, 0, NULL, NULL) \
    X("/limits/*/max", values_max, 0, 0, INT64_C(1000000000000000), NULL, NULL) \
    X("/limits/*/window", values_duration, LIMIT(window_ms), SECOND, MONTH, NULL, NULL) \
    X("/limits/*/count", values_choice, LIMIT(count), 0, 0, "recipients|messages|bytes|attempts|backlog", \
      NULL) \
    X("/limits/*/over", values_action, LIMIT(over), 0, 0, "defer|reject|discard", NULL) \
    X("/limits/*/reply", limit_reply, 0, 0, 0, NULL, NULL) \
    X("/limits/*/hold", values_duration, LIMIT(hold_ms), SECOND, MONTH, NULL, NULL) \
    X("/limits/*/share", limit_share, 0, 0, 0, "/limits/*/share", NULL) \
    X("/limits/*/share/of", values_choice, DRAFT(share_of), 0, 0, "client|sender|sender_domain|recipient", \
      NULL) \
    X("/limits/*/share/max", values_percent, DRAFT(share_max), 1, 100, NULL, NULL) \
    X("/limits/*/share/above", values_percent, DRAFT(share_above), 0, 100, NULL, NULL) \
    X("/limits/*/when", limit_when, 0, 0, 0, "/limits/*/when", NULL) \
    X("/limits/*/when/class", limit_classes, LIMIT(when.class_name), 0, 0, NULL, NULL) \
    X("/limits/*/when/recipient_domain", limit_domains, LIMIT(when.recipient_domain), 0, 0, NULL, NULL) \
    X("/limits/*/when/sender_domain", limit_domains, LIMIT(when.sender_domain), 0, 0, NULL, NULL) \
    X("/limits/*/when/client", limit_clients, LIMIT(when.client), 0, 0, NULL, NULL) \
    X("/limits/*/when/null_sender", values_tristate, LIMIT(when.null_sender), 0, 0, NULL, NULL) \
    X("/limits/*/when/authenticated", values_tristate, LIMIT(when.authenticated), 0, 0, NULL, NULL) \
    X("/limits/*/when/catch_all", values_tristate, LIMIT(when.catch_all), 0, 0, NULL, NULL) \
    X("/limits/*/when/unknown", values_tristate, LIMIT(when.unknown), 0, 0, NULL, NULL) \
    X("/limits/*/ramp", values_duration, LIMIT(ramp_ms), SECOND, MONTH, NULL, NULL) \
    X("/limits/*/shadow", values_flag, LIMIT(shadow), 0, 0, NULL, NULL) \
    X("/replies", config_json_section, 0, 0, 0, "/replies", NULL) \
    X("/replies/unknown", values_reply, REPLY(REPLY_UNKNOWN), NULL, NULL) \
    X("/replies/alias_reject", values_reply, REPLY(REPLY_ALIAS_REJECT), NULL, NULL) \
    X("/replies/alias_defer", values_reply, REPLY(REPLY_ALIAS_DEFER), NULL, NULL) \
    X("/replies/sender_reject", values_reply, REPLY(REPLY_SENDER_REJECT), NULL, NULL) \
    X("/replies/sender_defer", values_reply, REPLY(REPLY_SENDER_DEFER), NULL, NULL) \
    X("/replies/client_reject", values_reply, REPLY(REPLY_CLIENT_REJECT), NULL, NULL) \
    X("/replies/client_defer", values_reply, REPLY(REPLY_CLIENT_DEFER), NULL, NULL) \
    X("/replies/over_defer", values_reply, REPLY(REPLY_OVER_DEFER), NULL, NULL) \
    X("/replies/over_reject", values_reply, REPLY(REPLY_OVER_REJECT), NULL, NULL) \
    X("/replies/bytes_defer", values_reply, REPLY(REPLY_BYTES_DEFER), NULL, NULL) \
    X("/replies/bytes_reject", values_reply, REPLY(REPLY_BYTES_REJECT), NULL, NULL) \
    X("/replies/backend", values_reply, REPLY(REPLY_BACKEND), NULL, NULL) \
    X("/replies/ramp", values_reply, REPLY(REPLY_RAMP), NULL, NULL) \
    X("/replies/invalid", values_reply, REPLY(REPLY_INVALID), NULL, NULL)

#define ROW(...) {__VA_ARGS__},
#define NAME(pointer, ...) pointer,
const struct key config_keys[] = {POLICY_KEYS(ROW)};
static const char *const names[] = {POLICY_KEYS(NAME) NULL};
// clang-format on
const size_t config_keys_n = sizeof config_keys / sizeof config_keys[0];

const char *const *config_keys_names(void)
{
    return names;
}
