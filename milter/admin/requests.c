/* requests: answers what is asked over the control socket (see requests.h). Owns nothing; what cannot be done is
 * an answer, too. */
#include "admin/requests.h"

#include "admin/block_requests.h"
#include "admin/event_requests.h"
#include "admin/explain.h"
#include "config/json_get.h"
#include "show.h"
#include "status.h"
#include "admin/top.h"
#include "shards.h"
#include "base/clock.h"
#include "base/text.h"

#include <string.h>

enum { ACCEPT_MS = 20000 };

static json_t *failure(const char *text)
{
    return json_pack("{s:s}", "error", text);
}

struct explain_query {
    const char *to, *from, *client, *user;
    int64_t size; /* -1: none */
};

/* The decision that this RCPT would get, step by step. NULL with err set. */
static json_t *explain(struct gate *gate, const struct explain_query *query, struct error *err)
{
    struct network client = {0};
    struct address sender;
    if (query->client != NULL && network_parse(query->client, &client, err) < 0)
        return NULL;
    const struct policy *policy = context_policy(&gate->context);
    struct pool pool = {0};
    char *user = pool_strdup(&pool, query->user);
    if (user != NULL)
        text_lower(user);
    const char *from = query->from != NULL ? query->from : "<>";
    address_parse_sender(from, policy->aliases.subaddress, &sender, NULL);
    const struct facts facts = {.client = &client,
                                .user = user,
                                .sender = &sender,
                                .sender_raw = from,
                                .recipient = query->to,
                                .resolved = true,
                                .size = query->size};
    struct decision decision;
    decide_recipient(policy, facts.recipient, &decision);
    decide(gate, policy, &facts, true, &pool, &decision);
    json_t *report = explain_decision(policy, &decision);
    error_set(err, report == NULL ? "out of memory" : "");
    pool_done(&pool);
    policy_unref(policy);
    return report;
}

/* One list of keys for all subjects of a request; NULL: it has none. */
static json_t *request_keys(struct gate *gate, const json_t *request)
{
    const json_t *subjects = json_object_get(request, "subjects");
    json_t *keys = json_array();
    const struct policy *policy = context_policy(&gate->context);
    for (size_t i = 0; i < json_array_size(subjects); i++) {
        const json_t *subject = json_array_get(subjects, i);
        json_t *more = json_is_string(subject) ? show_keys(policy, json_string_value(subject)) : NULL;
        if (more != NULL)
            json_array_extend(keys, more);
        json_decref(more);
    }
    policy_unref(policy);
    if (json_array_size(keys) > 0)
        return keys;
    json_decref(keys);
    return NULL;
}

static json_t *failure_nearest(const char *what, const char *name, const char *const *names)
{
    struct error err = {0};
    const char *nearest = text_nearest(name, names);
    error_set(&err, "there is no %s \"%.100s\"%s%s%s", what, name, nearest != NULL ? "; did you mean \"" : "",
              nearest != NULL ? nearest : "", nearest != NULL ? "\"?" : "");
    return failure(err.text);
}

/* A failure where the request names a limit that the policy lacks; NULL: it does not. */
static json_t *unknown_limit(struct gate *gate, const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "limit"));
    const struct policy *policy = context_policy(&gate->context);
    const char **names = calloc(policy->n_limits + 1, sizeof *names);
    bool known = name == NULL;
    for (size_t i = 0; i < policy->n_limits && names != NULL && !known; i++) {
        names[i] = policy->limits[i].name;
        known = strcmp(names[i], name) == 0;
    }
    json_t *report = known           ? NULL
                     : names != NULL ? failure_nearest("limit", name, names)
                                     : failure("out of memory");
    free(names);
    policy_unref(policy);
    return report;
}

/* A failure where a kind is none, of those before the first ':' of a subject: one, or in a key several joined by '+'. */
static json_t *unknown_kind_of(const char *kinds, size_t n)
{
    const char *names[SUBJECTS + 1] = {NULL};
    for (int s = 0; s < SUBJECTS; s++)
        names[s] = policy_subject_name((enum subject)s);
    for (size_t i = 0, m; i < n; i += m + 1) {
        char kind[64];
        m = strcspn(kinds + i, "+:");
        snprintf(kind, sizeof kind, "%.*s", (int)m, kinds + i);
        bool known = false;
        for (int s = 0; s < SUBJECTS; s++)
            known = known || strcmp(names[s], kind) == 0;
        if (!known)
            return failure_nearest("kind of subject", kind, names);
    }
    return NULL;
}

static const char kind_bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_+";

/* As unknown_limit(), for "ownr:bob" and whole keys. What has a colon can be an IPv6 address, too. */
static json_t *unknown_kind(struct gate *gate, const json_t *request)
{
    const json_t *subjects = json_object_get(request, "subjects");
    const struct policy *policy = context_policy(&gate->context);
    json_t *report = NULL;
    for (size_t i = 0; i < json_array_size(subjects) && report == NULL; i++) {
        const char *subject = json_string_value(json_array_get(subjects, i));
        const char *key = subject != NULL ? show_whole_key(policy, subject) : NULL;
        const char *text = key != NULL ? key : subject;
        size_t n = text != NULL ? strspn(text, kind_bytes) : 0;
        struct network network;
        if (key != NULL || (n > 0 && text[n] == ':' && network_parse(text, &network, NULL) < 0))
            report = unknown_kind_of(text, n);
    }
    policy_unref(policy);
    return report;
}

