/* resolver: one look-up of a host name in a thread of its own, since getaddrinfo() knows no timeout. The
 * asker may go away at any time; a look-up that hangs then ends by itself. */
#ifndef RCPTGATE_REDIS_RESOLVER_H
#define RCPTGATE_REDIS_RESOLVER_H

#include "base/error.h"

#include <netdb.h>
#include <stdbool.h>

struct resolver;

/* Starts the look-up; NULL with err set when out of memory, threads or descriptors. */
struct resolver *resolver_new(const char *host, int port, struct error *err);

/* Readable as soon as the look-up has ended. */
int resolver_fd(const struct resolver *resolver);
bool resolver_done(struct resolver *resolver);

/* When done: the addresses (TCP; they belong to the resolver), or NULL with err set. */
const struct addrinfo *resolver_result(struct resolver *resolver, struct error *err);

void resolver_free(struct resolver *resolver); /* at any time; NULL is harmless */

#endif
