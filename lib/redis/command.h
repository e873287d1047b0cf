/* command: what is asked of Redis and how it went: a command, an answer (hiredis' redisReply), a status. */
#ifndef RCPTGATE_REDIS_COMMAND_H
#define RCPTGATE_REDIS_COMMAND_H

#include <hiredis/hiredis.h>
#include <stddef.h>
#include <stdint.h>

enum redis_status {
    REDIS_ANSWERED = 0, /* *reply is the answer (of any type, REDIS_REPLY_ERROR too) and the caller's to free.
                           Not called REDIS_OK: hiredis has a macro of that name (and of the same value) */
    REDIS_DOWN, /* nothing was done: not connected, not sent, or refused because of the node's state (LOADING,
                   OOM, READONLY, MASTERDOWN, MISCONF, BUSY, NOAUTH, NOPERM, NOREPLICAS, CLUSTERDOWN, MOVED, ASK,
                   TRYAGAIN, max clients ...) */
    REDIS_LOST, /* sent, but no answer came in time, or none that makes sense: it may have been done */
};

struct redis_command {
    int argc;
    const char *const *argv;
    const size_t *lens;
    int64_t deadline; /* of redis_client_deadline(), or an earlier one; 0: the timeout from now on */
};

#endif