/* What waits in Postfix's queue for the subjects of a request. */
static json_t *request_backlog(struct gate *gate, const json_t *request)
{
    const json_t *subjects = json_object_get(request, "subjects");
    json_t *list = json_array();
    const struct policy *policy = context_policy(&gate->context);
    for (size_t i = 0; i < json_array_size(subjects); i++) {
        const char *subject = json_string_value(json_array_get(subjects, i));
        if (subject != NULL)
            show_backlog(gate->backlog, policy, subject, list);
    }
    policy_unref(policy);
    return list;
}

/* Where a part of the store is away, its counters are missing. */
static json_t *note_missing(struct gate *gate, json_t *report)
{
    struct error missing = {0};
    counters_missing(gate->counters, &missing);
    if (report != NULL && missing.text[0] != '\0')
        json_object_set_new(report, "missing", json_get_clean(missing.text));
    return report;
}

/* The counters of one key; where the part of the store that has it is away, as this process counted. */
static void show_key(struct gate *gate, json_t *key, json_t *counters)
{
    json_t *keys = json_pack("[O]", key), *counter;
    json_t *report = show_report(gate->counters, keys, context_now(&gate->context));
    const bool local = report == NULL && gate->local != NULL;
    size_t i;
    if (local)
        report = show_report(gate->local, keys, context_now(&gate->context));
    json_array_foreach(json_object_get(report, "counters"), i, counter)
    {
        if (local)
            json_object_set_new(counter, "local", json_true());
    }
    (void)json_array_extend(counters, json_object_get(report, "counters"));
    json_decref(report);
    json_decref(keys);
}

/* With a part of the store away, each key is asked for by itself. NULL: no part is, or nobody answers. */
static json_t *show_each(struct gate *gate, const json_t *keys)
{
    struct error missing = {0};
    json_t *counters, *key;
    size_t i;
    counters_missing(gate->counters, &missing);
    if (missing.text[0] == '\0' || (counters = json_array()) == NULL)
        return NULL;
    json_array_foreach(keys, i, key) show_key(gate, key, counters);
    return json_pack("{s:o}", "counters", counters);
}

static json_t *answer_show(struct gate *gate, const json_t *request)
{
    json_t *unknown = unknown_kind(gate, request);
    json_t *keys = unknown == NULL ? request_keys(gate, request) : NULL;
    if (unknown != NULL)
        return unknown;
    if (keys == NULL)
        return failure("no subject is named");
    json_t *each, *report = show_report(gate->counters, keys, context_now(&gate->context));
    if (report == NULL && gate->local != NULL &&
        (report = show_report(gate->local, keys, context_now(&gate->context))) != NULL)
        json_object_set_new(report, "counts", json_string("local"));
    else if (report != NULL && (each = show_each(gate, keys)) != NULL) {
        json_decref(report);
        report = each;
    }
    json_decref(keys);
    if (report == NULL)
        return failure("the counter store does not answer");
    json_object_set_new(report, "backlog", request_backlog(gate, request));
    return note_missing(gate, report);
}

struct away {
    struct shards *shards;
    struct counters *counters;
};

static bool is_away(void *arg, const char *key)
{
    const struct away *away = arg;
    return shards_is_away(away->shards, away->counters, key);
}

/* Of all that is counted; what is away in part, as this process counted that part. */
static json_t *top_of_all(struct gate *gate, const char *limit, size_t n)
{
    struct error missing = {0};
    struct away away = {.counters = gate->counters};
    const struct top_fallback local = {gate->local, is_away, &away};
    counters_missing(gate->counters, &missing);
    if (gate->local != NULL && missing.text[0] != '\0')
        away.shards = shards_new(gate);
    json_t *report = top_report_with(gate->counters, away.shards != NULL ? &local : NULL, limit, n,
                                     context_now(&gate->context));
    shards_free(away.shards);
    return report;
}

static json_t *answer_top(struct gate *gate, const json_t *request)
{
    json_t *unknown = unknown_limit(gate, request);
    if (unknown != NULL)
        return unknown;
    const char *limit = json_string_value(json_object_get(request, "limit"));
    json_int_t n = json_integer_value(json_object_get(request, "n"));
    size_t most = n > 0 ? (size_t)n : 1;
    json_t *report = top_of_all(gate, limit, most);
    if (report == NULL && gate->local != NULL &&
        (report = top_report(gate->local, limit, most, context_now(&gate->context))) != NULL)
        json_object_set_new(report, "counts", json_string("local"));
    return report != NULL ? note_missing(gate, report) : failure("the counter store does not answer");
}

static const char *mode_of(struct gate *gate)
{
    const struct policy *policy = context_policy(&gate->context);
    bool shadow = policy->shadow;
    policy_unref(policy);
    return shadow ? "shadow" : "enforce";
}

