/* fuzz_judge: random limits, rows and answers of a store through rules, plan and judge: no 5xx and no discard without its
 * proof, which this file looks for by itself. Strings are few, so that conditions meet their subjects; what rows can
 * hold is fuzz_decide's. */
#include "fuzz.h"

#include "policy/judge.h"
#include "policy/plan.h"
#include "policy/rules.h"

enum { LIMITS = 5, NOW = 1700000000 };

static const char *const addresses[] = {
    "a@example.com", "a+b@example.com",  "shop-1@example.com", "x@other.example", "<>",
    "postmaster",    "a..b@example.com", "b@example.net"};
static const char *const classes[] = {"gold", "free", NULL};
static const char *const clients[] = {"192.0.2.7", "2001:db8::1", "198.51.100.9"};

struct world {
    struct policy policy;
    struct limit limits[LIMITS];
    const char *names[LIMITS];
    struct network client, one_network;
    const char *one_class[1], *one_domain[1];
    struct pattern one_pattern;
    struct address sender, recipient;
    struct envelope envelope;
    struct block_row block;
    struct alias_rows alias_rows;
    struct alias_row globs[2];
    struct sender_rows sender_rows;
    struct sender_row sender_row;
    struct client_row client_row;
    struct pool pool;
};

static enum action any_action(struct fuzz_input *in)
{
    return (enum action)(ACTION_ACCEPT + fuzz_below(in, ACTION_REJECT - ACTION_ACCEPT + 1));
}

static enum tristate any_tristate(struct fuzz_input *in)
{
    unsigned byte = fuzz_byte(in);
    return byte < 200 ? ANY : byte < 228 ? NO : YES;
}

static void when_make(struct world *w, struct fuzz_input *in, struct when *when)
{
    when->null_sender = any_tristate(in);
    when->authenticated = any_tristate(in);
    when->catch_all = any_tristate(in);
    when->unknown = any_tristate(in);
    unsigned lists = fuzz_byte(in);
    if (lists >= 0xe0)
        when->class_name = (struct strings){w->one_class, 1};
    if (lists % 16 == 15)
        when->recipient_domain = (struct strings){w->one_domain, 1};
    if (lists % 32 == 17)
        when->client = (struct networks){&w->one_network, 1};
}

static void limit_make(struct world *w, struct fuzz_input *in, size_t i)
{
    static const char *const names[LIMITS] = {"l0", "l1", "l2", "l3", "l4"};
    struct limit *limit = &w->limits[i];
    limit->name = names[i];
    limit->n_per = 1 + fuzz_below(in, 2);
    for (size_t k = 0; k < limit->n_per; k++)
        limit->per[k] = (enum subject)fuzz_below(in, SUBJECTS);
    limit->per_name = "per";
    limit->max = fuzz_number(in);
    limit->count = (enum limit_count)fuzz_below(in, LIMIT_BACKLOG + 1);
    limit->over = (enum action)(ACTION_DEFER + fuzz_below(in, 3));
    limit->window_ms = limit->count == LIMIT_BACKLOG ? 0 : 60000;
    limit->ttl_ms = 120000;
    limit->shadow = fuzz_below(in, 8) == 7;
    limit->ramp_ms = fuzz_below(in, 4) == 3 ? 60000 : 0;
    if (limit->count == LIMIT_BACKLOG) {
        limit->n_per = 1;
        limit->per[0] = SUBJECT_MAILBOX;
    } else if (fuzz_below(in, 3) == 2) {
        limit->hold_ms = 30000;
    }
    if (limit->count != LIMIT_BACKLOG && fuzz_below(in, 4) == 3)
        limit->share = (struct share){.set = true,
                                      .of = SUBJECT_CLIENT,
                                      .max = 1 + limit->max / 3,
                                      .per = "per+client",
                                      .above = limit->max / 2};
    when_make(w, in, &limit->when);
    if (limit->ramp_ms > w->policy.longest_ramp_ms)
        w->policy.longest_ramp_ms = limit->ramp_ms;
    w->policy.needs_attempts |= limit->count == LIMIT_ATTEMPTS;
}

