/* worker: a thread that waits and works. It calls one function, the step, at once and then whenever the step asked for it
 * or somebody wakes it. Between steps it sleeps and holds nothing: locks are the owner's.
 *
 * A wake is never lost: one that comes while a step runs makes another step. Nobody but the step itself ever waits
 * for a step, but in worker_drain(), worker_stop() and worker_free(). */
#ifndef RCPTGATE_SYS_WORKER_H
#define RCPTGATE_SYS_WORKER_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define WORKER_IDLE INT64_MAX

/* Returns when it is to be called again: a moment of clock_monotonic_ns() (0: at once), or WORKER_IDLE: there is nothing to do
 * until somebody wakes it. */
typedef int64_t worker_step(void *arg);

struct worker;

/* Not started yet. name: of the thread, as top and gdb show it, at most 15 bytes. NULL with err set. */
struct worker *worker_new(const char *name, worker_step *step, void *arg, struct error *err);

/* From the step on all signals are blocked, but those of its own faults. 0, or -1 with err set. */
int worker_start(struct worker *worker, struct error *err);

/* A step, soon. Any thread, no lock; harmless before the start and after the end, and where worker is NULL. */
void worker_wake(struct worker *worker);

/* For a step that waits for descriptors: readable where it was woken, and from worker_stop() on for good. Not to be read. */
int worker_fd(const struct worker *worker);
bool worker_stopping(const struct worker *worker);

/* Waits until there is nothing to do (WORKER_IDLE, and not woken since), at most until that moment. False: there is.
 * True at once where no thread runs. */
bool worker_drain(struct worker *worker, int64_t until_ns);

/* No step begins any more, and none is under way when it returns. Harmless where it does not run, and for NULL. */
void worker_stop(struct worker *worker);

/* The same, where a step may hang: false when that moment has passed, and then nothing that the step uses may be freed. */
bool worker_stop_by(struct worker *worker, int64_t until_ns);

void worker_free(struct worker *worker); /* stops it; NULL is harmless */

#endif
