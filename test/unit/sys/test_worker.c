/* A thread that waits and works: when it works, that no wake is lost, and how it ends. Waits are for conditions. */
#include "base/clock.h"
#include "sys/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define SECONDS(n) ((int64_t)(n)*1000000000)
#define LONG (clock_monotonic_ns() + SECONDS(60))

struct job {
    struct worker *worker;
    _Atomic int64_t next; /* what the step returns */
    atomic_int steps;
    atomic_int waiting; /* steps that block on the descriptor */
    _Atomic uint64_t put, taken;
    char name[16];
    bool blocked, fault_blocked;
};

static struct job job;

static void until_steps(int n)
{
    while (atomic_load(&job.steps) < n)
        sched_yield();
}

static void begin(worker_step *step, int64_t next)
{
    struct error err = {0};
    memset(&job, 0, sizeof job);
    atomic_store(&job.next, next);
    job.worker = worker_new("unit-worker", step, &job, &err);
    assert_non_null(job.worker);
}

static void start(void)
{
    struct error err = {0};
    assert_int_equal(worker_start(job.worker, &err), 0);
}

static int64_t plain_step(void *arg)
{
    struct job *own = arg;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    own->blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGUSR2) == 1;
    own->fault_blocked = sigismember(&mask, SIGSEGV) == 1;
    pthread_getname_np(pthread_self(), own->name, sizeof own->name);
    atomic_fetch_add(&own->steps, 1);
    return atomic_load(&own->next);
}

static void test_idle(void **state)
{
    (void)state;
    begin(plain_step, WORKER_IDLE);
    worker_wake(job.worker); /* before the start: harmless */
    assert_true(worker_drain(job.worker, LONG));
    start();
    assert_true(worker_drain(job.worker, LONG));
    int steps = atomic_load(&job.steps);
    assert_int_equal(steps, 1);
    assert_string_equal(job.name, "unit-worker");
    assert_true(job.blocked && !job.fault_blocked);
    worker_wake(job.worker);
    assert_true(worker_drain(job.worker, LONG)); /* which the step belongs to */
    assert_int_equal(atomic_load(&job.steps), 2);
    worker_stop(job.worker);
    worker_stop(job.worker);
    worker_wake(job.worker); /* after the end: harmless */
    assert_true(worker_drain(job.worker, LONG));
    assert_int_equal(atomic_load(&job.steps), 2);
    worker_free(job.worker);
}

static void test_times(void **state)
{
    (void)state;
    begin(plain_step, 0);
    start();
    until_steps(1000); /* at once, and again */
    atomic_store(&job.next, clock_monotonic_ns() + SECONDS(3600));
    assert_false(
        worker_drain(job.worker, clock_monotonic_ns() + 1000000)); /* it has something to do, in an hour */
    int steps = atomic_load(&job.steps);
    atomic_store(&job.next, 1); /* a moment that has passed */
    worker_wake(job.worker);
    until_steps(steps + 10);
    atomic_store(&job.next, WORKER_IDLE);
    assert_true(worker_drain(job.worker, LONG));
    worker_free(job.worker);
}

static int64_t timed_step(void *arg)
{
    struct job *own = arg;
    atomic_fetch_add(&own->steps, 1);
    atomic_store(&own->next, clock_monotonic_ns());
    return clock_monotonic_ns() + 20000000;
}

/* Nobody wakes it: it sleeps as long as it said, and no less. */
static void test_sleeps(void **state)
{
    (void)state;
    begin(timed_step, 0);
    int64_t began = clock_monotonic_ns();
    start();
    until_steps(6);
    assert_true(clock_monotonic_ns() - began >= 5 * 20000000);
    worker_free(job.worker);
}

/* ---- wakes ---- */

enum { WAKERS = 4, WAKES = 20000 };

static int64_t take_step(void *arg)
{
    struct job *own = arg;
    atomic_store(&own->taken, atomic_load(&own->put));
    atomic_fetch_add(&own->steps, 1);
    return WORKER_IDLE;
}

