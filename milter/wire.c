/* wire: libmilter's accept(), which it calls by this name and which the linker therefore finds here first.
 *
 * Out of descriptors libmilter would try again at once, for ever, at the price of a processor; and the last descriptors
 * would go to sessions, while Redis, SQLite and the log need some to serve them. So the last ones are kept back, and
 * whoever connects meanwhile waits in the queue of the socket. */
#include "milter/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_MS = 50 };

static atomic_bool full;

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
    return probe < 0 || (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
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

int accept(int fd, struct sockaddr *restrict address, socklen_t *restrict size)
{
    if (few_left(fd)) /* before a connection is taken that nobody could serve */
        return ask_again(true);
    int got = accept4(fd, address, size, SOCK_CLOEXEC);
    if (got < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
        return ask_again(true);
    if (got < 0 && errno == EINVAL)
        return ask_again(false); /* this listener was shut down: another one is about to take its number */
    if (got >= 0)
        atomic_store(&full, false);
    return got;
}
