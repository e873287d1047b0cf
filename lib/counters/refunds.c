/* refunds: see refunds.h. Owns the queue and its thread; short of memory a refund is forgotten, and its charge ends with its
 * window. */
#include "counters/refunds.h"

#include "base/clock.h"
#include "store.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { JOBS_MAX = 100000, RETRY_MS = 500 };

struct job {
    struct job *next;
    struct count_change change; /* key and limit point into text */
    char text[];                /* key NUL limit NUL */
};

struct refunds {
    struct counters *counters;
    counters_now_fn *now;
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t wake, idle;
    struct job *first, **last;
    size_t n;
    bool busy, stopping;
    unsigned hurried; /* so many wait for it to be done: it gathers no longer */
};

/* ---- the queue ---- */

static void push(struct refunds *refunds, struct job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&refunds->lock);
    *refunds->last = job;
    refunds->last = &job->next;
    struct job *oldest = NULL;
    if (++refunds->n > JOBS_MAX) {
        oldest = refunds->first;
        refunds->first = oldest->next;
        refunds->n--;
    }
    if (refunds->n == 1 || refunds->n == REFUNDS_MOST)
        pthread_cond_signal(&refunds->wake);
    pthread_mutex_unlock(&refunds->lock);
    free(oldest);
}

static void push_change(struct refunds *refunds, const struct count_change *change)
{
    size_t key = strlen(change->key) + 1, limit = strlen(change->limit) + 1;
    struct job *job = malloc(sizeof *job + key + limit);
    if (job == NULL)
        return;
    job->change = *change;
    job->change.key = memcpy(job->text, change->key, key);
    job->change.limit = memcpy(job->text + key, change->limit, limit);
    push(refunds, job);
}

/* Detaches up to REFUNDS_MOST jobs, so that they can be worked on without the lock. */
static struct job *detach(struct refunds *refunds, struct job **last)
{
    struct job *first = refunds->first, *job = first;
    size_t n = 1;
    for (; n < REFUNDS_MOST && job->next != NULL; n++)
        job = job->next;
    refunds->first = job->next;
    if (refunds->first == NULL)
        refunds->last = &refunds->first;
    refunds->n -= n;
    job->next = NULL;
    *last = job;
    return first;
}

static void put_back(struct refunds *refunds, struct job *first, struct job *last)
{
    for (struct job *job = first; job != NULL; job = job->next)
        refunds->n++;
    last->next = refunds->first;
    if (refunds->first == NULL)
        refunds->last = &last->next;
    refunds->first = first;
}

static void jobs_free(struct job *first)
{
    for (struct job *job = first, *next; job != NULL; job = next) {
        next = job->next;
        free(job);
    }
}

/* ---- the thread ---- */

/* False: the store is down, and took none of them. */
static bool hand_over(struct refunds *refunds, const struct job *first)
{
    struct count_change changes[REFUNDS_MOST];
    size_t n = 0;
    for (const struct job *job = first; job != NULL; job = job->next)
        changes[n++] = job->change;
    return counters_change(refunds->counters, changes, n, refunds->now(refunds->arg)) != COUNTERS_DOWN;
}

static void pause_ms(struct refunds *refunds, int ms)
{
    struct timespec until = clock_in_ms(ms);
    while (!refunds->stopping &&
           pthread_cond_clockwait(&refunds->wake, &refunds->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
}

/* Lets more come to what came first. */
static void gather(struct refunds *refunds)
{
    struct timespec until = clock_in_ms(REFUNDS_GATHER_MS);
    while (refunds->n < REFUNDS_MOST && !refunds->stopping && refunds->hurried == 0 &&
           pthread_cond_clockwait(&refunds->wake, &refunds->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
}

/* The oldest, with the lock held before and after, and not meanwhile. */
static bool work(struct refunds *refunds)
{
    struct job *last, *first = detach(refunds, &last);
    refunds->busy = true;
    pthread_mutex_unlock(&refunds->lock);
    bool done = hand_over(refunds, first);
    if (done)
        jobs_free(first);
    pthread_mutex_lock(&refunds->lock);
    refunds->busy = false;
    if (!done)
        put_back(refunds, first, last);
    return done;
}

static void *refunds_main(void *arg)
{
    struct refunds *refunds = arg;
    pthread_mutex_lock(&refunds->lock);
    for (;;) {
        while (refunds->first == NULL && !refunds->stopping)
            pthread_cond_wait(&refunds->wake, &refunds->lock);
        if (refunds->first == NULL)
            break;
        gather(refunds);
        bool done = work(refunds);
        if (refunds->first == NULL)
            pthread_cond_broadcast(&refunds->idle);
        if (!done && refunds->stopping)
            break;
        if (!done)
            pause_ms(refunds, RETRY_MS);
    }
    pthread_cond_broadcast(&refunds->idle);
    pthread_mutex_unlock(&refunds->lock);
    return NULL;
}

struct refunds *refunds_new(struct counters *counters, counters_now_fn *now, void *arg, struct error *err)
{
    struct refunds *refunds = calloc(1, sizeof *refunds);
    if (refunds == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&refunds->lock, NULL);
    pthread_cond_init(&refunds->wake, NULL);
    pthread_cond_init(&refunds->idle, NULL);
    refunds->last = &refunds->first;
    refunds->counters = counters;
    refunds->now = now;
    refunds->arg = arg;
    int rc = pthread_create(&refunds->thread, NULL, refunds_main, refunds);
    if (rc != 0) {
        error_set(err, "cannot start a thread: %s", strerror(rc));
        free(refunds);
        return NULL;
    }
    return refunds;
}

/* With the lock held. */
static bool wait_idle(struct refunds *refunds, int wait_ms)
{
    struct timespec until = clock_in_ms(wait_ms);
    refunds->hurried++;
    pthread_cond_signal(&refunds->wake);
    while ((refunds->first != NULL || refunds->busy) &&
           pthread_cond_clockwait(&refunds->idle, &refunds->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    refunds->hurried--;
    return refunds->first == NULL && !refunds->busy;
}

bool refunds_flush(struct refunds *refunds, int wait_ms)
{
    if (refunds == NULL)
        return true;
    pthread_mutex_lock(&refunds->lock);
    bool flushed = wait_idle(refunds, wait_ms);
    pthread_mutex_unlock(&refunds->lock);
    return flushed;
}

void refunds_free(struct refunds *refunds, int wait_ms)
{
    if (refunds == NULL)
        return;
    pthread_mutex_lock(&refunds->lock);
    (void)wait_idle(refunds, wait_ms);
    refunds->stopping = true;
    pthread_cond_signal(&refunds->wake);
    pthread_mutex_unlock(&refunds->lock);
    pthread_join(refunds->thread, NULL);
    jobs_free(refunds->first);
    pthread_cond_destroy(&refunds->idle);
    pthread_cond_destroy(&refunds->wake);
    pthread_mutex_destroy(&refunds->lock);
    free(refunds);
}

void refunds_add(struct refunds *refunds, const struct count_change *change)
{
    struct count_change rest = *change;
    if (rest.amount == 0 && rest.open == 0 && rest.late == 0)
        return;
    int64_t now = refunds->now(refunds->arg);
    if (rest.slot >= 0)
        rest.at_ms = now;
    counters_change_here(refunds->counters, &rest, now);
    if (!store_is_synced(&rest))
        push_change(refunds, &rest);
}
