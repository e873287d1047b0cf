/* failover_state: see failover_state.h. */
#include "failover_state.h"

int64_t failover_state_now(const struct failover_state *state)
{
    return state->now(state->arg);
}

void failover_state_note(struct failover_state *state, atomic_bool *what)
{
    if (!atomic_exchange(what, true))
        worker_wake(state->worker);
}

bool failover_state_behind(struct failover_state *state)
{
    return atomic_load(&state->closed) || atomic_load(&state->unsynced);
}

bool failover_state_remote_up(const struct failover_state *state, unsigned *generation)
{
    *generation = 0;
    return state->remote->ops->up == NULL || state->remote->ops->up(state->remote, generation);
}

bool failover_state_current(struct failover_state *state)
{
    unsigned generation;
    if (state->remote == NULL || atomic_load(&state->closed))
        return false;
    if (!failover_state_remote_up(state, &generation) || generation == atomic_load(&state->local->generation))
        return true; /* where it is down it says so at once */
    failover_state_note(state, &state->closed);
    return false;
}
