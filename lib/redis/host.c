/* host: owns the look-up. Addresses need none. */
#include "host.h"

#include "resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

enum { RESOLVE_MS = 1500 };

static bool host_literal(const struct redis_host *host, struct redis_host_address *out)
{
    *out = (struct redis_host_address){0};
    if (host->path != NULL) {
        struct sockaddr_un *un = (void *)&out->addr;
        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof un->sun_path, "%s", host->path);
        out->len = sizeof *un;
        return true;
    }
    struct sockaddr_in *in = (void *)&out->addr;
    if (inet_pton(AF_INET, host->name, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)host->port);
        out->len = sizeof *in;
        return true;
    }
    struct sockaddr_in6 *in6 = (void *)&out->addr;
    *out = (struct redis_host_address){0};
    if (inet_pton(AF_INET6, host->name, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)host->port);
        out->len = sizeof *in6;
        return true;
    }
    return false;
}

static void host_take_result(struct redis_host *host, struct error *err)
{
    const struct addrinfo *info = resolver_result(host->resolver, err);
    if (info != NULL)
        host->n_addresses = 0;
    for (; info != NULL && host->n_addresses < HOST_ADDRESSES; info = info->ai_next) {
        struct redis_host_address *address = &host->addresses[host->n_addresses++];
        memcpy(&address->addr, info->ai_addr, info->ai_addrlen);
        address->len = info->ai_addrlen;
    }
    resolver_free(host->resolver);
    host->resolver = NULL;
}

int redis_host_resolve(struct redis_host *host, int wake_fd, struct error *err)
{
    struct redis_host_address literal;
    if (host->path != NULL && strlen(host->path) >= sizeof((struct sockaddr_un *)NULL)->sun_path) {
        error_set(err, "the path %s is too long for a unix socket", host->path);
        return -1;
    }
    if (host_literal(host, &literal)) {
        host->addresses[0] = literal;
        host->n_addresses = 1;
        return 0;
    }
    if (host->resolver == NULL)
        host->resolver = resolver_new(host->name, host->port, err);
    if (host->resolver != NULL) {
        struct pollfd fds[] = {{.fd = resolver_fd(host->resolver), .events = POLLIN},
                               {.fd = wake_fd, .events = POLLIN}};
        (void)poll(fds, 2, RESOLVE_MS); /* what counts is whether it is done */
        if (resolver_done(host->resolver))
            host_take_result(host, err);
        else
            error_set(err, "the look-up of %s has not ended yet: see the name service of this host",
                      host->name);
    }
    return host->n_addresses > 0 ? 0 : -1;
}

void redis_host_done(struct redis_host *host)
{
    resolver_free(host->resolver);
    *host = (struct redis_host){0};
}
