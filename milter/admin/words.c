/* words: a function for each kind of event, a row for each rule. Owns nothing and cannot fail; what does not fit is cut. */
#include "admin/words.h"

#include "base/clock.h"
#include "config/json_get.h"
#include "gate/conditions.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef void say_fn(struct text *text, const json_t *event);

static const char *get(const json_t *event, const char *name)
{
    return json_get_text(event, name);
}

static bool has(const json_t *event, const char *name)
{
    return *get(event, name) != '\0';
}

/* before value after, where there is a value. */
static void add_field(struct text *text, const char *before, const char *value, const char *after)
{
    if (*value == '\0')
        return;
    text_add(text, before);
    text_add(text, value);
    text_add(text, after);
}

void words_add_subject(struct text *text, const char *key)
{
    const char *value = strstr(key, ":{"), *end = value != NULL ? strchr(value, '}') : NULL;
    if (end == NULL) { /* no key of ours: a network, for example */
        text_add(text, key);
        return;
    }
    size_t n = (size_t)(end - value) - 2;
    for (value += 2;;) {
        size_t name = strcspn(key, "+:");
        text_add_bytes(text, key, name);
        text_add(text, " ");
        text_add_bytes(text, value, n);
        if (key[name] != '+' || *end == '\0' || (*end == '}' && end[1] != '|'))
            return;
        key += name + 1;
        value = *end == '}' ? end + 2 : end + 1;
        n = strcspn(value, "|");
        end = value + n;
        text_add(text, ", ");
    }
}

static void say_limit(struct text *text, const json_t *event)
{
    static const char *const done[][2] = {
        {"defer", "deferred"}, {"reject", "rejected"}, {"discard", "dropped"}};
    text_addf(text, "Limit %s is full", get(event, "limit"));
    if (has(event, "subject"))
        text_add(text, " for ");
    words_add_subject(text, get(event, "subject"));
    text_addf(text, " (%s of %s)", get(event, "used"), get(event, "max"));
    for (size_t i = 0; i < 3; i++)
        if (strcmp(get(event, "action"), done[i][0]) == 0)
            text_addf(text, ": what comes now is %s", done[i][1]);
    if (strcmp(get(event, "shadow"), "yes") == 0)
        text_add(text, ", or would be: the limit is in shadow");
    if (!has(event, "client") && !has(event, "sender"))
        return;
    text_add(text, ". Mostly from");
    add_field(text, " client ", get(event, "client"), has(event, "sender") ? "," : "");
    add_field(text, " sender ", get(event, "sender"), "");
}

static void say_block(struct text *text, const json_t *event)
{
    text_addf(text, "%s is blocked", has(event, "subject") ? get(event, "subject") : "A network");
    if (strcmp(get(event, "action"), "defer") == 0)
        text_add(text, " (deferred)");
    add_field(text, " by ", get(event, "by"), "");
    add_field(text, ": ", get(event, "reason"), "");
}

static void say_unblock(struct text *text, const json_t *event)
{
    text_addf(text, "%s is no longer blocked", has(event, "subject") ? get(event, "subject") : "A network");
    add_field(text, ", says ", get(event, "by"), "");
}

static void say_block_ended(struct text *text, const json_t *event)
{
    text_add(text, "The block");
    add_field(text, " of ", get(event, "subject"), "");
    text_add(text, " has ended");
    add_field(text, "; it was for: ", get(event, "reason"), "");
}

static void say_ramp(struct text *text, const json_t *event)
{
    static const char *const why[][2] = {{"start", "the gate was started"},
                                         {"counters", "the counter store was away"},
                                         {"aliases", "the alias data was away"}};
    text_add(text, "Limits with a ramp grow back from a tenth");
    for (size_t i = 0; i < 3; i++)
        if (strcmp(get(event, "because"), why[i][0]) == 0)
            text_addf(text, ": %s", why[i][1]);
}

static void add_queue(struct text *text, const json_t *event)
{
    const char *messages = get(event, "messages");
    text_addf(text, "%s message%s, the oldest for ", messages, strcmp(messages, "1") == 0 ? "" : "s");
    text_add_duration(text, strtoll(get(event, "oldest_s"), NULL, 10) * 1000);
}

static void say_growing(struct text *text, const json_t *event)
{
    text_add(text, "Postfix's queue grows: twice as long as ten minutes ago; ");
    add_queue(text, event);
}

