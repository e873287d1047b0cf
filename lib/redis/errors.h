/* errors: error replies that tell of the node's state and not of the command: nothing was done, and
 * asking again at once is no use. Anything else that a script or a command answers is no refusal. */
#ifndef RCPTGATE_REDIS_ERRORS_H
#define RCPTGATE_REDIS_ERRORS_H

#include "base/error.h"

#include <stdbool.h>

enum redis_error {
    REDIS_ERROR_NONE = 0, /* an ordinary answer */
    REDIS_ERROR_NODE,     /* the node can serve nobody now */
    REDIS_ERROR_SLOT,     /* of a cluster: the node does not serve this slot now, others it may */
    REDIS_ERROR_COMMAND,  /* the ACL forbids this command or key; others may pass */
};

/* text: an error reply. out (may be NULL) gets who said it, what it says and what to do. */
enum redis_error redis_errors_find(const char *text, const char *who, struct error *out);

/* The same text: may the script that it stopped have written before? It is asked of a REDIS_ERROR_COMMAND. */
bool redis_errors_is_midway(const char *text);

#endif
