/* tripped: tells that a limit was tripped, in log and events: once a window for each subject, not for each RCPT. */
#ifndef RCPTGATE_TRIPPED_H
#define RCPTGATE_TRIPPED_H

#include "decide.h"
#include "events.h"

/* Harmless where no limit refused. */
void tripped_tell(struct events *events, const struct decision *decision);

#endif
