/* requests: what the running gate answers over its control socket, as JSON.
 *
 * A command where no gate runs makes the same JSON with the same functions (see ask.h). */
#ifndef RCPTGATE_ADMIN_REQUESTS_H
#define RCPTGATE_ADMIN_REQUESTS_H

#include "gate/gate.h"

#include <jansson.h>

/* Answers a request: {"do": "show", "subjects": [...]}, "reset" (also "limit"), "top" ("limit", "n"), "refused" (also "by"), "events", "explain"
 * ("to", "from", "client", "user", "size"), "status", "alias-accept", and those of block_requests.h. Always an
 * object; {"error": text} when it could not be done. */
json_t *requests_answer(struct gate *gate, const json_t *request);

/* Who can answer where no gate runs. */
enum requests_alone {
    REQUESTS_ALONE_COUNTERS, /* a command, where the counters can be reached */
    REQUESTS_ALONE_NEVER,    /* only a gate that runs */
    REQUESTS_ALONE_ALWAYS,   /* a command */
    REQUESTS_ALONE_BLOCKS,   /* a command, where it can have the state directory */
};
enum requests_alone requests_alone(const json_t *request);

#endif
