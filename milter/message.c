/* message: see message.h. */
#include "milter/message.h"

#include "counters/refunds.h"
#include "base/clock.h"
#include "base/text.h"
#include "base/unzeroed.h"
#include "gate/gate.h"
#include "limit_events.h"
#include "refused.h"
#include "counters/window.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

static void message_reset(struct message *message)
{
    const size_t open = offsetof(struct message, open), sender = offsetof(struct message, sender);
    pool_reset(&message->pool);
    memset((char *)message + open, 0, sender - open);
    message->size = -1;
}

/* One more in the background. */
static void give_back_one(const struct message *message, const struct count_change *charge)
{
    struct count_change change = *charge;
    change.amount = -change.amount;
    change.open = -change.open;
    refunds_add(message->gate->refunds, &change);
}

static void give_back(const struct message *message)
{
    for (const struct receipt *r = message->receipts; r != NULL; r = r->next)
        give_back_one(message, &r->charge);
}

void message_abort(struct message *message)
{
    if (!message->open) /* it holds nothing, and is reset */
        return;
    give_back(message);
    message_reset(message);
}

void message_done(struct message *message)
{
    message_abort(message);
    pool_done(&message->pool);
}

static bool is_ascii(const char *received)
{
    while (*received != '\0' && (unsigned char)*received < 0x80)
        received++;
    return *received == '\0';
}

static size_t count_of(const char *text, const char *bytes)
{
    size_t n = 0;
    for (const char *at = strpbrk(text, bytes); at != NULL; at = strpbrk(at + 1, bytes))
        n++;
    return n;
}

/* What divides it where it is a route. raw: the same address as it is written, where a source route, which counts for nothing, ends
 * with a colon. */
static size_t separators(const struct address *address, const char *raw)
{
    const char *colon = strrchr(raw, ':');
    const char *route = colon != NULL ? colon + 1 : raw;
    return count_of(address->kind != ADDRESS_INVALID ? address->full : route, "@%!");
}

/* Has Postfix done no more to it? It completes a domain without dots (of ASCII: others it does not see), takes of a route at least one
 * separator, and finds addresses in what is none. */
static bool is_folded_at_most(const char *received, const char *resolved)
{
    struct address before UNZEROED, after UNZEROED;
    const enum address_kind was = address_parse(received, "", &before, NULL);
    const enum address_kind is = address_parse(resolved, "", &after, NULL);
    const size_t dots = count_of(before.domain, "."), n = separators(&before, received);
    const bool completed =
        strcmp(before.domain, after.domain) != 0 && (dots == 0 || dots != count_of(after.domain, "."));
    if (was == ADDRESS_BARE || (was == ADDRESS_MAILBOX && completed))
        return false;
    return (was == ADDRESS_MAILBOX && n == 1) || (is == was && separators(&after, resolved) == n);
}

/* Has Postfix taken a domain of its own off a route? It does that to tell whose the recipient is, and to deliver, but not in what it
 * asks our maps, which know nothing of routes: what was accepted would bounce. */
static bool is_cut(const char *received, const char *resolved)
{
    struct address before UNZEROED, after UNZEROED;
    if (resolved == NULL || resolved[0] == '\0' || count_of(received, "@%!") < 2) /* nearly always */
        return false;
    address_parse(received, "", &before, NULL);
    address_parse(resolved, "", &after, NULL);
    return separators(&before, received) > separators(&after, resolved);
}

/* Postfix makes a whole address of all that it can read. Where one of its own tables cannot be asked, its resolver leaves there what it
 * began with, which is none. */
static bool is_unread(const char *received, const char *resolved)
{
    struct address before UNZEROED, after UNZEROED;
    if (strchr(resolved, '@') != NULL)
        return false;
    address_parse(received, "", &before, NULL);
    address_parse(resolved, "", &after, NULL);
    return strcmp(before.full, after.full) != 0;
}

/* What is meant by an address of MAIL FROM or RCPT TO. resolved: what Postfix made of it, "" or NULL if that is not known. It also
 * folds letters beyond ASCII (a sharp s is ss then, an E with an accent a small one) in what it tells a milter and asks its own
 * tables (folded: those count, unless they are too many then), but neither in what it asks our maps nor in what it delivers to.
 * False: it has rewritten and folded it, and the letters that were received are not known any more; or it could not read it. */