static void *wake_many(void *arg)
{
    struct job *own = arg;
    for (int i = 0; i < WAKES; i++) {
        atomic_fetch_add(&own->put, 1);
        worker_wake(own->worker);
    }
    return NULL;
}

static void test_no_wake_is_lost(void **state)
{
    (void)state;
    pthread_t wakers[WAKERS];
    begin(take_step, 0);
    start();
    for (int i = 0; i < WAKERS; i++)
        assert_int_equal(pthread_create(&wakers[i], NULL, wake_many, &job), 0);
    for (int i = 0; i < 5000; i++) { /* what was put before the drain is taken by then */
        uint64_t put = atomic_fetch_add(&job.put, 1) + 1;
        worker_wake(job.worker);
        if (worker_drain(job.worker, clock_monotonic_ns() + 100000))
            assert_true(atomic_load(&job.taken) >= put);
    }
    for (int i = 0; i < WAKERS; i++)
        pthread_join(wakers[i], NULL);
    assert_true(worker_drain(job.worker, LONG));
    assert_int_equal(atomic_load(&job.taken), WAKERS * WAKES + 5000);
    worker_free(job.worker);
}

/* ---- steps that wait for descriptors ---- */

static int64_t poll_step(void *arg)
{
    struct job *own = arg;
    struct pollfd fd = {.fd = worker_fd(own->worker), .events = POLLIN};
    atomic_fetch_add(&own->waiting, 1);
    while (poll(&fd, 1, -1) < 0)
        ;
    atomic_fetch_add(&own->steps, 1);
    return 0;
}

static void test_descriptor(void **state)
{
    (void)state;
    begin(poll_step, 0);
    start();
    for (int i = 1; i <= 100; i++) {
        while (atomic_load(&job.waiting) < i)
            sched_yield();
        worker_wake(job.worker);
        until_steps(i);
    }
    assert_false(worker_stopping(job.worker));
    worker_stop(job.worker);
    assert_true(worker_stopping(job.worker));
    struct pollfd fd = {.fd = worker_fd(job.worker), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 0), 1); /* for others that wait for it */
    worker_free(job.worker);
}

/* At whatever moment it is stopped, it ends. */
static void test_stop(void **state)
{
    (void)state;
    for (int i = 0; i < 2000; i++) {
        begin(i % 2 == 0 ? poll_step : plain_step, WORKER_IDLE);
        start();
        for (int turn = 0; turn < i % 50; turn++)
            sched_yield();
        if (i % 3 == 0)
            worker_wake(job.worker);
        worker_free(job.worker);
    }
}

static int64_t stuck_step(void *arg)
{
    struct job *own = arg;
    atomic_fetch_add(&own->steps, 1);
    while (atomic_load(&own->next) == 0)
        sched_yield();
    return WORKER_IDLE;
}

static void test_stop_by(void **state)
{
    (void)state;
    begin(stuck_step, 0);
    start();
    until_steps(1);
    assert_false(worker_stop_by(job.worker, clock_monotonic_ns() + 1000000));
    atomic_store(&job.next, 1);
    assert_true(worker_stop_by(job.worker, LONG));
    assert_true(worker_stop_by(job.worker, 0));
    worker_free(job.worker);
}

static void test_nothing(void **state)
{
    (void)state;
    worker_wake(NULL);
    worker_stop(NULL);
    assert_true(worker_stop_by(NULL, 0));
    worker_free(NULL);
    begin(plain_step, 0);
    worker_stop(job.worker);
    worker_free(job.worker);
    assert_int_equal(atomic_load(&job.steps), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle),       cmocka_unit_test(test_times),
        cmocka_unit_test(test_sleeps),     cmocka_unit_test(test_no_wake_is_lost),
        cmocka_unit_test(test_descriptor), cmocka_unit_test(test_stop),
        cmocka_unit_test(test_stop_by),    cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
