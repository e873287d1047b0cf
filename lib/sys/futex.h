/* futex: where threads sleep until one wakes them. A wake has kinds (a bit each, 32 of them), a sleeper
 * those that it listens to; all who listen wake by one system call, which a semaphore or a condition for each
 * of them would cost each.
 *
 * Whoever sleeps first asks how often it was woken, then looks whether what it waits for is there, and then
 * sleeps: a wake in between is not missed. */
#ifndef RCPTGATE_SYS_FUTEX_H
#define RCPTGATE_SYS_FUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct futex { /* zeroed: never woken */
    atomic_uint wakes;
};

unsigned futex_count(struct futex *futex);

/* Until a wake of one of the kinds, if there was none since; may end for nothing. False: the deadline
 * (CLOCK_MONOTONIC, ns) has passed. */
bool futex_wait(struct futex *futex, unsigned wakes, uint32_t kinds, int64_t deadline);

/* What was written before is seen by those who wake. */
void futex_wake(struct futex *futex, uint32_t kinds);

#endif
