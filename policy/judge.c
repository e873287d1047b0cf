/* judge: ranks what the rules and the limits said, and gives the verdict (see judge.h). Owns nothing,
 * cannot fail. */
#include "policy/judge.h"

#include "ramp.h"

/* What is known when a RCPT is judged; the same for its limits and its shadow limits. */
struct judge_context {
    const struct policy *policy;
    const struct envelope *envelope;
    const struct ruling *ruling;
    const struct plan *plan;
    enum count_source source;
    const struct count_answer *answers;
    bool shadow; /* the shadow limits are heard, and nobody else */
};

static bool is_heard(const struct judge_context *context, size_t i)
{
    return context->plan->limits[i]->shadow == context->shadow;
}

/* What answer i answers: this process alone is asked for less. */
static const struct count_ask *ask_of(const struct judge_context *context, size_t i)
{
    const struct count_request *request = &context->plan->request;
    return context->answers[i].local ? &request->local[i] : &request->asks[i];
}

/* What ask i's max is once no ramp lowers it any more: all of it, or the part for this process alone. */
static int64_t max_after_ramp(const struct judge_context *context, size_t i)
{
    const struct count_ask *ask = ask_of(context, i);
    int64_t whole = ask->max + ask->headroom;
    return context->answers[i].local ? plan_local_max(context->policy, whole) : whole;
}

/* The answer of the limit of which ask i is a source's share; NULL: it is a limit itself. */
static const struct count_answer *whole_of(const struct judge_context *context, size_t i)
{
    int whole = context->plan->request.asks[i].share_of;
    return whole >= 0 ? &context->answers[whole] : NULL;
}

/* How much of the limit must be used for the share of ask i to bind, once no ramp lowers that. */
static int64_t above_after_ramp(const struct judge_context *context, size_t i)
{
    int64_t above = context->plan->limits[i]->share.above;
    return context->answers[i].local ? plan_local_max(context->policy, above) : above;
}

/* Does it stand on what was taken? A share binds only where so much of its limit was. A process that stands in for the store says so
 * only where it took the whole max alone, and takes over the holds that it knows of unless it was asked for less. */
static bool is_hard(const struct judge_context *context, size_t i)
{
    const struct limit *limit = context->plan->limits[i];
    const struct count_answer *answer = &context->answers[i], *share_of = whole_of(context, i);
    int64_t whole = share_of != NULL ? limit->share.max : limit->max;
    if (!answer->hard || (share_of != NULL && share_of->taken < limit->share.above))
        return false;
    return !answer->local || answer->taken >= whole ||
           (answer->result == COUNT_HELD && max_after_ramp(context, i) >= whole);
}

/* Does ask i, a share, bind because of the ramp alone? */
static bool binds_by_ramp(const struct judge_context *context, size_t i)
{
    const struct count_answer *whole = whole_of(context, i);
    return whole != NULL && whole->used < above_after_ramp(context, i);
}

/* Is it the ramp alone that refuses ask i? */
static bool is_ramped(const struct judge_context *context, size_t i)
{
    const struct count_ask *ask = ask_of(context, i);
    const struct count_answer *answer = &context->answers[i];
    int64_t max = max_after_ramp(context, i);
    bool fits = ask->max < max && answer->used + ask->need <= max;
    return answer->result == COUNT_OVER && (fits || binds_by_ramp(context, i));
}

/* Until the ramp, or the window, lets ask i through. */
static int64_t ramp_wait_of(const struct judge_context *context, size_t i)
{
    const struct count_ask *ask = ask_of(context, i);
    const struct count_answer *answer = &context->answers[i];
    const struct limit *limit = context->plan->limits[i];
    int64_t age = plan_ramp_age(context->envelope, limit, ask->key);
    int64_t wait =
        binds_by_ramp(context, i)
            ? ramp_wait(above_after_ramp(context, i), limit->ramp_ms, age, whole_of(context, i)->used + 1)
            : ramp_wait(max_after_ramp(context, i), limit->ramp_ms, age, answer->used + ask->need);
    return wait < answer->wait_ms ? wait : answer->wait_ms;
}

/* What ask i's limit does: ACTION_ACCEPT where it was admitted or nobody could tell. */
static enum action action_of(const struct judge_context *context, size_t i)
{
    enum count_result result = context->answers[i].result;
    const struct limit *limit = context->plan->limits[i];
    if (result != COUNT_OVER && result != COUNT_HELD)
        return ACTION_ACCEPT;
    return plan_is_soft(context->envelope, context->ruling, limit) || is_ramped(context, i) ||
                   !is_hard(context, i)
               ? ACTION_DEFER
               : limit->over;
}

