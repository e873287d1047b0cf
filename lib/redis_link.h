/* redis_link: one connection to Redis. Every wait ends at an absolute deadline (CLOCK_MONOTONIC, ns), however the peer
 * behaves. Used by one thread at a time. After a failure the connection is good for nothing: close it, so that
 * nobody reads an answer that was meant for another.
 *
 * What a reply may cost is bounded (see the limits in the .c file): a peer that announces more is not Redis as we
 * use it. Never raises SIGPIPE; descriptors are close-on-exec. */
#ifndef RCPTGATE_REDIS_LINK_H
#define RCPTGATE_REDIS_LINK_H

#include "error.h"
#include "redis_buffer.h"
#include "redis_target.h"

#include <stdbool.h>
#include <stdint.h>

struct redis_link;

enum redis_link_status {
    REDIS_LINK_OK = 0,
    REDIS_LINK_CLOSED,  /* the peer went away, or cannot be reached */
    REDIS_LINK_TIMEOUT, /* the deadline was missed */
    REDIS_LINK_BROKEN,  /* it said what makes no sense, or is too large; or out of memory */
    REDIS_LINK_REFUSED, /* it connected and refused to serve */
};

struct redis_link *redis_link_new(void); /* not connected; NULL when out of memory */
void redis_link_free(struct redis_link *link);

/* Connects, AUTH, SELECT, CLIENT SETNAME; the commands in one go. On failure it is closed and err says why. What does not
 * hinder (a password where none is asked for) goes to warning, which may be NULL. */
enum redis_link_status redis_link_open(struct redis_link *link, const struct redis_target *target,
                                       int64_t deadline, struct error *err, struct error *warning);
void redis_link_close(struct redis_link *link);
bool redis_link_is_open(const struct redis_link *link);
int redis_link_fd(const struct redis_link *link); /* -1: closed */

/* Without waiting: whether the peer has neither closed nor said anything since the last answer.
 * Asks the kernel only when the connection has been idle for some ms, unless now is true. */
bool redis_link_is_quiet(struct redis_link *link, bool now);

/* No byte of the next answer has been read yet. */
bool redis_link_is_drained(const struct redis_link *link);

/* Sends what is left of out and reads until at least one answer is there: *n of at most max, owned by the caller.
 * *n is 0 with any status but REDIS_LINK_OK. */
enum redis_link_status redis_link_step(struct redis_link *link, struct redis_buffer *out, int64_t deadline,
                                       redisReply **got, int max, int *n, struct error *err);

#endif
