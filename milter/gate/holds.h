/* holds: what limits hold now, kept in the state directory where the counters are in this process alone.
 *
 * Redis keeps its own. Everything else about a counter in memory ends with the process; a hold must not,
 * since who floods would be let in again by a restart. Written within a second where one begins or counters are
 * cleared, for a process that is killed; every few seconds besides; and at the end. */
#ifndef RCPTGATE_GATE_HOLDS_H
#define RCPTGATE_GATE_HOLDS_H

#include "counters/counters.h"
#include "base/error.h"

#include <stdint.h>

enum { HOLDS_EVERY_MS = 5000 };

/* Writes all holds of the store; where there is none, removes the file. 0, or -1 with err set. */
int holds_save(struct counters *counters, const char *path, int64_t now_ms, struct error *err);

/* Holds again what the file says and has not ended. No file is no error. */
int holds_load(struct counters *counters, const char *path, int64_t now_ms, struct error *err);

#endif