static struct verdict verdict_of(const struct judge_context *context, size_t i, enum action action)
{
    const struct limit *limit = context->plan->limits[i];
    const struct count_ask *ask = ask_of(context, i);
    const struct count_answer *answer = &context->answers[i];
    if (is_ramped(context, i))
        return verdict_by_ramp(context->policy, limit, ask, answer, ramp_wait_of(context, i));
    return action == ACTION_DEFER ? verdict_by_limit_soft(context->policy, limit, ask, answer)
                                  : verdict_by_limit(context->policy, limit, ask, answer);
}

/* Old numbers prove nothing: so many rounds of the queue's look must have been missed. */
static bool is_old(const struct judge_context *context, const struct backlog_ask *backlog)
{
    enum { ROUNDS = 3 };
    return backlog->age_ms > ROUNDS * context->policy->queue.every_ms;
}

/* What a limit that counts the backlog says. Its proof is the number that was read, with its age. */
static struct verdict backlog_verdict(const struct judge_context *context, const struct backlog_ask *backlog)
{
    const struct limit *limit = backlog->limit;
    if (limit->shadow != context->shadow || !backlog->known || backlog->waiting < backlog->max)
        return verdict_accept();
    const struct count_ask ask = {.limit = limit->name, .max = backlog->max, .headroom = backlog->headroom};
    const struct count_answer answer = {.result = COUNT_OVER,
                                        .hard = !is_old(context, backlog),
                                        .used = backlog->waiting,
                                        .taken = backlog->waiting,
                                        .wait_ms = context->policy->queue.every_ms};
    struct verdict verdict = backlog->waiting < backlog->max + backlog->headroom
                                 ? verdict_by_ramp(context->policy, limit, &ask, &answer, answer.wait_ms)
                             : answer.hard && !plan_is_soft(context->envelope, context->ruling, limit)
                                 ? verdict_by_limit(context->policy, limit, &ask, &answer)
                                 : verdict_by_limit_soft(context->policy, limit, &ask, &answer);
    verdict.age_ms = backlog->age_ms;
    return verdict;
}

/* Is the other one harder, or the first in the file of two that are equal? */
static bool is_harder(const struct verdict *other, const struct verdict *one)
{
    bool before = one->limit != NULL && other->limit != NULL && other->limit < one->limit;
    return other->action > one->action || (other->action == one->action && before);
}

/* The hardest answer of the limits, the first in the file among equals. */
static void hardest(const struct judge_context *context, struct verdict *out)
{
    *out = verdict_accept();
    const size_t n = context->source == COUNT_SOURCE_NONE ? 0 : context->plan->request.n;
    for (size_t i = 0; i < n; i++) {
        enum action action = is_heard(context, i) ? action_of(context, i) : ACTION_ACCEPT;
        if (action > out->action)
            *out = verdict_of(context, i, action);
    }
    for (size_t i = 0; i < context->plan->n_backlogs; i++) {
        const struct verdict other = backlog_verdict(context, &context->plan->backlogs[i]);
        if (is_harder(&other, out))
            *out = other;
    }
}

/* Could a limit that counts not be read? */
static bool is_blind(const struct judge_context *context)
{
    for (size_t i = 0; i < context->plan->request.n; i++)
        if (is_heard(context, i) &&
            (context->source == COUNT_SOURCE_NONE || context->answers[i].result == COUNT_UNKNOWN))
            return true;
    return false;
}

/* All limits together. One that could not be read may hide a reject, so that nothing softer than a reject
 * that was read is given in its place. */
static void ask_limits(const struct judge_context *context, struct verdict *out)
{
    bool must_know = context->policy->counters.when_down != WHEN_DOWN_ACCEPT;
    hardest(context, out);
    if (must_know && out->action != ACTION_REJECT && is_blind(context))
        *out = verdict_backend(context->policy);
}

struct verdict judge(const struct policy *policy, const struct envelope *envelope,
                     const struct ruling *ruling, const struct plan *plan, enum count_source source,
                     const struct count_answer *answers)
{
    const struct judge_context context = {policy, envelope, ruling, plan, source, answers, false};
    if (ruling->action == ACTION_NONE)
        return verdict_backend(policy);
    struct verdict limits;
    ask_limits(&context, &limits);
    if (rules_is_concealed(policy, ruling) && limits.action > ACTION_ACCEPT)
        return limits;
    switch (ruling->action) {
    case ACTION_DEFER:
    case ACTION_REJECT:
        return limits.action > ruling->action ? limits : verdict_by_ruling(policy, ruling);
    case ACTION_DISCARD: /* as good as accepted, which a limit can refuse */
        return limits.action > ACTION_ACCEPT ? limits : verdict_by_ruling(policy, ruling);
    default:
        return limits;
    }
}

struct verdict judge_shadow(const struct policy *policy, const struct envelope *envelope,
                            const struct ruling *ruling, const struct plan *plan, enum count_source source,
                            const struct count_answer *answers)
{
    const struct judge_context context = {policy, envelope, ruling, plan, source, answers, true};
    struct verdict verdict;
    hardest(&context, &verdict);
    return verdict;
}
