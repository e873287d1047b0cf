/* password: read at every connect, so that a new one needs no restart. Owns nothing; a file that hangs (a FIFO) is not waited for. */
#include "password.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int redis_password_read(const char *file, const char *key, char out[PASSWORD_MAX], struct error *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n = fd >= 0 ? read(fd, out, PASSWORD_MAX - 1) : -1;
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0) {
        error_set(err, "cannot read %s %s: %s", key, file, strerror(error));
        return -1;
    }
    out[n] = '\0';
    out[strcspn(out, "\r\n")] = '\0';
    if (out[0] == '\0') {
        error_set(err, "%s %s is empty", key, file);
        return -1;
    }
    return 0;
}
