/* clock: what time it is, and for how long. Cannot fail.
 *
 * Unix time in ms is for what people read and other hosts see; somebody may set it, back too. Durations and deadlines
 * go by the monotonic clock, which nobody sets. */
#ifndef RCPTGATE_BASE_CLOCK_H
#define RCPTGATE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

int64_t clock_now_ms(void); /* Unix time */

int64_t clock_monotonic_ns(void);
int64_t clock_monotonic_ms(void);

/* The moment in ms from now, for pthread_cond_clockwait() with CLOCK_MONOTONIC. */
struct timespec clock_in_ms(int64_t ms);

/* That long, a quarter more or less, so that what many do now and then they do not all do at once. At most some hours. */
int64_t clock_about(int64_t ns);

/* "2026-11-23T02:01:11Z"; returns buffer. */
enum { CLOCK_TEXT = 32 };
const char *clock_text(int64_t unix_ms, char buffer[CLOCK_TEXT]);

#endif
