/* inspect: looks a Redis over before it is counted in, as the policy names it: whether it can be reached, what we may do there, and what
 * an operator should know of it. Asks once, waits some seconds at most for each address, and leaves nothing behind: to see what we may
 * do, it makes a key and removes it. */
#ifndef RCPTGATE_REDIS_INSPECT_H
#define RCPTGATE_REDIS_INSPECT_H

#include "base/redis_config.h"

#include <sys/socket.h>

struct redis_inspector {
    /* key: of the policy, "/counters/url". wrong: it does not work as it is; else it does, but. */
    void (*say)(void *arg, bool wrong, const char *key, const char *text);
    void (*reached)(void *arg, const struct sockaddr *address); /* each that the gate will speak to */
    void *arg;
};

/* Of a cluster, every master. */
void redis_inspect(const struct redis_config *config, const struct redis_inspector *inspector);

#endif