static bool meant(const char *received, const char *resolved, bool folded, const char **out)
{
    struct address address UNZEROED;
    *out = received;
    if (resolved == NULL || resolved[0] == '\0')
        return true;
    if (is_unread(received, resolved))
        return false;
    if (!is_ascii(received) && (!folded || address_parse(resolved, "", &address, NULL) == ADDRESS_INVALID))
        return is_folded_at_most(received, resolved);
    *out = resolved;
    return true;
}

void message_begin(struct message *message, const struct policy *policy, const char *raw,
                   const char *resolved, const char *user, int64_t size)
{
    assert(!message->open);
    const char *sender;
    message->unsure = !meant(raw, resolved, false, &sender);
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
    bool kept_all = true;
    for (size_t i = 0; i < d->plan.request.n && d->source != COUNT_SOURCE_NONE; i++) {
        struct count_change charge UNZEROED;
        if (!decide_charge(d, i, &charge))
            continue;
        struct receipt *kept = pool_alloc(&message->pool, sizeof *kept);
        if (kept == NULL) {
            give_back_one(message, &charge);
            kept_all = false;
            continue;
        }
        *kept = (struct receipt){.limit = d->plan.limits[i],
                                 .key = d->plan.request.asks[i].key,
                                 .charge = charge,
                                 .hard = (d->plan.request.asks[i].flags & COUNT_HARD) != 0,
                                 .next = message->receipts};
        message->receipts = kept;
    }
    return kept_all;
}

/* resolved: what Postfix made of one that is to be dropped, else NULL. */
static bool keep_accepted(struct message *message, const struct address *address, const char *full,
                          const char *raw, const char *resolved, bool discard)
{
    struct accepted *a = pool_alloc(&message->pool, sizeof *a);
    if (a == NULL || (a->full = pool_strdup(&message->pool, full)) == NULL ||
        (a->raw = pool_strdup(&message->pool, raw)) == NULL)
        return false;
    a->folded = resolved != NULL ? pool_strdup(&message->pool, resolved) : NULL;
    if (resolved != NULL && a->folded == NULL)
        return false;
    a->discard = discard;
    a->next = message->accepted;
    message->accepted = a;
    message->n_accepted++;
    if (message->first == NULL) {
        message->first = a->full;
        message->first_usual = address->usual;
    }
    return true;
}

/* A second spelling of an accepted recipient: nothing is counted, but a discarded one is dropped in each spelling. */
static bool duplicate(struct message *message, const char *full, const char *raw, struct outcome *out)
{
    const struct accepted *before = accepted_find(message, full);
    if (before == NULL || !keep_accepted(message, &out->decision.recipient, full, raw, NULL, before->discard))
        return false;
    out->duplicate = true;
    out->decision.verdict = verdict_accept();
    return true;
}

/* Would it be dropped with another one? Postfix folds the letters of the recipients that it compares, and of two that are the same then
 * and have the same mailbox it keeps the first. */
static bool is_dropped_with(const struct message *message, const char *resolved)
{
    bool is = false;
    for (const struct accepted *a = message->accepted; a != NULL && resolved != NULL && !is; a = a->next)
        is = a->folded != NULL && resolved[0] != '\0' && strcmp(a->folded, resolved) == 0;
    return is;
}

/* Whatever answered 4xx, and whatever this RCPT's plan held: the retry is no attempt. */
static void note_deferred(struct gate *gate, const struct envelope *envelope)
{
    int64_t now = context_now(&gate->context);
    struct count_deferral deferral = {.at_ms = now, .n = 1};
    plan_pair(envelope, &deferral.pair);
    (void)counters_deferred(gate->counters, &deferral, 1, now); /* one that was forgotten counts */
}

