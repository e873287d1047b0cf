/* monotonic: the clock that nobody sets (CLOCK_MONOTONIC), for durations and deadlines. Cannot fail. */
#ifndef RCPTGATE_MONOTONIC_H
#define RCPTGATE_MONOTONIC_H

#include <stdint.h>
#include <time.h>

int64_t monotonic_ns(void);
int64_t monotonic_ms(void);

/* The moment in ms from now, for pthread_cond_clockwait(). */
struct timespec monotonic_in_ms(int64_t ms);

#endif
