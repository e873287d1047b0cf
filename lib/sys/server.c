/* server: owns a thread that accepts, and one for each client. A client that stands still, or goes away, costs only its
 * own thread. */
#include "sys/server.h"

#include "base/clock.h"
#include "sys/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_NS = 100000000, MEND_NS = 5000000 };

struct server {
    struct server_config config;
    struct worker *worker; /* accepts; its descriptor tells all threads of server_stop() */
    pthread_mutex_t lock;
    pthread_cond_t left;
    pthread_attr_t stack;
    unsigned clients; /* under lock: threads that serve one */
};

struct client {
    struct server *server;
    int fd;
};

bool server_wait(int fd, short events, int stop_fd, int64_t deadline_ms)
{
    for (;;) {
        int64_t left = deadline_ms - clock_monotonic_ms();
        if (left <= 0)
            return false;
        struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = stop_fd, .events = POLLIN}};
        int rc = poll(p, 2, (int)left);
        if (rc > 0)
            return p[1].revents == 0;
        if (rc < 0 && errno != EINTR)
            return false;
    }
}

static void *client_main(void *arg)
{
    struct client client = *(struct client *)arg;
    struct server *server = client.server;
    free(arg);
    server->config.serve(server->config.arg, client.fd, worker_fd(server->worker));
    close(client.fd);
    pthread_mutex_lock(&server->lock);
    server->clients--;
    pthread_cond_broadcast(&server->left);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

/* Whether there is room for one more, after a wait; false: the end. */
static bool enter(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    while (server->clients == server->config.clients && !worker_stopping(server->worker))
        pthread_cond_wait(&server->left, &server->lock);
    bool go = !worker_stopping(server->worker);
    server->clients += go;
    pthread_mutex_unlock(&server->lock);
    return go;
}

/* In a thread of its own; where there is none to be had, in this one. */
static void serve_apart(struct server *server, int fd)
{
    pthread_t thread;
    struct client *client = malloc(sizeof *client);
    if (client == NULL) {
        close(fd);
        return;
    }
    *client = (struct client){server, fd};
    if (!enter(server)) {
        close(fd);
        free(client);
    } else if (pthread_create(&thread, &server->stack, client_main, client) == 0) {
        (void)pthread_detach(thread);
    } else {
        client_main(client);
    }
}

/* How long to wait after a failure: no spin without descriptors, nor while another socket takes the number of this one. */
static int64_t pause_after(int failure)
{
    switch (failure) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return clock_monotonic_ns() + PAUSE_NS;
    case EINVAL:
        return clock_monotonic_ns() + MEND_NS;
    default:
        return 0;
    }
}

static int64_t server_step(void *arg)
{
    struct server *server = arg;
    struct pollfd p[2] = {{.fd = server->config.fd, .events = POLLIN},
                          {.fd = worker_fd(server->worker), .events = POLLIN}};
    int rc = poll(p, 2, -1);
    if (rc <= 0 || p[0].revents == 0)
        return 0;
    int fd = accept4(server->config.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return pause_after(errno);
    serve_apart(server, fd);
    return 0;
}

static void server_free(struct server *server)
{
    worker_free(server->worker);
    pthread_attr_destroy(&server->stack);
    pthread_cond_destroy(&server->left);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

struct server *server_start(const struct server_config *config, struct error *err)
{
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        error_set(err, "out of memory for a server");
        return NULL;
    }
    server->config = *config;
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->left, NULL);
    pthread_attr_init(&server->stack);
    (void)pthread_attr_setstacksize(&server->stack, config->stack_bytes);
    server->worker = worker_new(config->name, server_step, server, err);
    if (server->worker != NULL && worker_start(server->worker, err) == 0)
        return server;
    server_free(server);
    return NULL;
}

bool server_stop(struct server *server, int wait_ms)
{
    if (server == NULL)
        return true;
    const struct timespec until = clock_in_ms(wait_ms);
    (void)worker_stop_by(server->worker, 0); /* it may wait for a client to leave, or serve one itself */
    pthread_mutex_lock(&server->lock);
    pthread_cond_broadcast(&server->left);
    while (server->clients > 0 &&
           pthread_cond_clockwait(&server->left, &server->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    bool alone = server->clients == 0;
    pthread_mutex_unlock(&server->lock);
    if (alone)
        server_free(server);
    return alone;
}