static void say_old(struct text *text, const json_t *event)
{
    text_add(text, "Mail has waited for hours in Postfix's queue: ");
    add_queue(text, event);
}

/* "counters-trouble", "counters-well". */
static bool say_condition(struct text *text, const json_t *event)
{
    const char *name = get(event, "event"), *dash = strrchr(name, '-');
    bool wrong = dash != NULL && strcmp(dash, "-trouble") == 0;
    if (dash == NULL || (!wrong && strcmp(dash, "-well") != 0))
        return false;
    for (int c = 0; c < CONDITIONS; c++) {
        const char *known = conditions_name((enum condition)c);
        if (strlen(known) != (size_t)(dash - name) || strncmp(known, name, strlen(known)) != 0)
            continue;
        text_add(text, conditions_title((enum condition)c));
        add_field(text, ": ", get(event, "text"), "");
        return true;
    }
    return false;
}

static void say_of_fields(struct text *text, const json_t *event)
{
    static const char *const known[] = {"at", "at_ms", "host", "event"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)event, name, value)
    {
        bool shown = json_string_length(value) > 0;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            shown = shown && strcmp(name, known[i]) != 0;
        if (shown)
            text_addf(text, "%s%s %s", text->len > 0 ? ", " : "", name, json_string_value(value));
    }
}

void words_add_event(struct text *text, const json_t *event)
{
    static const struct {
        const char *name;
        say_fn *say;
    } kinds[] = {
        {"limit-tripped", say_limit},     {"block", say_block},
        {"unblock", say_unblock},         {"ramp-began", say_ramp},
        {"block-ended", say_block_ended}, {"queue-growing", say_growing},
        {"queue-old", say_old},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(get(event, "event"), kinds[i].name) == 0) {
            kinds[i].say(text, event);
            return;
        }
    if (!say_condition(text, event))
        say_of_fields(text, event);
}

void words_add_refusal(struct text *text, const json_t *refusal)
{
    static const char *const rules[][2] = {
        {"limit", "limit"},
        {"ramp", "ramp of limit"},
        {"unknown", "no such address at"},
        {"expired", "expired alias"},
        {"alias", "alias rule"},
        {"sender", "sender rule"},
        {"client", "client rule"},
        {"block", "block"},
        {"address", "no valid address"},
        {"backend", "a backend does not answer"},
    };
    const char *rule = get(refusal, "rule");
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(rule, rules[i][0]) == 0)
            rule = rules[i][1];
    text_add(text, rule);
    if (strcmp(get(refusal, "rule"), "address") != 0)
        add_field(text, " ", get(refusal, "row"), "");
    if (json_is_true(json_object_get(refusal, "shadow")))
        text_add(text, " (in shadow)");
}

/* ---- limits ---- */

