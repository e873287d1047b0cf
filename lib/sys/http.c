/* http: owns the listening socket and libmicrohttpd's daemon, with two threads. Only the start can fail, with err; a
 * request that cannot be served gets a status or has its connection closed. */
#include "sys/http.h"

#include "base/clock.h"
#include "base/network.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    THREADS = 2,                  /* one may wait for a backend while the other answers */
    CONNECTIONS = 64,             /* at once; more wait in the kernel */
    CROWD = 48,                   /* from so many on the oldest goes for whoever comes */
    CONNECTION_S = 5,             /* of silence */
    REQUEST_MS = 10000,           /* from accept to the end of the answer: one request a connection */
    CONNECTION_BYTES = 32 * 1024, /* for request and headers */
    BACKLOG = 32,
};

struct visitor {
    int fd; /* -1: none */
    int64_t since_ms;
};

struct http {
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock;
    struct visitor visitors[CONNECTIONS]; /* under lock */
    struct http_user user;
    char address[NETWORK_TEXT];
    int port;
};

static const char *const headers[][2] = {
    {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
    {"Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; "
                                "frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
};

/* ---- Host ---- */

/* Cuts ":port" off and brackets away. False: it has no such form. */
static bool host_name(const char *host, char name[256])
{
    size_t n = strlen(host);
    const char *end;
    if (host[0] == '[') {
        end = strchr(host, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return false;
        host++;
    } else {
        end = strchr(host, ':');
        if (end == NULL)
            end = host + n;
    }
    const char *port = *end == ']' ? end + 1 : end;
    if (*port == ':' && strspn(port + 1, "0123456789") != strlen(port + 1))
        return false;
    n = (size_t)(end - host);
    if (n == 0 || n > 255)
        return false;
    memcpy(name, host, n);
    name[n] = '\0';
    if (name[n - 1] == '.' && n > 1)
        name[n - 1] = '\0';
    return true;
}

static bool is_number(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

bool http_host_is_ours(const char *host, const char *address)
{
    char name[256], here[256] = "";
    if (host == NULL || !host_name(host, name))
        return false;
    if (strcasecmp(name, "localhost") == 0 || strcmp(name, "127.0.0.1") == 0 || strcmp(name, "::1") == 0 ||
        strcasecmp(name, address) == 0)
        return true;
    if (strcmp(address, "0.0.0.0") != 0 && strcmp(address, "::") != 0)
        return false;
    return is_number(name) || (gethostname(here, sizeof here - 1) == 0 && strcasecmp(name, here) == 0);
}

static bool host_is_known(const struct http *http, const char *host)
{
    char name[256];
    if (http_host_is_ours(host, http->address))
        return true;
    if (host == NULL || http->user.knows_host == NULL || !host_name(host, name))
        return false;
    for (char *c = name; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    return http->user.knows_host(http->user.arg, name);
}

/* ---- who is there ---- */

/* A client that sends a byte a second is never silent, and would keep its place for ever. The library notices the end and
 * frees the place. */
static void send_away(struct visitor *visitor)
{
    (void)shutdown(visitor->fd, SHUT_RDWR);
    visitor->since_ms = INT64_MAX; /* once is enough */
}

static void visitor_add(struct http *http, int fd)
{
    struct visitor *place = NULL, *oldest = NULL;
    size_t n = 0;
    for (struct visitor *v = http->visitors; v < http->visitors + CONNECTIONS; v++) {
        if (v->fd < 0)
            place = v;
        else if (n++ == 0 || v->since_ms < oldest->since_ms)
            oldest = v;
    }
    if (n >= CROWD && oldest->since_ms != INT64_MAX)
        send_away(oldest);
    if (place != NULL)
        *place = (struct visitor){fd, clock_monotonic_ms()};
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http *http = arg;
    (void)context;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL)
        return;
    pthread_mutex_lock(&http->lock);
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        visitor_add(http, info->connect_fd);
    for (size_t i = 0; what == MHD_CONNECTION_NOTIFY_CLOSED && i < CONNECTIONS; i++)
        if (http->visitors[i].fd == info->connect_fd)
            http->visitors[i].fd = -1;
    pthread_mutex_unlock(&http->lock);
}

void http_look(struct http *http)
{
    int64_t now = clock_monotonic_ms();
    pthread_mutex_lock(&http->lock);
    for (struct visitor *v = http->visitors; v < http->visitors + CONNECTIONS; v++)
        if (v->fd >= 0 && v->since_ms != INT64_MAX && now - v->since_ms > REQUEST_MS)
            send_away(v);
    pthread_mutex_unlock(&http->lock);
}

/* ---- one request ---- */

struct heads {
    unsigned hosts, lengths, encodings;
};

static enum MHD_Result count_head(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct heads *heads = arg;
    (void)kind, (void)value;
    heads->hosts += strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0;
    heads->lengths += strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0;
    heads->encodings += strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0;
    return MHD_YES;
}

/* What two readers could understand in two ways (RFC 9112, 3.2 and 6.1). */
static bool is_ambiguous(struct MHD_Connection *connection)
{
    struct heads heads = {0};
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, count_head, &heads);
    return heads.hosts > 1 || heads.lengths > 1 || heads.encodings > 1 ||
           (heads.lengths > 0 && heads.encodings > 0);
}

const char *http_query(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct http_answer *answer)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(answer->n, answer->body, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(answer->body);
        return MHD_NO;
    }
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        (void)MHD_add_response_header(response, headers[i][0], headers[i][1]);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION,
                                  "close"); /* nothing follows that could be hidden */
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type);
    if (answer->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result rc = MHD_queue_response(connection, (unsigned)answer->status, response);
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result send_text(struct MHD_Connection *connection, int status, const char *text)
{
    struct http_answer answer = {
        .status = status, .type = "text/plain; charset=utf-8", .body = strdup(text), .n = strlen(text)};
    return answer.body != NULL ? send_answer(connection, &answer) : MHD_NO;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data, size_t *n,
                                  void **state)
{
    static char seen;
    struct http *http = arg;
    (void)data;
    if (*state == NULL) { /* only the headers came; an answer now would be cut off by a body that follows */
        *state = &seen;
        return MHD_YES;
    }
    if (*n > 0) { /* nobody wants a body */
        *n = 0;
        return MHD_YES;
    }
    if (is_ambiguous(connection))
        return send_text(connection, MHD_HTTP_BAD_REQUEST,
                         "One Host, and one way to tell the length of a body.\n");
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    bool plain =
        host == NULL && strcmp(version, MHD_HTTP_VERSION_1_0) == 0; /* no browser: a simple health check */
    if (!plain && !host_is_known(http, host))
        return send_text(
            connection, MHD_HTTP_MISDIRECTED_REQUEST,
            "This Host is not served here. Ask for the address that http.listen names, or name this one "
            "in http.hosts.\n");
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return send_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "Read-only: GET and HEAD.\n");
    struct http_answer answer = {0};
    const struct http_request request = {path, connection};
    http->user.answer(http->user.arg, &request, &answer);
    if (answer.status == 0)
        return send_text(connection, MHD_HTTP_NOT_FOUND,
                         "No such page: /, /metrics, /healthz, /status.json.\n");
    return send_answer(connection, &answer);
}

/* ---- start and end ---- */

static int listen_on(const char *address, int port, struct error *err)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    const int on = 1;
    bool is6 = inet_pton(AF_INET6, address, &in6.sin6_addr) == 1;
    if (!is6 && inet_pton(AF_INET, address, &in4.sin_addr) != 1) {
        error_set(err, "%s is no address to listen on", address);
        return -1;
    }
    const void *where = is6 ? (const void *)&in6 : (const void *)&in4;
    int fd = socket(is6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, where, is6 ? sizeof in6 : sizeof in4) < 0 || listen(fd, BACKLOG) < 0) {
        error_set(err, "cannot listen on %s port %d: %s", address, port, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

/* libmicrohttpd closes it on some of its failures and on others not: by then the number may be somebody else's. */
static void close_own(int fd, const struct stat *own)
{
    struct stat now;
    if (fstat(fd, &now) == 0 && now.st_dev == own->st_dev && now.st_ino == own->st_ino)
        close(fd);
}

static int port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
    } at;
    socklen_t n = sizeof at;
    memset(&at, 0, sizeof at);
    if (getsockname(fd, &at.any, &n) < 0)
        return 0;
    return ntohs(at.any.sa_family == AF_INET6 ? at.ipv6.sin6_port : at.ipv4.sin_port);
}

