/* limit_events: says that a limit was hit, in log and events: once a window for each subject, not for each RCPT. */
#ifndef RCPTGATE_MILTER_LIMIT_EVENTS_H
#define RCPTGATE_MILTER_LIMIT_EVENTS_H

#include "milter/decide.h"
#include "gate/events.h"

/* Harmless where no limit refused. */
void limit_events_add(struct events *events, const struct decision *decision);

#endif
