/* status: how a call of a counter store ended, and the callbacks that stores take. Owns nothing, cannot fail; the rest is
 * counters/counters.h. */
#ifndef RCPTGATE_COUNTERS_STATUS_H
#define RCPTGATE_COUNTERS_STATUS_H

#include "base/count.h"

#include <stddef.h>
#include <stdint.h>

struct counters; /* a store; counters/stores.h makes them */

typedef int64_t counters_now_fn(void *arg); /* a clock: Unix time in ms */

typedef void counters_each_fn(void *arg, const struct count_view *view);

/* Of a site of a store (0, where it is one): so much is behind there, since that moment (CLOCK_MONOTONIC, ns). */
typedef void counters_lag_fn(void *arg, unsigned site, size_t n, int64_t since_ns);

enum counters_status {
    COUNTERS_OK = 0,
    COUNTERS_DOWN, /* nothing was charged: down, deadline missed before anything was sent, or refused by Redis */
    COUNTERS_UNSURE, /* the answer was lost: it may have been charged */
    COUNTERS_SPLIT, /* between stores: nothing was charged; its keys are on their way to another node, each alone may be asked for */
};

#endif
