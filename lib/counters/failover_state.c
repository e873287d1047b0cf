/* failover_state: see failover_state.h. Owns the flags of the sites. */
#include "failover_state.h"

#include "base/clock.h"

#include <stdlib.h>

int failover_state_init(struct failover_state *state)
{
    state->n_sites = store_sites(state->remote);
    state->sites = calloc(state->n_sites, sizeof *state->sites);
    state->generations = calloc(state->n_sites, sizeof *state->generations);
    if (state->sites == NULL || state->generations == NULL)
        return -1;
    state->local->remote = state->remote;
    state->local->generations = state->generations;
    return 0;
}

void failover_state_done(struct failover_state *state)
{
    free(state->sites);
    free(state->generations);
}

int64_t failover_state_now(const struct failover_state *state)
{
    return state->now(state->arg);
}

void failover_state_note(struct failover_state *state, atomic_bool *what)
{
    if (!atomic_exchange(what, true))
        worker_wake(state->worker);
}

void failover_state_close(struct failover_state *state, unsigned site)
{
    atomic_store(&state->sites[site].closed, true);
    failover_state_note(state, &state->behind);
}

void failover_state_unsync(struct failover_state *state, unsigned site)
{
    atomic_store(&state->sites[site].unsynced, true);
    failover_state_note(state, &state->behind);
}

bool failover_state_is_behind(const struct failover_state *state, unsigned site)
{
    return atomic_load(&state->sites[site].closed) || atomic_load(&state->sites[site].unsynced);
}

void failover_state_date(struct failover_state *state)
{
    int64_t now = clock_monotonic_ns();
    for (unsigned site = 0; site < state->n_sites; site++) {
        bool behind = failover_state_is_behind(state, site);
        _Atomic int64_t *since = &state->sites[site].since_ns;
        if (behind != (atomic_load(since) != 0))
            atomic_store(since, behind ? now : 0);
    }
}

bool failover_state_any_behind(struct failover_state *state, bool any)
{
    unsigned generation;
    for (unsigned site = 0; site < state->n_sites; site++)
        if (failover_state_is_behind(state, site) &&
            (any || failover_state_remote_up(state, site, &generation)))
            return true;
    return false;
}

bool failover_state_remote_up(const struct failover_state *state, unsigned site, unsigned *generation)
{
    *generation = 0;
    return state->remote->ops->up == NULL || state->remote->ops->up(state->remote, site, generation);
}

bool failover_state_current(struct failover_state *state, unsigned site)
{
    unsigned generation;
    if (state->remote == NULL || atomic_load(&state->sites[site].closed))
        return false;
    if (!failover_state_remote_up(state, site, &generation) ||
        generation == atomic_load(&state->generations[site]))
        return true; /* where it is down it says so at once */
    failover_state_close(state, site);
    return false;
}
