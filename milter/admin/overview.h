/* overview: what the page shows: the status, and more than programs ask for.
 *
 * {"status": as status_report(), "subjects": may addresses be shown, "lately": events; and where they may:
 * "refused_by": {"client", "sender", "rule"} as refusals_report(), "top" as top_report(), of the counters in this process,
 * "blocked": {"blocks", "more"}, "asked": {"to", "from", "client"} and "explained": as `explain`, where something was asked} */
#ifndef RCPTGATE_ADMIN_OVERVIEW_H
#define RCPTGATE_ADMIN_OVERVIEW_H

#include "gate/gate.h"

#include <jansson.h>

struct overview_question { /* what somebody typed; NULL: nothing */
    const char *to, *from, *client;
};

/* NULL: out of memory. Takes as long as two RCPTs, and a look at what this process counts. */
json_t *overview_report(struct gate *gate, bool subjects, const struct overview_question *question);

#endif
