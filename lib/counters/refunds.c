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

struct queue { /* the oldest first */
    struct job *first, **last;
    size_t n;
};

struct refunds {
    struct counters *counters;
    counters_now_fn *now;
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t wake, idle;
    struct queue fresh;
    struct queue waiting; /* what the store, or a part of it, did not take */
    int64_t due_ms;       /* when to try those again (monotonic) */
    bool busy, stopping;
    unsigned hurried; /* so many wait for it to be done: it gathers no longer */
};

/* ---- the queues ---- */

static void queue_add(struct queue *queue, struct job *job)
{
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
    queue->n++;
}

/* NULL: it is empty. */
static struct job *queue_take(struct queue *queue)
{
    struct job *job = queue->first;
    if (job == NULL)
        return NULL;
    queue->first = job->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    queue->n--;
    return job;
}

static void queue_clear(struct queue *queue)
{
    for (struct job *job; (job = queue_take(queue)) != NULL;)
        free(job);
}

static void push(struct refunds *refunds, struct job *job)
{
    struct job *oldest = NULL;
    pthread_mutex_lock(&refunds->lock);
    queue_add(&refunds->fresh, job);
    if (refunds->fresh.n + refunds->waiting.n > JOBS_MAX)
        oldest = queue_take(refunds->waiting.n > 0 ? &refunds->waiting : &refunds->fresh);
    if (refunds->fresh.n == 1 || refunds->fresh.n == REFUNDS_MOST)
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

/* ---- the thread ---- */

/* Some jobs out of a queue, worked on without the lock. */
struct batch {
    struct job *jobs[REFUNDS_MOST];
    struct count_change changes[REFUNDS_MOST];
    size_t n;
};

static void batch_take(struct batch *batch, struct queue *queue)
{
    struct job *job;
    for (batch->n = 0; batch->n < REFUNDS_MOST && (job = queue_take(queue)) != NULL; batch->n++) {
        batch->jobs[batch->n] = job;
        batch->changes[batch->n] = job->change;
    }
}

/* With the lock held. What surely was not made waits. False: that were all. */
static bool batch_end(struct refunds *refunds, struct batch *batch)
{
    bool any = false;
    for (size_t i = 0; i < batch->n; i++) {
        bool made = store_is_synced(&batch->changes[i]);
        any = any || made;
        if (made)
            free(batch->jobs[i]);
        else
            queue_add(&refunds->waiting, batch->jobs[i]);
    }
    return any;
}

/* Lets more come to what came first. */
static void gather(struct refunds *refunds)
{
    struct timespec until = clock_in_ms(REFUNDS_GATHER_MS);
    while (refunds->fresh.n < REFUNDS_MOST && !refunds->stopping && refunds->hurried == 0 &&
           pthread_cond_clockwait(&refunds->wake, &refunds->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
}

static bool is_due(const struct refunds *refunds)
{
    return refunds->waiting.n > 0 && clock_monotonic_ms() >= refunds->due_ms;
}

/* The oldest of a queue, with the lock held before and after, and not meanwhile. False: none of it was taken. */
static bool work(struct refunds *refunds, struct queue *queue)
{
    struct batch batch;
    batch_take(&batch, queue);
    refunds->busy = true;
    pthread_mutex_unlock(&refunds->lock);
    (void)counters_change(refunds->counters, batch.changes, batch.n,
                          refunds->now(refunds->arg)); /* the changes say what was made */
    pthread_mutex_lock(&refunds->lock);
    refunds->busy = false;
    return batch_end(refunds, &batch);
}

/* With the lock held. Until there is something to do. */
static void rest(struct refunds *refunds)
{
    while (refunds->fresh.n == 0 && !refunds->stopping && !is_due(refunds)) {
        int64_t left = refunds->due_ms - clock_monotonic_ms();
        const struct timespec until = clock_in_ms(left > 0 ? left : 0);
        if (refunds->waiting.n == 0)
            pthread_cond_wait(&refunds->wake, &refunds->lock);
        else
            (void)pthread_cond_clockwait(&refunds->wake, &refunds->lock, CLOCK_MONOTONIC, &until);
    }
}

static void *refunds_main(void *arg)
{
    struct refunds *refunds = arg;
    pthread_mutex_lock(&refunds->lock);
    for (;;) {
        rest(refunds);
        if (refunds->fresh.n > 0) {
            size_t waiting = refunds->waiting.n;
            gather(refunds);
            (void)work(refunds, &refunds->fresh);
            if (waiting == 0)
                refunds->due_ms = clock_monotonic_ms() + RETRY_MS;
        } else if (refunds->stopping) {
            break;
        } else if (!work(refunds, &refunds->waiting)) {
            refunds->due_ms = clock_monotonic_ms() + RETRY_MS;
        }
        if (refunds->fresh.n + refunds->waiting.n == 0)
            pthread_cond_broadcast(&refunds->idle);
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
    refunds->fresh.last = &refunds->fresh.first;
    refunds->waiting.last = &refunds->waiting.first;
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
    while ((refunds->fresh.n + refunds->waiting.n > 0 || refunds->busy) &&
           pthread_cond_clockwait(&refunds->idle, &refunds->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    refunds->hurried--;
    return refunds->fresh.n + refunds->waiting.n == 0 && !refunds->busy;
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
    queue_clear(&refunds->fresh);
    queue_clear(&refunds->waiting);
    pthread_cond_destroy(&refunds->idle);
    pthread_cond_destroy(&refunds->wake);
    pthread_mutex_destroy(&refunds->lock);
    free(refunds);
}

/* ---- a batch ---- */

void refunds_begin(struct refunds_batch *batch, struct refunds *refunds)
{
    batch->refunds = refunds; /* not the list: most have one in it */
    batch->n = 0;
}

void refunds_add(struct refunds_batch *batch, const struct count_change *change)
{
    struct refunds *refunds = batch->refunds;
    struct count_change rest = *change;
    int64_t now = refunds->now(refunds->arg);
    if (rest.amount == 0 && rest.open == 0 && rest.late == 0)
        return;
    if (rest.slot >= 0)
        rest.at_ms = now;
    counters_change_here(refunds->counters, &rest, now);
    if (store_is_synced(&rest))
        return;
    if (batch->n == REFUNDS_MOST)
        refunds_end(batch);
    batch->list[batch->n++] = rest;
}

void refunds_end(struct refunds_batch *batch)
{
    for (size_t i = 0; i < batch->n; i++)
        push_change(batch->refunds, &batch->list[i]);
    batch->n = 0;
}
