/* message: see message.h. */
#include "milter/message.h"

#include "counters/refunds.h"
#include "base/clock.h"
#include "base/text.h"
#include "gate/gate.h"
#include "limit_events.h"
#include "counters/window.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static void message_reset(struct message *message)
{
    struct pool pool = message->pool;
    pool_reset(&pool);
    *message = (struct message){.gate = message->gate,
                                .client = message->client,
                                .no_client_rule = message->no_client_rule,
                                .pool = pool,
                                .size = -1};
}

static void give_back(const struct message *message, bool may_wait)
{
    struct refunds_batch refunds;
    refunds_begin(&refunds, message->gate->refunds, may_wait);
    for (const struct receipt *r = message->receipts; r != NULL; r = r->next) {
        struct count_change change = r->charge;
        change.amount = -change.amount;
        refunds_add(&refunds, &change);
    }
    refunds_end(&refunds);
}

void message_leave(struct message *message)
{
    give_back(message, false);
    message_reset(message);
}

void message_done(struct message *message)
{
    message_leave(message);
    pool_done(&message->pool);
}

void message_begin(struct message *message, const struct policy *policy, const char *sender, const char *user,
                   int64_t size)
{
    assert(!message->open);
    message->policy = policy;
    message->open = true;
    message->sender_raw = pool_strdup(&message->pool, sender);
    bool logged_in = user != NULL && user[0] != '\0';
    message->user = logged_in ? pool_strdup(&message->pool, user) : NULL;
    message->size = size;
    message->unknown = message->sender_raw == NULL || (logged_in && message->user == NULL);
    if (message->user != NULL)
        text_lower((char *)(uintptr_t)message->user); /* logins differ in case as their owners like it */
    address_parse_sender(sender, message->policy->aliases.subaddress, &message->sender, NULL);
}

static struct accepted *accepted_find(const struct message *message, const char *full)
{
    for (struct accepted *a = message->accepted; a != NULL; a = a->next)
        if (strcmp(a->full, full) == 0)
            return a;
    return NULL;
}

/* Keeps what was charged, so that it can be given back. False: out of memory; what could not be kept was
 * given back at once. */
static bool keep_receipts(struct message *message, const struct decision *d)
{
    struct refunds_batch back;
    refunds_begin(&back, message->gate->refunds, false);
    bool kept_all = true;
    for (size_t i = 0; i < d->plan.request.n && d->source != COUNT_SOURCE_NONE; i++) {
        struct count_change charge;
        if (!decide_charge(d, i, &charge))
            continue;
        struct receipt *kept = pool_alloc(&message->pool, sizeof *kept);
        if (kept == NULL) {
            charge.amount = -charge.amount;
            refunds_add(&back, &charge);
            kept_all = false;
            continue;
        }
        *kept = (struct receipt){.limit = d->plan.limits[i], .charge = charge, .next = message->receipts};
        message->receipts = kept;
    }
    refunds_end(&back);
    return kept_all;
}

static bool keep_accepted(struct message *message, const char *full, const char *raw, bool discard)
{
    struct accepted *a = pool_alloc(&message->pool, sizeof *a);
    if (a == NULL || (a->full = pool_strdup(&message->pool, full)) == NULL ||
        (a->raw = pool_strdup(&message->pool, raw)) == NULL)
        return false;
    a->discard = discard;
    a->next = message->accepted;
    message->accepted = a;
    message->n_accepted++;
    message->n_discard += discard;
    return true;
}

/* A second spelling of an accepted recipient: nothing is counted, but a discarded one is dropped in each spelling. */
static bool duplicate(struct message *message, const char *full, const char *raw, struct outcome *out)
{
    const struct accepted *before = accepted_find(message, full);
    if (before == NULL || !keep_accepted(message, full, raw, before->discard))
        return false;
    out->duplicate = true;
    out->decision.verdict = verdict_accept();
    return true;
}

static void note_deferred(struct gate *gate, const char *retry)
{
    int64_t now = context_now(&gate->context);
    struct count_deferral deferral = {.at_ms = now};
    snprintf(deferral.retry, sizeof deferral.retry, "%s", retry);
    (void)counters_deferred(gate->counters, &deferral, 1, now); /* one that was forgotten counts */
}

