#include "report.h"

#include "block_requests.h"
#include "command.h"
#include "control.h"
#include "member.h"
#include "show.h"
#include "state_dir.h"
#include "status.h"
#include "top.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ASK_MS = 30000, ACCEPT_MS = 20000, CONNECT_MS = 1000 };

/* ---- explain ---- */

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
    const char *from = query->from != NULL ? query->from : "<>";
    address_parse(from, policy->aliases.subaddress, &sender, NULL);
    const struct facts facts = {.client = &client,
                                .user = query->user,
                                .sender = &sender,
                                .sender_raw = from,
                                .recipient = query->to,
                                .resolved = true,
                                .size = query->size};
    struct pool pool = {0};
    struct decision decision;
    decide_recipient(policy, facts.recipient, &decision);
    decide(gate, policy, &facts, true, &pool, &decision);
    json_t *report = decide_explain(policy, &decision);
    error_set(err, report == NULL ? "out of memory" : "");
    pool_done(&pool);
    policy_unref(policy);
    return report;
}

static void print_limits(FILE *out, const json_t *report)
{
    const json_t *limits = json_object_get(report, "limits");
    for (size_t i = 0; i < json_array_size(limits); i++) {
        const json_t *l = json_array_get(limits, i);
        fprintf(out, "limit      %-24s %" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT " %s",
                member_text(l, "limit"), member_number(l, "used"), member_number(l, "max"),
                member_text(l, "result"));
        if (member_number(l, "wait_ms") > 0) {
            fputs(", wait ", out);
            member_print_ms(out, l, "wait_ms");
        }
        fprintf(out, "  %s%s\n", member_text(l, "key"),
                json_is_true(json_object_get(l, "shadow")) ? " (shadow)" : "");
    }
    if (json_array_size(limits) == 0)
        fputs("limit      none applies\n", out);
}

static void print_alias(FILE *out, const json_t *alias)
{
    const json_t *mailboxes = json_object_get(alias, "mailbox");
    fprintf(out, "alias      %s", member_text(alias, "state"));
    if (*member_text(alias, "via") != '\0')
        fprintf(out, " as %s", member_text(alias, "via"));
    if (*member_text(alias, "row") != '\0')
        fprintf(out, ": %s", member_text(alias, "row"));
    if (*member_text(alias, "action") != '\0')
        fprintf(out, ", %s", member_text(alias, "action"));
    if (*member_text(alias, "owner") != '\0')
        fprintf(out, ", owner %s", member_text(alias, "owner"));
    if (*member_text(alias, "class") != '\0')
        fprintf(out, ", class %s", member_text(alias, "class"));
    for (size_t i = 0; i < json_array_size(mailboxes); i++)
        fprintf(out, "%s%s", i == 0 ? ", to " : ", ", json_string_value(json_array_get(mailboxes, i)));
    if (json_is_true(json_object_get(alias, "concealed")))
        fputs(" (answered as unknown: aliases.conceal)", out);
    fputc('\n', out);
}

static bool is_held_client(const json_t *report)
{
    const json_t *limits = json_object_get(report, "limits");
    for (size_t i = 0; i < json_array_size(limits); i++) {
        const json_t *l = json_array_get(limits, i);
        if (strcmp(member_text(l, "limit"), member_text(report, "limit")) == 0 &&
            strcmp(member_text(l, "result"), "held") == 0 &&
            strncmp(member_text(l, "key"), "client:{", 8) == 0)
            return true;
    }
    return false;
}

/* Is the reply one that only sessions hear that were open before? */
static bool ends_at_connect(const json_t *report)
{
    const char *by = member_text(report, "by");
    return strcmp(member_text(report, "verdict"), "reject") == 0 &&
           (strcmp(by, "client") == 0 || strcmp(by, "block") == 0 || is_held_client(report));
}