/* As the policy writes it, in the largest unit that fits. */
static void add_window(struct text *text, int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (ms % units[i].ms != 0)
        i++;
    text_addf(text, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
}

static void add_per(struct text *text, const struct limit *limit)
{
    for (size_t i = 0; i < limit->n_per; i++) {
        const char *name = policy_subject_name(limit->per[i]);
        bool whole = limit->per[i] == SUBJECT_ALL || limit->per[i] == SUBJECT_HOST;
        text_add(text, i > 0 ? " and " : whole ? "for " : "for each ");
        text_add(text, limit->per[i] == SUBJECT_ALL ? "all gates together" : whole ? "this host" : name);
    }
}

static void add_strings(struct text *text, const char *name, const struct strings *strings)
{
    for (size_t i = 0; i < strings->n; i++)
        text_addf(text, "%s%s", i == 0 ? name : " or ", strings->at[i]);
}

static void add_tristate(struct text *text, const char *name, enum tristate is)
{
    if (is != ANY)
        text_addf(text, ", %s%s", is == NO ? "not " : "", name);
}

static void add_when(struct text *text, const struct when *when)
{
    char network[NETWORK_TEXT], buffer[2048];
    struct text all;
    text_init(&all, buffer, sizeof buffer);
    add_strings(&all, ", class ", &when->class_name);
    add_strings(&all, ", recipient domain ", &when->recipient_domain);
    add_strings(&all, ", sender domain ", &when->sender_domain);
    for (size_t i = 0; i < when->client.n; i++)
        text_addf(&all, "%s%s", i == 0 ? ", client " : " or ", network_format(&when->client.at[i], network));
    add_tristate(&all, "a bounce (null sender)", when->null_sender);
    add_tristate(&all, "logged in", when->authenticated);
    add_tristate(&all, "by a catch-all or glob", when->catch_all);
    add_tristate(&all, "unknown", when->unknown);
    if (all.len > 0)
        text_addf(text, "; only when: %s", buffer + 2);
}

void words_add_limit(struct text *text, const struct limit *limit)
{
    static const char *const units[] = {"recipients", "messages", "bytes", "attempts",
                                        "messages waiting in Postfix's queue"};
    static const char *const over[] = {"deferred", "dropped", "rejected"};
    text_addf(text, "at most %" PRId64 " %s ", limit->max, units[limit->count]);
    if (limit->window_ms > 0) {
        text_add(text, "in ");
        add_window(text, limit->window_ms);
        text_add(text, " ");
    }
    add_per(text, limit);
    text_addf(text, "; what is over it is %s", over[limit->over - ACTION_DEFER]);
    if (limit->hold_ms > 0) {
        text_add(text, ", and held for ");
        add_window(text, limit->hold_ms);
    }
    if (limit->share.set)
        text_addf(text, "; once %" PRId64 " is used, one %s may have at most %" PRId64, limit->share.above,
                  policy_subject_name(limit->share.of), limit->share.max);
    add_when(text, &limit->when);
    if (limit->ramp_ms > 0) {
        text_add(text, "; after an outage it grows back over ");
        add_window(text, limit->ramp_ms);
    }
    if (limit->shadow)
        text_add(text, "; in shadow: refuses nothing");
}

/* ---- the counter store ---- */

static void add_refunds(struct text *text, const json_t *shard)
{
    json_int_t n = json_get_number(shard, "refunds_waiting");
    if (n == 0)
        return;
    text_addf(text, "; %" JSON_INTEGER_FORMAT " refund%s for ", n, n == 1 ? " waits" : "s wait");
    text_add_duration(text, (int64_t)json_get_number(shard, "refunds_s") * 1000);
}

static void add_unsynced(struct text *text, const json_t *shard, bool cluster)
{
    json_int_t n = json_get_number(shard, "unsynced_slots");
    if (n == 0)
        return;
    text_add(text, "; this gate counts ");
    if (cluster)
        text_addf(text, "for %" JSON_INTEGER_FORMAT " of them ", n);
    text_add(text, "itself, or has yet to tell it something, for ");
    text_add_duration(text, (int64_t)json_get_number(shard, "unsynced_s") * 1000);
}

static void add_hanging(struct text *text, const json_t *slots)
{
    size_t i;
    json_t *slot;
    json_array_foreach(slots, i, slot)
        text_addf(text, "%s%" JSON_INTEGER_FORMAT,
                  i > 0                         ? ", "
                  : json_array_size(slots) == 1 ? "; between two nodes hangs slot "
                                                : "; between two nodes hang slots ",
                  json_integer_value(slot));
}

static void add_certificate(struct text *text, const json_t *shard)
{
    char time[CLOCK_TEXT];
    int64_t expires_s = json_get_number(shard, "certificate_expires");
    if (expires_s == 0)
        return;
    text_addf(text, ", its certificate is valid until %s", clock_text(expires_s * 1000, time));
    if (json_is_true(json_object_get(shard, "certificate_ends_soon")))
        text_add(text, ": renew it");
}

void words_add_shard(struct text *text, const json_t *shard)
{
    bool cluster = json_object_get(shard, "slots") != NULL, named = has(shard, "since");
    bool lags = json_get_number(shard, "unsynced_slots") + json_get_number(shard, "refunds_waiting") > 0;
    if (!cluster && !named && !lags && json_get_number(shard, "certificate_expires") == 0 &&
        has(shard, "master"))
        return;
    text_add(text, has(shard, "master") ? get(shard, "master") : "nobody");
    if (named) {
        text_add(text, ", the master for ");
        text_add_duration(text, (int64_t)json_get_number(shard, "for_s") * 1000);
        text_addf(text, ", since %s", get(shard, "since"));
    }
    if (cluster)
        text_addf(text, ", %" JSON_INTEGER_FORMAT " slots", json_get_number(shard, "slots"));
    if (!json_is_true(json_object_get(shard, "up")))
        text_add(text, ", down");
    add_certificate(text, shard);
    add_unsynced(text, shard, cluster);
    add_refunds(text, shard);
    add_hanging(text, json_object_get(shard, "hanging_slots"));
}