void message_rcpt(struct message *message, const char *raw, const char *resolved, struct outcome *out)
{
    struct gate *gate = message->gate;
    int64_t began = clock_monotonic_ns();
    const struct policy *policy = message->policy;
    const bool maps = policy->maps.socket != NULL;
    const char *recipient;
    const bool sure = meant(raw, resolved, !maps, &recipient) && !(maps && is_cut(raw, resolved));
    struct decision *d = &out->decision;
    decide_recipient(policy, recipient, d);
    const char *full = !sure || d->recipient.kind == ADDRESS_INVALID ? raw : d->recipient.full;
    out->duplicate = false;
    out->enforced = !policy->shadow;
    if (duplicate(message, full, raw, out)) {
        out->line = (struct reply_line){0};
        message->n_duplicate++;
        metrics_duplicate(&gate->context.metrics);
        return;
    }

    const struct facts facts = {
        .client = message->client,
        .user = message->user,
        .sender = &message->sender,
        .sender_raw = message->sender_raw,
        .recipient = recipient,
        .resolved = resolved != NULL && resolved[0] != '\0',
        .unsure = !sure || message->unsure || is_dropped_with(message, resolved),
        .size = message->size,
        .held = message->receipts,
        .no_client_rule = message->no_client_rule,
    };
    decide(gate, policy, &facts, false, &message->pool, d);
    const bool drop = d->verdict.action == ACTION_DISCARD && out->enforced;
    const bool through = d->verdict.action == ACTION_ACCEPT || drop || !out->enforced;
    if (!keep_receipts(message, d) || message->unknown ||
        (through && !keep_accepted(message, &d->recipient, full, raw, drop ? resolved : NULL, drop))) {
        d->verdict = verdict_backend(policy);
        out->enforced = true; /* without memory nobody knows who sends, or could drop or give back later */
    }
    decide_reply(d, &out->line);
    message->client_exempt = d->ruling.client_exempt;
    message->n_decided[d->verdict.action]++;
    if (d->verdict.action == ACTION_DEFER && policy->needs_attempts && !policy->shadow)
        note_deferred(gate, &d->envelope);
    refused_add(gate, d);
    limit_events_add(gate->context.events, gate->context.refusals, d);
    metrics_rcpt(&gate->context.metrics, &d->verdict, &d->shadow, d->source, d->plan.request.n > 0,
                 clock_monotonic_ns() - began);
}

void message_bytes(struct message *message, size_t n)
{
    if (message->open) /* else they are of none */
        message->bytes += (int64_t)n;
}

/* ---- its end ---- */

static bool has_bytes(const struct message *message, const struct receipt *receipt)
{
    return receipt->limit->count == LIMIT_BYTES && message->bytes > 0; /* 0: the gate was shown none */
}

/* What is to be asked before the bytes of a receipt count. */
static enum count_check check_of(const struct message *message, const struct receipt *receipt)
{
    if (!has_bytes(message, receipt) || receipt->limit->shadow || receipt->settled)
        return COUNT_CHECK_NOTHING;
    if (receipt->charge.amount == 0)
        return COUNT_CHECK_FULL;
    return message->bytes > receipt->charge.amount ? COUNT_CHECK_FIT : COUNT_CHECK_NOTHING;
}

/* What was reserved becomes taken, with the bytes that were seen. */
static struct count_change settle_of(const struct message *message, const struct receipt *receipt)
{
    struct count_change settle = receipt->charge;
    settle.open = -settle.open;
    settle.amount = 0;
    if (!has_bytes(message, receipt))
        return settle;
    settle.amount = message->bytes - receipt->charge.amount;
    settle.late = message->bytes;
    settle.max = receipt->limit->max;
    settle.ttl_ms = receipt->limit->ttl_ms;
    settle.check = check_of(message, receipt);
    return settle;
}

/* Some of the receipts whose bytes are asked for, and what the store says. */
struct settling {
    struct receipt *receipts[COUNTERS_SETTLE_MOST];
    struct count_change changes[COUNTERS_SETTLE_MOST];
    struct count_answer answers[COUNTERS_SETTLE_MOST];
    size_t n;
    unsigned site;
    int64_t deadline; /* of all that the end of this message asks */
};

/* The store is down, and the policy says that nothing is counted then: later, what can be. */
static void settle_unasked(const struct message *message, const struct settling *some)
{
    for (size_t i = 0; i < some->n; i++)
        refunds_add(message->gate->refunds, &some->changes[i]);
}

/* Why the first that does not fit does not; an undecided verdict: all do. */
static struct verdict refusal_of(const struct message *message, const struct settling *some)
{
    for (size_t i = 0; i < some->n; i++) {
        const struct count_ask ask = {.max = some->changes[i].max};
        if (some->answers[i].result != COUNT_ADMITTED)
            return verdict_by_limit_soft(message->policy, some->receipts[i]->limit, &ask, &some->answers[i]);
    }
    return (struct verdict){0};
}

/* This process alone. */
static enum counters_status settle_here(const struct message *message, enum counters_status before,
                                        struct settling *some)
{
    struct gate *gate = message->gate;
    for (size_t i = 0; i < some->n; i++)
        some->changes[i].max = plan_local_max(message->policy, some->changes[i].max);
    enum counters_status status = counters_settle_here(gate->counters, before, some->changes, some->n,
                                                       context_now(&gate->context), some->answers);
    if (status == COUNTERS_OK && refusal_of(message, some).action == ACTION_NONE)
        settle_unasked(message, some); /* what the store is to be told of it */
    return status;
}

