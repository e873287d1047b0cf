/* session: see session.h. */
#include "milter/session.h"

#include "base/clock.h"
#include "milter/ruling.h"
#include "refused.h"

#include <stdlib.h>
#include <unistd.h>

/* ---- all of them ---- */

void session_list_init(struct session_list *list, struct gate *gate)
{
    *list = (struct session_list){.gate = gate};
    pthread_mutex_init(&list->lock, NULL);
}

static void list_add(struct session_list *list, struct session *session)
{
    pthread_mutex_lock(&list->lock);
    session->next = list->first;
    if (session->next != NULL)
        session->next->previous = session;
    list->first = session;
    pthread_mutex_unlock(&list->lock);
}

static void list_remove(struct session_list *list, struct session *session)
{
    pthread_mutex_lock(&list->lock);
    if (session->previous != NULL)
        session->previous->next = session->next;
    else
        list->first = session->next;
    if (session->next != NULL)
        session->next->previous = session->previous;
    pthread_mutex_unlock(&list->lock);
}

/* With the lock held. */
static bool any_busy(const struct session_list *list)
{
    for (const struct session *s = list->first; s != NULL; s = s->next)
        if (atomic_load(&s->busy))
            return true;
    return false;
}

bool session_list_stop(struct session_list *list, int wait_ms)
{
    enum { FLUSH_MS = 2000 };
    atomic_store(&list->stopping, true);
    pthread_mutex_lock(&list->lock);
    bool idle = !any_busy(list);
    for (int waited = 0; waited < wait_ms && !idle; waited++) {
        pthread_mutex_unlock(&list->lock);
        usleep(1000);
        pthread_mutex_lock(&list->lock);
        idle = !any_busy(list);
    }
    for (struct session *s = list->first; s != NULL; s = s->next)
        if (idle || !atomic_load(&s->busy)) /* who comes now is being turned away, and busy for a moment */
            message_abort(&s->message);
    pthread_mutex_unlock(&list->lock);
    (void)refunds_flush(list->gate->refunds, FLUSH_MS); /* what is left ends with its window */
    return idle;
}

bool session_enter(struct session *session)
{
    atomic_store(&session->busy,
                 true); /* said before it is looked: session_list_stop() does it the other way round */
    if (atomic_load(&session->list->stopping)) {
        atomic_store(&session->busy, false);
        return false;
    }
    session->entered_ns = clock_monotonic_ns();
    return true;
}

void session_leave(struct session *session)
{
    metrics_callback(&session->list->gate->context.metrics, clock_monotonic_ns() - session->entered_ns);
    atomic_store_explicit(&session->busy, false, memory_order_release);
}

/* ---- one of them ---- */

struct session *session_new(struct session_list *list)
{
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    session->list = list;
    session->message = (struct message){
        .gate = list->gate, .client = &session->client, .no_client_rule = &session->no_client_rule};
    network_format(&session->client, session->client_text);
    list_add(list, session);
    metrics_session(&list->gate->context.metrics, 1);
    return session;
}

void session_free(struct session *session)
{
    if (session == NULL)
        return;
    message_done(&session->message);
    policy_unref(session->policy);
    metrics_session(&session->list->gate->context.metrics, -1);
    list_remove(session->list, session); /* last: session_list_stop() waits for who is in it */
    free(session);
}

/* The policy in force, or that of the message under way; the session's own reference. What the session holds
 * cannot be freed, so that the same pointer is the same policy. */
static const struct policy *session_policy(struct session *session)
{
    struct context *context = &session->list->gate->context;
    if (!session->message.open && session->policy != atomic_load(&context->policy)) {
        policy_unref(session->policy);
        session->policy = context_policy(context);
    }
    return session->policy;
}

void session_connect(struct session *session, const struct network *client)
{
    session->client = *client;
    session->no_client_rule = 0;
    network_format(client, session->client_text);
}

/* ---- may it connect ---- */

/* Is this client held by a `per: client` limit that rejects? This process alone may only say so where the limit gives its
 * own answer on the count of this process; else the answer is the RCPT's. */
static struct verdict connect_holds(struct gate *gate, const struct policy *policy,
                                    const struct network *client, struct pool *pool)
{
    struct plan plan;
    const struct verdict none = {0};
    int64_t now = context_now(&gate->context);
    if (plan_connect(policy, client, pool, &plan) < 0 || plan.request.n == 0)
        return none;
    struct count_answer *answers = pool_alloc(pool, plan.request.n * sizeof *answers);
    if (answers == NULL)
        return none;
    if (policy->counters.when_down == WHEN_DOWN_LOCAL && policy->counters.local_share >= 100)
        plan.request.local = plan.request.asks;
    (void)counters_peek(gate->counters, &plan.request, now, answers); /* what nobody can say holds nobody */
    for (size_t i = 0; i < plan.request.n; i++)
        if (answers[i].result == COUNT_HELD && answers[i].hard && !plan.limits[i]->shadow)
            return verdict_by_limit(policy, plan.limits[i], &plan.request.asks[i], &answers[i]);
    return none;
}

bool session_may_refuse(struct gate *gate, const struct policy *policy)
{
    if (policy->shadow)
        return false;
    if (blocks_any(gate->blocks) || plan_looks_at_connect(policy))
        return true;
    struct aliases_reading reading = aliases_begin(gate->rules);
    bool has_rules = aliases_has_clients(&reading);
    aliases_end(&reading);
    return has_rules;
}

struct verdict session_judge(struct session *session, struct pool *proof_pool)
{
    struct gate *gate = session->list->gate;
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
                                      .now_ms = context_now(&gate->context),
                                      .size = -1};
    const struct ruling_question question = {
        .gate = gate, .policy = policy, .envelope = &envelope, .client_only = true, .pool = proof_pool};
    struct ruling ruling;
    if (ruling_read(&question, &ruling) < 0)
        return verdict;
    if (ruling.action == ACTION_REJECT)
        verdict = verdict_by_ruling(policy, &ruling);
    else if (!ruling.client_exempt && ruling.by != VERDICT_BY_BACKEND)
        verdict = connect_holds(gate, policy, client, proof_pool);
    if (verdict.by == VERDICT_BY_LIMIT && !ruling_confirms_limit(&question, &ruling, NULL))
        verdict = (struct verdict){0};
    if (policy->shadow) {
        verdict = (struct verdict){0};
    } else if (verdict.action == ACTION_REJECT) {
        metrics_refused_connection(&gate->context.metrics, verdict.by);
        refused_add_whole(gate, policy, client, NULL, &verdict);
    }
    return verdict;
}

/* ---- its messages ---- */

void session_mail(struct session *session, const char *raw, const char *resolved, const char *user,
                  int64_t size)
{
    message_abort(&session->message); /* first: its policy may be freed with the session's reference */
    message_begin(&session->message, session_policy(session), raw, resolved, user, size);
}

void session_rcpt(struct session *session, const char *raw, const char *resolved, struct outcome *out)
{
    if (!session->message.open)
        session_mail(session, "<>", NULL, NULL, -1);
    message_rcpt(&session->message, raw, resolved, out);
}
