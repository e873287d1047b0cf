/* decide: see decide.h. */
#include "milter/decide.h"

#include "base/clock.h"
#include "milter/ruling.h"
#include "base/text.h"
#include "base/unzeroed.h"

#include <stddef.h>
#include <string.h>

enum {
    LOOKS = 3
}; /* so often a store is asked for one RCPT, where it is full of what was about to be given back */

/* The block over the client; NULL: none. -1: out of memory. */
static int block_fetch(struct gate *gate, const struct network *client, struct pool *pool,
                       const struct block_row **out)
{
    struct block_found found;
    *out = NULL;
    if (!blocks_find(gate->blocks, client, &found))
        return 0;
    struct block_row *row = pool_alloc(pool, sizeof *row);
    if (row == NULL || (row->network = pool_strdup(pool, found.network)) == NULL)
        return -1;
    row->action = found.action;
    *out = row;
    return 0;
}

static bool lets_through(const struct verdict *verdict)
{
    return verdict->action == ACTION_ACCEPT ||
           (verdict->action == ACTION_DISCARD && verdict->by != VERDICT_BY_LIMIT);
}

/* Its count was read, but whom it counts is for the alias rules to say. */
static bool is_hard_limit(const struct verdict *verdict)
{
    return verdict->by == VERDICT_BY_LIMIT &&
           (verdict->action == ACTION_REJECT || verdict->action == ACTION_DISCARD);
}

static enum count_source source_of(enum counters_status status, const struct decision *d)
{
    enum count_source source = status == COUNTERS_OK ? COUNT_SOURCE_STORE : COUNT_SOURCE_NONE;
    for (size_t i = 0; i < d->plan.request.n && status != COUNTERS_OK; i++) {
        if (d->answers[i].local)
            return COUNT_SOURCE_LOCAL;
        if (d->answers[i].result != COUNT_UNKNOWN)
            source = COUNT_SOURCE_STORE;
    }
    return source;
}

bool decide_charge(const struct decision *d, size_t i, struct count_change *out)
{
    const struct count_ask *ask = &d->plan.request.asks[i];
    const struct count_answer *answer = &d->answers[i];
    if ((answer->slot < 0 && answer->here < 0) || (ask->flags & COUNT_ATTEMPT) != 0)
        return false;
    *out = (struct count_change){.key = answer->overflowed ? ask->overflow : ask->key,
                                 .limit = ask->limit,
                                 .unit = ask->unit,
                                 .window_ms = ask->window_ms,
                                 .slot = answer->slot,
                                 .created = answer->created,
                                 .amount = ask->amount,
                                 .open = ask->amount,
                                 .here = answer->here,
                                 .unsynced = answer->unsynced};
    return true;
}

/* A verdict that refuses although the store charged: the charge goes back. */
static void charge_undo(struct gate *gate, struct decision *d)
{
    for (size_t i = 0; i < d->plan.request.n; i++) {
        struct count_change back;
        if (!decide_charge(d, i, &back))
            continue;
        back.amount = -back.amount;
        back.open = -back.open;
        refunds_add(gate->refunds, &back);
        d->answers[i].slot = d->answers[i].here = -1;
    }
}

static enum counters_status ask(struct gate *gate, const struct policy *policy, bool peek, int64_t now,
                                struct pool *pool, struct decision *d)
{
    if (policy->counters.when_down == WHEN_DOWN_LOCAL)
        (void)plan_localise(policy, &d->plan, pool); /* short of memory nobody stands in */
    return peek ? counters_peek(gate->counters, &d->plan.request, now, d->answers)
                : counters_reserve(gate->counters, &d->plan.request, now, d->answers);
}

static bool is_refused(const struct decision *d)
{
    for (size_t i = 0; i < d->plan.request.n; i++)
        if ((d->answers[i].result == COUNT_OVER || d->answers[i].result == COUNT_HELD) &&
            (d->plan.request.asks[i].flags & COUNT_SHADOW) == 0)
            return true;
    return false;
}

/* A limit is full, and what changes its count (given back, or taken by a message that has ended) waits to be handed over: is it
 * handed over now? Where attempts refuse, or what was taken, that changes nothing. */
static bool flush_pending(struct gate *gate, uint64_t since, const struct decision *d)
{
    const struct count_request *request = &d->plan.request;
    bool flushed = false;
    for (size_t i = 0; i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        const struct count_answer *answer = &d->answers[i];
        if (answer->result == COUNT_ADMITTED || (ask->flags & COUNT_SHADOW) != 0)
            continue;
        if (answer->result != COUNT_OVER || (ask->flags & COUNT_ATTEMPT) != 0 ||
            ((ask->flags & COUNT_HARD) != 0 && answer->hard))
            return false;
        flushed =
            flushed || refunds_flush_counter(gate->refunds, answer->overflowed ? ask->overflow : ask->key,
                                             ask->limit, since, request->deadline);
    }
    return flushed;
}

