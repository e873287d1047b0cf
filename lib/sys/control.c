/* control: owns the listening socket (the file too); a server accepts, with a thread for each client, CONTROL_CLIENTS at most: who
 * comes then waits in the queue of the socket. A client that stands still, or goes away, costs only its own thread. */
#include "sys/control.h"

#include "sys/listener.h"

#include "base/clock.h"
#include "sys/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    REQUEST_MS = 1000,     /* for the request line: who connects and is silent keeps others out no longer */
    CLIENT_MS = 5000,      /* for the answer to be taken */
    STACK_BYTES = 8 << 20, /* a request may nest deeply */
};

struct control {
    int fd;
    struct server *server;
    control_answer_fn *answer;
    void *arg;
    char path[108];
};

static bool send_line(int fd, const char *text, int stop_fd, int64_t deadline)
{
    size_t n = strlen(text);
    for (size_t done = 0; done <= n;) {
        ssize_t got = done < n ? send(fd, text + done, n - done, MSG_NOSIGNAL | MSG_DONTWAIT)
                               : send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (got > 0)
            done += (size_t)got;
        else if ((got < 0 && errno != EAGAIN && errno != EINTR) ||
                 !server_wait(fd, POLLOUT, stop_fd, deadline))
            return false;
    }
    return true;
}

/* malloc'd line without its newline; NULL when the peer or the deadline cut it off. */
static char *read_line(int fd, int stop_fd, int64_t deadline)
{
    size_t size = 4096, n = 0;
    char *line = malloc(size);
    while (line != NULL && server_wait(fd, POLLIN, stop_fd, deadline)) {
        ssize_t got = recv(fd, line + n, size - n - 1, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            break;
        char *newline = memchr(line + n, '\n', (size_t)got);
        n += (size_t)got;
        if (newline != NULL) {
            *newline = '\0';
            return line;
        }
        if (size - n <= 1) {
            char *more = size < CONTROL_MAX ? realloc(line, size * 2) : NULL;
            if (more == NULL)
                break;
            line = more;
            size *= 2;
        }
    }
    free(line);
    return NULL;
}

static void control_serve(void *arg, int fd, int stop_fd)
{
    struct control *control = arg;
    char *request = read_line(fd, stop_fd, clock_monotonic_ms() + REQUEST_MS);
    char *answer = request != NULL ? control->answer(control->arg, request) : NULL;
    if (answer != NULL) /* a client that went away needs none */
        (void)send_line(fd, answer, stop_fd, clock_monotonic_ms() + CLIENT_MS);
    free(answer);
    free(request);
}

static int address_of(const char *path, struct sockaddr_un *addr, struct error *err)
{
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof addr->sun_path) {
        error_set(err, "the socket path %s is longer than %zu bytes; choose a shorter \"state\"", path,
                  sizeof addr->sun_path - 1);
        return -1;
    }
    memcpy(addr->sun_path, path, strlen(path) + 1);
    return 0;
}

static int control_listen(struct control *control, const char *group, struct error *err)
{
    struct sockaddr_un addr;
    if (address_of(control->path, &addr, err) < 0)
        return -1;
    unlink(control->path);
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (control->fd < 0 || fchmod(control->fd, 0600) < 0 ||
        bind(control->fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(control->fd, 16) < 0) {
        error_set(err, "cannot listen on %s: %s", control->path, strerror(errno));
        return -1;
    }
    if (listener_set_rights(control->path, group, 0660) < 0) {
        error_set(err, "cannot set the mode of %s: %s", control->path, strerror(errno));
        return -1;
    }
    return 0;
}

static void control_free(struct control *control)
{
    if (control->fd >= 0) {
        unlink(control->path);
        close(control->fd);
    }
    free(control);
}

struct control *control_start(const char *path, const char *group, control_answer_fn *answer, void *arg,
                              struct error *err)
{
    struct control *control = calloc(1, sizeof *control);
    if (control == NULL) {
        error_set(err, "out of memory for the control socket");
        return NULL;
    }
    control->fd = -1;
    control->answer = answer;
    control->arg = arg;
    snprintf(control->path, sizeof control->path, "%s", path);
    if (strlen(path) < sizeof control->path && control_listen(control, group, err) == 0) {
        const struct server_config config = {.name = "control",
                                             .fd = control->fd,
                                             .clients = CONTROL_CLIENTS,
                                             .stack_bytes = STACK_BYTES,
                                             .serve = control_serve,
                                             .arg = control};
        control->server = server_start(&config, err);
    }
    if (control->server != NULL)
        return control;
    error_set(err, "the socket path %s is too long", path);
    control_free(control);
    return NULL;
}

bool control_stop(struct control *control)
{
    if (control == NULL)
        return true;
    bool alone = server_stop(control->server, CLIENT_MS);
    if (alone)
        control_free(control);
    else /* a thread still uses the rest */
        unlink(control->path);
    return alone;
}

char *control_ask(const char *path, const char *request, int timeout_ms, bool *absent, struct error *err)
{
    struct sockaddr_un addr;
    *absent = false;
    if (address_of(path, &addr, err) < 0)
        return NULL;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_set(err, "cannot open a socket: %s", strerror(errno));
        return NULL;
    }
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        *absent = errno == ENOENT || errno == ECONNREFUSED;
        error_set(err, *absent ? "no gate runs here (%s: %s)" : "cannot reach the gate at %s: %s", path,
                  strerror(errno));
        close(fd);
        return NULL;
    }
    int64_t deadline = clock_monotonic_ms() + timeout_ms;
    char *answer = send_line(fd, request, -1, deadline) ? read_line(fd, -1, deadline) : NULL;
    if (answer == NULL)
        error_set(err, "the gate at %s did not answer within %d s", path, timeout_ms / 1000);
    close(fd);
    return answer;
}
