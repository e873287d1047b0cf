/* listener: owns the socket and the lock file beside it, which stays when it ends. What goes wrong at the start is an
 * error; a socket that is removed or changed later is made anew by listener_mend(), which tells of it. */
#include "sys/listener.h"

#include "sys/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static int lock_take(const char *path, int wait_ms, struct error *err)
{
    char file[sizeof((struct listener *)NULL)->path + 8];
    snprintf(file, sizeof file, "%s.lock", path);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        error_set(err, "cannot open the lock file %s: %s", file, strerror(errno));
        return -1;
    }
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += 20) {
        if (errno != EWOULDBLOCK || waited >= wait_ms) {
            error_set(err, "another rcptgate serves %s (its lock %s is held); stop it first", path, file);
            close(fd);
            return -1;
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return fd; /* the file stays: removing a lock file would let two instances lock two files of one name */
}

/* Somebody who does not know our lock may listen there: never take a live socket away. */
static bool socket_is_live(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true;
    bool live = connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0 || errno == EAGAIN;
    close(fd);
    return live;
}

static bool is_any(const char *group)
{
    return group == NULL || group[0] == '\0';
}

/* fchmod() and fchown() of a socket do not reach its file, and a name could be swapped for a link meanwhile. So the file
 * is pinned, and reached by what is pinned. */
int listener_set_rights(const char *path, const char *group, unsigned mode)
{
    char name[32];
    struct stat st;
    const struct group *entry = is_any(group) ? NULL : getgrnam(group);
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), rc = -1;
    if (fd < 0)
        return -1;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    errno = ENOTSOCK;
    if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
        rc = (st.st_mode & 07777) == mode ? 0 : chmod(name, mode);
    if (rc == 0 && entry != NULL && st.st_gid != entry->gr_gid)
        rc = fchownat(fd, "", (uid_t)-1, entry->gr_gid, AT_EMPTY_PATH);
    if (rc == 0 && entry == NULL && !is_any(group)) {
        errno = ENOENT;
        rc = -1;
    }
    int why = errno;
    close(fd);
    errno = why;
    return rc;
}

/* False: the path is in no directory of its own. */
static bool parent_of(const char *path, char dir[sizeof((struct listener *)NULL)->path])
{
    snprintf(dir, sizeof((struct listener *)NULL)->path, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL || slash == dir)
        return false;
    *slash = '\0';
    return true;
}

void listener_make_directory(const char *spec, uid_t uid, gid_t gid)
{
    char dir[sizeof((struct listener *)NULL)->path], above[sizeof dir];
    struct ids ids;
    if (strncmp(spec, "inet", 4) != 0 && parent_of(strchr(spec, ':') + 1, dir) && parent_of(dir, above) &&
        ids_of_directory(above, &ids, NULL, NULL) == 0 && ids.uid == 0 && mkdir(dir, 0750) == 0)
        (void)!chown(dir, uid, gid); /* in root's directory: no name is swapped. A failure shows at bind() */
}

/* The directory is made when only it is missing, so that a first start needs no preparation. */
static void parent_make(const char *path, const char *group)
{
    char dir[sizeof((struct listener *)NULL)->path];
    const struct group *entry = is_any(group) ? NULL : getgrnam(group);
    int fd =
        parent_of(path, dir) && mkdir(dir, 0750) == 0 ? open(dir, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd >= 0 && entry != NULL)
        (void)!fchown(fd, (uid_t)-1, entry->gr_gid); /* a failure shows when the socket gets its group */
    if (fd >= 0)
        close(fd);
}

static int unix_bind(struct listener *l, const struct sockaddr_un *addr, const char *group, unsigned mode,
                     struct error *err)
{
    struct stat st;
    if (lstat(l->path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode)) {
            error_set(err, "%s exists and is no socket; move it away", l->path);
            return -1;
        }
        if (socket_is_live(addr)) {
            error_set(err, "somebody else listens on %s; stop it, or choose another milter.socket", l->path);
            return -1;
        }
        if (unlink(l->path) < 0) {
            error_set(err, "cannot remove the stale socket %s: %s", l->path, strerror(errno));
            return -1;
        }
    }
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || fchmod(l->fd, 0600) < 0 || /* the mode with which bind() creates the file */
        bind(l->fd, (const struct sockaddr *)addr, sizeof *addr) < 0) {
        error_set(err, "cannot listen on %s: %s", l->path, strerror(errno));
        return -1;
    }
    bool right = listener_set_rights(l->path, group, mode) ==
                 0; /* a wrong group stops nobody: listener_mend() tells */
    if (lstat(l->path, &st) < 0 || (!right && (st.st_mode & 07777) != mode)) {
        error_set(err, "cannot set the mode of %s: %s", l->path, strerror(errno));
        return -1;
    }
    l->inode = (unsigned long long)st.st_ino;
    return 0;
}

/* As it was when it was right: nobody is asked again which group that is. */
static bool is_as_before(const struct listener *l, const struct stat *st, const char *group)
{
    return st->st_ctim.tv_sec == l->right_at.tv_sec && st->st_ctim.tv_nsec == l->right_at.tv_nsec &&
           strcmp(l->right_group, group) == 0;
}

