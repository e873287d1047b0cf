/* ramp_clock: when the ramps of this gate began: at its start, and again whenever the counters or the alias
 * rules have come back.
 *
 * Gates that share a Redis ramp together: a thread keeps the latest beginning of all in the key PREFIX:ramp
 * (Unix time in ms; it expires with the longest ramp) and follows it. While Redis is away, and where there is
 * none, the own one counts. Without limits that have a ramp the thread asks nothing. */
#ifndef RCPTGATE_RAMP_CLOCK_H
#define RCPTGATE_RAMP_CLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct gate;

struct ramp_clock {
    _Atomic int64_t since_ms;
    bool running; /* the thread */
    pthread_t thread;
    pthread_mutex_t lock; /* of: */
    pthread_cond_t wake;
    bool stopping, begun;
};

void ramp_clock_init(struct ramp_clock *clock, int64_t now_ms);
void ramp_clock_done(struct ramp_clock *clock);

/* The thread; false where none can be had: then this gate ramps alone. stop ends it; harmless where there is none. */
bool ramp_clock_start(struct ramp_clock *clock, struct gate *gate);
void ramp_clock_stop(struct ramp_clock *clock);

/* Never after now_ms: a clock that jumps back does not hold ramps at their beginning. Any thread, no lock. */
int64_t ramp_clock_since(struct ramp_clock *clock, int64_t now_ms);

/* All ramps begin now. why, for the log: "counters". */
void ramp_clock_begin(struct ramp_clock *clock, struct gate *gate, const char *why);

#endif
