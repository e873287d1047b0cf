/* listener: the milter's socket, owned by us and handed to libmilter as "fd:N".
 *
 * libmilter sets no mode, cannot tell a stale socket from a live one, and in an overlapping restart the old
 * instance removes the new one's socket. So: a lock file beside the unix socket says who owns it, a stale
 * socket is replaced, a live one is an error. */
#ifndef RCPTGATE_SYS_LISTENER_H
#define RCPTGATE_SYS_LISTENER_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct listener {
    int fd;                   /* listening, close-on-exec */
    int lock_fd;              /* -1 for TCP */
    char path[108];           /* "" for TCP */
    unsigned long long inode; /* of our socket file: only that one is ever removed */
    struct timespec right_at; /* its ctime, when listener_mend() last found it right for */
    char right_group[64];     /* that group */
};

/* spec as libmilter writes it: "unix:/path", "inet:port@host", "inet6:port@host". group may be NULL. Waits up
 * to wait_ms for a predecessor that is just ending. 0, or -1 with err set (another instance runs, no
 * directory ...). A mode is kept by all means, a group that cannot be had is what listener_mend() tells of:
 * mail that comes another way goes on. */
int listener_open(struct listener *listener, const char *spec, const char *group, unsigned mode, int wait_ms,
                  struct error *err);

/* The directory of a unix socket, where it alone is missing from root's own directories: made for that user and group. Else
 * nothing: listener_open() says what is wrong. */
void listener_make_directory(const char *spec, uid_t uid, gid_t gid);

/* Group (NULL or "": as it is) and mode of the socket that is bound to that name. -1 with errno set; ENOENT: there is no
 * such group. */
int listener_set_rights(const char *path, const char *group, unsigned mode);

/* Is the socket file still there, ours, and of the right mode and group? Mends what is not: a wrong mode in
 * place; where the file is gone or another one stands there that nobody listens on, a fresh socket takes over
 * listener->fd and alias (a duplicate of it that somebody polls). 0: all well; 1: mended, what tells what it
 * was; -1: it cannot be mended, what tells why. */
int listener_mend(struct listener *listener, const char *group, unsigned mode, int alias, struct error *what);

/* Removes the socket file if it still is ours, and lets the lock go. */
void listener_close(struct listener *listener);

#endif
