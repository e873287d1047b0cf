/* host: a host and a port, or a path, that is connected to, and the addresses that its name had last. For one thread. */
#ifndef RCPTGATE_REDIS_HOST_H
#define RCPTGATE_REDIS_HOST_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/socket.h>

struct resolver;

enum { HOST_ADDRESSES = 8 };

struct redis_host_address {
    struct sockaddr_storage addr;
    socklen_t len;
};

struct redis_host {   /* zeroed, but for: */
    const char *name; /* borrowed; or */
    const char *path; /* of a unix socket */
    int port;
    struct redis_host_address addresses[HOST_ADDRESSES];
    int n_addresses;
    struct resolver *resolver; /* a look-up under way */
};

/* Looks the name up, for some seconds at most, and not while wake_fd is readable. A look-up that hangs is left to itself, at most one
 * at a time; meanwhile the addresses of the last one serve. 0, or -1 where there is none; err says why the name could not
 * be looked up in either case. */
int redis_host_resolve(struct redis_host *host, int wake_fd, struct error *err);

void redis_host_done(struct redis_host *host); /* then it is as zeroed */

#endif
