/* failover_lease: see failover_lease.h. Owns nothing; what is leased there is counted here RCPT by RCPT, as all that remote admitted. */
#include "failover_lease.h"

#include "base/clock.h"
#include "base/unzeroed.h"

enum { MOST = 16 }; /* asks of a request; one with more has no leases */

struct split { /* a request in two */
    bool leased[MOST];
    size_t at[MOST]; /* of each ask that is left, its index in the request */
    struct count_ask asks[MOST], locals[MOST];
    struct count_answer answers[MOST];
    size_t n;
};

/* Asks remote for units. True: one of them is for this ask. */
static bool unit_lease(struct failover_state *state, unsigned site, const struct leases_ticket *ticket,
                       const struct count_ask *ask, int64_t now_ms, int64_t deadline,
                       struct count_answer *out)
{
    struct lease_grant grant;
    enum counters_status status = state->remote->ops->lease(state->remote, ask, ticket->wanted, &ticket->rest,
                                                            now_ms, deadline, &grant);
    if (status == COUNTERS_DOWN || status == COUNTERS_UNSURE)
        failover_state_close(state, site);
    if (status == COUNTERS_OK)
        deny_cache_drop(state->deny_cache, ask->key); /* as for any charge */
    return leases_grant(state->leases, ticket, ask, status == COUNTERS_OK ? &grant : NULL,
                        clock_monotonic_ns(), out);
}

static bool unit_take(struct failover_state *state, const struct count_ask *ask, int64_t now_ms,
                      int64_t deadline, struct count_answer *out)
{
    struct leases_ticket ticket;
    unsigned site = store_site(state->remote, ask->key);
    unsigned generation =
        atomic_load(&state->generations[site]); /* before it is asked whether that is over */
    if (!failover_state_current(state, site))
        return false;
    return leases_take(state->leases, ask, generation, clock_monotonic_ns(), out, &ticket) ||
           (ticket.wanted > 0 && unit_lease(state, site, &ticket, ask, now_ms, deadline, out));
}

/* What is left of a request, as asks of their own. A share and what it is a share of are both left. */
static struct count_request split_rest(struct split *split, const struct count_request *request)
{
    struct count_request rest = *request;
    int place[MOST];
    split->n = 0;
    for (size_t i = 0; i < request->n; i++) {
        if (split->leased[i])
            continue;
        struct count_ask *ask = &split->asks[split->n], *local = &split->locals[split->n];
        place[i] = (int)split->n;
        split->at[split->n++] = i;
        *ask = request->asks[i];
        *local = request->local != NULL ? request->local[i] : *ask;
        if (ask->share_of >= 0)
            ask->share_of = local->share_of = place[ask->share_of];
    }
    rest.asks = split->asks;
    rest.local = request->local != NULL ? split->locals : NULL;
    rest.n = split->n;
    return rest;
}

/* What was leased, is counted here, too. */
static void split_record(struct failover_state *state, struct split *split,
                         const struct count_request *request, int64_t now_ms, struct count_answer *answers)
{
    struct counters *local = &state->local->counters;
    size_t n = 0;
    for (size_t i = 0; i < request->n; i++)
        if (split->leased[i]) {
            split->asks[n] = request->asks[i];
            split->answers[n++] = answers[i];
        }
    const struct count_request leased = {.asks = split->asks, .n = n};
    (void)local->ops->ask(local, COUNTERS_RECORD, &leased, now_ms, split->answers);
    for (size_t i = 0, k = 0; i < request->n; i++)
        if (split->leased[i])
            answers[i].here = split->answers[k++].here;
}

static void split_put_back(struct failover_state *state, const struct split *split,
                           const struct count_request *request, struct count_answer *answers)
{
    int64_t now_ns = clock_monotonic_ns();
    for (size_t i = 0; i < request->n; i++)
        if (split->leased[i] && leases_put_back(state->leases, &request->asks[i], &answers[i], now_ns))
            answers[i].slot = -1;
}

static bool is_refused(const struct count_request *request, const struct count_answer *answers)
{
    for (size_t i = 0; i < request->n; i++)
        if ((answers[i].result == COUNT_OVER || answers[i].result == COUNT_HELD) &&
            (request->asks[i].flags & COUNT_SHADOW) == 0)
            return true;
    return false;
}

/* Takes what can be had from leases. False: nothing. */
static bool split_take(struct failover_state *state, struct split *split, const struct count_request *request,
                       int64_t now_ms, struct count_answer *answers)
{
    bool any = false;
    if (state->remote == NULL || state->remote->ops->lease == NULL || request->n > MOST)
        return false;
    for (size_t i = 0; i < request->n; i++) {
        split->leased[i] = lease_is_for(request, i) &&
                           unit_take(state, &request->asks[i], now_ms, request->deadline, &answers[i]);
        any = any || split->leased[i];
    }
    return any;
}

enum counters_status failover_lease_reserve(struct failover_state *state, failover_lease_ask_fn *ask,
                                            void *arg, const struct count_request *request, int64_t now_ms,
                                            struct count_answer *answers)
{
    struct split split UNZEROED;
    if (!split_take(state, &split, request, now_ms, answers))
        return ask(arg, request, now_ms, answers);
    const struct count_request rest = split_rest(&split, request);
    enum counters_status status = rest.n > 0 ? ask(arg, &rest, now_ms, split.answers) : COUNTERS_OK;
    bool refused = is_refused(&rest, split.answers);
    for (size_t k = 0; k < split.n; k++)
        answers[split.at[k]] = split.answers[k];
    if (refused)
        split_put_back(state, &split, request, answers);
    else
        split_record(state, &split, request, now_ms, answers);
    return status;
}

static void return_rest(void *arg, struct count_change *rest, unsigned generation)
{
    struct failover_state *state = arg;
    unsigned site = store_site(state->remote, rest->key);
    if (!failover_state_current(state, site) || generation != atomic_load(&state->generations[site]))
        return;
    if (state->remote->ops->change(state->remote, rest, 1, failover_state_now(state)) != COUNTERS_OK)
        failover_state_close(state, site); /* who stops waits once */
    deny_cache_drop(state->deny_cache, rest->key); /* it may fit now */
}

void failover_lease_return(struct failover_state *state)
{
    leases_each_rest(state->leases, clock_monotonic_ns(), return_rest, state);
}
