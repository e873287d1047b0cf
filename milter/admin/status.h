/* status: all that the gate can say about itself, as JSON, and as Prometheus scrapes it. */
#ifndef RCPTGATE_ADMIN_STATUS_H
#define RCPTGATE_ADMIN_STATUS_H

#include "admin/health.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* health_report(), and: version, host, pid, uptime, mode, policy and alias data in force with their age, the
 * counter store, rates and totals, what was lost, what was wrong before, recent events. subjects: addresses
 * of people may be in it. NULL: out of memory. */
json_t *status_report(struct gate *gate, bool subjects);

/* Everything that /metrics says. */
void status_print_metrics(FILE *out, struct gate *gate);

#endif
