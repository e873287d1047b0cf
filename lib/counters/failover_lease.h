/* failover_lease: what of a request is answered from leases (lease.h), and what is left to be asked. */
#ifndef RCPTGATE_COUNTERS_FAILOVER_LEASE_H
#define RCPTGATE_COUNTERS_FAILOVER_LEASE_H

#include "failover_state.h"

/* Asks what is left: as failover_lease_reserve(). */
typedef enum counters_status failover_lease_ask_fn(void *arg, const struct count_request *request,
                                                   int64_t now_ms, struct count_answer *answers);

/* As counters_reserve(). A leased unit is charged already; where the rest refuses, it goes back, or its receipt stays in the answer. */
enum counters_status failover_lease_reserve(struct failover_state *state, failover_lease_ask_fn *ask,
                                            void *arg, const struct count_request *request, int64_t now_ms,
                                            struct count_answer *answers);

/* Gives back in remote what is left of leases that have ended. What cannot be, or may have been, leaves with its window. */
void failover_lease_return(struct failover_state *state);

#endif