void report_print_explain(FILE *out, const json_t *report)
{
    const char *recipient = member_text(report, "recipient"), *given = member_text(report, "given");
    if (*member_text(report, "invalid") != '\0')
        fprintf(out, "recipient  %s\n           no valid address: %s\n", given,
                member_text(report, "invalid"));
    else if (strcmp(recipient, given) == 0)
        fprintf(out, "recipient  %s\n", recipient);
    else
        fprintf(out, "recipient  %s (given: %s)\n", recipient, given);
    fprintf(out, "sender     <%s>%s\n", member_text(report, "sender"),
            json_is_true(json_object_get(report, "sender_invalid")) ? " (no valid address)"
            : *member_text(report, "sender") == '\0'                ? " (a bounce; --from names another)"
                                                                    : "");
    const char *client = member_text(report, "client");
    fprintf(out, "client     %s%s\n", client,
            json_is_true(json_object_get(report, "client_exempt")) ? " (exempt)"
            : strcmp(client, "unknown") == 0 ? ": no limit per client is looked at without --client"
                                             : "");
    print_alias(out, json_object_get(report, "alias"));
    fprintf(out, "rule       %s%s%s\n", member_text(report, "ruling"),
            *member_text(report, "rule") != '\0' ? ": " : "", member_text(report, "rule"));
    print_limits(out, report);
    if (*member_text(report, "counts") != '\0')
        fprintf(out, "counts     %s\n", member_text(report, "counts"));
    fprintf(out, "verdict    %s", member_text(report, "verdict"));
    if (*member_text(report, "by") != '\0')
        fprintf(out, " by %s", member_text(report, "by"));
    if (*member_text(report, "limit") != '\0')
        fprintf(out, " %s", member_text(report, "limit"));
    fprintf(out, "%s\n",
            json_is_true(json_object_get(report, "shadow_mode")) ? " (mode shadow: nothing is refused)" : "");
    fprintf(out, "reply      %s\n",
            *member_text(report, "reply") != '\0' ? member_text(report, "reply") : "250 (go on)");
    if (ends_at_connect(report))
        fputs("           in open sessions; from the next connection on 554 at connect\n", out);
}

/* ---- the control socket ---- */