static void policy_make(struct world *w, struct fuzz_input *in)
{
    struct policy *policy = &w->policy;
    unsigned how = fuzz_byte(in);
    policy->aliases.database = (how & 1) != 0 ? NULL : "aliases.db";
    policy->aliases.subaddress = "+";
    policy->aliases.conceal = (how & 2) != 0;
    policy->counters.when_down = (enum when_down)(how / 4 % 3);
    policy->counters.local_share = (how & 64) != 0 ? 50 : 100;
    policy->counters.ipv4_bits = 32;
    policy->counters.ipv6_bits = 64;
    policy->counters.max_new_subjects = 1000;
    policy->queue.every_ms = 15000;
    for (int key = 0; key < REPLY_KEYS; key++)
        policy->replies[key] = *reply_default((enum reply_key)key);
    w->one_class[0] = "gold";
    w->one_domain[0] = "example.com";
    w->one_pattern = (struct pattern){.local = "a"};
    demand(network_parse("192.0.2.0/24", &w->one_network, NULL) == 0);
    if (fuzz_below(in, 8) == 7)
        policy->exempt.recipients = (struct patterns){&w->one_pattern, 1};
    if (fuzz_below(in, 8) == 7)
        policy->exempt.clients = (struct networks){&w->one_network, 1};
    if (fuzz_below(in, 8) == 7)
        policy->exempt.senders = (struct patterns){&w->one_pattern, 1};
    policy->exempt.authenticated = fuzz_below(in, 8) == 7;
    policy->limits = w->limits;
    policy->n_limits = fuzz_below(in, LIMITS + 1);
    for (size_t i = 0; i < policy->n_limits; i++)
        limit_make(w, in, i);
}

static struct alias_row any_row(struct fuzz_input *in, const char *key)
{
    unsigned how = fuzz_byte(in);
    if (how < 128)
        return (struct alias_row){0};
    return (struct alias_row){.key = key,
                              .mailbox = (how & 1) != 0 ? "me@example.org" : NULL,
                              .owner = (how & 2) != 0 ? "bob" : NULL,
                              .class_name = classes[how / 4 % 3],
                              .action = any_action(in),
                              .expires_at = (how & 64) != 0 ? NOW - 1 + fuzz_below(in, 3) : 0};
}

static void rows_make(struct world *w, struct fuzz_input *in)
{
    static const enum rows_state states[] = {ROWS_LIVE, ROWS_LIVE, ROWS_COPY, ROWS_UNKNOWN};
    struct alias_rows *rows = &w->alias_rows;
    rows->state = states[fuzz_below(in, 4)];
    if (w->policy.aliases.database == NULL)
        rows->state = ROWS_LIVE;
    w->sender_rows.state = states[fuzz_below(in, 4)];
    w->client_row.state = states[fuzz_below(in, 4)];
    bool ours = strcmp(w->recipient.domain, "example.com") == 0 && fuzz_below(in, 4) != 3;
    if (ours && rows->state != ROWS_UNKNOWN && w->policy.aliases.database != NULL) {
        rows->domain = (struct domain_row){.domain = "example.com",
                                           .action = any_action(in),
                                           .catch_all = fuzz_below(in, 2) ? ACTION_REJECT : ACTION_ACCEPT};
        rows->full = any_row(in, w->recipient.full);
        rows->bare = any_row(in, w->recipient.bare);
        rows->globs = w->globs;
        w->globs[0] = any_row(in, "*");
        rows->n_globs = w->globs[0].key != NULL;
    }
    if (w->sender_rows.state != ROWS_UNKNOWN && fuzz_below(in, 3) == 2) {
        w->sender_row = (struct sender_row){.scope = "*", .pattern = "*", .action = any_action(in)};
        w->sender_rows.rows = &w->sender_row;
        w->sender_rows.n_rows = 1;
    }
    if (w->client_row.state != ROWS_UNKNOWN && fuzz_below(in, 4) == 3) {
        w->client_row.network = "192.0.2.0/24";
        w->client_row.action = any_action(in);
    }
}

