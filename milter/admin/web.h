/* web: /, /metrics, /healthz and /status.json, where http.listen says.
 *
 * A thread of its own starts the server, follows the policy when the address changes, and tries again every 5
 * s where the port cannot be had: that is a note in the conditions (CONDITION_HTTP), and no more. */
#ifndef RCPTGATE_ADMIN_WEB_H
#define RCPTGATE_ADMIN_WEB_H

#include "gate/gate.h"

struct web;

/* NULL with err set when out of memory or threads. */
struct web *web_start(struct gate *gate, struct error *err);
void web_stop(struct web *web); /* NULL is harmless */

#endif
