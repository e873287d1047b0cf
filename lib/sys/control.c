/* control: owns the listening socket (the file too), a thread that accepts, and one for each client, 8 at most: who
 * comes then waits in the queue of the socket. A client that stands still, or goes away, costs only its own thread;
 * without descriptors accepting pauses and goes on. */
#include "sys/control.h"

#include "sys/listener.h"

#include "base/clock.h"
#include "sys/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    REQUEST_MS = 1000, /* for the request line: who connects and is silent keeps others out no longer */
    CLIENT_MS = 5000,  /* for the answer to be taken */
    CLIENTS = 64,
    STACK_BYTES = 8 << 20,
    PAUSE_NS = 100000000,
};

struct control {
    int fd;
    struct worker *worker; /* accepts; its descriptor tells all threads of control_stop() */
    control_answer_fn *answer;
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t left;
    pthread_attr_t roomy; /* a request may nest deeply */
    unsigned clients;     /* under lock: threads that serve one */
    char path[108];
};

struct client {
    struct control *control;
    int fd;
};

/* Waits for events until the deadline; false when it has passed, or stop_fd (-1: none) is readable. */
static bool wait_for(int fd, short events, int stop_fd, int64_t deadline)
{
    for (;;) {
        int64_t left = deadline - clock_monotonic_ms();
        if (left <= 0)
            return false;
        struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = stop_fd, .events = POLLIN}};
        int rc = poll(p, 2, (int)left);
        if (rc > 0)
            return p[1].revents == 0;
        if (rc < 0 && errno != EINTR)
            return false;
    }
}

static bool send_line(int fd, const char *text, int stop_fd, int64_t deadline)
{
    size_t n = strlen(text);
    for (size_t done = 0; done <= n;) {
        ssize_t got = done < n ? send(fd, text + done, n - done, MSG_NOSIGNAL | MSG_DONTWAIT)
                               : send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (got > 0)
            done += (size_t)got;
        else if ((got < 0 && errno != EAGAIN && errno != EINTR) || !wait_for(fd, POLLOUT, stop_fd, deadline))
            return false;
    }
    return true;
}

/* malloc'd line without its newline; NULL when the peer or the deadline cut it off. */
static char *read_line(int fd, int stop_fd, int64_t deadline)
{
    size_t size = 4096, n = 0;
    char *line = malloc(size);
    while (line != NULL && wait_for(fd, POLLIN, stop_fd, deadline)) {
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

static void serve(struct control *control, int fd)
{
    int stop_fd = worker_fd(control->worker);
    char *request = read_line(fd, stop_fd, clock_monotonic_ms() + REQUEST_MS);
    char *answer = request != NULL ? control->answer(control->arg, request) : NULL;
    if (answer != NULL) /* a client that went away needs none */
        (void)send_line(fd, answer, stop_fd, clock_monotonic_ms() + CLIENT_MS);
    free(answer);
    free(request);
    close(fd);
}

static void *client_main(void *arg)
{
    struct client client = *(struct client *)arg;
    free(arg);
    serve(client.control, client.fd);
    pthread_mutex_lock(&client.control->lock);
    client.control->clients--;
    pthread_cond_broadcast(&client.control->left);
    pthread_mutex_unlock(&client.control->lock);
    return NULL;
}

/* Whether there is room for one more, after a wait; false: the end. */
static bool enter(struct control *control)
{
    pthread_mutex_lock(&control->lock);
    while (control->clients == CLIENTS && !worker_stopping(control->worker))
        pthread_cond_wait(&control->left, &control->lock);
    bool go = !worker_stopping(control->worker);
    control->clients += go;
    pthread_mutex_unlock(&control->lock);
    return go;
}

/* In a thread of its own; where there is none to be had, in this one. */
static void serve_apart(struct control *control, int fd)
{
    pthread_t thread;
    struct client *client = malloc(sizeof *client);
    if (client == NULL) {
        close(fd);
        return;
    }
    *client = (struct client){control, fd};
    if (!enter(control)) {
        close(fd);
        free(client);
    } else if (pthread_create(&thread, &control->roomy, client_main, client) == 0) {
        (void)pthread_detach(thread);
    } else {
        client_main(client);
    }
}

static int64_t control_step(void *arg)
{
    struct control *control = arg;
    struct pollfd p[2] = {{.fd = control->fd, .events = POLLIN},
                          {.fd = worker_fd(control->worker), .events = POLLIN}};
    int rc = poll(p, 2, -1);
    if (rc > 0 && (p[0].revents & POLLIN) == 0)
        return 0;
    int fd = rc > 0 ? accept4(control->fd, NULL, NULL, SOCK_CLOEXEC) : -1;
    if (fd >= 0)
        serve_apart(control, fd);
    bool out_of = fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM);
    return out_of ? clock_monotonic_ns() + PAUSE_NS : 0; /* no spin without descriptors */
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
    worker_free(control->worker);
    if (control->fd >= 0) {
        unlink(control->path);
        close(control->fd);
    }
    pthread_attr_destroy(&control->roomy);
    pthread_cond_destroy(&control->left);
    pthread_mutex_destroy(&control->lock);
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
    pthread_mutex_init(&control->lock, NULL);
    pthread_cond_init(&control->left, NULL);
    pthread_attr_init(&control->roomy);
    (void)pthread_attr_setstacksize(&control->roomy, STACK_BYTES);
    control->answer = answer;
    control->arg = arg;
    snprintf(control->path, sizeof control->path, "%s", path);
    control->worker = worker_new("control", control_step, control, err);
    if (control->worker != NULL && strlen(path) < sizeof control->path &&
        control_listen(control, group, err) == 0 && worker_start(control->worker, err) == 0)
        return control;
    error_set(err, "the socket path %s is too long", path);
    control_free(control);
    return NULL;
}

bool control_stop(struct control *control)
{
    if (control == NULL)
        return true;
    const struct timespec until = clock_in_ms(CLIENT_MS);
    (void)worker_stop_by(control->worker, 0); /* it may wait for a client to leave, or serve one itself */
    pthread_mutex_lock(&control->lock);
    pthread_cond_broadcast(&control->left);
    while (control->clients > 0 &&
           pthread_cond_clockwait(&control->left, &control->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    bool alone = control->clients == 0;
    pthread_mutex_unlock(&control->lock);
    unlink(control->path);
    if (alone) /* else a thread still uses it */
        control_free(control);
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
