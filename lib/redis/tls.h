/* tls: TLS on a socket of ours. The socket never blocks and is never waited for here: that is connection's, which has the deadline.
 *
 * The peer's certificate is always checked: who signed it, and that it names the host that was meant. Nothing below TLS
 * 1.2. A struct redis_tls holds what was read from the files, and the last session for the next connection to the same peer
 * to resume; it is shared by counting references, and may be used by several threads. A struct redis_tls_session is one
 * connection, for one thread at a time. Never raises SIGPIPE. */
#ifndef RCPTGATE_REDIS_TLS_H
#define RCPTGATE_REDIS_TLS_H

#include "base/error.h"
#include "base/redis_config.h"
#include "redis/state.h"

#include <stdbool.h>
#include <sys/types.h>

struct redis_tls;
struct redis_tls_session;

/* Reads the files. With one reference; NULL with err set. Strings of config are borrowed as long as it lives. */
struct redis_tls *redis_tls_new(const struct redis_config *config, struct error *err);
struct redis_tls *redis_tls_ref(struct redis_tls *tls); /* NULL is harmless in both */
void redis_tls_unref(struct redis_tls *tls);

/* Whether the files are still those that were read. */
bool redis_tls_is_fresh(const struct redis_tls *tls);

/* Unix time, s, from which our own certificate is no longer valid; 0: there is none. */
int64_t redis_tls_expires(const struct redis_tls *tls);

enum redis_tls_status {
    REDIS_TLS_DONE,
    REDIS_TLS_WAIT,   /* for redis_tls_session_events() */
    REDIS_TLS_CLOSED, /* by the peer, or the network */
    REDIS_TLS_FAILED, /* err says what is wrong */
};

/* host: whom the certificate must name, if counters.tls.name says nothing else. who: the peer, for people. Both are copied. The descriptor is
 * borrowed. NULL: out of memory. */
struct redis_tls_session *redis_tls_session_new(struct redis_tls *tls, int fd, const char *host,
                                                const char *who);
void redis_tls_session_free(
    struct redis_tls_session *session); /* says goodbye where that needs no waiting; NULL is harmless */

/* The handshake; to be called until it is REDIS_TLS_DONE. */
enum redis_tls_status redis_tls_session_shake(struct redis_tls_session *session, struct error *err);

/* *done: how many of n bytes, more than none with REDIS_TLS_DONE. What was not sent is sent again, from wherever it is by then. */
enum redis_tls_status redis_tls_session_send(struct redis_tls_session *session, const char *bytes, size_t n,
                                             size_t *done, struct error *err);
enum redis_tls_status redis_tls_session_receive(struct redis_tls_session *session, char *bytes, size_t n,
                                                size_t *done, struct error *err);

short redis_tls_session_events(
    const struct redis_tls_session *session); /* of poll(2), that the last REDIS_TLS_WAIT is for */
bool redis_tls_session_pending(
    const struct redis_tls_session *session); /* something can be received without waiting */

/* The peer has neither closed nor sent a byte of data; what TLS says to itself (session tickets) is taken in. */
bool redis_tls_session_is_quiet(struct redis_tls_session *session);

/* Unix time, s, from which the peer's certificate is no longer valid; 0: unknown. */
int64_t redis_tls_session_expires(const struct redis_tls_session *session);

#endif
