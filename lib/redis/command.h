/* command: what is asked of Redis and how it went: a command, an answer (hiredis' redisReply), a status. */
#ifndef RCPTGATE_REDIS_COMMAND_H
#define RCPTGATE_REDIS_COMMAND_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum redis_status {
    REDIS_ANSWERED = 0, /* *reply is the answer (of any type, REDIS_REPLY_ERROR too) and the caller's to free.
                           Not called REDIS_OK: hiredis has a macro of that name (and of the same value) */
    REDIS_DOWN, /* nothing was done: not connected, not sent, or refused because of the node's state (LOADING,
                   OOM, READONLY, MASTERDOWN, MISCONF, BUSY, NOAUTH, NOPERM, NOREPLICAS, CLUSTERDOWN, max clients ...; MOVED, ASK and
                   TRYAGAIN of what is not used as a cluster) */
    REDIS_SPLIT, /* nothing was done: the keys of this call, all of one slot, are on their way from one node to another, and not at the
                    same (TRYAGAIN): each alone can be asked for */
    REDIS_LOST, /* sent, but no answer came in time, or none that makes sense, or the ACL stopped a script midway: it may have been
                    done */
};

enum { REDIS_JOINT_MOST = 32 }; /* so many at most become one call: a third of a millisecond or so */

struct redis_command {
    int argc;
    const char *const *argv;
    const size_t *lens;
    int64_t deadline; /* of redis_client_deadline(), or an earlier one; 0: the timeout from now on */
    bool joins;       /* may become one call with others: see redis_client_eval() */
    bool repeats;     /* a script that has counted nothing wherever the ACL may stop it: then REDIS_DOWN */
};

#endif
