/* later: what must reach the counter store but must not hold up a session.
 *
 * Charges are given back so when a connection is lost (libmilter then holds a lock), when the gate ends, and
 * when the store was away. One thread hands them over in batches, at once while the store is well. While it is
 * down they are kept (bounded; the oldest go first) and tried again twice a second. A change whose answer was
 * lost is not repeated: given back twice would be wrong, never is mended when the window ends. */
#ifndef RCPTGATE_LATER_H
#define RCPTGATE_LATER_H

#include "count.h"
#include "counts.h"
#include "error.h"

#include <stdbool.h>

struct later;

typedef int64_t later_now_fn(void *arg); /* Unix time in ms */

struct later *later_new(later_now_fn *now, void *arg, struct error *err);

/* Hands over what is left, waiting at most wait_ms, and ends the thread. NULL is harmless. */
void later_free(struct later *later, int wait_ms);

/* Copies what it is given. */
void later_change(struct later *later, struct counts *counts, const struct count_change *change);

/* Waits until nothing is left to be handed over, at most wait_ms; false: something is. NULL
 * is harmless. */
bool later_flush(struct later *later, int wait_ms);

#endif
