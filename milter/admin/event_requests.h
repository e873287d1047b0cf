/* event_requests: the last events of all hosts, from the stream in Redis, and of this gate, from its memory: each once. */
#ifndef RCPTGATE_ADMIN_EVENT_REQUESTS_H
#define RCPTGATE_ADMIN_EVENT_REQUESTS_H

#include "gate/gate.h"

#include <jansson.h>

enum { EVENT_REQUESTS_MOST = 1000 };

/* {"do": "events", "n": how many at most, "cursor": of the answer before, for what came since}. The answer: {"events": [...],
 * the oldest first, "cursor": ..., "stream": "" or why the stream in Redis is not in it}. */
json_t *event_requests_answer(struct gate *gate, const json_t *request);

/* What two tellings of one event have in common, and two events do not. malloc'd; NULL: out of memory. */
char *event_requests_key(const json_t *event);

#endif
