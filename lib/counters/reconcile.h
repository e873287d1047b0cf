/* reconcile: how remote learns what it does not know: what local admitted in its place, once; which RCPTs were deferred; how
 * often it would have refused, had it been asked. All of it is the failover's one worker's. */
#ifndef RCPTGATE_COUNTERS_RECONCILE_H
#define RCPTGATE_COUNTERS_RECONCILE_H

#include "failover_state.h"

struct reconcile;

struct reconcile *reconcile_new(struct failover_state *state); /* NULL: out of memory. Borrows the state */
void reconcile_free(struct reconcile *reconcile); /* what was under way is unsynced again; NULL is harmless */

/* Tells remote all that it does not know at the sites where it is up, again while local goes on admitting, a few times: the less the
 * shorter. False: there is no such site. */
bool reconcile_run(struct reconcile *reconcile);

/* Once more, while local admits nothing; where remote has been told all by then, it may be asked again. */
void reconcile_open(struct reconcile *reconcile);

/* Deferrals and refusals, in batches. What could not be told is noted as pending. */
void reconcile_notify(struct reconcile *reconcile);

#endif