/* The counts, from the store that the policy names, or (of what that cannot say) from this process. */
static void counters_fetch(struct gate *gate, const struct policy *policy, bool peek, struct pool *pool,
                           struct decision *d)
{
    int64_t now = context_now(&gate->context); /* not when it began: look-ups take their time */
    int64_t began = clock_monotonic_ns();
    if (gate->context.redis != NULL) /* one for all that this RCPT waits for */
        d->plan.request.deadline = redis_client_deadline(gate->context.redis, began);
    uint64_t since = refunds_moment(gate->refunds);
    enum counters_status status = ask(gate, policy, peek, now, pool, d);
    for (int looks = 1; looks < LOOKS && status == COUNTERS_OK && is_refused(d); looks++) {
        charge_undo(gate, d); /* what the parts of it were charged that came first: that is flushed, too */
        if (!flush_pending(gate, since, d) || plan_again(&d->plan, d->answers, pool) != 0)
            break;
        since = refunds_moment(gate->refunds);
        status = ask(gate, policy, peek, now, pool, d); /* others may be quicker */
    }
    metrics_counters(&gate->context.metrics, status, clock_monotonic_ns() - began);
    d->source = source_of(status, d);
}

/* What waits in Postfix's queue is a fact like any other; nothing is asked of a store. */
static void backlog_fetch(struct gate *gate, struct plan *plan)
{
    for (size_t i = 0; i < plan->n_backlogs; i++) {
        struct backlog_ask *ask = &plan->backlogs[i];
        ask->known =
            queue_monitor_find(gate->backlog, ask->limit->per[0], ask->subject, &ask->waiting, &ask->age_ms);
    }
}

static int run_line(struct gate *gate, const struct policy *policy, const struct facts *facts, bool peek,
                    struct pool *pool, struct decision *d)
{
    const struct ruling_question question = {.gate = gate,
                                             .policy = policy,
                                             .envelope = &d->envelope,
                                             .pool = pool,
                                             .no_client_rule = facts->no_client_rule};
    if (block_fetch(gate, facts->client, pool, &d->envelope.block) < 0 ||
        ruling_read(&question, &d->ruling) < 0)
        return -1;
    if (plan_make(policy, &d->envelope, &d->ruling, facts->held, pool, &d->plan) < 0)
        return -1;
    backlog_fetch(gate, &d->plan);
    size_t n = d->plan.request.n;
    if (n > 0) {
        d->answers = pool_alloc(pool, n * sizeof *d->answers);
        if (d->answers == NULL)
            return -1;
        counters_fetch(gate, policy, peek, pool, d);
    }
    d->verdict = judge(policy, &d->envelope, &d->ruling, &d->plan, d->source, d->answers);
    d->shadow = judge_shadow(policy, &d->envelope, &d->ruling, &d->plan, d->source, d->answers);
    if (is_hard_limit(&d->verdict) && !ruling_confirms_limit(&question, &d->ruling, d->verdict.limit))
        d->verdict = verdict_backend(policy);
    if (!peek && d->source != COUNT_SOURCE_NONE && !lets_through(&d->verdict))
        charge_undo(gate, d);
    return 0;
}

/* Of one key: the part of the counter store that it is in may have come back alone. */
static int64_t ramp_since_of(void *arg, const char *key)
{
    return counters_back_ms(arg, key);
}

void decide_recipient(const struct policy *policy, const char *recipient, struct decision *out)
{
    const size_t envelope = offsetof(struct decision, envelope); /* before it is what address_parse() fills */
    memset((char *)out + envelope, 0, sizeof *out - envelope);
    out->invalid.text[0] = '\0';
    address_parse(recipient, policy->aliases.subaddress, &out->recipient, &out->invalid);
}

void decide(struct gate *gate, const struct policy *policy, const struct facts *facts, bool peek,
            struct pool *pool, struct decision *out)
{
    out->envelope = (struct envelope){
        .client = facts->client,
        .client_subject = network_mask(facts->client, policy->counters.ipv4_bits, policy->counters.ipv6_bits),
        .user = facts->user,
        .sender = facts->sender,
        .sender_raw = facts->sender_raw,
        .recipient = &out->recipient,
        .recipient_raw = facts->recipient,
        .resolved = facts->resolved,
        .size = facts->size,
        .as_taken = gate->as_taken,
        .host = gate->context.host,
        .now_ms = context_now(&gate->context),
    };
    out->envelope.ramp_since_ms = ramp_clock_since(&gate->ramp, out->envelope.now_ms);
    out->envelope.ramp_since = ramp_since_of;
    out->envelope.ramp_arg = gate->counters;
    if (facts->unsure || run_line(gate, policy, facts, peek, pool, out) < 0)
        out->source = COUNT_SOURCE_NONE;
    if (out->verdict.action == ACTION_NONE) /* undecided is never accept */
        out->verdict = verdict_backend(policy);
}

void decide_reply(const struct decision *d, struct reply_line *out)
{
    const struct verdict *v = &d->verdict;
    struct reply reply UNZEROED;
    char client[NETWORK_TEXT] UNZEROED;
    if (!verdict_reply(v, &reply)) {
        out->code[0] = out->dsn[0] = out->text[0] = '\0';
        return;
    }
    const struct reply_values values = {
        .recipient = d->recipient.kind == ADDRESS_INVALID ? d->envelope.recipient_raw : d->recipient.full,
        .sender =
            d->envelope.sender->kind == ADDRESS_INVALID ? d->envelope.sender_raw : d->envelope.sender->full,
        .client = network_format(d->envelope.client, client),
        .limit = v->limit != NULL ? v->limit->name : NULL,
        .used = v->limit != NULL ? v->used : -1,
        .max = v->limit != NULL ? v->max : -1,
        .wait_ms = v->limit != NULL ? v->wait_ms : -1,
    };
    reply_render(&reply, &values, out);
}
