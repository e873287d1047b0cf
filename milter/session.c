#include "session.h"

#include "changes.h"
#include "monotonic.h"
#include "ruling.h"
#include "tripped.h"
#include "window.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct session *session_new(struct gate *gate)
{
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    session->gate = gate;
    network_format(&session->client, session->client_text);
    pthread_mutex_lock(&gate->lock);
    session->next = gate->sessions;
    if (session->next != NULL)
        session->next->previous = session;
    gate->sessions = session;
    pthread_mutex_unlock(&gate->lock);
    metrics_session(&gate->metrics, 1);
    return session;
}

/* The policy in force, or that of the message under way; the session's own reference. What the session holds
 * cannot be freed, so that the same pointer is the same policy. */
static const struct policy *session_policy(struct session *session)
{
    if (!session->message.open && session->policy != atomic_load(&session->gate->policy)) {
        policy_unref(session->policy);
        session->policy = gate_policy(session->gate);
    }
    return session->policy;
}

static void message_reset(struct message *message)
{
    struct pool pool = message->pool;
    pool_reset(&pool);
    *message = (struct message){.pool = pool, .size = -1};
}

static void give_back(struct session *session, bool may_wait)
{
    struct changes changes;
    changes_begin(&changes, session->gate, may_wait);
    for (const struct receipt *r = session->message.receipts; r != NULL; r = r->next) {
        struct count_change change = r->charge;
        change.amount = -change.amount;
        changes_add(&changes, &change);
    }
    changes_end(&changes);
}

void message_leave(struct session *session)
{
    give_back(session, false);
    message_reset(&session->message);
}

void session_free(struct session *session)
{
    if (session == NULL)
        return;
    struct gate *gate = session->gate;
    message_leave(session);
    pool_done(&session->message.pool);
    policy_unref(session->policy);
    metrics_session(&gate->metrics, -1);
    pthread_mutex_lock(&gate->lock); /* last: gate_stop() waits for who is in its list */
    if (session->previous != NULL)
        session->previous->next = session->next;
    else
        gate->sessions = session->next;
    if (session->next != NULL)
        session->next->previous = session->previous;
    pthread_mutex_unlock(&gate->lock);
    free(session);
}

/* Is this client held by a `per: client` limit that rejects? This process alone may only say so where the limit gives its
 * own answer on the count of this process; else the answer is the RCPT's. */
static struct verdict connect_holds(struct gate *gate, const struct policy *policy,
                                    const struct network *client, struct pool *pool)
{
    struct plan plan;
    const struct verdict none = {0};
    int64_t now = gate_now(gate);
    if (plan_connect(policy, client, pool, &plan) < 0 || plan.request.n == 0)
        return none;
    struct count_answer *answers = pool_alloc(pool, plan.request.n * sizeof *answers);
    if (answers == NULL)
        return none;
    enum counts_status status = counts_peek(gate->counts, &plan.request, now, answers);
    if (status != COUNTS_OK &&
        (policy->counters.when_down != WHEN_DOWN_LOCAL || policy->counters.local_share < 100 ||
         counts_stand_in(gate->counts, true, status, &plan.request, now, answers) != COUNTS_OK))
        return none;
    for (size_t i = 0; i < plan.request.n; i++)
        if (answers[i].result == COUNT_HELD && !plan.limits[i]->shadow)
            return verdict_by_limit(policy, plan.limits[i], plan.limits[i]->over, &plan.request.asks[i],
                                    &answers[i]);
    return none;
}

bool session_may_refuse(struct gate *gate, const struct policy *policy)
{
    if (policy->shadow)
        return false;
    if (blocks_any(gate->blocks) || plan_looks_at_connect(policy))
        return true;
    struct ruledb_snapshot snapshot = ruledb_begin(gate->rules);
    bool has_rules = ruledb_has_clients(&snapshot);
    ruledb_end(&snapshot);
    return has_rules;
}

void session_connect(struct session *session, const struct network *client)
{
    session->client = *client;
    session->no_client_rule = 0;
    network_format(client, session->client_text);
}

struct verdict session_judge(struct session *session, struct pool *proof_pool)
{
    struct gate *gate = session->gate;
    const struct network *client = &session->client;
    const struct policy *policy = session_policy(session);
    struct verdict verdict = {0};
    const struct address nobody = {.kind = ADDRESS_NULL};
    struct block_found found;
    struct block_row block = {0};
    if (blocks_find(gate->blocks, client, &found))
        block = (struct block_row){.network = pool_strdup(proof_pool, found.network), .action = found.action};
    const struct envelope envelope = {.client = client,
                                      .block = block.network != NULL ? &block : NULL,
                                      .sender = &nobody,
                                      .recipient = &nobody,
                                      .now_ms = gate_now(gate),
                                      .size = -1};
    const struct ruling_question question = {
        .gate = gate, .policy = policy, .envelope = &envelope, .client_only = true, .pool = proof_pool};
    struct ruling ruling;
    if (ruling_read(&question, &ruling) < 0)
        return verdict;
    if (ruling.action == ACTION_REJECT)
        verdict = verdict_by_ruling(policy, &ruling);
    else if (!ruling.client_exempt && ruling.by != BY_BACKEND)
        verdict = connect_holds(gate, policy, client, proof_pool);
    if (verdict.by == VERDICT_BY_LIMIT && !ruling_confirms_limit(&question, &ruling))
        verdict = (struct verdict){0};
    if (policy->shadow)
        verdict = (struct verdict){0};
    else if (verdict.action == ACTION_REJECT)
        metrics_refused_connection(&gate->metrics, verdict.by);
    return verdict;
}

