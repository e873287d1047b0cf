/* keys: the table of all keys of a policy file: where each value goes, who reads it, its bounds and its default.
 * Adding a key is a row here, its line in the schema and in the manual. */
#include "keys.h"

#include "counters_url.h"
#include "endpoints.h"
#include "json.h"
#include "limit.h"
#include "values.h"

#include <stddef.h>

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
#define MONTH (INT64_C(31) * DAY)

#define POLICY(field) offsetof(struct policy, field)
#define SECTION(prefix) config_json_section, 0, 0, 0, prefix, NULL, "the defaults of all its keys"
#define REPLY(key) values_reply, POLICY(replies[key]), key, 0, NULL, NULL, "the default text"
#define LIMIT(field) offsetof(struct draft, limit.field)
#define DRAFT(field) offsetof(struct draft, field)

/* One row per key: pointer, parser, field, least, most, choices (of a section: the prefix of its rows),
 * default, what is used instead where that is not the default. Fields of limits are in the draft, all others in the policy. */
// clang-format off
#define POLICY_KEYS(X) \
    X("/mode", values_choice_flag, POLICY(shadow), 0, 0, "enforce|shadow", "\"enforce\"", "\"shadow\": nothing is refused") \
    X("/milter", SECTION("/milter")) \
    X("/milter/socket", endpoints_socket, POLICY(milter.socket), 0, 0, NULL, \
      "\"unix:/var/spool/postfix/rcptgate/milter.sock\"", NULL) \
    X("/milter/group", values_group, POLICY(milter.group), 0, 64, NULL, "\"postfix\"", NULL) \
    X("/milter/mode", values_mode, POLICY(milter.mode), 0, 0, NULL, "\"0660\"", NULL) \
    X("/maps", SECTION("/maps")) \
    X("/maps/socket", endpoints_maps, POLICY(maps.socket), 0, 0, NULL, NULL, "map.sock beside the milter's socket") \
    X("/state", values_path, POLICY(state), 0, POLICY_STATE_MAX, NULL, "\"/var/lib/rcptgate\"", NULL) \
    X("/user", values_user, POLICY(user), 1, 64, NULL, NULL, "the owner of \"state\"") \
    X("/aliases", config_json_section, 0, 0, 0, "/aliases", NULL, "no alias rules") \
    X("/aliases/database", values_path, POLICY(aliases.database), 0, 1000, NULL, \
      "\"/var/lib/rcptgate/aliases/aliases.db\"", "no alias rules") \
    X("/aliases/subaddress", values_subaddress, POLICY(aliases.subaddress), 0, 8, NULL, "\"+\"", NULL) \
    X("/aliases/max_stale", values_duration, POLICY(aliases.max_stale_ms), SECOND, 12 * MONTH, NULL, \
      "\"24h\"", NULL) \
    X("/aliases/max_shrink", values_percent, POLICY(aliases.max_shrink), 0, 100, NULL, "\"50%\"", NULL) \
    X("/aliases/conceal", values_flag, POLICY(aliases.conceal), 0, 0, NULL, "false", NULL) \
    X("/aliases/role_mailbox", endpoints_mailbox, POLICY(aliases.role_mailbox), 0, 0, NULL, "\"postmaster\"", NULL) \
    X("/counters", SECTION("/counters")) \
    X("/counters/url", counters_url, POLICY(counters), 0, 0, NULL, "\"memory:\"", counters_url_instead) \
    X("/counters/password_file", values_path, POLICY(counters.redis.password_file), 0, 1000, NULL, NULL, \
      "the password in counters.url, or none") \
    X("/counters/sentinel_password_file", values_path, POLICY(counters.redis.sentinel_password_file), 0, 1000, NULL, \
      NULL, "no password") \
    X("/counters/tls", SECTION("/counters/tls")) \
    X("/counters/tls/ca", values_path, POLICY(counters.redis.tls_ca), 0, 1000, NULL, NULL, \
      "the authorities that the system trusts") \
    X("/counters/tls/cert", values_path, POLICY(counters.redis.tls_cert), 0, 1000, NULL, NULL, "no certificate") \
    X("/counters/tls/key", values_path, POLICY(counters.redis.tls_key), 0, 1000, NULL, NULL, \
      "the file of counters.tls.cert") \
    X("/counters/tls/name", counters_url_tls_name, POLICY(counters.redis.tls_name), 0, 0, NULL, NULL, \
      "host or address of each Redis") \
    X("/counters/prefix", values_prefix, POLICY(counters.redis.prefix), 1, 64, NULL, "\"rcptgate\"", NULL) \
    X("/counters/timeout", values_duration, POLICY(counters.redis.timeout_ms), 1, 10 * SECOND, NULL, "\"100ms\"", NULL) \
    X("/counters/when_down", values_choice, POLICY(counters.when_down), 0, 0, "local|defer|accept", \
      "\"local\"", NULL) \
    X("/counters/local_share", values_percent, POLICY(counters.local_share), 1, 100, NULL, "\"100%\"", NULL) \
    X("/counters/client_network", SECTION("/counters/client_network")) \
    X("/counters/client_network/ipv4", values_bits, POLICY(counters.ipv4_bits), 0, 32, NULL, "32", NULL) \
    X("/counters/client_network/ipv6", values_bits, POLICY(counters.ipv6_bits), 0, 128, NULL, "64", NULL) \
    X("/counters/max_new_subjects", values_integer, POLICY(counters.max_new_subjects), 1, 1000000000, NULL, \
      "1000", NULL) \
    X("/counters/local_subjects", values_integer, POLICY(counters.local_subjects), 1000, 100000000, NULL, \
      "200000", NULL) \
    X("/http", SECTION("/http")) \
    X("/http/listen", endpoints_listen, POLICY(http), 0, 0, NULL, "\"127.0.0.1:9627\"", NULL) \
    X("/http/subjects", values_flag, POLICY(http.subjects), 0, 0, NULL, "false", NULL) \
    X("/http/hosts", endpoints_hosts, POLICY(http.hosts), 0, 0, NULL, "[]", NULL) \
    X("/log", SECTION("/log")) \
    X("/log/to", values_choice_flag, POLICY(log.to_stderr), 0, 0, "syslog|stderr", "\"syslog\"", NULL) \
    X("/log/level", values_choice, POLICY(log.level), 0, 0, "error|warning|info|debug", "\"info\"", NULL) \
    X("/queue", SECTION("/queue")) \
    X("/queue/every", values_duration, POLICY(queue.every_ms), SECOND, HOUR, NULL, "\"15s\"", NULL) \
    X("/queue/command", endpoints_command, POLICY(queue.command), 0, 0, NULL, \
      "[\"/usr/sbin/postqueue\", \"-j\"]", NULL) \
    X("/exempt", SECTION("/exempt")) \
    X("/exempt/recipients", endpoints_patterns, POLICY(exempt.recipients), 0, 0, NULL, \
      "[\"postmaster@*\", \"abuse@*\"]", NULL) \
    X("/exempt/clients", endpoints_networks, POLICY(exempt.clients), 0, 0, NULL, "[\"127.0.0.0/8\", \"::1\"]", NULL) \
    X("/exempt/senders", endpoints_patterns, POLICY(exempt.senders), 0, 0, NULL, "[]", NULL) \
    X("/exempt/authenticated", values_flag, POLICY(exempt.authenticated), 0, 0, NULL, "false", NULL) \
    X("/limits", limit_list, 0, 0, 0, NULL, "[]", NULL) \
    X("/limits/*/name", values_limit_name, 0, 1, 64, NULL, NULL, NULL) \
    X("/limits/*/per", limit_per, 0, 0, 0, NULL, NULL, NULL) \
    X("/limits/*/max", values_max, 0, 0, INT64_C(1000000000000000), NULL, NULL, NULL) \
    X("/limits/*/window", values_duration, LIMIT(window_ms), SECOND, MONTH, NULL, NULL, NULL) \
    X("/limits/*/count", values_choice, LIMIT(count), 0, 0, "recipients|messages|bytes|attempts|backlog", \
      NULL, NULL) \
    X("/limits/*/when", limit_when, 0, 0, 0, "/limits/*/when", NULL, NULL) \
    X("/limits/*/when/class", limit_classes, LIMIT(when.class_name), 0, 0, NULL, NULL, NULL) \
    X("/limits/*/when/recipient_domain", limit_domains, LIMIT(when.recipient_domain), 0, 0, NULL, NULL, NULL) \
    X("/limits/*/when/sender_domain", limit_domains, LIMIT(when.sender_domain), 0, 0, NULL, NULL, NULL) \
    X("/limits/*/when/client", limit_clients, LIMIT(when.client), 0, 0, NULL, NULL, NULL) \
    X("/limits/*/when/null_sender", values_tristate, LIMIT(when.null_sender), 0, 0, NULL, NULL, NULL) \
    X("/limits/*/when/authenticated", values_tristate, LIMIT(when.authenticated), 0, 0, NULL, NULL, NULL) \
    X("/limits/*/when/catch_all", values_tristate, LIMIT(when.catch_all), 0, 0, NULL, NULL, NULL) \
    X("/limits/*/when/unknown", values_tristate, LIMIT(when.unknown), 0, 0, NULL, NULL, NULL) \
    X("/limits/*/over", values_action, LIMIT(over), 0, 0, "defer|reject|discard", NULL, NULL) \
    X("/limits/*/reply", limit_reply, 0, 0, 0, NULL, NULL, NULL) \
    X("/limits/*/hold", values_duration, LIMIT(hold_ms), SECOND, MONTH, NULL, NULL, NULL) \
    X("/limits/*/share", limit_share, 0, 0, 0, "/limits/*/share", NULL, NULL) \
    X("/limits/*/share/of", values_choice, DRAFT(share_of), 0, 0, "client|sender|sender_domain|recipient", \
      NULL, NULL) \
    X("/limits/*/share/max", values_percent, DRAFT(share_max), 1, 100, NULL, NULL, NULL) \
    X("/limits/*/share/above", values_percent, DRAFT(share_above), 0, 100, NULL, NULL, NULL) \
    X("/limits/*/ramp", values_duration, LIMIT(ramp_ms), SECOND, MONTH, NULL, NULL, NULL) \
    X("/limits/*/shadow", values_flag, LIMIT(shadow), 0, 0, NULL, NULL, NULL) \
    X("/replies", SECTION("/replies")) \
    X("/replies/unknown", REPLY(REPLY_UNKNOWN)) \
    X("/replies/alias_reject", REPLY(REPLY_ALIAS_REJECT)) \
    X("/replies/alias_defer", REPLY(REPLY_ALIAS_DEFER)) \
    X("/replies/sender_reject", REPLY(REPLY_SENDER_REJECT)) \
    X("/replies/sender_defer", REPLY(REPLY_SENDER_DEFER)) \
    X("/replies/client_reject", REPLY(REPLY_CLIENT_REJECT)) \
    X("/replies/client_defer", REPLY(REPLY_CLIENT_DEFER)) \
    X("/replies/over_defer", REPLY(REPLY_OVER_DEFER)) \
    X("/replies/over_reject", REPLY(REPLY_OVER_REJECT)) \
    X("/replies/bytes_defer", REPLY(REPLY_BYTES_DEFER)) \
    X("/replies/bytes_reject", REPLY(REPLY_BYTES_REJECT)) \
    X("/replies/backend", REPLY(REPLY_BACKEND)) \
    X("/replies/ramp", REPLY(REPLY_RAMP)) \
    X("/replies/invalid", REPLY(REPLY_INVALID))

#define ROW(...) {__VA_ARGS__},
#define FIRST(pointer, ...) pointer,
#define NAME(...) FIRST(__VA_ARGS__)
const struct key config_keys[] = {POLICY_KEYS(ROW)};
static const char *const names[] = {POLICY_KEYS(NAME) NULL};
// clang-format on
const size_t config_keys_n = sizeof config_keys / sizeof config_keys[0];

/* The first that fits. A '/' at the end: all below. */
const struct misspelt_key config_keys_misspelt[] = {
    {"/mode", MISSPELT_DEFAULT},
    {"/aliases", MISSPELT_DEFAULT},
    {"/aliases/database", MISSPELT_DEFAULT},
    {"/limits", MISSPELT_DEFAULT},
    {"/limits/*/over", MISSPELT_DEFAULT},
    {"/limits/*/reply", MISSPELT_DEFAULT},
    {"/limits/*/hold", MISSPELT_DEFAULT},
    {"/limits/*/share", MISSPELT_DEFAULT},
    {"/limits/*/ramp", MISSPELT_DEFAULT},
    {"/limits/", MISSPELT_COSTS},
    {NULL, MISSPELT_READ},
};

const char *const *config_keys_names(void)
{
    return names;
}
