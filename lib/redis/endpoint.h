/* endpoint: where to connect and as whom. Never changes once made; shared by counting references, so that the
 * pipelines go on with the old one while the connector makes the next. */
#ifndef RCPTGATE_REDIS_ENDPOINT_H
#define RCPTGATE_REDIS_ENDPOINT_H

#include "tls.h"

#include <stdatomic.h>
#include <sys/socket.h>

struct redis_endpoint {
    atomic_int refs;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    int db;
    char *user, *password; /* NULL: none */
    struct redis_tls *tls; /* NULL: plain text */
    char *host;            /* whom the certificate must name */
    char *name;            /* for people: "192.0.2.1:6379", "[2001:db8::1]:6379", "/run/redis.sock" */
};

struct redis_login { /* as whom, and how; all but db may be NULL. Copied, with a reference to tls */
    int db;
    const char *user, *password;
    const char *host; /* whom the certificate must name */
    const char *note; /* behind the name */
    struct redis_tls *tls;
};

/* With one reference; NULL when out of memory. */
struct redis_endpoint *redis_endpoint_new(const struct sockaddr *addr, socklen_t addr_len,
                                          const struct redis_login *login);
struct redis_endpoint *redis_endpoint_ref(struct redis_endpoint *endpoint);
void redis_endpoint_unref(struct redis_endpoint *endpoint); /* NULL is harmless */

#endif
