/* failover_state: what the parts of the store that stands on two share (failover.c tells the whole story): the two stores,
 * whether the remote one can be asked, and the worker that mends what is not. No more than flags; nothing here waits or fails. */
#ifndef RCPTGATE_COUNTERS_FAILOVER_STATE_H
#define RCPTGATE_COUNTERS_FAILOVER_STATE_H

#include "memory.h"
#include "deny_cache.h"
#include "sys/worker.h"

struct failover_state {
    struct counters *remote; /* NULL: always away */
    struct memory *local;
    struct deny_cache *deny_cache; /* what remote has just refused */
    counters_now_fn *now;
    void *arg;
    atomic_bool pending;         /* remote is to be told of refusals or retries, when there is time */
    atomic_bool closed;          /* remote failed or restarted: it is not asked before it was told all */
    atomic_bool unsynced;        /* local admitted something in its place */
    atomic_uint_fast64_t synced; /* counters that were brought up to date in remote */
    struct worker *worker;       /* NULL: where remote is */
};

int64_t failover_state_now(const struct failover_state *state);

/* Sets what the worker is to look at, and wakes it when it was not set. */
void failover_state_note(struct failover_state *state, atomic_bool *what);

/* Has remote to be told what local admitted in its place? */
bool failover_state_behind(struct failover_state *state);

/* Is remote up, as far as is known? How often it restarted. */
bool failover_state_remote_up(const struct failover_state *state, unsigned *generation);

/* Can remote be asked? Not before it knows what it lost. */
bool failover_state_current(struct failover_state *state);

#endif
