/* housekeeping: what is looked at twice a second, off every session's path. */
#ifndef RCPTGATE_GATE_HOUSEKEEPING_H
#define RCPTGATE_GATE_HOUSEKEEPING_H

#include "gate/gate.h"

enum { HOUSEKEEPING_MS = 500 };

struct housekeeping { /* what was seen last; zeroed at the start */
    uint64_t counters_merged;
    uint64_t log_dropped;
    int64_t log_dropped_ms; /* when that had grown */
};

/* Brings the gate's table of conditions up to date with what its parts say of themselves. */
void housekeeping_tick(struct housekeeping *seen, struct gate *gate);

/* For gate_init(): keeps CONDITION_COUNTERS; arg is the context. */
void housekeeping_counters_event(void *arg, bool down, const char *text);

#endif
