/* wire: accept(), poll(), read() and close() for libmilter, which calls them by these names and which the linker therefore finds
 * here first. So do all others; only descriptors that accept() gave out are treated in another way.
 *
 * Out of descriptors libmilter would try again at once, for ever, at the price of a processor; and the last descriptors
 * would go to sessions, while Redis, SQLite and the log need some to serve them. So the last ones are kept back, and
 * whoever connects meanwhile waits in the queue of the socket.
 *
 * libmilter polls and reads the head and the rest of each packet apart, although Postfix writes several at once. So what is
 * there is read at once, and what was read ahead counts as ready; so does what a poll found readable, until it is read.
 * Before it writes it polls, too, although its answers are short and a socket takes them at once: so it is told that it may,
 * and a write to who takes nothing ends by the socket's own timeout.
 * On its way each frame is looked at: a connection with one
 * that is malformed ends there, before libmilter has all of it.
 *
 * Owns what was read ahead, from accept() to close(). A connection belongs to one thread at a time, and libmilter hands it on
 * under its locks; so there is no lock here but for the table. */
#include "milter/wire.h"

#include "frames.h"
#include "sys/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_MS = 50, AHEAD = 2048, DESCRIPTORS = 65536 };

/* What these would be without us; glibc exports them under these names, too. */
ssize_t __read(int fd, void *bytes, size_t n);         // NOLINT: glibc's names
int __poll(struct pollfd *fds, nfds_t n, int timeout); // NOLINT
int __close(int fd);                                   // NOLINT

struct connection {
    struct frames frames;
    bool bad;            /* nothing more is read; what is left is the part of a frame */
    bool readable;       /* poll() said so, and nobody has read since */
    bool write_ends;     /* the socket has a timeout for writing */
    unsigned begin, end; /* of what libmilter did not take yet */
    unsigned char ahead[AHEAD];
};

static atomic_bool full;
static _Atomic(struct connection *) connections[DESCRIPTORS]; /* by descriptor; NULL: none of ours */

static struct connection *connection_at(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS ? atomic_load_explicit(&connections[fd], memory_order_acquire) : NULL;
}

bool wire_paused(void)
{
    return atomic_load(&full);
}

/* Descriptors are given out from the lowest free number up: a high one tells that few are left. */
static bool few_left(int fd)
{
    struct rlimit limit;
    int probe = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (probe >= 0)
        close(probe);
    return probe < 0 || probe + ACCEPT_RESERVE >= DESCRIPTORS ||
           (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
            (rlim_t)probe + ACCEPT_RESERVE >= limit.rlim_cur);
}

/* EINTR is the one failure after which libmilter just waits for the next connection. */
static int ask_again(bool short_of)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};
    if (short_of)
        atomic_store(&full, true);
    nanosleep(&pause, NULL);
    errno = EINTR;
    return -1;
}

/* False: there is no memory for it. */
static bool connection_begin(int fd)
{
    struct connection *connection = malloc(sizeof *connection);
    if (connection == NULL)
        return false;
    memset(connection, 0, offsetof(struct connection, ahead));
    const struct timeval timeout = {.tv_sec = WIRE_TIMEOUT_S};
    connection->write_ends = setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) == 0;
    atomic_store_explicit(&connections[fd], connection, memory_order_release);
    return true;
}

int accept(int fd, struct sockaddr *restrict address, socklen_t *restrict size)
{
    if (few_left(fd)) /* before a connection is taken that nobody could serve */
        return ask_again(true);
    int got = accept4(fd, address, size, SOCK_CLOEXEC);
    if (got >= 0 && (got >= DESCRIPTORS || !connection_begin(got))) {
        __close(got);
        return ask_again(true);
    }
    if (got < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
        return ask_again(true);
    if (got < 0 && errno == EINVAL)
        return ask_again(false); /* this listener was shut down: another one is about to take its number */
    if (got >= 0)
        atomic_store(&full, false);
    return got;
}

int close(int fd)
{
    if (connection_at(fd) != NULL) /* before the number can be given out again */
        free(atomic_exchange(&connections[fd], NULL));
    return __close(fd);
}

/* Reads what is there, and lets pass what is well formed. */
static ssize_t read_ahead(struct connection *connection, int fd)
{
    connection->readable = false;
    ssize_t got = __read(fd, connection->ahead, AHEAD);
    if (got <= 0)
        return got;
    connection->begin = 0;
    connection->end = (unsigned)frames_pass(&connection->frames, connection->ahead, (size_t)got);
    connection->bad = connection->end < (size_t)got;
    if (connection->bad)
        log_line(LOG_AT_WARNING,
                 "event=frame text=\"a milter connection is closed: what came over it is no frame of the "
                 "milter protocol\"");
    return got;
}

/* What libmilter gets of what was read ahead: 0, the end, where the very first byte is bad. */
static ssize_t hand_on(struct connection *connection, void *bytes, size_t n)
{
    size_t left = connection->end - connection->begin, part = n < left ? n : left;
    const unsigned char *from = connection->ahead + connection->begin;
    connection->begin += (unsigned)part;
    memcpy(bytes, from, part);
    return (ssize_t)part;
}

/* Not a part of read(), which has little to do each time but this one. */
static __attribute__((noinline)) ssize_t read_more(struct connection *connection, int fd, void *bytes,
                                                   size_t n)
{
    ssize_t got = connection->bad ? 0 : read_ahead(connection, fd);
    return got <= 0 ? got : hand_on(connection, bytes, n);
}

ssize_t read(int fd, void *bytes, size_t n)
{
    struct connection *connection = connection_at(fd);
    if (connection == NULL)
        return __read(fd, bytes, n);
    return connection->begin < connection->end ? hand_on(connection, bytes, n)
                                               : read_more(connection, fd, bytes, n);
}

static inline bool is_ready(struct pollfd *p) /* not const: gcc believes that poll() only writes there */
{
    const struct connection *connection = (p->events & POLLIN) != 0 ? connection_at(p->fd) : NULL;
    return connection != NULL &&
           (connection->begin < connection->end || connection->bad || connection->readable);
}

static inline bool may_write(struct pollfd *p) /* not const: as above */
{
    const struct connection *connection = p->events == POLLOUT ? connection_at(p->fd) : NULL;
    return connection != NULL && connection->write_ends;
}

static int poll_many(struct pollfd *fds, nfds_t n, int timeout)
{
    nfds_t ready = 0;
    for (nfds_t i = 0; i < n; i++)
        ready += is_ready(&fds[i]);
    if (ready == 0)
        return __poll(fds, n, timeout);
    int rc = 0;
    for (nfds_t i = 0; i < n; i++)
        fds[i].revents = 0;
    if (ready < n && (rc = __poll(fds, n, 0)) < 0)
        return rc;
    rc = 0;
    for (nfds_t i = 0; i < n; i++) {
        fds[i].revents |= is_ready(&fds[i]) ? POLLIN : 0;
        rc += fds[i].revents != 0;
    }
    return rc;
}

/* Not a part of poll(), as read_more() above. */
static __attribute__((noinline)) int poll_one(struct pollfd *p, int timeout)
{
    int rc = __poll(p, 1, timeout);
    struct connection *connection = rc == 1 && (p->revents & POLLIN) != 0 ? connection_at(p->fd) : NULL;
    if (connection != NULL)
        connection->readable = true;
    return rc;
}

int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    if (n != 1) /* libmilter's sessions have one each */
        return poll_many(fds, n, timeout);
    fds->revents = is_ready(fds) ? POLLIN : may_write(fds) ? POLLOUT : 0;
    return fds->revents != 0 ? 1 : poll_one(fds, timeout);
}
