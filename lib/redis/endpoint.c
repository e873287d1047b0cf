/* endpoint: owns copies of the strings; the password is wiped when the last reference goes. */
#include "endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static char *endpoint_name(const struct sockaddr *addr, const char *note)
{
    char host[INET6_ADDRSTRLEN] = "", name[INET6_ADDRSTRLEN + 40];
    if (addr->sa_family == AF_UNIX)
        return strdup(((const struct sockaddr_un *)(const void *)addr)->sun_path);
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)addr;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(name, sizeof name, "[%s]:%d%s", host, ntohs(in6->sin6_port), note);
    } else {
        const struct sockaddr_in *in = (const void *)addr;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(name, sizeof name, "%s:%d%s", host, ntohs(in->sin_port), note);
    }
    return strdup(name);
}

static void endpoint_free(struct redis_endpoint *endpoint)
{
    if (endpoint->password != NULL)
        explicit_bzero(endpoint->password, strlen(endpoint->password));
    free(endpoint->password);
    free(endpoint->user);
    free(endpoint->name);
    free(endpoint->host);
    redis_tls_unref(endpoint->tls);
    free(endpoint);
}

/* False: out of memory. */
static bool copy(char **out, const char *string)
{
    *out = string != NULL ? strdup(string) : NULL;
    return string == NULL || *out != NULL;
}

struct redis_endpoint *redis_endpoint_new(const struct sockaddr *addr, socklen_t addr_len,
                                          const struct redis_login *login)
{
    struct redis_endpoint *endpoint = calloc(1, sizeof *endpoint);
    if (endpoint == NULL)
        return NULL;
    atomic_init(&endpoint->refs, 1);
    memcpy(&endpoint->addr, addr, addr_len);
    endpoint->addr_len = addr_len;
    endpoint->db = login->db;
    endpoint->tls = redis_tls_ref(login->tls);
    endpoint->name = endpoint_name(addr, login->note != NULL ? login->note : "");
    if (endpoint->name == NULL || !copy(&endpoint->user, login->user) ||
        !copy(&endpoint->password, login->password) || !copy(&endpoint->host, login->host)) {
        endpoint_free(endpoint);
        return NULL;
    }
    return endpoint;
}

struct redis_endpoint *redis_endpoint_ref(struct redis_endpoint *endpoint)
{
    atomic_fetch_add(&endpoint->refs, 1);
    return endpoint;
}

void redis_endpoint_unref(struct redis_endpoint *endpoint)
{
    if (endpoint != NULL && atomic_fetch_sub(&endpoint->refs, 1) == 1)
        endpoint_free(endpoint);
}
