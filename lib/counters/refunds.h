/* refunds: charges that are changed after the fact, given back or settled: in this process at once, in the store in the
 * background.
 *
 * Nobody waits (libmilter holds a lock while a connection is lost). One thread hands over what several sessions bring within
 * REFUNDS_GATHER_MS in one call (of up to REFUNDS_MOST). What the store, or a part of it, does not take is kept (bounded; the oldest
 * go first, and stay open until their slot leaves) and tried again twice a second; it keeps nothing else back. A change whose answer was lost is not repeated: given
 * back twice would be wrong, never is mended when the window ends. */
#ifndef RCPTGATE_COUNTERS_REFUNDS_H
#define RCPTGATE_COUNTERS_REFUNDS_H

#include "base/count.h"
#include "counters/counters.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REFUNDS_MOST = 64, REFUNDS_GATHER_MS = 20 };

struct refunds;

/* Borrows the store. now: the clock that charged. NULL with err set: out of memory or threads. */
struct refunds *refunds_new(struct counters *counters, counters_now_fn *now, void *arg, struct error *err);

/* Hands over what is left, waiting at most wait_ms, and ends the thread. NULL is harmless. */
void refunds_free(struct refunds *refunds, int wait_ms);

/* Hands over what is left, now, and waits for that at most wait_ms; false: something is. NULL is harmless. */
bool refunds_flush(struct refunds *refunds, int wait_ms);

/* How far it is: what refunds_flush_counter() wants of who is about to ask the store. */
uint64_t refunds_moment(const struct refunds *refunds);

/* For who asked the store since that moment and is refused by that counter. True: changes of it were on their way then, or began
 * to be, and the store has them all; asked again, it may answer otherwise. Waits until until_ns (clock_monotonic_ns()) at most. */
bool refunds_flush_counter(struct refunds *refunds, const char *key, const char *limit, uint64_t since,
                           int64_t until_ns);

/* Calls each() for every site of the store that has changes waiting, as it did not take them; under a lock: must not wait. NULL is
 * harmless. */
void refunds_each_waiting(struct refunds *refunds, counters_lag_fn *each, void *arg);

/* What changes nothing is passed over. The change's strings are copied. */
void refunds_add(struct refunds *refunds, const struct count_change *change);

#endif