void message_rcpt(struct message *message, const char *raw, const char *resolved, struct outcome *out)
{
    struct gate *gate = message->gate;
    struct metrics *metrics = &gate->context.metrics;
    int64_t began = clock_monotonic_ns();
    const struct policy *policy = message->policy;
    const char *recipient = resolved != NULL && resolved[0] != '\0' ? resolved : raw;
    struct decision *d = &out->decision;
    decide_recipient(policy, recipient, d);
    const char *full = d->recipient.kind == ADDRESS_INVALID ? raw : d->recipient.full;
    out->line = (struct reply_line){0};
    out->duplicate = false;
    out->enforced = !policy->shadow;
    if (duplicate(message, full, raw, out)) {
        metrics_duplicate(metrics);
        return;
    }

    const struct facts facts = {
        .client = message->client,
        .user = message->user,
        .sender = &message->sender,
        .sender_raw = message->sender_raw,
        .recipient = recipient,
        .resolved = recipient != raw,
        .size = message->size,
        .held = message->receipts,
        .no_client_rule = message->no_client_rule,
    };
    decide(gate, policy, &facts, false, &message->pool, d);
    bool through =
        d->verdict.action == ACTION_ACCEPT || d->verdict.action == ACTION_DISCARD || !out->enforced;
    if (!keep_receipts(message, d) || message->unknown ||
        (through &&
         !keep_accepted(message, full, raw, d->verdict.action == ACTION_DISCARD && out->enforced))) {
        d->verdict = verdict_backend(policy);
        out->enforced = true; /* without memory nobody knows who sends, or could drop or give back later */
    }
    decide_line(d, &out->line);
    if (d->verdict.action == ACTION_DEFER && d->plan.request.retry != NULL)
        note_deferred(gate, d->plan.request.retry);
    limit_events_add(gate->context.events, d);
    metrics_rcpt(metrics, &d->verdict, &d->shadow, d->source, d->plan.request.n > 0,
                 clock_monotonic_ns() - began);
}

void message_bytes(struct message *message, size_t n)
{
    message->bytes += (int64_t)n;
}

/* The message took longer than the window: what it had reserved is gone, and maybe the counter with it. All its bytes
 * count now. Lost while the store is down, as the reservation was. */
static void charge_anew(struct gate *gate, const struct receipt *receipt, int64_t bytes)
{
    const struct limit *limit = receipt->limit;
    const struct count_ask ask = {.key = receipt->charge.key,
                                  .limit = receipt->charge.limit,
                                  .max = limit->max,
                                  .window_ms = receipt->charge.window_ms,
                                  .amount = bytes,
                                  .need = bytes,
                                  .ttl_ms = limit->ttl_ms,
                                  .flags = limit->shadow ? COUNT_SHADOW : 0,
                                  .share_of = -1};
    const struct count_request request = {.asks = &ask, .n = 1};
    (void)counters_charge(gate->counters, &request, context_now(&gate->context));
}

/* What was reserved becomes what was seen. */
static void settle_bytes(struct gate *gate, struct refunds_batch *refunds, const struct receipt *receipt,
                         int64_t bytes)
{
    const struct count_change *charge = &receipt->charge;
    int64_t slot = charge->slot >= 0 ? charge->slot : charge->here;
    if (window_slot(charge->window_ms, context_now(&gate->context)) - slot >= WINDOW_SLOTS) {
        charge_anew(gate, receipt, bytes);
        return;
    }
    struct count_change settle = *charge;
    settle.amount = bytes - charge->amount;
    refunds_add(refunds, &settle);
}

void message_end(struct message *message)
{
    struct gate *gate = message->gate;
    struct refunds_batch refunds;
    refunds_begin(&refunds, gate->refunds, true);
    metrics_message(&gate->context.metrics);
    for (const struct receipt *r = message->receipts; r != NULL; r = r->next)
        if (r->limit->count == LIMIT_BYTES && message->bytes > 0)
            settle_bytes(gate, &refunds, r, message->bytes);
    refunds_end(&refunds);
    message_reset(message);
}

void message_abort(struct message *message)
{
    give_back(message, true);
    message_reset(message);
}
