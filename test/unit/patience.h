/* How long what must happen may take, on a machine that is slow and busy; as in test/e2e/processes.py. */
#ifndef RCPTGATE_TEST_PATIENCE_H
#define RCPTGATE_TEST_PATIENCE_H

#include <time.h>

enum { PATIENCE_MS = 60000 };

/* Until it is asked again. */
static inline void nap(long ms)
{
    const struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&wait, NULL);
}

#endif