static int mend_mode(struct listener *l, const struct stat *st, const char *group, unsigned mode,
                     struct error *what)
{
    bool right_mode = (st->st_mode & 07777) == mode;
    if (right_mode && (is_any(group) || is_as_before(l, st, group)))
        return 0;
    const struct group *entry = is_any(group) ? NULL : getgrnam(group);
    if (right_mode && entry != NULL && st->st_gid == entry->gr_gid) {
        l->right_at = st->st_ctim;
        snprintf(l->right_group, sizeof l->right_group, "%s", group);
        return 0;
    }
    if (!is_any(group) && entry == NULL) {
        error_set(what, "milter.group: there is no group \"%s\" on this host", group);
        return -1;
    }
    if (listener_set_rights(l->path, group, mode) < 0) {
        error_set(what,
                  "the mode or group of %s cannot be set right: %s; run as root or add the gate's user to "
                  "the group",
                  l->path, strerror(errno));
        return -1;
    }
    error_set(what, "the mode or group of %s was not what the policy says; it is set right", l->path);
    return 1;
}

/* A new socket under the old numbers. Whoever polls the old one must be woken first: poll() looks numbers up
 * anew when it is woken, but listens only to the files that it found at first. */
static int mend_socket(struct listener *l, const char *group, unsigned mode, int alias, struct error *what)
{
    enum { WAKE_MS = 20 };
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct listener fresh = {.fd = -1, .lock_fd = -1};
    memcpy(addr.sun_path, l->path, strlen(l->path) + 1);
    memcpy(fresh.path, l->path, sizeof fresh.path);
    parent_make(l->path, group);
    int rc = unix_bind(&fresh, &addr, group, mode, what);
    if (rc == 0 && (rc = listen(fresh.fd, BACKLOG)) == 0) {
        (void)shutdown(l->fd, SHUT_RD);
        nanosleep(&(struct timespec){.tv_nsec = WAKE_MS * 1000000}, NULL);
        rc = dup3(fresh.fd, l->fd, O_CLOEXEC) < 0 || dup3(fresh.fd, alias, O_CLOEXEC) < 0 ? -1 : 0;
    }
    if (rc < 0)
        error_set(what, "cannot listen on %s again: %s", l->path, strerror(errno));
    else
        l->inode = fresh.inode;
    if (fresh.fd >= 0)
        close(fresh.fd);
    return rc < 0 ? -1 : 1;
}

int listener_mend(struct listener *listener, const char *group, unsigned mode, int alias, struct error *what)
{
    struct stat st;
    if (listener->path[0] == '\0')
        return 0;
    bool there = lstat(listener->path, &st) == 0;
    if (there && S_ISSOCK(st.st_mode) && (unsigned long long)st.st_ino == listener->inode)
        return mend_mode(listener, &st, group, mode, what);
    int rc = mend_socket(listener, group, mode, alias, what);
    if (rc > 0)
        error_set(what, "%s %s; it is there again", listener->path, there ? "was replaced" : "was removed");
    return rc;
}

static int unix_open(struct listener *l, const char *path, const char *group, unsigned mode, int wait_ms,
                     struct error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof addr.sun_path) {
        error_set(err, "the socket path %s is longer than %zu bytes", path, sizeof addr.sun_path - 1);
        return -1;
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    memcpy(l->path, path, strlen(path) + 1);
    parent_make(path, group);
    l->lock_fd = lock_take(path, wait_ms, err);
    if (l->lock_fd < 0)
        return -1;
    return unix_bind(l, &addr, group, mode, err);
}

static int tcp_open(struct listener *l, const char *spec, int family, struct error *err)
{
    char host[256] = "", port[16];
    const char *at = strchr(spec, '@');
    snprintf(port, sizeof port, "%.*s", at != NULL ? (int)(at - spec) : (int)strlen(spec), spec);
    if (at != NULL) {
        const char *name = at + 1;
        size_t n = strlen(name);
        if (n >= 2 && name[0] == '[' && name[n - 1] == ']')
            name++, n -= 2;
        snprintf(host, sizeof host, "%.*s", (int)n, name);
    }
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &list);
    if (rc != 0) {
        error_set(err, "milter.socket: cannot resolve %s: %s", spec, gai_strerror(rc));
        return -1;
    }
    const int one = 1;
    l->fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(l->fd, list->ai_addr, list->ai_addrlen) < 0) {
        error_set(err, "cannot listen on %s: %s", spec, strerror(errno));
        freeaddrinfo(list);
        return -1;
    }
    freeaddrinfo(list);
    return 0;
}

int listener_open(struct listener *listener, const char *spec, const char *group, unsigned mode, int wait_ms,
                  struct error *err)
{
    struct listener l = {.fd = -1, .lock_fd = -1};
    int rc = -1;
    if (strncmp(spec, "unix:", 5) == 0 || strncmp(spec, "local:", 6) == 0)
        rc = unix_open(&l, strchr(spec, ':') + 1, group, mode, wait_ms, err);
    else if (strncmp(spec, "inet:", 5) == 0)
        rc = tcp_open(&l, spec + 5, AF_INET, err);
    else if (strncmp(spec, "inet6:", 6) == 0)
        rc = tcp_open(&l, spec + 6, AF_INET6, err);
    else
        error_set(err, "milter.socket: \"%s\" is none of unix:/path, inet:port@host, inet6:port@host", spec);
    if (rc == 0 && listen(l.fd, BACKLOG) < 0) {
        error_set(err, "cannot listen on %s: %s", spec, strerror(errno));
        rc = -1;
    }
    if (rc < 0) {
        listener_close(&l);
        return -1;
    }
    *listener = l;
    return 0;
}

void listener_close(struct listener *listener)
{
    struct stat st;
    if (listener->inode != 0 && lstat(listener->path, &st) == 0 &&
        (unsigned long long)st.st_ino == listener->inode)
        unlink(listener->path);
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->lock_fd >= 0)
        close(listener->lock_fd);
    listener->fd = listener->lock_fd = -1;
    listener->inode = 0;
}
