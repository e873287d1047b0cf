/* Owns copies of the strings; the password is wiped when the last reference goes. */
#include "redis_target.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static char *target_name(const struct sockaddr *addr)
{
    char host[INET6_ADDRSTRLEN] = "", name[INET6_ADDRSTRLEN + 16];
    if (addr->sa_family == AF_UNIX)
        return strdup(((const struct sockaddr_un *)(const void *)addr)->sun_path);
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)addr;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(name, sizeof name, "[%s]:%d", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const void *)addr;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(name, sizeof name, "%s:%d", host, ntohs(in->sin_port));
    }
    return strdup(name);
}

static void target_free(struct redis_target *target)
{
    if (target->password != NULL)
        explicit_bzero(target->password, strlen(target->password));
    free(target->password);
    free(target->user);
    free(target->name);
    free(target);
}

struct redis_target *redis_target_new(const struct sockaddr *addr, socklen_t addr_len, int db,
                                      const char *user, const char *password)
{
    struct redis_target *target = calloc(1, sizeof *target);
    if (target == NULL)
        return NULL;
    atomic_init(&target->refs, 1);
    memcpy(&target->addr, addr, addr_len);
    target->addr_len = addr_len;
    target->db = db;
    target->user = user != NULL ? strdup(user) : NULL;
    target->password = password != NULL ? strdup(password) : NULL;
    target->name = target_name(addr);
    if (target->name == NULL || (user != NULL && target->user == NULL) ||
        (password != NULL && target->password == NULL)) {
        target_free(target);
        return NULL;
    }
    return target;
}

struct redis_target *redis_target_ref(struct redis_target *target)
{
    atomic_fetch_add(&target->refs, 1);
    return target;
}

void redis_target_unref(struct redis_target *target)
{
    if (target != NULL && atomic_fetch_sub(&target->refs, 1) == 1)
        target_free(target);
}
