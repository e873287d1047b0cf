/* refunds: see refunds.h. Owns the queue and its worker; short of memory a refund is forgotten, and its charge ends with its
 * window. */
#include "counters/refunds.h"

#include "base/clock.h"
#include "store.h"
#include "sys/worker.h"

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
    struct worker *worker;
    pthread_mutex_t lock; /* of all that follows */
    struct job *first, **last;
    size_t n;
    struct job *in_hand;    /* what is being handed over now; the worker's */
    uint64_t pushed, done;  /* so many in all, and so many that are over: handed over, or dropped */
    pthread_cond_t advance; /* of done */
    int64_t
        gather_until; /* more may come until this moment (clock_monotonic_ns()); a full batch does not wait for it */
    int64_t retry_at; /* the store was down: not before this one */
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
        refunds->done++;
    }
    refunds->pushed++;
    if (refunds->n == 1)
        refunds->gather_until = clock_monotonic_ns() + REFUNDS_GATHER_MS * 1000000LL;
    bool wake = refunds->n == 1 || refunds->n == REFUNDS_MOST;
    pthread_mutex_unlock(&refunds->lock);
    if (wake)
        worker_wake(refunds->worker);
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

static size_t jobs_count(const struct job *job)
{
    size_t n = 0;
    for (; job != NULL; job = job->next)
        n++;
    return n;
}

static void put_back(struct refunds *refunds, struct job *first, struct job *last)
{
    refunds->n += jobs_count(first);
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

/* When the oldest are to be handed over; with the lock held. */
static int64_t due(const struct refunds *refunds)
{
    bool gathers = refunds->n < REFUNDS_MOST && refunds->hurried == 0;
    int64_t due = gathers ? refunds->gather_until : 0;
    return due > refunds->retry_at ? due : refunds->retry_at;
}

/* The oldest, with the lock held before and after, and not meanwhile. */
static void work(struct refunds *refunds)
{
    struct job *last, *first = detach(refunds, &last);
    refunds->in_hand = first;
    pthread_mutex_unlock(&refunds->lock);
    bool done = hand_over(refunds, first);
    pthread_mutex_lock(&refunds->lock);
    refunds->in_hand = NULL;
    if (done) {
        refunds->retry_at = 0;
        refunds->done += jobs_count(first);
        jobs_free(first);
        pthread_cond_broadcast(&refunds->advance);
    } else {
        refunds->retry_at = clock_monotonic_ns() + RETRY_MS * 1000000LL;
        put_back(refunds, first, last);
    }
}

static int64_t refunds_step(void *arg)
{
    struct refunds *refunds = arg;
    pthread_mutex_lock(&refunds->lock);
    if (refunds->n > 0 && clock_monotonic_ns() >= due(refunds))
        work(refunds);
    int64_t next = refunds->n > 0 ? due(refunds) : WORKER_IDLE;
    pthread_mutex_unlock(&refunds->lock);
    return next;
}

struct refunds *refunds_new(struct counters *counters, counters_now_fn *now, void *arg, struct error *err)
{
    struct refunds *refunds = calloc(1, sizeof *refunds);
    if (refunds == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&refunds->lock, NULL);
    pthread_cond_init(&refunds->advance, NULL);
    refunds->last = &refunds->first;
    refunds->counters = counters;
    refunds->now = now;
    refunds->arg = arg;
    refunds->worker = worker_new("refunds", refunds_step, refunds, err);
    if (refunds->worker == NULL || worker_start(refunds->worker, err) != 0) {
        refunds_free(refunds, 0);
        return NULL;
    }
    return refunds;
}

/* Until all that was pushed so far is over, with the lock held before and after. False: the moment has passed. */
static bool wait_over(struct refunds *refunds, int64_t until_ns)
{
    const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    uint64_t all = refunds->pushed;
    refunds->hurried++;
    worker_wake(refunds->worker);
    while (refunds->done < all &&
           pthread_cond_clockwait(&refunds->advance, &refunds->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    refunds->hurried--;
    return refunds->done >= all;
}

bool refunds_flush(struct refunds *refunds, int wait_ms)
{
    if (refunds == NULL)
        return true;
    pthread_mutex_lock(&refunds->lock);
    bool flushed = wait_over(refunds, clock_monotonic_ns() + wait_ms * 1000000LL);
    pthread_mutex_unlock(&refunds->lock);
    return flushed;
}

static bool jobs_have(const struct job *job, const char *key, const char *limit)
{
    while (job != NULL && (strcmp(job->change.key, key) != 0 || strcmp(job->change.limit, limit) != 0))
        job = job->next;
    return job != NULL;
}

bool refunds_flush_counter(struct refunds *refunds, const char *key, const char *limit, int64_t until_ns)
{
    pthread_mutex_lock(&refunds->lock);
    bool flushed = (jobs_have(refunds->first, key, limit) || jobs_have(refunds->in_hand, key, limit)) &&
                   wait_over(refunds, until_ns);
    pthread_mutex_unlock(&refunds->lock);
    return flushed;
}

void refunds_free(struct refunds *refunds, int wait_ms)
{
    if (refunds == NULL)
        return;
    (void)refunds_flush(refunds, wait_ms);
    worker_free(refunds->worker);
    jobs_free(refunds->first);
    pthread_cond_destroy(&refunds->advance);
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
