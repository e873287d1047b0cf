/* worker: see worker.h. Owns the thread, and an eventfd on which it sleeps: so a step can wait for that and for other
 * descriptors at once.
 *
 * `woken` says that the eventfd was written to, so that many wakes are one system call. It is cleared before a step,
 * after the eventfd: who wakes before that is seen by this step, who wakes after it writes again. */
#include "sys/worker.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { NAME_SIZE = 16 }; /* pthread_setname_np(3) */

struct worker {
    char name[NAME_SIZE];
    worker_step *step;
    void *arg;
    int fd;
    pthread_t thread;
    atomic_bool running, stopping, woken; /* running: from worker_start() until it was joined */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool idle;  /* under lock: asleep, with nothing to do but what `woken` says */
    bool ended; /* under lock: no step any more */
};

struct worker *worker_new(const char *name, worker_step *step, void *arg, struct error *err)
{
    assert(strlen(name) < NAME_SIZE);
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) {
        error_set(err, "out of memory for the thread %s", name);
        return NULL;
    }
    worker->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->fd < 0) {
        error_set(err, "cannot make an eventfd for the thread %s: %s", name, strerror(errno));
        free(worker);
        return NULL;
    }
    memcpy(worker->name, name, strlen(name));
    worker->step = step;
    worker->arg = arg;
    worker->idle = true;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->changed, NULL);
    return worker;
}

/* ---- the eventfd ---- */

static void fd_write(const struct worker *worker)
{
    const uint64_t one = 1;
    while (write(worker->fd, &one, sizeof one) < 0 && errno == EINTR)
        ; /* EAGAIN: it is readable, and more than that is not asked */
}

static void fd_clear(struct worker *worker)
{
    uint64_t wakes;
    while (read(worker->fd, &wakes, sizeof wakes) < 0 && errno == EINTR)
        ; /* EAGAIN: nobody woke us */
    (void)atomic_exchange(&worker->woken, false);
}

void worker_wake(struct worker *worker)
{
    if (worker != NULL && !atomic_exchange(&worker->woken, true))
        fd_write(worker);
}

int worker_fd(const struct worker *worker)
{
    return worker->fd;
}

bool worker_stopping(const struct worker *worker)
{
    return atomic_load(&worker->stopping);
}

/* ---- the thread ---- */

static void set_idle(struct worker *worker, bool idle)
{
    pthread_mutex_lock(&worker->lock);
    worker->idle = idle;
    if (idle)
        pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
}

static void sleep_until(struct worker *worker, int64_t until_ns)
{
    struct pollfd fd = {.fd = worker->fd, .events = POLLIN};
    int64_t left;
    while ((left = until_ns - clock_monotonic_ns()) > 0) {
        const struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        if (ppoll(&fd, 1, &wait, NULL) > 0)
            break;
    }
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    (void)pthread_setname_np(pthread_self(), worker->name); /* without a name it works as well */
    for (;;) {
        set_idle(worker, false);
        fd_clear(worker);
        if (worker_stopping(worker)) /* looked at after that, as worker_stop() writes after it is set */
            break;
        int64_t next = worker->step(worker->arg);
        if (next == WORKER_IDLE)
            set_idle(worker, true);
        sleep_until(worker, next);
    }
    fd_write(worker); /* for others that wait for worker_fd() */
    pthread_mutex_lock(&worker->lock);
    worker->ended = true;
    pthread_cond_broadcast(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

/* A signal of the process is for whoever waits for it; a fault that cannot be delivered would end us without a word. */
static int create_thread(struct worker *worker)
{
    static const int faults[] = {SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int rc = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int worker_start(struct worker *worker, struct error *err)
{
    int rc = create_thread(worker);
    if (rc != 0) {
        error_set(err, "cannot start the thread %s: %s", worker->name, strerror(rc));
        return -1;
    }
    atomic_store(&worker->running, true);
    return 0;
}

/* ---- waiting for it ---- */

static bool is_drained(struct worker *worker)
{
    return worker->idle && !atomic_load(&worker->woken);
}

static bool has_ended(struct worker *worker)
{
    return worker->ended;
}

static bool wait_for(struct worker *worker, bool (*is)(struct worker *), int64_t until_ns)
{
    const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    pthread_mutex_lock(&worker->lock);
    while (!is(worker) &&
           pthread_cond_clockwait(&worker->changed, &worker->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    bool yes = is(worker);
    pthread_mutex_unlock(&worker->lock);
    return yes;
}

bool worker_drain(struct worker *worker, int64_t until_ns)
{
    return !atomic_load(&worker->running) || wait_for(worker, is_drained, until_ns);
}

static void order_stop(struct worker *worker)
{
    atomic_store(&worker->stopping, true);
    fd_write(worker);
}

void worker_stop(struct worker *worker)
{
    if (worker == NULL || !atomic_load(&worker->running))
        return;
    order_stop(worker);
    pthread_join(worker->thread, NULL);
    atomic_store(&worker->running, false);
}

bool worker_stop_by(struct worker *worker, int64_t until_ns)
{
    if (worker == NULL || !atomic_load(&worker->running))
        return true;
    order_stop(worker);
    if (!wait_for(worker, has_ended, until_ns))
        return false;
    worker_stop(worker);
    return true;
}

void worker_free(struct worker *worker)
{
    if (worker == NULL)
        return;
    worker_stop(worker);
    close(worker->fd);
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}