void message_begin(struct session *session, const char *sender, const char *user, int64_t size)
{
    message_abort(session);
    struct message *message = &session->message;
    message->policy = session_policy(session);
    message->open = true;
    message->sender_raw = pool_strdup(&message->pool, sender);
    bool logged_in = user != NULL && user[0] != '\0';
    message->user = logged_in ? pool_strdup(&message->pool, user) : NULL;
    message->size = size;
    message->unknown = message->sender_raw == NULL || (logged_in && message->user == NULL);
    address_parse(sender, message->policy->aliases.subaddress, &message->sender, NULL);
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
static bool keep_receipts(struct session *session, const struct decision *d)
{
    struct message *message = &session->message;
    struct changes back;
    changes_begin(&back, session->gate, false);
    bool kept_all = true;
    for (size_t i = 0; i < d->plan.request.n && d->source != COUNTS_NONE; i++) {
        struct count_change charge;
        if (!decide_charge(d, i, &charge))
            continue;
        struct receipt *kept = pool_alloc(&message->pool, sizeof *kept);
        if (kept == NULL) {
            charge.amount = -charge.amount;
            changes_add(&back, &charge);
            kept_all = false;
            continue;
        }
        *kept = (struct receipt){.limit = d->plan.limits[i], .charge = charge, .next = message->receipts};
        message->receipts = kept;
    }
    changes_end(&back);
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
    int64_t now = gate_now(gate);
    struct count_deferral deferral = {.at_ms = now};
    snprintf(deferral.retry, sizeof deferral.retry, "%s", retry);
    (void)counts_deferred(gate->counts, &deferral, 1, now); /* one that was forgotten counts */
}

void message_rcpt(struct session *session, const char *raw, const char *resolved, struct outcome *out)
{
    struct message *message = &session->message;
    struct metrics *metrics = &session->gate->metrics;
    int64_t began = monotonic_ns();
    if (!message->open) /* RCPT without MAIL: only a broken or hostile MTA says that */
        message_begin(session, "<>", NULL, -1);
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
        .client = &session->client,
        .user = message->user,
        .sender = &message->sender,
        .sender_raw = message->sender_raw,
        .recipient = recipient,
        .resolved = recipient != raw,
        .size = message->size,
        .held = message->receipts,
        .no_client_rule = &session->no_client_rule,
    };
    decide(session->gate, policy, &facts, false, &message->pool, d);
    bool through =
        d->verdict.action == ACTION_ACCEPT || d->verdict.action == ACTION_DISCARD || !out->enforced;
    if (!keep_receipts(session, d) || message->unknown ||
        (through &&
         !keep_accepted(message, full, raw, d->verdict.action == ACTION_DISCARD && out->enforced))) {
        d->verdict = verdict_backend(policy);
        out->enforced = true; /* without memory nobody knows who sends, or could drop or give back later */
    }
    decide_line(d, &out->line);
    if (d->verdict.action == ACTION_DEFER && d->plan.request.retry != NULL)
        note_deferred(session->gate, d->plan.request.retry);
    tripped_tell(session->gate, d);
    metrics_rcpt(metrics, &d->verdict, &d->shadow, d->source, d->plan.request.n > 0, monotonic_ns() - began);
}

void message_bytes(struct session *session, size_t n)
{
    session->message.bytes += (int64_t)n;
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
    (void)counts_charge(gate->counts, &request, gate_now(gate));
}

/* What was reserved becomes what was seen. */
static void settle_bytes(struct changes *changes, const struct receipt *receipt, int64_t bytes)
{
    struct gate *gate = changes->gate;
    const struct count_change *charge = &receipt->charge;
    int64_t slot = charge->slot >= 0 ? charge->slot : charge->here;
    if (window_slot(charge->window_ms, gate_now(gate)) - slot >= WINDOW_SLOTS) {
        charge_anew(gate, receipt, bytes);
        return;
    }
    struct count_change settle = *charge;
    settle.amount = bytes - charge->amount;
    changes_add(changes, &settle);
}

void message_end(struct session *session)
{
    struct gate *gate = session->gate;
    struct message *message = &session->message;
    struct changes changes;
    changes_begin(&changes, gate, true);
    metrics_message(&gate->metrics);
    for (const struct receipt *r = message->receipts; r != NULL; r = r->next)
        if (r->limit->count == LIMIT_BYTES && message->bytes > 0)
            settle_bytes(&changes, r, message->bytes);
    changes_end(&changes);
    message_reset(message);
}

void message_abort(struct session *session)
{
    give_back(session, true);
    message_reset(&session->message);
}
