/* maps: Postfix's tables, answered by the look-up that decides at RCPT: what the gate accepts Postfix can deliver.
 *
 *   domains   is this domain ours?
 *   aliases   where does mail for this address go?
 *
 * What is not there has the same proof as a 5xx at RCPT; what nobody can tell is TEMP, which delays mail. Served over a
 * socket of its own (policy: maps.socket), with threads of its own. */
#ifndef RCPTGATE_ADMIN_MAPS_H
#define RCPTGATE_ADMIN_MAPS_H

#include "gate/gate.h"

#include <stdbool.h>

struct maps;

/* Opens the socket that the policy in force names; where that cannot be done, it is a condition, and maps_look() tries
 * again. NULL: out of memory. */
struct maps *maps_new(struct gate *gate);

/* Now and then: is the socket still there, and of the right mode? Mends it. NULL is harmless. */
void maps_look(struct maps *maps);

/* False: a look-up is still under way, and uses the gate. NULL is harmless. */
bool maps_free(struct maps *maps);

#endif
