/* connection: an own socket, because a timeout of hiredis holds for each recv() and a peer that drips bytes outlives it; hiredis'
 * reader only parses. Owns the descriptor and the reader. Fails by a status; the texts say what to do. */
#include "base/clock.h"
#include "connection.h"
#include "errors.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#if HIREDIS_MAJOR >= 1
typedef size_t reader_count; /* of createArray's argument */
#else
typedef int reader_count;
#endif

static const size_t REPLY_BYTES = 8 * 1024 * 1024; /* one answer, as it is sent */
static const size_t REPLY_ELEMENTS =
    256 * 1024; /* one array: its pointers are allocated before they are seen */
static const int64_t IDLE_NS = 20 * 1000000;
enum {
    READ_BYTES = 16 * 1024,
    HANDSHAKE = 3,
    DEPTH = 7 /* of nested arrays: hiredis 1 has no bound of its own */
};

struct redis_connection {
    int fd;
    struct redis_tls_session *tls; /* NULL: plain text */
    redisReader *reader;
    redisReplyObjectFunctions functions; /* hiredis' own, with a bound on arrays */
    void *(*create_array)(const redisReadTask *, reader_count);
    redisReply *text; /* an answer that needed no reader, not taken yet; NULL: none */
    size_t fed;       /* bytes of the answer that is being read */
    int64_t heard_at; /* last byte */
    char name[160];   /* of the peer */
    char bytes[READ_BYTES];
};

struct redis_connection *redis_connection_new(void)
{
    struct redis_connection *connection = calloc(1, sizeof *connection);
    if (connection != NULL)
        connection->fd = -1;
    return connection;
}

void redis_connection_free(struct redis_connection *connection)
{
    if (connection == NULL)
        return;
    redis_connection_close(connection);
    free(connection);
}

void redis_connection_close(struct redis_connection *connection)
{
    redis_tls_session_free(connection->tls);
    connection->tls = NULL;
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    if (connection->reader != NULL)
        redisReaderFree(connection->reader);
    connection->reader = NULL;
    freeReplyObject(connection->text);
    connection->text = NULL;
}

bool redis_connection_is_open(const struct redis_connection *connection)
{
    return connection->fd >= 0;
}

int redis_connection_fd(const struct redis_connection *connection)
{
    return connection->fd;
}

int64_t redis_connection_expires(const struct redis_connection *connection)
{
    return connection->tls != NULL ? redis_tls_session_expires(connection->tls) : 0;
}

bool redis_connection_is_drained(const struct redis_connection *connection)
{
    return connection->fed == 0;
}