/* What the library has to say of its clients is of no use to anybody. */
static void on_log(void *arg, const char *format, va_list args)
{
    (void)arg, (void)format, (void)args;
}

struct http *http_start(const char *address, int port, const struct http_user *user, struct error *err)
{
    struct stat own = {0};
    int fd = listen_on(address, port, err);
    if (fd < 0)
        return NULL;
    (void)fstat(fd, &own); /* which cannot fail */
    struct http *http = calloc(1, sizeof *http);
    if (http != NULL) {
        http->user = *user;
        http->port = port_of(fd);
        pthread_mutex_init(&http->lock, NULL);
        for (size_t i = 0; i < CONNECTIONS; i++)
            http->visitors[i].fd = -1;
        snprintf(http->address, sizeof http->address, "%s", address);
        const struct MHD_OptionItem options[] = {
            {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_log, NULL},
            {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
            {MHD_OPTION_THREAD_POOL_SIZE, THREADS, NULL},
            {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, http},
            {MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, NULL},
            {MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_S, NULL},
            {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, NULL},
            {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
            {MHD_OPTION_END, 0, NULL},
        };
        http->daemon = MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL,
                                        on_request, http, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    }
    if (http == NULL || http->daemon == NULL) {
        error_set(err, "cannot start the HTTP server: out of memory or threads");
        free(http);
        close_own(fd, &own);
        return NULL;
    }
    return http;
}

int http_port(const struct http *http)
{
    return http->port;
}

void http_stop(struct http *http)
{
    if (http == NULL)
        return;
    MHD_stop_daemon(http->daemon); /* closes the listener, too */
    pthread_mutex_destroy(&http->lock);
    free(http);
}
