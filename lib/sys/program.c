/* program: posix_spawn() in a process group of its own, two pipes, poll() (see program.h). */
#include "sys/program.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    READ_BYTES = 65536,
    SAID_BYTES = 200, /* of what it says on stderr, for the error */
    KILLED_MS = 2000, /* until what was killed is gone; longer only where the kernel is stuck */
};

struct run {
    const struct program *program;
    pid_t pid;
    int out, said_fd; /* the ends that are read; -1: at its end */
    char *buffer;
    size_t used, room;
    bool skipping; /* the rest of a line that is too long */
    char said[SAID_BYTES + 1];
    size_t n_said;
    int64_t deadline;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- lines ---- */

static void lines_give(struct run *run)
{
    char *line = run->buffer, *end = run->buffer + run->used, *newline;
    while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        *newline = '\0';
        if (run->skipping)
            run->program->line(run->program->arg, newline, 0);
        else if (newline > line)
            run->program->line(run->program->arg, line, (size_t)(newline - line));
        run->skipping = false;
        line = newline + 1;
    }
    run->used = (size_t)(end - line);
    memmove(run->buffer, line, run->used);
}

/* Room for READ_BYTES more and a NUL. False: out of memory. */
static bool room_make(struct run *run)
{
    if (run->used > PROGRAM_LINE_MAX || run->skipping) {
        run->skipping = true;
        run->used = 0;
    }
    if (run->room - run->used > READ_BYTES)
        return true;
    size_t room = 2 * run->room + READ_BYTES + 1;
    char *more = realloc(run->buffer, room);
    if (more == NULL)
        return false;
    run->buffer = more;
    run->room = room;
    return true;
}

static int out_read(struct run *run, struct error *err)
{
    if (!room_make(run)) {
        error_set(err, "out of memory for what %s prints", run->program->argv[0]);
        return -1;
    }
    ssize_t n = read(run->out, run->buffer + run->used, READ_BYTES);
    if (n > 0) {
        run->used += (size_t)n;
        lines_give(run);
    } else if (n == 0 || errno != EINTR) {
        if (run->used > 0) { /* a last line without its newline */
            run->buffer[run->used++] = '\n';
            lines_give(run);
        }
        close_fd(&run->out);
    }
    return 0;
}

static void said_read(struct run *run)
{
    char scratch[1024];
    ssize_t n = read(run->said_fd, scratch, sizeof scratch);
    if (n <= 0) {
        close_fd(&run->said_fd);
        while (run->n_said > 0 && run->said[run->n_said - 1] == ' ')
            run->said[--run->n_said] = '\0';
        return;
    }
    for (ssize_t i = 0; i < n && run->n_said < SAID_BYTES; i++)
        run->said[run->n_said++] = scratch[i] == '\n' ? ' ' : scratch[i];
    run->said[run->n_said] = '\0';
}

/* ---- the process ---- */

static int spawn(struct run *run, int out, int said, struct error *err)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    if (posix_spawn_file_actions_init(&files) != 0) {
        error_set(err, "out of memory");
        return -1;
    }
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&files);
        error_set(err, "out of memory");
        return -1;
    }
    int rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&files, out, 1);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&files, said, 2);
    rc = rc != 0 ? rc : posix_spawn_file_actions_addclosefrom_np(&files, 3);
    rc = rc != 0 ? rc : posix_spawnattr_setsigmask(&attributes, &none);
    rc = rc != 0 ? rc : posix_spawnattr_setsigdefault(&attributes, &all);
    rc = rc != 0 ? rc
                 : posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                             POSIX_SPAWN_SETSIGDEF);
    if (rc == 0) {
        char **argv = (char **)(uintptr_t)run->program->argv; /* which it does not write to */
        rc = posix_spawn(&run->pid, argv[0], &files, &attributes, argv, environ);
    }
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (rc != 0)
        error_set(err, "cannot run %s: %s", run->program->argv[0], strerror(rc));
    return rc == 0 ? 0 : -1;
}

static int start(struct run *run, struct error *err)
{
    int out[2] = {-1, -1}, said[2] = {-1, -1}, rc = -1;
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(said, O_CLOEXEC) < 0)
        error_set(err, "cannot make a pipe: %s", strerror(errno));
    else
        rc = spawn(run, out[1], said[1], err);
    close_fd(&out[1]);
    close_fd(&said[1]);
    run->out = out[0];
    run->said_fd = said[0];
    return rc;
}

/* Its status, waiting up to deadline; -1: it runs on. */
static int reap(const struct run *run, int64_t deadline)
{
    int status = 0;
    pid_t pid;
    while ((pid = waitpid(run->pid, &status, WNOHANG)) == 0 || (pid < 0 && errno == EINTR)) {
        if (clock_monotonic_ms() >= deadline)
            return -1;
        usleep(2000);
    }
    return pid == run->pid ? status : 0;
}

static int check_status(const struct run *run, int status, struct error *err)
{
    const char *name = run->program->argv[0], *colon = run->n_said > 0 ? ": " : "";
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status))
        error_set(err, "%s ended with status %d%s%s", name, WEXITSTATUS(status), colon, run->said);
    else
        error_set(err, "%s was ended by signal %d%s%s", name, WTERMSIG(status), colon, run->said);
    return -1;
}

/* Reads until both pipes are at their end. */
static int read_all(struct run *run, struct error *err)
{
    while (run->out >= 0 || run->said_fd >= 0) {
        struct pollfd fds[] = {{.fd = run->out, .events = POLLIN},
                               {.fd = run->said_fd, .events = POLLIN},
                               {.fd = run->program->stop_fd, .events = POLLIN}};
        int64_t left = run->deadline - clock_monotonic_ms();
        if (left <= 0) {
            error_set(err, "%s did not end within %lld s and was killed", run->program->argv[0],
                      (long long)run->program->timeout_ms / 1000);
            return -1;
        }
        if (poll(fds, 3, (int)left) < 0 && errno != EINTR) {
            error_set(err, "poll: %s", strerror(errno));
            return -1;
        }
        if ((fds[2].revents & POLLIN) != 0) {
            error_set(err, "%s was stopped", run->program->argv[0]);
            return -1;
        }
        if (fds[1].revents != 0)
            said_read(run);
        if (fds[0].revents != 0 && out_read(run, err) < 0)
            return -1;
    }
    return 0;
}

int program_run(const struct program *program, struct error *err)
{
    struct run run = {.program = program, .out = -1, .said_fd = -1};
    run.deadline = clock_monotonic_ms() + program->timeout_ms;
    int rc = start(&run, err);
    if (rc == 0) {
        rc = read_all(&run, err);
        int status = rc == 0 ? reap(&run, run.deadline) : -1;
        if (status >= 0) {
            rc = check_status(&run, status, err);
        } else {
            if (rc == 0)
                error_set(err, "%s closed its output and did not end", program->argv[0]);
            rc = -1;
            kill(-run.pid, SIGKILL); /* its children, too */
            (void)reap(&run, clock_monotonic_ms() + KILLED_MS);
        }
    }
    close_fd(&run.out);
    close_fd(&run.said_fd);
    free(run.buffer);
    return rc;
}
