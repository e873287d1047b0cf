/* file: see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A pipe or a terminal may be read as well, but whoever is to write to it must not keep us for ever. */
static ssize_t read_some(int fd, char *bytes, size_t n)
{
    enum { SILENCE_MS = 5000 };
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int rc = poll(&p, 1, SILENCE_MS);
    if (rc == 0)
        errno = ETIMEDOUT;
    return rc > 0 ? read(fd, bytes, n) : -1;
}

/* Everything up to the end; NULL with errno set. */
static char *read_all(int fd, size_t *n)
{
    char *bytes = NULL;
    size_t size = 0, used = 0;
    for (;;) {
        if (used + 1 >= size) {
            size = size == 0 ? 16384 : size * 2;
            char *more = realloc(bytes, size);
            if (more == NULL)
                break;
            bytes = more;
        }
        ssize_t got = read_some(fd, bytes + used, size - used - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        used += (size_t)got;
        if (used > FILE_READ_MAX) {
            errno = EFBIG;
            break;
        }
        if (got == 0) {
            bytes[used] = '\0';
            *n = used;
            return bytes;
        }
    }
    int saved = errno;
    free(bytes);
    errno = saved;
    return NULL;
}

int file_read_open(int fd, char **bytes, size_t *n)
{
    char *got = read_all(fd, n);
    if (got != NULL)
        *bytes = got;
    return got != NULL ? 0 : -1;
}

int file_read(const char *path, char **bytes, size_t *n, struct error *err)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    int rc = fd >= 0 ? file_read_open(fd, bytes, n) : -1;
    if (rc < 0)
        error_set(err, "%s cannot be read: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd); /* only read: nothing can be lost */
    return rc;
}

int file_open_own(const char *path, int flags, mode_t mode)
{
    struct stat st;
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, mode);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
        return fd;
    (void)close(fd);
    errno = EPERM;
    return -1;
}

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        bytes += done;
        n -= (size_t)done;
    }
    return 0;
}

static int write_draft(const char *draft, const char *bytes, size_t n, mode_t mode)
{
    (void)unlink(draft); /* left by one that was killed */
    int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return -1;
    int rc = write_all(fd, bytes, n) == 0 && fsync(fd) == 0 ? 0 : -1;
    int why = errno;
    if (close(fd) < 0 && rc == 0)
        return -1;
    errno = why;
    return rc;
}

/* A file system that cannot do it keeps the new file, or the one from before: whole either way. */
static void sync_directory(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    (void)close(fd);
}

int file_write(const char *path, const char *bytes, size_t n, mode_t mode)
{
    char draft[PATH_MAX], dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (snprintf(draft, sizeof draft, "%s.new", path) >= (int)sizeof draft) {
        errno = ENAMETOOLONG;
        return -1;
    }
    snprintf(dir, sizeof dir, "%.*s", (int)(slash != NULL ? slash - path : 1), slash != NULL ? path : ".");
    const char *parent = dir[0] != '\0' ? dir : "/";
    if (write_draft(draft, bytes, n, mode) == 0 && rename(draft, path) == 0) {
        sync_directory(parent);
        return 0;
    }
    int why = errno;
    (void)unlink(draft); /* may not be there */
    errno = why;
    return -1;
}