/* Who is refused, and by what: of this gate. */
static json_t *answer_refused(struct gate *gate, const json_t *request)
{
    const char *names[REFUSALS_BYS] = {NULL}, *word = json_get_text(request, "by");
    json_t *unknown = unknown_limit(gate, request);
    json_int_t n = json_get_number(request, "n");
    if (unknown != NULL)
        return unknown;
    for (int by = 0; by < REFUSALS_BY_SUBJECT; by++) {
        names[by] = refusals_by_name((enum refusals_by)by);
        if (strcmp(word, names[by]) == 0)
            return json_pack("{s:s, s:i, s:s, s:o}", "by", word, "minutes", REFUSALS_MINUTES, "mode",
                             mode_of(gate), "refused",
                             refusals_report(gate->context.refusals, (enum refusals_by)by,
                                             json_string_value(json_object_get(request, "limit")),
                                             n > 0 && n < TOP_MOST ? (size_t)n : TOP_MOST,
                                             clock_monotonic_ms()));
    }
    return failure_nearest("order", word, names);
}

static json_t *answer_reset(struct gate *gate, const json_t *request)
{
    json_t *unknown = unknown_kind(gate, request);
    if (unknown == NULL)
        unknown = unknown_limit(gate, request);
    if (unknown != NULL)
        return unknown;
    json_t *keys = request_keys(gate, request);
    if (keys == NULL)
        return failure("no subject is named");
    const char *limit = json_string_value(json_object_get(request, "limit"));
    json_t *local = gate->local != NULL ? show_reset(gate->local, keys, limit) : NULL;
    json_t *report = show_reset(gate->counters, keys, limit);
    json_decref(keys);
    if (report == NULL && local != NULL) {
        report = local;
        local = NULL;
        json_object_set_new(report, "counts", json_string("local"));
    }
    json_decref(local);
    return report != NULL ? note_missing(gate, report) : failure("the counter store does not answer");
}

static json_t *answer_explain(struct gate *gate, const json_t *request)
{
    const json_t *size = json_object_get(request, "size");
    const struct explain_query query = {
        .to = json_string_value(json_object_get(request, "to")),
        .from = json_string_value(json_object_get(request, "from")),
        .client = json_string_value(json_object_get(request, "client")),
        .user = json_string_value(json_object_get(request, "user")),
        .size = json_is_integer(size) ? json_integer_value(size) : -1,
    };
    struct error err = {0};
    json_t *report = query.to != NULL ? explain(gate, &query, &err) : NULL;
    return report != NULL ? report : failure(query.to != NULL ? err.text : "no recipient is named");
}

/* "forget_longest": true begins the longest times anew, after they were reported. */
static json_t *answer_status(struct gate *gate, const json_t *request)
{
    json_t *report = status_report(gate, true);
    if (json_is_true(json_object_get(request, "forget_longest")))
        metrics_forget_longest(&gate->context.metrics);
    return report != NULL ? report : failure("out of memory");
}

/* Alias data that lost more than max_shrink is right, somebody says. */
static json_t *answer_accept(struct gate *gate, const json_t *request)
{
    (void)request;
    struct error err = {0};
    struct aliases_status status;
    if (gate->rules == NULL)
        return failure("this gate has no alias rules");
    if (aliases_accept(gate->rules, ACCEPT_MS, &err) < 0)
        return failure(err.text);
    aliases_status(gate->rules, &status);
    return json_pack("{s:I, s:I}", "aliases", (json_int_t)status.aliases, "domains",
                     (json_int_t)status.domains);
}

static const struct request_row {
    const char *name;
    json_t *(*answer)(struct gate *gate, const json_t *request);
    enum requests_alone alone;
} requests[] = {
    {"show", answer_show, REQUESTS_ALONE_COUNTERS},
    {"top", answer_top, REQUESTS_ALONE_COUNTERS},
    {"refused", answer_refused, REQUESTS_ALONE_NEVER},
    {"events", event_requests_answer, REQUESTS_ALONE_COUNTERS},
    {"reset", answer_reset, REQUESTS_ALONE_COUNTERS},
    {"explain", answer_explain, REQUESTS_ALONE_ALWAYS},
    {"status", answer_status, REQUESTS_ALONE_COUNTERS},
    {"alias-accept", answer_accept, REQUESTS_ALONE_COUNTERS},
    {"block", block_requests_block, REQUESTS_ALONE_BLOCKS},
    {"unblock", block_requests_unblock, REQUESTS_ALONE_BLOCKS},
    {"blocks", block_requests_list, REQUESTS_ALONE_BLOCKS},
};

static const struct request_row *request_row(const json_t *request)
{
    const char *what = json_get_text(request, "do");
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
        if (strcmp(what, requests[i].name) == 0)
            return &requests[i];
    return NULL;
}

json_t *requests_answer(struct gate *gate, const json_t *request)
{
    const struct request_row *row = request_row(request);
    return row != NULL ? row->answer(gate, request) : failure("unknown request");
}

enum requests_alone requests_alone(const json_t *request)
{
    const struct request_row *row = request_row(request);
    return row != NULL ? row->alone : REQUESTS_ALONE_COUNTERS;
}
