/* ramp_clock: see ramp_clock.h. */
#include "gate/ramp_clock.h"

#include "sys/log.h"

int64_t ramp_clock_since(struct ramp_clock *clock, int64_t now_ms)
{
    int64_t since = atomic_load_explicit(&clock->since_ms, memory_order_relaxed);
    if (since <= now_ms)
        return since;
    (void)atomic_compare_exchange_strong(&clock->since_ms, &since, now_ms);
    return now_ms;
}

/* Later beginnings count. True where this one does. */
static bool follow(struct ramp_clock *clock, int64_t since_ms)
{
    int64_t seen = atomic_load(&clock->since_ms);
    while (seen < since_ms)
        if (atomic_compare_exchange_weak(&clock->since_ms, &seen, since_ms))
            return true;
    return false;
}

void ramp_clock_begin(struct ramp_clock *clock, struct context *context, const char *why)
{
    int64_t now = context_now(context);
    if (!follow(clock, now))
        return;
    const struct policy *policy = context_policy(context);
    const struct event_field fields[] = {{"because", why}};
    if (policy->longest_ramp_ms > 0) {
        log_line(LOG_AT_WARNING, "event=ramp-began because=%s", why);
        events_add(context->events, now, "ramp-began", fields, 1);
    }
    policy_unref(policy);
}
