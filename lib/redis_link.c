/* Own socket, because a timeout of hiredis holds for each recv() and a peer that drips bytes outlives it; hiredis'
 * reader only parses. Owns the descriptor and the reader. Fails by a status; the texts say what to do. */
#include "clock.h"
#include "redis_link.h"
#include "redis_refusal.h"

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

struct redis_link {
    int fd;
    redisReader *reader;
    redisReplyObjectFunctions functions; /* hiredis' own, with a bound on arrays */
    void *(*create_array)(const redisReadTask *, reader_count);
    size_t fed;       /* bytes of the answer that is being read */
    int64_t heard_at; /* last byte */
    char name[160];   /* of the peer */
};

struct redis_link *redis_link_new(void)
{
    struct redis_link *link = calloc(1, sizeof *link);
    if (link != NULL)
        link->fd = -1;
    return link;
}

void redis_link_free(struct redis_link *link)
{
    if (link == NULL)
        return;
    redis_link_close(link);
    free(link);
}

void redis_link_close(struct redis_link *link)
{
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    if (link->reader != NULL)
        redisReaderFree(link->reader);
    link->reader = NULL;
}

bool redis_link_is_open(const struct redis_link *link)
{
    return link->fd >= 0;
}

int redis_link_fd(const struct redis_link *link)
{
    return link->fd;
}

bool redis_link_is_drained(const struct redis_link *link)
{
    return link->fed == 0;
}