/* Asks for some. False: they do not fit, or nobody can tell, and *why says so. */
static bool settle_some(const struct message *message, struct settling *some, struct verdict *why)
{
    struct gate *gate = message->gate;
    enum when_down when_down = message->policy->counters.when_down;
    memset(some->answers, 0, sizeof some->answers);
    enum counters_status status = counters_settle(gate->counters, some->changes, some->n,
                                                  context_now(&gate->context), some->deadline, some->answers);
    if (status != COUNTERS_OK && when_down == WHEN_DOWN_ACCEPT) {
        settle_unasked(message, some);
    } else {
        if (status != COUNTERS_OK && when_down == WHEN_DOWN_LOCAL)
            status = settle_here(message, status, some);
        *why = status == COUNTERS_OK ? refusal_of(message, some) : verdict_backend(message->policy);
        if (why->action != ACTION_NONE)
            return false;
    }
    for (size_t i = 0; i < some->n; i++) {
        some->receipts[i]->settled = true;
        some->receipts[i]->charge.amount = message->bytes;
        some->receipts[i]->charge.open = 0;
    }
    return true;
}

/* Collects those that must be asked for and are at the site of the first. False: none is left. */
static bool settle_collect(const struct message *message, struct settling *some)
{
    some->n = 0;
    for (struct receipt *r = message->receipts; r != NULL && some->n < COUNTERS_SETTLE_MOST; r = r->next) {
        if (check_of(message, r) == COUNT_CHECK_NOTHING)
            continue;
        unsigned site = counters_site(message->gate->counters, r->charge.key);
        if (some->n > 0 && site != some->site)
            continue;
        some->site = site;
        some->receipts[some->n] = r;
        some->changes[some->n++] = settle_of(message, r);
    }
    return some->n > 0;
}

/* Asks for all that must be asked for. False: some bytes do not fit, and *why says so. */
static bool settle_checked(const struct message *message, struct verdict *why)
{
    struct redis_client *redis = message->gate->context.redis;
    struct settling some;
    some.deadline = redis != NULL ? redis_client_deadline(redis, clock_monotonic_ns()) : 0;
    while (settle_collect(message, &some)) /* what was asked for is settled, and collected no more */
        if (!settle_some(message, &some, why))
            return false;
    return true;
}

static void end_line(const struct message *message, const struct verdict *verdict, struct reply_line *out)
{
    char client[NETWORK_TEXT];
    struct reply reply;
    const struct reply_values values = {
        .recipient = message->accepted != NULL ? message->accepted->full : NULL,
        .sender = message->sender.kind == ADDRESS_INVALID ? message->sender_raw : message->sender.full,
        .client = network_format(message->client, client),
        .limit = verdict->limit != NULL ? verdict->limit->name : NULL,
        .used = verdict->limit != NULL ? verdict->used : -1,
        .max = verdict->limit != NULL ? verdict->max : -1,
        .wait_ms = verdict->limit != NULL ? verdict->wait_ms : -1,
    };
    if (verdict_reply(verdict, &reply))
        reply_render(&reply, &values, out);
}

static const char *sender_of(const struct message *message)
{
    return message->sender.kind == ADDRESS_NULL      ? "<>"
           : message->sender.kind == ADDRESS_INVALID ? message->sender_raw
                                                     : message->sender.bare;
}

void message_end(struct message *message, struct ending *out)
{
    struct gate *gate = message->gate;
    out->enforced = true;
    out->refused = false;
    out->verdict = (struct verdict){0};
    out->line.code[0] = out->line.dsn[0] = out->line.text[0] = '\0';
    if (message->policy == NULL) /* no message is open */
        return;
    out->enforced = !message->policy->shadow;
    if (message->policy->needs_bytes && !settle_checked(message, &out->verdict)) {
        out->refused = true;
        refused_add_whole(gate, message->policy, message->client, sender_of(message), &out->verdict);
        end_line(message, &out->verdict, &out->line);
        message_abort(message);
        return;
    }
    metrics_message(&gate->context.metrics);
    for (const struct receipt *r = message->receipts; r != NULL; r = r->next)
        if (!r->settled && (r->hard || has_bytes(message, r))) {
            const struct count_change settle = settle_of(message, r);
            refunds_add(gate->refunds, &settle);
        }
    message_reset(message);
}
