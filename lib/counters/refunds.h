/* refunds: charges that are changed after the fact, given back or settled: in this process at once, in the store in the
 * background or, where the caller may wait, at once within its timeout.
 *
 *     struct refunds_batch batch;
 *     refunds_begin(&batch, refunds, may_wait);
 *     refunds_add(&batch, &change); ...
 *     refunds_end(&batch);
 *
 * A batch is one call of the store (for each REFUNDS_MOST). What the caller must not wait for (libmilter holds a lock
 * while a connection is lost), and what the store could not take, one thread hands over in batches, at once while the
 * store is well. While it is down they are kept (bounded; the oldest go first) and tried again twice a second. A change
 * whose answer was lost is not repeated: given back twice would be wrong, never is mended when the window ends. */
#ifndef RCPTGATE_COUNTERS_REFUNDS_H
#define RCPTGATE_COUNTERS_REFUNDS_H

#include "base/count.h"
#include "counters/counters.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum { REFUNDS_MOST = 64 };

struct refunds;

/* Borrows the store. now: the clock that charged. NULL with err set: out of memory or threads. */
struct refunds *refunds_new(struct counters *counters, counters_now_fn *now, void *arg, struct error *err);

/* Hands over what is left, waiting at most wait_ms, and ends the thread. NULL is harmless. */
void refunds_free(struct refunds *refunds, int wait_ms);

/* Waits until nothing is left to be handed over, at most wait_ms; false: something is. NULL is harmless. */
bool refunds_flush(struct refunds *refunds, int wait_ms);

struct refunds_batch {
    struct refunds *refunds;
    bool may_wait;
    size_t n;
    struct count_change list[REFUNDS_MOST];
};

void refunds_begin(struct refunds_batch *batch, struct refunds *refunds, bool may_wait);

/* The change's strings are borrowed until refunds_end(). An amount of 0 changes nothing. */
void refunds_add(struct refunds_batch *batch, const struct count_change *change);

void refunds_end(struct refunds_batch *batch);

#endif
