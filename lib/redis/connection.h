/* connection: one connection to Redis. Every wait ends at an absolute deadline (CLOCK_MONOTONIC, ns), however the peer
 * behaves. Used by one thread at a time. After a failure the connection is good for nothing: close it, so that
 * nobody reads an answer that was meant for another.
 *
 * What a reply may cost is bounded (see the limits in the .c file): a peer that announces more is not Redis as we
 * use it. Never raises SIGPIPE; descriptors are close-on-exec. */
#ifndef RCPTGATE_REDIS_CONNECTION_H
#define RCPTGATE_REDIS_CONNECTION_H

#include "base/error.h"
#include "encoder.h"
#include "endpoint.h"

#include <stdbool.h>
#include <stdint.h>

struct redis_connection;

enum redis_connection_status {
    REDIS_CONNECTION_OK = 0,
    REDIS_CONNECTION_CLOSED,  /* the peer went away, or cannot be reached */
    REDIS_CONNECTION_TIMEOUT, /* the deadline was missed */
    REDIS_CONNECTION_BROKEN,  /* it said what makes no sense, or is too large; or out of memory */
    REDIS_CONNECTION_REFUSED, /* it connected and refused to serve */
};

struct redis_connection *redis_connection_new(void); /* not connected; NULL when out of memory */
void redis_connection_free(struct redis_connection *connection);

/* Connects, with TLS where the endpoint says so, AUTH, SELECT, CLIENT SETNAME; the commands in one go. On failure it is closed and err says why. What does not
 * hinder (a password where none is asked for) goes to warning, which may be NULL. */
enum redis_connection_status redis_connection_open(struct redis_connection *connection,
                                                   const struct redis_endpoint *endpoint, int64_t deadline,
                                                   struct error *err, struct error *warning);
void redis_connection_close(struct redis_connection *connection);
bool redis_connection_is_open(const struct redis_connection *connection);
int redis_connection_fd(const struct redis_connection *connection); /* -1: closed */

/* Without waiting: whether the peer has neither closed nor said anything since the last answer.
 * Asks the kernel only when the connection has been idle for some ms, unless now is true. */
bool redis_connection_is_quiet(struct redis_connection *connection, bool now);

/* Unix time, s, from which the peer's certificate is no longer valid; 0: unknown, or plain text. */
int64_t redis_connection_expires(const struct redis_connection *connection);

/* No byte of the next answer has been read yet. */
bool redis_connection_is_drained(const struct redis_connection *connection);

/* Sends what is left of out and reads until at least one answer is there: *n of at most max, owned by the caller.
 * *n is 0 with any status but REDIS_CONNECTION_OK. */
enum redis_connection_status redis_connection_step(struct redis_connection *connection,
                                                   struct redis_encoder *out, int64_t deadline,
                                                   redisReply **got, int max, int *n, struct error *err);

/* Sends n commands in one go, each a list of strings that ends with NULL, and reads an answer to each: replies are the caller's, where it is
 * REDIS_CONNECTION_OK; else there are none. */
enum redis_connection_status redis_connection_ask(struct redis_connection *connection,
                                                  const char *const *const *commands, int n, int64_t deadline,
                                                  redisReply **replies, struct error *err);

#endif