static void envelope_make(struct world *w, struct fuzz_input *in)
{
    const char *from = addresses[fuzz_below(in, 8)], *to = addresses[fuzz_below(in, 8)];
    address_parse(from, "+", &w->sender, NULL);
    address_parse(to, "+", &w->recipient, NULL);
    demand(network_parse(clients[fuzz_below(in, 3)], &w->client, NULL) == 0);
    w->block = (struct block_row){.network = "192.0.2.0/24",
                                  .action = fuzz_below(in, 2) ? ACTION_REJECT : ACTION_DEFER};
    w->envelope = (struct envelope){.client = &w->client,
                                    .block = fuzz_below(in, 8) == 7 ? &w->block : NULL,
                                    .client_subject = network_mask(&w->client, 32, 64),
                                    .user = fuzz_below(in, 4) == 3 ? "login" : NULL,
                                    .sender = &w->sender,
                                    .sender_raw = from,
                                    .recipient = &w->recipient,
                                    .recipient_raw = to,
                                    .resolved = fuzz_below(in, 4) != 3,
                                    .size = fuzz_below(in, 2) ? fuzz_number(in) : -1,
                                    .host = "mx1",
                                    .now_ms = INT64_C(1000) * NOW};
    w->envelope.ramp_since_ms =
        fuzz_below(in, 2) ? w->envelope.now_ms - 1000 * (int64_t)fuzz_below(in, 90) : 0;
}

static void answers_make(struct fuzz_input *in, const struct plan *plan, struct count_answer *answers)
{
    for (size_t i = 0; i < plan->request.n; i++)
        answers[i] = (struct count_answer){.result = (enum count_result)fuzz_below(in, 4),
                                           .used = fuzz_number(in),
                                           .wait_ms = fuzz_number(in),
                                           .slot = -1,
                                           .here = -1};
    for (size_t i = 0; i < plan->n_backlogs; i++) {
        plan->backlogs[i].known = fuzz_below(in, 2) == 1;
        plan->backlogs[i].waiting = fuzz_number(in);
    }
}

/* ---- what proves a 5xx or a discard, said once more ---- */

static bool is_soft(const struct world *w, const struct limit *limit, const struct ruling *ruling)
{
    return ruling->recipient_exempt || (w->sender.kind == ADDRESS_NULL && limit->when.null_sender != YES);
}

static bool limit_proves(const struct world *w, const struct ruling *ruling, const struct plan *plan,
                         enum count_source source, const struct count_answer *answers,
                         const struct verdict *verdict)
{
    const struct limit *limit = verdict->limit;
    if (limit == NULL || limit->shadow || verdict->action != limit->over || is_soft(w, limit, ruling))
        return false;
    for (size_t i = 0; i < plan->request.n && source != COUNT_SOURCE_NONE; i++) {
        const struct count_ask *ask = answers[i].local ? &plan->request.local[i] : &plan->request.asks[i];
        bool refused = answers[i].result == COUNT_OVER || answers[i].result == COUNT_HELD;
        bool by_ramp = answers[i].result == COUNT_OVER && ask->headroom > 0 && source == COUNT_SOURCE_STORE &&
                       answers[i].used + ask->need <= ask->max + ask->headroom;
        if (plan->limits[i] == limit && refused && !by_ramp)
            return true;
    }
    for (size_t i = 0; i < plan->n_backlogs; i++)
        if (plan->backlogs[i].limit == limit && plan->backlogs[i].known &&
            plan->backlogs[i].waiting >= limit->max)
            return true;
    return false;
}

static bool alias_proves(const struct world *w, enum action action)
{
    const struct alias_rows *rows = &w->alias_rows;
    const struct alias_row *all[] = {&rows->full, &rows->bare, &w->globs[0]};
    bool expired = false, any = false;
    if (rows->state == ROWS_UNKNOWN || w->policy.aliases.database == NULL)
        return false;
    if (rows->domain.domain != NULL && rows->domain.action == action)
        return true;
    for (size_t i = 0; i < 3; i++) {
        if (all[i]->key == NULL)
            continue;
        any = true;
        expired |= all[i]->expires_at != 0 && all[i]->expires_at <= NOW;
        if (all[i]->action == action)
            return true;
    }
    if (action != ACTION_REJECT || rows->domain.domain == NULL)
        return false;
    return expired || (!any && rows->state == ROWS_LIVE) || w->recipient.kind == ADDRESS_INVALID;
}

