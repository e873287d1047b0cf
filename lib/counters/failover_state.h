/* failover_state: what the parts of the store that stands on two share (failover.c tells the whole story): the two stores,
 * for each site of the remote one whether it can be asked, and the worker that mends what cannot. No more than flags; nothing here
 * waits or fails. */
#ifndef RCPTGATE_COUNTERS_FAILOVER_STATE_H
#define RCPTGATE_COUNTERS_FAILOVER_STATE_H

#include "memory.h"
#include "deny_cache.h"
#include "leases.h"
#include "sys/worker.h"

struct failover_site {
    atomic_bool closed;       /* remote failed or restarted there: it is not asked before it was told all */
    atomic_bool unsynced;     /* local admitted something in its place */
    _Atomic int64_t back_ms;  /* when it was opened last */
    _Atomic int64_t since_ns; /* since when it is behind (monotonic), as the worker saw it; 0: it is not */
};

struct failover_state {
    struct counters *remote; /* NULL: always away */
    struct memory *local;
    struct deny_cache *deny_cache; /* what remote has just refused */
    struct leases *leases;         /* what is charged in remote ahead */
    counters_now_fn *now;
    void *arg;
    unsigned n_sites; /* of remote */
    struct failover_site *sites;
    atomic_uint *generations;    /* of each: how often remote had restarted when it was last told all */
    atomic_bool pending;         /* remote is to be told of refusals or retries, when there is time */
    atomic_bool behind;          /* some site is closed or unsynced */
    atomic_uint_fast64_t synced; /* counters that were brought up to date in remote */
    struct worker *worker;       /* NULL: where remote is */
};

int failover_state_init(
    struct failover_state *state); /* -1: out of memory; failover_state_done() is due all the same */
void failover_state_done(struct failover_state *state);

int64_t failover_state_now(const struct failover_state *state);

/* Sets what the worker is to look at, and wakes it when it was not set. */
void failover_state_note(struct failover_state *state, atomic_bool *what);

/* From now on remote is not asked there; or it is, but lacks what local admitted. */
void failover_state_close(struct failover_state *state, unsigned site);
void failover_state_unsync(struct failover_state *state, unsigned site);

/* Has remote to be told there what local admitted in its place? */
bool failover_state_is_behind(const struct failover_state *state, unsigned site);

/* Dates the sites that are behind. For the worker. */
void failover_state_date(struct failover_state *state);

/* The same of all sites, where it can be told now or (any) not. */
bool failover_state_any_behind(struct failover_state *state, bool any);

/* Is remote up there, as far as is known? How often it restarted. */
bool failover_state_remote_up(const struct failover_state *state, unsigned site, unsigned *generation);

/* Can remote be asked? Not before it knows what it lost. */
bool failover_state_current(struct failover_state *state, unsigned site);

#endif
