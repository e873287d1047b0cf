/* resolver: shared by the asker and a detached thread, each with a reference; the last one cleans up. */
#include "resolver.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { STACK_BYTES = 8 << 20 };

struct resolver {
    atomic_int refs;
    atomic_bool done; /* what follows is written before it, and not after */
    int rc, error;
    struct addrinfo *result;
    int fd;
    char port[16];
    char host[]; /* NUL-terminated */
};

static void resolver_unref(struct resolver *resolver)
{
    if (atomic_fetch_sub(&resolver->refs, 1) != 1)
        return;
    if (resolver->result != NULL)
        freeaddrinfo(resolver->result);
    close(resolver->fd);
    free(resolver);
}

static void *resolver_main(void *arg)
{
    struct resolver *resolver = arg;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *result = NULL;
    int rc = getaddrinfo(resolver->host, resolver->port, &hints, &result);
    resolver->error = errno;
    resolver->rc = rc;
    resolver->result = rc == 0 ? result : NULL;
    atomic_store(&resolver->done, true);
    const uint64_t one = 1;
    if (write(resolver->fd, &one, sizeof one) != (ssize_t)sizeof one)
        perror("eventfd"); /* cannot fail: the counter is far from its end */
    resolver_unref(resolver);
    return NULL;
}

/* Detached, with a stack of the usual size whatever the process gives its threads: who knows what modules a
 * name service has. */
static int thread_start(struct resolver *resolver)
{
    pthread_t thread;
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc != 0)
        return rc;
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, resolver_main, resolver);
    (void)pthread_attr_destroy(&attr);
    return rc;
}

struct resolver *resolver_new(const char *host, int port, struct error *err)
{
    size_t size = strlen(host) + 1;
    struct resolver *resolver = calloc(1, sizeof *resolver + size);
    if (resolver == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    memcpy(resolver->host, host, size);
    snprintf(resolver->port, sizeof resolver->port, "%d", port);
    atomic_init(&resolver->refs, 2);
    atomic_init(&resolver->done, false);
    resolver->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (resolver->fd < 0) {
        error_set(err, "cannot look up %s: %s", host, strerror(errno));
        free(resolver);
        return NULL;
    }
    int error = thread_start(resolver);
    if (error != 0) {
        error_set(err, "cannot look up %s: %s", host, strerror(error));
        close(resolver->fd);
        free(resolver);
        return NULL;
    }
    return resolver;
}

int resolver_fd(const struct resolver *resolver)
{
    return resolver->fd;
}

bool resolver_done(struct resolver *resolver)
{
    return atomic_load(&resolver->done);
}

const struct addrinfo *resolver_result(struct resolver *resolver, struct error *err)
{
    if (resolver->result == NULL)
        error_set(err, "cannot look up %s: %s", resolver->host,
                  resolver->rc == EAI_SYSTEM ? strerror(resolver->error) : gai_strerror(resolver->rc));
    return resolver->result;
}

void resolver_free(struct resolver *resolver)
{
    if (resolver != NULL)
        resolver_unref(resolver);
}
