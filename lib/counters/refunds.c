/* refunds: see refunds.h. Owns the queue and its thread; short of memory a refund is forgotten, and its charge ends with its
 * window. */
#include "counters/refunds.h"

#include "base/clock.h"
#include "counters/window.h"

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

/* Was this to be added to a window that has ended, while the store was down? It would be charged to the one under way. */
static bool is_past(const struct count_change *change, int64_t now)
{
    return change->amount > 0 && window_slot(change->window_ms, now) - change->slot >= WINDOW_SLOTS;
}

/* False: the store is down, and took none of them. */
static bool hand_over(struct refunds *refunds, const struct job *first)
{
    int64_t now = refunds->now(refunds->arg);
    struct count_change changes[REFUNDS_MOST];
    size_t n = 0;
    for (const struct job *job = first; job != NULL; job = job->next)
        if (!is_past(&job->change, now))
            changes[n++] = job->change;
    return counters_change(refunds->counters, changes, n, now) != COUNTERS_DOWN;
}

static void pause_ms(struct refunds *refunds, int ms)
{
    struct timespec until = clock_in_ms(ms);
    while (!refunds->stopping &&
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
    while ((refunds->first != NULL || refunds->busy) &&
           pthread_cond_clockwait(&refunds->idle, &refunds->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
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

/* ---- a batch ---- */

void refunds_begin(struct refunds_batch *batch, struct refunds *refunds, bool may_wait)
{
    batch->refunds = refunds; /* not the list: most have one in it */
    batch->may_wait = may_wait;
    batch->n = 0;
}

void refunds_add(struct refunds_batch *batch, const struct count_change *change)
{
    struct refunds *refunds = batch->refunds;
    struct count_change rest = *change;
    if (rest.amount == 0)
        return;
    counters_change_here(refunds->counters, &rest, refunds->now(refunds->arg));
    if (rest.slot < 0)
        return;
    if (batch->n == REFUNDS_MOST)
        refunds_end(batch);
    batch->list[batch->n++] = rest;
}

void refunds_end(struct refunds_batch *batch)
{
    struct refunds *refunds = batch->refunds;
    bool queue =
        batch->n > 0 && (!batch->may_wait || counters_change(refunds->counters, batch->list, batch->n,
                                                             refunds->now(refunds->arg)) == COUNTERS_DOWN);
    for (size_t i = 0; queue && i < batch->n; i++)
        push_change(refunds, &batch->list[i]);
    batch->n = 0;
}
