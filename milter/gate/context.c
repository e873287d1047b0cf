/* context: see context.h. */
#include "gate/context.h"

#include "base/clock.h"

#include <string.h>
#include <unistd.h>

static int64_t system_now(void *arg)
{
    (void)arg;
    return clock_now_ms();
}

int64_t context_now(const struct context *context)
{
    return context->now_ms(context->now_arg);
}

int64_t context_clock(void *context)
{
    return context_now(context);
}

int context_init(struct context *context, const struct policy *policy, struct error *err)
{
    *context = (struct context){.policy = policy, .now_ms = system_now};
    pthread_mutex_init(&context->lock, NULL);
    conditions_init(&context->conditions);
    metrics_init(&context->metrics);
    history_init(&context->history);
    context->refusals = refusals_new();
    metrics_know(&context->metrics, policy);
    context->started_ms = context->policy_since_ms = context_now(context);
    if (gethostname(context->host, sizeof context->host - 1) < 0)
        memcpy(context->host, "localhost", sizeof "localhost");
    context->events = events_new(context->host, err);
    return context->events != NULL ? 0 : -1;
}

void context_done(struct context *context)
{
    policy_unref(context->policy);
    conditions_done(&context->conditions);
    events_free(context->events);
    metrics_done(&context->metrics);
    history_done(&context->history);
    refusals_free(context->refusals);
    context->refusals = NULL;
    context->events = NULL;
    context->policy = NULL;
}

const struct policy *context_policy(struct context *context)
{
    pthread_mutex_lock(&context->lock);
    const struct policy *policy = policy_ref(context->policy);
    pthread_mutex_unlock(&context->lock);
    return policy;
}

void context_set_policy(struct context *context, const struct policy *policy)
{
    metrics_know(&context->metrics, policy);
    pthread_mutex_lock(&context->lock);
    const struct policy *old = context->policy;
    context->policy = policy;
    context->policy_since_ms = context_now(context);
    pthread_mutex_unlock(&context->lock);
    policy_unref(old);
}
