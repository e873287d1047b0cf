/* ramp: how a limit grows back to its max after a start or an outage, so that the herd of retries is let in
 * bit by bit. Pure.
 *
 * A tenth of max (at least 1, at most max) at the beginning, max at the end, a straight line between. */
#ifndef RCPTGATE_POLICY_RAMP_H
#define RCPTGATE_POLICY_RAMP_H

#include <stdint.h>

/* Of max (0..10^15), since_ms after the ramp began; ramp_ms 0: no ramp. A time before the beginning is the beginning. */
int64_t ramp_max(int64_t max, int64_t ramp_ms, int64_t since_ms);

/* How long until ramp_max() is at least wanted (at most max); 0 where it is already. */
int64_t ramp_wait(int64_t max, int64_t ramp_ms, int64_t since_ms, int64_t wanted);

#endif
