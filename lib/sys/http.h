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

struct http_request {
    const char *path; /* without its query */
    void *connection; /* http's own */
};

/* The value of that name in the query, decoded; NULL: there is none. Lives as long as the request. */
const char *http_query(const struct http_request *request, const char *name);

struct http_user {
    /* Answers GET and HEAD, from any thread. */
    void (*answer)(void *arg, const struct http_request *request, struct http_answer *out);
    /* Is a Host of this name (lower case, no port) good, too? NULL: none is. From any thread. */
    bool (*knows_host)(void *arg, const char *name);
    void *arg;
};

/* address: numeric, without brackets; it, loopback's names and, where it stands for all addresses, any
 * numeric address and this machine's name are good as Host. port 0: any, see http_port(). user is copied. NULL with err
 * set. */
struct http *http_start(const char *address, int port, const struct http_user *user, struct error *err);

int http_port(const struct http *http);

/* To be called now and then: ends requests that take too long. */
void http_look(struct http *http);

/* Ends all connections. NULL is harmless. */
void http_stop(struct http *http);

/* Is this value of a Host header ours? For http.c and its test. */
bool http_host_is_ours(const char *host, const char *address);

#endif