static json_t *failure(const char *text)
{
    return json_pack("{s:s}", "error", text);
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

static json_t *answer_show(struct gate *gate, const json_t *request)
{
    json_t *keys = request_keys(gate, request);
    if (keys == NULL)
        return failure("no subject is named");
    json_t *report = show_report(gate->counts, keys, context_now(&gate->context));
    if (report == NULL && gate->local != NULL &&
        (report = show_report(gate->local, keys, context_now(&gate->context))) != NULL)
        json_object_set_new(report, "counts", json_string("local"));
    json_decref(keys);
    if (report == NULL)
        return failure("the counter store does not answer");
    json_object_set_new(report, "backlog", request_backlog(gate, request));
    return report;
}

static json_t *answer_top(struct gate *gate, const json_t *request)
{
    const char *limit = json_string_value(json_object_get(request, "limit"));
    json_int_t n = json_integer_value(json_object_get(request, "n"));
    size_t most = n > 0 ? (size_t)n : 1;
    json_t *report =
        gate->counts != NULL ? top_report(gate->counts, limit, most, context_now(&gate->context)) : NULL;
    if (report == NULL && gate->local != NULL &&
        (report = top_report(gate->local, limit, most, context_now(&gate->context))) != NULL)
        json_object_set_new(report, "counts", json_string("local"));
    return report != NULL ? report : failure("the counter store does not answer");
}

static json_t *answer_reset(struct gate *gate, const json_t *request)
{
    json_t *keys = request_keys(gate, request);
    if (keys == NULL)
        return failure("no subject is named");
    const char *limit = json_string_value(json_object_get(request, "limit"));
    json_t *local = gate->local != NULL ? show_reset(gate->local, keys, limit) : NULL;
    json_t *report = show_reset(gate->counts, keys, limit);
    json_decref(keys);
    if (report == NULL && local != NULL) {
        report = local;
        local = NULL;
        json_object_set_new(report, "counts", json_string("local"));
    }
    json_decref(local);
    return report != NULL ? report : failure("the counter store does not answer");
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

/* "forget_longest": true begins the longest times anew, after they were told. */
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
    struct ruledb_status status;
    if (gate->rules == NULL)
        return failure("this gate has no alias rules");
    if (ruledb_accept(gate->rules, ACCEPT_MS, &err) < 0)
        return failure(err.text);
    ruledb_status(gate->rules, &status);
    return json_pack("{s:I, s:I}", "aliases", (json_int_t)status.aliases, "domains",
                     (json_int_t)status.domains);
}

/* Who can answer where no gate runs. */
enum alone {
    ALONE_COUNTS, /* a command, where the counters can be reached */
    ALONE_ALWAYS, /* a command */
    ALONE_BLOCKS, /* a command, where it can have the state directory */
};

static const struct request_row {
    const char *name;
    json_t *(*answer)(struct gate *gate, const json_t *request);
    enum alone alone;
} requests[] = {
    {"show", answer_show, ALONE_COUNTS},
    {"top", answer_top, ALONE_COUNTS},
    {"reset", answer_reset, ALONE_COUNTS},
    {"explain", answer_explain, ALONE_ALWAYS},
    {"status", answer_status, ALONE_COUNTS},
    {"alias-accept", answer_accept, ALONE_COUNTS},
    {"block", block_request_block, ALONE_BLOCKS},
    {"unblock", block_request_unblock, ALONE_BLOCKS},
    {"blocks", block_request_blocks, ALONE_BLOCKS},
};

static const struct request_row *request_row(const json_t *request)
{
    const char *what = member_text(request, "do");
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
        if (strcmp(what, requests[i].name) == 0)
            return &requests[i];
    return NULL;
}

json_t *report_answer(struct gate *gate, const json_t *request)
{
    const struct request_row *row = request_row(request);
    return row != NULL ? row->answer(gate, request) : failure("unknown request");
}

/* Blocks go into the state directory, and to Redis where that answers. */
static json_t *answer_blocks(struct gate *gate, const struct policy *policy, const json_t *request,
                             struct error *err)
{
    int lock = block_state_open(gate, policy->state, err);
    if (lock < 0)
        return NULL;
    (void)blocks_sync(gate->blocks); /* what others did; without Redis the state directory must do */
    json_t *report = report_answer(gate, request);
    bool shared = blocks_sync(gate->blocks);
    if (!shared && json_object_get(report, "trouble") != NULL && *member_text(report, "trouble") == '\0')
        json_object_set_new(
            report, "trouble",
            json_string("Redis does not answer: the other hosts will learn of it when a gate runs here"));
    close(lock);
    return report;
}

/* Nobody runs: answer with a gate of our own, which serves nobody. */
static json_t *answer_alone(const struct policy *policy, const json_t *request, struct error *err)
{
    struct gate gate;
    json_t *report = NULL;
    if (gate_init(&gate, policy_ref(policy), NULL, err) == 0) {
        const struct request_row *row = request_row(request);
        bool connected = policy->counters.kind == COUNTERS_MEMORY ||
                         (gate.context.redis != NULL && counts_redis_wait(gate.context.redis, CONNECT_MS));
        if (row != NULL && row->alone == ALONE_BLOCKS) {
            report = answer_blocks(&gate, policy, request, err);
        } else if (!connected) {
            counts_trouble(gate.counts, err);
            error_set(err, "Redis does not answer");
        } else {
            char path[STATE_DIR_PATH];
            state_dir_path(policy->state, STATE_DIR_BLOCKS, path);
            (void)blocks_load(gate.blocks, path, NULL); /* as far as this user may read them */
            report = report_answer(&gate, request);
        }
    }
    gate_done(&gate);
    return report;
}

json_t *report_ask_running(const struct policy *policy, const json_t *request, bool *absent,
                           struct error *err)
{
    char path[STATE_DIR_PATH];
    state_dir_path(policy->state, STATE_DIR_CONTROL, path);
    char *line = json_dumps(request, JSON_COMPACT);
    char *answer = line != NULL ? control_ask(path, line, ASK_MS, absent, err) : NULL;
    json_t *report = answer != NULL ? json_loads(answer, 0, NULL) : NULL;
    free(answer);
    free(line);
    if (answer != NULL && report == NULL)
        error_set(err, "the gate's answer makes no sense");
    return report;
}

json_t *report_ask(const struct policy *policy, json_t *request, int *status)
{
    struct error err = {0}, running = {0};
    bool absent = false;
    if (request == NULL) {
        fputs("rcptgate: an argument is not UTF-8, or memory ran out\n", stderr);
        *status = EXIT_USAGE;
        return NULL;
    }
    const struct request_row *row = request_row(request);
    enum alone alone = row != NULL ? row->alone : ALONE_COUNTS;
    json_t *report = report_ask_running(policy, request, &absent, &running);
    if (report == NULL && (alone == ALONE_COUNTS   ? policy->counters.kind != COUNTERS_MEMORY
                           : alone == ALONE_BLOCKS ? absent
                                                   : true))
        report = answer_alone(policy, request, &err);
    json_decref(request);
    *status = EXIT_DONE;
    if (report == NULL) {
        fprintf(stderr, "rcptgate: %s%s%s\n", running.text, err.text[0] != '\0' ? "; " : "", err.text);
        *status = EXIT_UNAVAILABLE;
    } else if (*member_text(report, "error") != '\0') {
        fprintf(stderr, "rcptgate: %s\n", member_text(report, "error"));
        json_decref(report);
        report = NULL;
        *status = EXIT_REFUSED;
    }
    return report;
}
