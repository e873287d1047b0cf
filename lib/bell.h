/* bell: where threads sleep until one rings for them. A ring has kinds (a bit each, 32 of them), a sleeper
 * those that it listens to; all who listen wake by one system call, which a semaphore or a condition for each
 * of them would cost each.
 *
 * Whoever sleeps first asks how often it has rung, then looks whether what it waits for is there, and then
 * sleeps: a ring in between is not missed. */
#ifndef RCPTGATE_BELL_H
#define RCPTGATE_BELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct bell { /* zeroed: silent */
    atomic_uint rings;
};

unsigned bell_rings(struct bell *bell);

/* Until a ring of one of the kinds, if it has not rung since; may end for nothing. False: the deadline
 * (CLOCK_MONOTONIC, ns) has passed. */
bool bell_sleep(struct bell *bell, unsigned rings, uint32_t kinds, int64_t deadline);

/* What was written before is seen by those who wake. */
void bell_ring(struct bell *bell, uint32_t kinds);

#endif
