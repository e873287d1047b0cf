/* ramp_clock: when the ramps of this gate began: at its start, and again whenever the counters or the alias
 * rules have come back. Each host ramps when it notices that itself. A moment in memory; cannot fail. */
#ifndef RCPTGATE_GATE_RAMP_CLOCK_H
#define RCPTGATE_GATE_RAMP_CLOCK_H

#include "gate/context.h"

#include <stdatomic.h>
#include <stdint.h>

struct ramp_clock {
    _Atomic int64_t since_ms;
};

/* Never after now_ms: a clock that jumps back does not hold ramps at their beginning. Any thread, no lock. */
int64_t ramp_clock_since(struct ramp_clock *clock, int64_t now_ms);

/* All ramps begin now. why, for the log: "counters". */
void ramp_clock_begin(struct ramp_clock *clock, struct context *context, const char *why);

#endif
