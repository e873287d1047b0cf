/* web: /, /metrics, /healthz and /status.json, where http.listen says.
 *
 * Follows the policy when the address changes, and tries again every 5 s where the port cannot be had: that is a
 * note in the conditions (CONDITION_HTTP), and no more. Used by one thread. */
#ifndef RCPTGATE_ADMIN_WEB_H
#define RCPTGATE_ADMIN_WEB_H

#include "gate/gate.h"

struct web;

/* Nothing is served yet. NULL: out of memory. */
struct web *web_new(struct gate *gate);
void web_free(struct web *web); /* ends the server; NULL is harmless */

/* Starts, moves or ends the server where the policy says so; costs nothing where it does not. An old server ends
 * when its answers under way are given, each of which waits for Redis once at most. NULL is harmless. */
void web_look(struct web *web);

#endif