static bool rule_proves(const struct world *w, const struct ruling *ruling, const struct verdict *verdict)
{
    if (verdict->proof == NULL || verdict->proof[0] == '\0' || ruling->action != verdict->action)
        return false;
    switch (verdict->by) {
    case VERDICT_BY_CLIENT_RULE:
        return w->client_row.network != NULL && w->client_row.action == verdict->action &&
               !ruling->client_exempt;
    case VERDICT_BY_BLOCK:
        return w->envelope.block != NULL && w->block.action == verdict->action && !ruling->client_exempt;
    case VERDICT_BY_SENDER_RULE:
        return w->sender_rows.n_rows == 1 && w->sender_row.action == verdict->action &&
               !ruling->client_exempt;
    case VERDICT_BY_ADDRESS:
        return w->recipient.kind == ADDRESS_INVALID || w->recipient.percent_or_bang;
    case VERDICT_BY_ALIAS:
        return alias_proves(w, verdict->action);
    default:
        return false;
    }
}

static void check(const struct world *w, const struct ruling *ruling, const struct plan *plan,
                  enum count_source source, const struct count_answer *answers, const struct verdict *verdict)
{
    struct reply reply = {0};
    demand(verdict->action != ACTION_NONE);
    demand(verdict_reply(verdict, &reply) ==
           (verdict->action == ACTION_DEFER || verdict->action == ACTION_REJECT));
    if (verdict->action == ACTION_DEFER)
        demand(reply.code[0] == '4' && reply.dsn[0] == '4');
    if (verdict->action == ACTION_REJECT)
        demand(reply.code[0] == '5' && reply.dsn[0] == '5');
    if (verdict->action == ACTION_REJECT || verdict->action == ACTION_DISCARD)
        demand(verdict->by == VERDICT_BY_LIMIT ? limit_proves(w, ruling, plan, source, answers, verdict)
                                               : rule_proves(w, ruling, verdict));
    if (ruling->action == ACTION_NONE)
        demand(verdict->action == ACTION_DEFER && verdict->by == VERDICT_BY_BACKEND);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w = calloc(1, sizeof *w); /* of its own, so that a read beyond its end is seen */
    struct fuzz_input in = {data, size};
    struct alias alias;
    struct ruling ruling;
    struct plan plan;
    demand(w != NULL);
    policy_make(w, &in);
    envelope_make(w, &in);
    rows_make(w, &in);
    rules_alias(&w->policy, &w->envelope, &w->alias_rows, &alias);
    rules_rule(&w->policy, &w->envelope, &alias, &w->sender_rows, &w->client_row, &ruling);
    demand(plan_make(&w->policy, &w->envelope, &ruling, NULL, &w->pool, &plan) == 0);
    struct count_answer *answers = calloc(plan.request.n + 1, sizeof *answers);
    demand(answers != NULL);
    enum count_source source = (enum count_source)fuzz_below(&in, 3);
    if (source == COUNT_SOURCE_LOCAL)
        demand(plan_localise(&w->policy, &plan, &w->pool) == 0);
    answers_make(&in, &plan, answers);
    for (size_t i = 0; i < plan.request.n; i++)
        answers[i].local = source == COUNT_SOURCE_LOCAL;
    struct verdict verdict = judge(&w->policy, &w->envelope, &ruling, &plan, source, answers);
    check(w, &ruling, &plan, source, answers, &verdict);
    struct verdict shadow = judge_shadow(&w->policy, &w->envelope, &ruling, &plan, source, answers);
    demand(shadow.limit == NULL || shadow.limit->shadow);
    free(answers);
    pool_done(&w->pool);
    free(w);
    return 0;
}