bool redis_connection_is_quiet(struct redis_connection *connection, bool now)
{
    char byte;
    if (connection->fd < 0 || !redis_connection_is_drained(connection))
        return false;
    if (!now && clock_monotonic_ns() - connection->heard_at < IDLE_NS)
        return true;
    if (connection->tls != NULL)
        return redis_tls_session_is_quiet(connection->tls);
    return recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

/* ---- reading ---- */

static void *create_bounded_array(const redisReadTask *task, reader_count elements)
{
    struct redis_connection *connection = task->privdata;
    int depth = 0;
    for (const redisReadTask *at = task; at != NULL; at = at->parent)
        depth++;
    if ((size_t)elements > REPLY_ELEMENTS || depth > DEPTH)
        return NULL; /* the reader calls it out of memory and stops */
    return connection->create_array(task, elements);
}

static int connection_make_reader(struct redis_connection *connection)
{
    connection->reader = redisReaderCreate();
    if (connection->reader == NULL)
        return -1;
    connection->functions = *connection->reader->fn;
    connection->create_array = connection->functions.createArray;
    connection->functions.createArray = create_bounded_array;
    connection->reader->fn = &connection->functions;
    connection->reader->privdata = connection;
    connection->fed = 0;
    connection->heard_at = clock_monotonic_ns();
    return 0;
}

/* Nearly every answer is a text of 10 to 99 bytes that comes whole and alone. Makes of it what the reader would, for a quarter of the
 * price. NULL: it is another one, or memory is short. */
static redisReply *whole_text(const char *bytes, size_t n)
{
    enum { HEAD = 5, TAIL = 2 }; /* "$29" CR LF; CR LF */
    const size_t len = n - HEAD - TAIL;
    if (n < HEAD + 10 + TAIL || len > 99 || bytes[0] != '$' || bytes[1] != (char)('0' + len / 10) ||
        bytes[2] != (char)('0' + len % 10) || memcmp(bytes + HEAD - 2, "\r\n", 2) != 0 ||
        memcmp(bytes + HEAD + len, "\r\n", 2) != 0)
        return NULL;
    redisReply *reply = malloc(sizeof *reply);
    char *text = reply != NULL ? malloc(len + 1) : NULL;
    if (text == NULL) {
        free(reply);
        return NULL;
    }
    memcpy(text, bytes + HEAD, len);
    text[len] = '\0';
    *reply = (redisReply){.type = REDIS_REPLY_STRING, .str = text, .len = len};
    return reply;
}

/* Takes up to max answers, out of the reader but for one; -1: what came is no answer. */
static int connection_parse(struct redis_connection *connection, redisReply **got, int max, struct error *err)
{
    int n = 0;
    if (connection->text != NULL && max > 0) {
        got[n++] = connection->text;
        connection->text = NULL;
    }
    while (n < max && connection->fed > 0) {
        void *reply = NULL;
        if (redisReaderGetReply(connection->reader, &reply) != REDIS_OK) {
            if (n > 0)
                return n; /* these are good; the reader says so again next time */
            error_set(err,
                      "Redis at %s gave an answer that cannot be read (%s): is it Redis that listens there?",
                      connection->name, connection->reader->errstr);
            return -1;
        }
        if (reply == NULL)
            break;
        got[n++] = reply;
        connection->fed = connection->reader->len - connection->reader->pos;
    }
    return n;
}

static enum redis_connection_status connection_lost(const struct redis_connection *connection, int error,
                                                    struct error *err)
{
    error_set(err, "Redis at %s closed the connection%s%s: see its log", connection->name,
              error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
    return REDIS_CONNECTION_CLOSED;
}

static enum redis_connection_status connection_of_tls(enum redis_tls_status status)
{
    static const enum redis_connection_status of[] = {
        [REDIS_TLS_DONE] = REDIS_CONNECTION_OK,
        [REDIS_TLS_WAIT] = REDIS_CONNECTION_OK,
        [REDIS_TLS_CLOSED] = REDIS_CONNECTION_CLOSED,
        [REDIS_TLS_FAILED] = REDIS_CONNECTION_REFUSED,
    };
    return of[status];
}

/* *n: how many bytes there are without waiting. */
static enum redis_connection_status connection_read(struct redis_connection *connection, char *bytes,
                                                    size_t size, size_t *n, struct error *err)
{
    *n = 0;
    if (connection->tls != NULL)
        return connection_of_tls(redis_tls_session_receive(connection->tls, bytes, size, n, err));
    ssize_t got = recv(connection->fd, bytes, size, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return REDIS_CONNECTION_OK;
    if (got <= 0)
        return connection_lost(connection, got < 0 ? errno : 0, err);
    *n = (size_t)got;
    return REDIS_CONNECTION_OK;
}

static enum redis_connection_status connection_receive(struct redis_connection *connection, struct error *err)
{
    size_t n;
    enum redis_connection_status status =
        connection_read(connection, connection->bytes, sizeof connection->bytes, &n, err);
    if (status != REDIS_CONNECTION_OK || n == 0)
        return status;
    connection->heard_at = clock_monotonic_ns();
    if (connection->fed == 0 && (connection->text = whole_text(connection->bytes, n)) != NULL)
        return REDIS_CONNECTION_OK;
    connection->fed += n;
    if (connection->fed > REPLY_BYTES) {
        error_set(err, "Redis at %s gave an answer of more than %zu bytes", connection->name, REPLY_BYTES);
        return REDIS_CONNECTION_BROKEN;
    }
    if (redisReaderFeed(connection->reader, connection->bytes, n) != REDIS_OK) {
        error_set(err, "out of memory for an answer of Redis");
        return REDIS_CONNECTION_BROKEN;
    }
    return REDIS_CONNECTION_OK;
}

/* ---- sending and waiting ---- */

/* *n: how many bytes went without waiting. */
static enum redis_connection_status connection_write(struct redis_connection *connection, const char *bytes,
                                                     size_t size, size_t *n, struct error *err)
{
    *n = 0;
    if (connection->tls != NULL)
        return connection_of_tls(redis_tls_session_send(connection->tls, bytes, size, n, err));
    ssize_t sent;
    do
        sent = send(connection->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN)
        return connection_lost(connection, errno, err);
    *n = sent > 0 ? (size_t)sent : 0;
    return REDIS_CONNECTION_OK;
}

static enum redis_connection_status connection_send(struct redis_connection *connection,
                                                    struct redis_encoder *out, struct error *err)
{
    while (out->sent < out->len) {
        size_t n;
        enum redis_connection_status status =
            connection_write(connection, out->bytes + out->sent, out->len - out->sent, &n, err);
        if (status != REDIS_CONNECTION_OK || n == 0)
            return status;
        out->sent += n;
    }
    return REDIS_CONNECTION_OK;
}

/* > 0: ready, 0: not before the deadline. */
static int connection_wait(int fd, short events, int64_t deadline)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    int n;
    do {
        int64_t left = deadline - clock_monotonic_ns();
        if (left < 0)
            left = 0;
        struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        n = ppoll(&poll_fd, 1, &wait, NULL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? 0 : n;
}

static enum redis_connection_status connection_late(const struct redis_connection *connection,
                                                    struct error *err)
{
    error_set(
        err,
        "Redis at %s did not answer in time: look at its load (SLOWLOG GET, redis-cli --latency) and the "
        "network, or raise counters.timeout",
        connection->name);
    return REDIS_CONNECTION_TIMEOUT;
}

enum redis_connection_status redis_connection_step(struct redis_connection *connection,
                                                   struct redis_encoder *out, int64_t deadline,
                                                   redisReply **got, int max, int *n, struct error *err)
{
    for (bool first = true;; first = false) {
        *n = connection_parse(connection, got, max, err);
        if (*n < 0) {
            *n = 0;
            return REDIS_CONNECTION_BROKEN;
        }
        if (*n > 0)
            return REDIS_CONNECTION_OK;
        if (!first && clock_monotonic_ns() >= deadline)
            return connection_late(connection, err);
        enum redis_connection_status status = connection_send(connection, out, err);
        if (status != REDIS_CONNECTION_OK)
            return status;
        short events = out->sent < out->len ? POLLIN | POLLOUT : POLLIN;
        if (connection->tls != NULL)
            events |= redis_tls_session_events(connection->tls);
        if ((connection->tls == NULL || !redis_tls_session_pending(connection->tls)) &&
            connection_wait(connection->fd, events, deadline) == 0)
            return connection_late(connection, err);
        status = connection_receive(connection, err);
        if (status != REDIS_CONNECTION_OK)
            return status;
    }
}

enum redis_connection_status redis_connection_ask(struct redis_connection *connection,
                                                  const char *const *const *commands, int n, int64_t deadline,
                                                  redisReply **replies, struct error *err)
{
    struct redis_encoder out = {0};
    enum redis_connection_status status = REDIS_CONNECTION_OK;
    int got = 0;
    for (int i = 0; i < n && status == REDIS_CONNECTION_OK; i++)
        if (redis_encoder_add_strings(&out, commands[i]) != 0) {
            error_set(err, "out of memory for what Redis at %s is asked", connection->name);
            status = REDIS_CONNECTION_BROKEN;
        }
    while (status == REDIS_CONNECTION_OK && got < n) {
        int more = 0;
        status = redis_connection_step(connection, &out, deadline, replies + got, n - got, &more, err);
        got += more;
    }
    for (; status != REDIS_CONNECTION_OK && got > 0; replies[got] = NULL)
        freeReplyObject(replies[--got]);
    redis_encoder_done(&out);
    return status;
}

/* ---- connecting ---- */

static enum redis_connection_status connection_connect(struct redis_connection *connection,
                                                       const struct redis_endpoint *endpoint,
                                                       int64_t deadline, struct error *err)
{
    const int on = 1, idle = 15, interval = 5, count = 3;
    connection->fd = socket(endpoint->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0) {
        error_set(err, "cannot make a socket for Redis: %s", strerror(errno));
        return REDIS_CONNECTION_CLOSED;
    }
    if (endpoint->addr.ss_family !=
        AF_UNIX) { /* all four only make it better; keepalive holds it open through NAT */
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(connection->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        setsockopt(connection->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
        setsockopt(connection->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
        setsockopt(connection->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    }
    int error = 0;
    if (connect(connection->fd, (const void *)&endpoint->addr, endpoint->addr_len) != 0)
        error = errno;
    if (error == EINPROGRESS) {
        socklen_t len = sizeof error;
        if (connection_wait(connection->fd, POLLOUT, deadline) == 0)
            error = ETIMEDOUT;
        else if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
            error = errno;
    }
    if (error == 0)
        return REDIS_CONNECTION_OK;
    error_set(err, "cannot connect to Redis at %s: %s; is it running, and is counters.url right?",
              connection->name, strerror(error));
    return error == ETIMEDOUT ? REDIS_CONNECTION_TIMEOUT : REDIS_CONNECTION_CLOSED;
}

static enum redis_connection_status connection_shake(struct redis_connection *connection,
                                                     const struct redis_endpoint *endpoint, int64_t deadline,
                                                     struct error *err)
{
    enum redis_tls_status status = REDIS_TLS_WAIT;
    connection->tls = redis_tls_session_new(endpoint->tls, connection->fd, endpoint->host, endpoint->name);
    if (connection->tls == NULL) {
        error_set(err, "out of memory for TLS with Redis at %s", connection->name);
        return REDIS_CONNECTION_BROKEN;
    }
    while ((status = redis_tls_session_shake(connection->tls, err)) == REDIS_TLS_WAIT) {
        if (clock_monotonic_ns() >= deadline ||
            connection_wait(connection->fd, redis_tls_session_events(connection->tls), deadline) == 0) {
            error_set(err,
                      "Redis at %s did not answer TLS in time: is that its tls-port, and is it not frozen?",
                      connection->name);
            return REDIS_CONNECTION_TIMEOUT;
        }
    }
    return connection_of_tls(status);
}

/* Which answer of the handshake it is. */
enum step { STEP_AUTH, STEP_SELECT, STEP_NAME };

static int handshake_write(struct redis_encoder *out, const struct redis_endpoint *endpoint, enum step *steps,
                           int *n)
{
    *n = 0;
    if (endpoint->password != NULL) {
        const char *with_user[] = {"AUTH", endpoint->user, endpoint->password, NULL};
        const char *without[] = {"AUTH", endpoint->password, NULL};
        if (redis_encoder_add_strings(out, endpoint->user != NULL ? with_user : without) != 0)
            return -1;
        steps[(*n)++] = STEP_AUTH;
    }
    if (endpoint->db != 0) {
        char db[16];
        snprintf(db, sizeof db, "%d", endpoint->db);
        if (redis_encoder_add_strings(out, (const char *[]){"SELECT", db, NULL}) != 0)
            return -1;
        steps[(*n)++] = STEP_SELECT;
    }
    steps[(*n)++] = STEP_NAME; /* always, so that the peer has shown that it speaks */
    return redis_encoder_add_strings(out, (const char *[]){"CLIENT", "SETNAME", "rcptgate", NULL});
}

static enum redis_connection_status handshake_judge(const struct redis_connection *connection, enum step step,
                                                    const redisReply *reply, struct error *err,
                                                    struct error *warning)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return REDIS_CONNECTION_OK;
    enum redis_error node_error = redis_errors_find(reply->str, connection->name, NULL);
    if (node_error == REDIS_ERROR_NODE) {
        redis_errors_find(reply->str, connection->name, err);
        return REDIS_CONNECTION_REFUSED;
    }
    if (step == STEP_NAME) /* a name is nice to have */
        return REDIS_CONNECTION_OK;
    if (step == STEP_AUTH && strstr(reply->str, "without any password configured") != NULL) {
        error_set(warning, "Redis at %s has no password, but counters sets one: anybody can use it",
                  connection->name);
        return REDIS_CONNECTION_OK;
    }
    if (step == STEP_SELECT && node_error == REDIS_ERROR_COMMAND)
        error_set(err, "the ACL of Redis at %s lacks +select, for another database than 0", connection->name);
    error_set(err, "Redis at %s says \"%.160s\" to %s: check counters.url", connection->name, reply->str,
              step == STEP_AUTH ? "AUTH" : "SELECT");
    return REDIS_CONNECTION_REFUSED;
}

/* A server that does not want us says why before it closes. It may do so before it has read what we send, and then it is
 * the sending that fails. */
static enum redis_connection_status handshake_last_words(struct redis_connection *connection,
                                                         struct error *err)
{
    redisReply *got = NULL;
    struct error none = {0}, why = {0};
    enum redis_connection_status status = connection_receive(connection, &none);
    if (status == REDIS_CONNECTION_REFUSED)
        *err = none; /* in TLS' own words */
    else if (status == REDIS_CONNECTION_CLOSED && connection->tls == NULL && connection->fed == 0) {
        *err = (struct error){0};
        error_set(
            err,
            "Redis at %s closed the connection without a word: see its log; if it wants TLS, write rediss:// "
            "in counters.url",
            connection->name);
    }
    if (status != REDIS_CONNECTION_OK)
        return status;
    status = REDIS_CONNECTION_CLOSED;
    if (connection_parse(connection, &got, 1, &none) != 1)
        return status;
    if (got->type == REDIS_REPLY_ERROR &&
        redis_errors_find(got->str, connection->name, &why) != REDIS_ERROR_NONE) {
        *err = why;
        status = REDIS_CONNECTION_REFUSED;
    }
    freeReplyObject(got);
    return status;
}

static enum redis_connection_status connection_handshake(struct redis_connection *connection,
                                                         const struct redis_endpoint *endpoint,
                                                         int64_t deadline, struct error *err,
                                                         struct error *warning)
{
    enum redis_connection_status status = REDIS_CONNECTION_OK;
    struct redis_encoder out = {0};
    enum step steps[HANDSHAKE];
    int n_steps = 0, at = 0;
    if (connection_make_reader(connection) != 0 || handshake_write(&out, endpoint, steps, &n_steps) != 0) {
        error_set(err, "out of memory for a connection to Redis");
        status = REDIS_CONNECTION_BROKEN;
    }
    while (status == REDIS_CONNECTION_OK && at < n_steps) {
        redisReply *got = NULL;
        int n = 0;
        status = redis_connection_step(connection, &out, deadline, &got, 1, &n, err);
        if (n == 1) {
            status = handshake_judge(connection, steps[at++], got, err, warning);
            freeReplyObject(got);
        } else if (status == REDIS_CONNECTION_CLOSED && at == 0) {
            status = handshake_last_words(connection, err);
        }
    }
    redis_encoder_done(&out);
    return status;
}

enum redis_connection_status redis_connection_open(struct redis_connection *connection,
                                                   const struct redis_endpoint *endpoint, int64_t deadline,
                                                   struct error *err, struct error *warning)
{
    assert(connection->fd < 0 && err != NULL);
    snprintf(connection->name, sizeof connection->name, "%s", endpoint->name);
    enum redis_connection_status status = connection_connect(connection, endpoint, deadline, err);
    if (status == REDIS_CONNECTION_OK && endpoint->tls != NULL)
        status = connection_shake(connection, endpoint, deadline, err);
    if (status == REDIS_CONNECTION_OK)
        status = connection_handshake(connection, endpoint, deadline, err, warning);
    if (status != REDIS_CONNECTION_OK)
        redis_connection_close(connection);
    return status;
}
