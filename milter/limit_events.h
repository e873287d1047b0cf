/* limit_events: says that a limit was hit, in log and events: once a window for each subject, not for each RCPT. */
#ifndef RCPTGATE_MILTER_LIMIT_EVENTS_H
#define RCPTGATE_MILTER_LIMIT_EVENTS_H

#include "milter/decide.h"
#include "gate/events.h"
#include "gate/refusals.h"

/* Harmless where no limit refused. refusals: who they hit, this decision among them. */
void limit_events_add(struct events *events, struct refusals *refusals, const struct decision *decision);

/* The key under which that limit was over; shares have the limit of their own ask. The backlog has no keys: buffer gets what
 * one would be called. */
enum { LIMIT_EVENTS_KEY = 2048 };
const char *limit_events_key(const struct decision *decision, const struct limit *limit,
                             char buffer[LIMIT_EVENTS_KEY]);

#endif
