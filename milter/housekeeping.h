/* housekeeping: what is looked at twice a second, off every session's path. */
#ifndef RCPTGATE_HOUSEKEEPING_H
#define RCPTGATE_HOUSEKEEPING_H

#include "gate.h"

enum { HOUSEKEEPING_MS = 500 };

/* Brings gate->conditions up to date with what the parts tell of themselves. */
void housekeeping_tick(struct gate *gate);

/* For gate_init(): keeps CONDITION_COUNTERS; arg is the gate. */
void housekeeping_counts_event(void *arg, bool down, const char *text);

#endif
