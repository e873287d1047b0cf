#include "ramp_clock.h"

#include "board.h"
#include "gate.h"
#include "log.h"
#include "monotonic.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

enum {
    LOOK_MS = 1000,
    SKEW_MS = 60000, /* what clocks may differ by; a beginning further in the future is nonsense */
};

void ramp_clock_init(struct ramp_clock *clock, int64_t now_ms)
{
    atomic_init(&clock->since_ms, now_ms);
    pthread_mutex_init(&clock->lock, NULL);
    pthread_cond_init(&clock->wake, NULL);
}

void ramp_clock_done(struct ramp_clock *clock)
{
    pthread_cond_destroy(&clock->wake);
    pthread_mutex_destroy(&clock->lock);
}

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

static int64_t longest_ramp(struct gate *gate)
{
    const struct policy *policy = gate_policy(gate);
    int64_t ms = policy->longest_ramp_ms;
    policy_unref(policy);
    return ms;
}

static void tell(struct gate *gate, const char *why)
{
    if (longest_ramp(gate) == 0)
        return;
    const struct event_field fields[] = {{"because", why}};
    log_line(LOG_AT_WARNING, "event=ramp-began because=%s", why);
    events_add(gate->events, gate_now(gate), "ramp-began", fields, 1);
}

void ramp_clock_begin(struct ramp_clock *clock, struct gate *gate, const char *why)
{
    if (!follow(clock, gate_now(gate)))
        return;
    pthread_mutex_lock(&clock->lock);
    clock->begun = true;
    pthread_cond_signal(&clock->wake);
    pthread_mutex_unlock(&clock->lock);
    tell(gate, why);
}

/* Brings this gate and the others in step, whoever was later. */
static void look(struct ramp_clock *clock, struct gate *gate)
{
    int64_t theirs, ramp_ms = longest_ramp(gate), now = gate_now(gate);
    if (ramp_ms == 0 || !board_number(gate->redis, "ramp", &theirs))
        return;
    int64_t ours = ramp_clock_since(clock, now);
    bool sane = theirs > 0 && theirs <= now + SKEW_MS;
    if (sane && theirs > ours) {
        if (follow(clock, theirs < now ? theirs : now) && now - theirs < ramp_ms)
            tell(gate, "another-gate");
    } else if ((!sane || theirs < ours) && now - ours < ramp_ms) {
        (void)board_set_number(gate->redis, "ramp", ours, ramp_ms); /* else at the next look */
    }
}

static void *clock_main(void *arg)
{
    struct gate *gate = arg;
    struct ramp_clock *clock = &gate->ramp;
    pthread_mutex_lock(&clock->lock);
    while (!clock->stopping) {
        clock->begun = false;
        pthread_mutex_unlock(&clock->lock);
        look(clock, gate);
        struct timespec until = monotonic_in_ms(LOOK_MS);
        pthread_mutex_lock(&clock->lock);
        while (!clock->stopping && !clock->begun &&
               pthread_cond_clockwait(&clock->wake, &clock->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&clock->lock);
    return NULL;
}

bool ramp_clock_start(struct ramp_clock *clock, struct gate *gate)
{
    if (gate->redis == NULL)
        return true;
    clock->running = pthread_create(&clock->thread, NULL, clock_main, gate) == 0;
    return clock->running;
}

void ramp_clock_stop(struct ramp_clock *clock)
{
    if (!clock->running)
        return;
    pthread_mutex_lock(&clock->lock);
    clock->stopping = true;
    pthread_cond_signal(&clock->wake);
    pthread_mutex_unlock(&clock->lock);
    pthread_join(clock->thread, NULL);
    clock->running = false;
}
