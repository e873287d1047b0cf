/* http: a small read-only web server, over libmicrohttpd. Knows nothing of what it serves.
 *
 * Threads of its own, a bounded number of connections, and those that fall silent are closed: whoever reads
 * slowly is only ever in the way of other readers. GET and HEAD alone. A Host header that is not ours is
 * refused, so that a web page elsewhere cannot read us through its visitor's browser (DNS rebinding); for the
 * same reason no other origin may embed, frame or script us. */
#ifndef RCPTGATE_SYS_HTTP_H
#define RCPTGATE_SYS_HTTP_H

#include "base/error.h"

#include <stdbool.h>

struct http;

struct http_answer {
    int status;       /* 0: there is no such page */
    const char *type; /* "text/html; charset=utf-8" */
    char *body;       /* malloc'd, taken over */
    unsigned long n;
};

/* Answers GET path (without its query), from any thread. */
typedef void http_answer_fn(void *arg, const char *path, struct http_answer *out);

/* address: numeric, without brackets; it, loopback's names and, where it stands for all addresses, any
 * numeric address and this machine's name are good as Host. port 0: any, see http_port(). NULL with err
 * set. */
struct http *http_start(const char *address, int port, http_answer_fn *answer, void *arg, struct error *err);

int http_port(const struct http *http);

/* Ends all connections. NULL is harmless. */
/* To be called now and then: ends requests that take too long. */
void http_look(struct http *http);

void http_stop(struct http *http);

/* Is this value of a Host header ours? For http.c and its test. */
bool http_host_is_ours(const char *host, const char *address);

#endif
