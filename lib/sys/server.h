/* server: whoever connects to a listening socket is served in a thread of its own, so many at most; who comes then
 * waits in the queue of the socket. The socket and what is said on it are the caller's business.
 *
 * Without descriptors accepting pauses and goes on; without a thread the client is served in the one that accepts. */
#ifndef RCPTGATE_SYS_SERVER_H
#define RCPTGATE_SYS_SERVER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server;

/* Serves one client until it returns; the server closes fd. Returns soon once stop_fd is readable. Called by several
 * threads at once. */
typedef void server_client_fn(void *arg, int fd, int stop_fd);

struct server_config {
    const char *name; /* of the thread that accepts, at most 15 bytes */
    int fd;           /* listening; another socket may take its number (see listener_mend()) */
    unsigned clients; /* at most, at once */
    size_t stack_bytes;
    server_client_fn *serve;
    void *arg;
};

/* NULL with err set. */
struct server *server_start(const struct server_config *config, struct error *err);

/* Tells all threads, and waits for them at most so long. False: one is still under way, and uses what it was given.
 * NULL is harmless. */
bool server_stop(struct server *server, int wait_ms);

/* For who serves: waits for events until the deadline (of clock_monotonic_ms()); false when that has passed, or stop_fd
 * (-1: none) is readable. */
bool server_wait(int fd, short events, int stop_fd, int64_t deadline_ms);

#endif
