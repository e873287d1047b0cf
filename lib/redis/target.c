/* target: owns the look-up. Addresses need none. */
#include "target.h"

#include "resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

enum { RESOLVE_MS = 1500 };

static bool target_literal(const struct redis_target *target, struct redis_target_address *out)
{
    *out = (struct redis_target_address){0};
    if (target->path != NULL) {
        struct sockaddr_un *un = (void *)&out->addr;
        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof un->sun_path, "%s", target->path);
        out->len = sizeof *un;
        return true;
    }
    struct sockaddr_in *in = (void *)&out->addr;
    if (inet_pton(AF_INET, target->host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)target->port);
        out->len = sizeof *in;
        return true;
    }
    struct sockaddr_in6 *in6 = (void *)&out->addr;
    *out = (struct redis_target_address){0};
    if (inet_pton(AF_INET6, target->host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)target->port);
        out->len = sizeof *in6;
        return true;
    }
    return false;
}

static void target_take_result(struct redis_target *target, struct error *err)
{
    const struct addrinfo *info = resolver_result(target->resolver, err);
    if (info != NULL)
        target->n_addresses = 0;
    for (; info != NULL && target->n_addresses < TARGET_ADDRESSES; info = info->ai_next) {
        struct redis_target_address *address = &target->addresses[target->n_addresses++];
        memcpy(&address->addr, info->ai_addr, info->ai_addrlen);
        address->len = info->ai_addrlen;
    }
    resolver_free(target->resolver);
    target->resolver = NULL;
}

int redis_target_resolve(struct redis_target *target, int wake_fd, struct error *err)
{
    struct redis_target_address literal;
    if (target->path != NULL && strlen(target->path) >= sizeof((struct sockaddr_un *)NULL)->sun_path) {
        error_set(err, "the path %s is too long for a unix socket", target->path);
        return -1;
    }
    if (target_literal(target, &literal)) {
        target->addresses[0] = literal;
        target->n_addresses = 1;
        return 0;
    }
    if (target->resolver == NULL)
        target->resolver = resolver_new(target->host, target->port, err);
    if (target->resolver != NULL) {
        struct pollfd fds[] = {{.fd = resolver_fd(target->resolver), .events = POLLIN},
                               {.fd = wake_fd, .events = POLLIN}};
        (void)poll(fds, 2, RESOLVE_MS); /* what counts is whether it is done */
        if (resolver_done(target->resolver))
            target_take_result(target, err);
        else
            error_set(err, "the look-up of %s has not ended yet: see the name service of this host",
                      target->host);
    }
    return target->n_addresses > 0 ? 0 : -1;
}

void redis_target_done(struct redis_target *target)
{
    resolver_free(target->resolver);
    *target = (struct redis_target){0};
}