bool redis_link_is_quiet(struct redis_link *link, bool now)
{
    char byte;
    if (link->fd < 0 || !redis_link_is_drained(link))
        return false;
    if (!now && clock_monotonic_ns() - link->heard_at < IDLE_NS)
        return true;
    return recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

/* ---- reading ---- */

static void *create_bounded_array(const redisReadTask *task, reader_count elements)
{
    struct redis_link *link = task->privdata;
    int depth = 0;
    for (const redisReadTask *at = task; at != NULL; at = at->parent)
        depth++;
    if ((size_t)elements > REPLY_ELEMENTS || depth > DEPTH)
        return NULL; /* the reader calls it out of memory and stops */
    return link->create_array(task, elements);
}

static int link_make_reader(struct redis_link *link)
{
    link->reader = redisReaderCreate();
    if (link->reader == NULL)
        return -1;
    link->functions = *link->reader->fn;
    link->create_array = link->functions.createArray;
    link->functions.createArray = create_bounded_array;
    link->reader->fn = &link->functions;
    link->reader->privdata = link;
    link->fed = 0;
    link->heard_at = clock_monotonic_ns();
    return 0;
}

/* Takes up to max answers out of the reader; -1: what came is no answer. */
static int link_parse(struct redis_link *link, redisReply **got, int max, struct error *err)
{
    int n = 0;
    while (n < max) {
        void *reply = NULL;
        if (redisReaderGetReply(link->reader, &reply) != REDIS_OK) {
            if (n > 0)
                return n; /* these are good; the reader says so again next time */
            error_set(err,
                      "Redis at %s gave an answer that cannot be read (%s): is it Redis that listens there?",
                      link->name, link->reader->errstr);
            return -1;
        }
        if (reply == NULL)
            break;
        got[n++] = reply;
        link->fed = link->reader->len - link->reader->pos;
    }
    return n;
}

static enum redis_link_status link_lost(const struct redis_link *link, int error, struct error *err)
{
    error_set(err, "Redis at %s closed the connection%s%s: see its log", link->name, error != 0 ? ": " : "",
              error != 0 ? strerror(error) : "");
    return REDIS_LINK_CLOSED;
}

static enum redis_link_status link_receive(struct redis_link *link, struct error *err)
{
    char bytes[READ_BYTES];
    ssize_t n = recv(link->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return REDIS_LINK_OK;
    if (n <= 0)
        return link_lost(link, n < 0 ? errno : 0, err);
    link->heard_at = clock_monotonic_ns();
    link->fed += (size_t)n;
    if (link->fed > REPLY_BYTES) {
        error_set(err, "Redis at %s gave an answer of more than %zu bytes", link->name, REPLY_BYTES);
        return REDIS_LINK_BROKEN;
    }
    if (redisReaderFeed(link->reader, bytes, (size_t)n) != REDIS_OK) {
        error_set(err, "out of memory for an answer of Redis");
        return REDIS_LINK_BROKEN;
    }
    return REDIS_LINK_OK;
}

/* ---- sending and waiting ---- */

static enum redis_link_status link_send(struct redis_link *link, struct redis_buffer *out, struct error *err)
{
    while (out->sent < out->len) {
        ssize_t n = send(link->fd, out->bytes + out->sent, out->len - out->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            out->sent += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return link_lost(link, errno, err);
    }
    return REDIS_LINK_OK;
}

/* > 0: ready, 0: not before the deadline. */
static int link_wait(int fd, short events, int64_t deadline)
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

static enum redis_link_status link_late(const struct redis_link *link, struct error *err)
{
    error_set(
        err,
        "Redis at %s did not answer in time: look at its load (SLOWLOG GET, redis-cli --latency) and the "
        "network, or raise counters.timeout",
        link->name);
    return REDIS_LINK_TIMEOUT;
}

enum redis_link_status redis_link_step(struct redis_link *link, struct redis_buffer *out, int64_t deadline,
                                       redisReply **got, int max, int *n, struct error *err)
{
    for (bool first = true;; first = false) {
        *n = link_parse(link, got, max, err);
        if (*n < 0) {
            *n = 0;
            return REDIS_LINK_BROKEN;
        }
        if (*n > 0)
            return REDIS_LINK_OK;
        if (!first && clock_monotonic_ns() >= deadline)
            return link_late(link, err);
        enum redis_link_status status = link_send(link, out, err);
        if (status != REDIS_LINK_OK)
            return status;
        short events = out->sent < out->len ? POLLIN | POLLOUT : POLLIN;
        if (link_wait(link->fd, events, deadline) == 0)
            return link_late(link, err);
        status = link_receive(link, err);
        if (status != REDIS_LINK_OK)
            return status;
    }
}

/* ---- connecting ---- */

static enum redis_link_status link_connect(struct redis_link *link, const struct redis_target *target,
                                           int64_t deadline, struct error *err)
{
    const int on = 1, idle = 15, interval = 5, count = 3;
    link->fd = socket(target->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0) {
        error_set(err, "cannot make a socket for Redis: %s", strerror(errno));
        return REDIS_LINK_CLOSED;
    }
    if (target->addr.ss_family !=
        AF_UNIX) { /* all four only make it better; keepalive holds it open through NAT */
        setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(link->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        setsockopt(link->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
        setsockopt(link->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
        setsockopt(link->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    }
    int error = 0;
    if (connect(link->fd, (const void *)&target->addr, target->addr_len) != 0)
        error = errno;
    if (error == EINPROGRESS) {
        socklen_t len = sizeof error;
        if (link_wait(link->fd, POLLOUT, deadline) == 0)
            error = ETIMEDOUT;
        else if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
            error = errno;
    }
    if (error == 0)
        return REDIS_LINK_OK;
    error_set(err, "cannot connect to Redis at %s: %s; is it running, and is counters.url right?", link->name,
              strerror(error));
    return error == ETIMEDOUT ? REDIS_LINK_TIMEOUT : REDIS_LINK_CLOSED;
}

/* Which answer of the handshake it is. */
enum step { STEP_AUTH, STEP_SELECT, STEP_NAME };

static int handshake_write(struct redis_buffer *out, const struct redis_target *target, enum step *steps,
                           int *n)
{
    *n = 0;
    if (target->password != NULL) {
        const char *with_user[] = {"AUTH", target->user, target->password, NULL};
        const char *without[] = {"AUTH", target->password, NULL};
        if (redis_buffer_add_strings(out, target->user != NULL ? with_user : without) != 0)
            return -1;
        steps[(*n)++] = STEP_AUTH;
    }
    if (target->db != 0) {
        char db[16];
        snprintf(db, sizeof db, "%d", target->db);
        if (redis_buffer_add_strings(out, (const char *[]){"SELECT", db, NULL}) != 0)
            return -1;
        steps[(*n)++] = STEP_SELECT;
    }
    steps[(*n)++] = STEP_NAME; /* always, so that the peer has shown that it speaks */
    return redis_buffer_add_strings(out, (const char *[]){"CLIENT", "SETNAME", "rcptgate", NULL});
}

static enum redis_link_status handshake_judge(const struct redis_link *link, enum step step,
                                              const redisReply *reply, struct error *err,
                                              struct error *warning)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return REDIS_LINK_OK;
    enum redis_refusal refusal = redis_refusal_find(reply->str, link->name, NULL);
    if (refusal == REDIS_REFUSAL_NODE) {
        redis_refusal_find(reply->str, link->name, err);
        return REDIS_LINK_REFUSED;
    }
    if (step == STEP_NAME) /* a name is nice to have */
        return REDIS_LINK_OK;
    if (step == STEP_AUTH && strstr(reply->str, "without any password configured") != NULL) {
        error_set(warning, "Redis at %s has no password, but counters sets one: anybody can use it",
                  link->name);
        return REDIS_LINK_OK;
    }
    error_set(err, "Redis at %s says \"%.160s\" to %s: check counters.url", link->name, reply->str,
              step == STEP_AUTH ? "AUTH" : "SELECT");
    return REDIS_LINK_REFUSED;
}

/* A server that does not want us says why before it closes. It may do so before it has read what we send, and then it is
 * the sending that fails. */
static enum redis_link_status handshake_last_words(struct redis_link *link, struct error *err)
{
    redisReply *got = NULL;
    struct error none = {0}, why = {0};
    enum redis_link_status status = REDIS_LINK_CLOSED;
    if (link_receive(link, &none) != REDIS_LINK_OK || link_parse(link, &got, 1, &none) != 1)
        return status;
    if (got->type == REDIS_REPLY_ERROR &&
        redis_refusal_find(got->str, link->name, &why) != REDIS_REFUSAL_NONE) {
        *err = why;
        status = REDIS_LINK_REFUSED;
    }
    freeReplyObject(got);
    return status;
}

static enum redis_link_status link_handshake(struct redis_link *link, const struct redis_target *target,
                                             int64_t deadline, struct error *err, struct error *warning)
{
    enum redis_link_status status = REDIS_LINK_OK;
    struct redis_buffer out = {0};
    enum step steps[HANDSHAKE];
    int n_steps = 0, at = 0;
    if (link_make_reader(link) != 0 || handshake_write(&out, target, steps, &n_steps) != 0) {
        error_set(err, "out of memory for a connection to Redis");
        status = REDIS_LINK_BROKEN;
    }
    while (status == REDIS_LINK_OK && at < n_steps) {
        redisReply *got = NULL;
        int n = 0;
        status = redis_link_step(link, &out, deadline, &got, 1, &n, err);
        if (n == 1) {
            status = handshake_judge(link, steps[at++], got, err, warning);
            freeReplyObject(got);
        } else if (status == REDIS_LINK_CLOSED && at == 0) {
            status = handshake_last_words(link, err);
        }
    }
    redis_buffer_done(&out);
    return status;
}

enum redis_link_status redis_link_open(struct redis_link *link, const struct redis_target *target,
                                       int64_t deadline, struct error *err, struct error *warning)
{
    assert(link->fd < 0 && err != NULL);
    snprintf(link->name, sizeof link->name, "%s", target->name);
    enum redis_link_status status = link_connect(link, target, deadline, err);
    if (status == REDIS_LINK_OK)
        status = link_handshake(link, target, deadline, err, warning);
    if (status != REDIS_LINK_OK)
        redis_link_close(link);
    return status;
}
