/* refunds: see refunds.h. Owns the queues and their worker; short of memory a refund is forgotten, and its charge ends with its
 * window. */
#include "counters/refunds.h"

#include "base/clock.h"
#include "base/hash.h"
#include "store.h"
#include "sys/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { JOBS_MAX = 100000, RETRY_MS = 500, CELLS = 4096 };

struct job {
    struct job *next;
    struct count_change change; /* key and limit point into text */
    struct cell *cell;
    struct site *site; /* NULL: it does not wait */
    char text[];                /* key NUL limit NUL */
};

struct site { /* what waits of a site of the store */
    size_t n;
    int64_t since_ns; /* when the first of it began to (monotonic) */
};

struct cell { /* what is known of a counter; strangers that share one cost a look more, and no answer */
    size_t under_way; /* changes that are fresh or in hand */
    size_t waiting;
    uint64_t handed_over; /* the last batch that the store took one in */
};

struct queue { /* the oldest first */
    struct job *first, **last;
    size_t n;
};

struct batch { /* some jobs out of a queue, worked on without the lock */
    struct job *jobs[REFUNDS_MOST];
    struct count_change changes[REFUNDS_MOST];
    size_t n;
};

struct refunds {
    struct counters *counters;
    counters_now_fn *now;
    void *arg;
    struct worker *worker;
    pthread_mutex_t lock; /* of all that follows */
    struct queue fresh;
    struct queue waiting;   /* what the store, or a part of it, did not take */
    struct cell cells[CELLS];
    uint64_t seed[2];       /* of the cells */
    struct site *sites;     /* a site each; what is in hand once more is in them, too */
    bool in_hand;           /* a batch is being handed over now */
    uint64_t pushed, tried; /* so many in all, and so many that were handed over, or dropped, or wait */
    _Atomic uint64_t batches; /* so many are over */
    pthread_cond_t advance; /* of tried, and of waiting */
    int64_t
        gather_until; /* more may come until this moment (clock_monotonic_ns()); a full batch does not wait for it */
    int64_t retry_at; /* what waits: not before this one */
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

static struct cell *cell_of(struct refunds *refunds, const char *key, const char *limit)
{
    return &refunds->cells[(hash_string(refunds->seed, key) ^ hash_string(refunds->seed, limit)) % CELLS];
}

/* With the lock held. From now on it waits. */
static void job_wait(struct refunds *refunds, struct job *job)
{
    queue_add(&refunds->waiting, job);
    job->cell->waiting++;
    if (job->site != NULL)
        return;
    job->site = &refunds->sites[store_site(refunds->counters, job->change.key)];
    if (job->site->n++ == 0)
        job->site->since_ns = clock_monotonic_ns();
}

/* With the lock held. It is over with it. */
static void job_free(struct job *job)
{
    if (job != NULL && job->site != NULL)
        job->site->n--;
    free(job);
}

/* With the lock held: what was here first, where there is no room. */
static struct job *push_out(struct refunds *refunds)
{
    if (refunds->fresh.n + refunds->waiting.n <= JOBS_MAX)
        return NULL;
    struct job *oldest = queue_take(&refunds->waiting);
    if (oldest != NULL) {
        oldest->cell->waiting--;
        return oldest;
    }
    oldest = queue_take(&refunds->fresh);
    oldest->cell->under_way--;
    refunds->tried++;
    return oldest;
}

static void push(struct refunds *refunds, struct job *job)
{
    pthread_mutex_lock(&refunds->lock);
    queue_add(&refunds->fresh, job);
    job->cell->under_way++;
    refunds->pushed++;
    job_free(push_out(refunds));
    if (refunds->fresh.n == 1)
        refunds->gather_until = clock_monotonic_ns() + REFUNDS_GATHER_MS * 1000000LL;
    bool wake = refunds->fresh.n == 1 || refunds->fresh.n == REFUNDS_MOST;
    pthread_mutex_unlock(&refunds->lock);
    if (wake)
        worker_wake(refunds->worker);
}

static void push_change(struct refunds *refunds, const struct count_change *change)
{
    size_t key = strlen(change->key) + 1, limit = strlen(change->limit) + 1;
    struct job *job = malloc(sizeof *job + key + limit);
    if (job == NULL)
        return;
    job->site = NULL;
    job->cell = cell_of(refunds, change->key, change->limit);
    job->change = *change;
    job->change.key = memcpy(job->text, change->key, key);
    job->change.limit = memcpy(job->text + key, change->limit, limit);
    push(refunds, job);
}

/* ---- the worker ---- */

static void batch_take(struct batch *batch, struct queue *queue)
{
    struct job *job;
    for (batch->n = 0; batch->n < REFUNDS_MOST && (job = queue_take(queue)) != NULL; batch->n++) {
        batch->jobs[batch->n] = job;
        batch->changes[batch->n] = job->change;
    }
}

/* With the lock held. What surely was not made waits. False: that were all. */
static bool batch_end(struct refunds *refunds, const struct batch *batch)
{
    bool any = false;
    refunds->batches++;
    for (size_t i = 0; i < batch->n; i++) {
        struct job *job = batch->jobs[i];
        job->cell->under_way--;
        if (store_is_synced(&batch->changes[i])) {
            job->cell->handed_over = refunds->batches;
            job_free(job);
            any = true;
        } else {
            job_wait(refunds, job);
        }
    }
    return any;
}

/* The oldest of a queue, with the lock held before and after, and not meanwhile. False: none of it was taken. */
static bool work(struct refunds *refunds, struct queue *queue)
{
    struct batch batch;
    batch_take(&batch, queue);
    for (size_t i = 0; queue == &refunds->waiting && i < batch.n; i++) {
        batch.jobs[i]->cell->waiting--;
        batch.jobs[i]->cell->under_way++;
    }
    refunds->in_hand = true;
    pthread_mutex_unlock(&refunds->lock);
    (void)counters_change(refunds->counters, batch.changes, batch.n,
                          refunds->now(refunds->arg)); /* the changes say what was made */
    pthread_mutex_lock(&refunds->lock);
    refunds->in_hand = false;
    if (queue == &refunds->fresh)
        refunds->tried += batch.n;
    bool any = batch_end(refunds, &batch);
    pthread_cond_broadcast(&refunds->advance);
    return any;
}

static int64_t in_retry_ms(void)
{
    return clock_monotonic_ns() + RETRY_MS * 1000000LL;
}

/* When the fresh ones are to be handed over; with the lock held. */
static int64_t fresh_due(const struct refunds *refunds)
{
    if (refunds->fresh.n == 0)
        return WORKER_IDLE;
    return refunds->fresh.n < REFUNDS_MOST && refunds->hurried == 0 ? refunds->gather_until : 0;
}

static int64_t refunds_step(void *arg)
{
    struct refunds *refunds = arg;
    pthread_mutex_lock(&refunds->lock);
    int64_t now = clock_monotonic_ns();
    if (fresh_due(refunds) <= now) {
        size_t waiting = refunds->waiting.n;
        (void)work(refunds, &refunds->fresh);
        if (waiting == 0)
            refunds->retry_at = in_retry_ms();
    } else if (refunds->waiting.n > 0 && refunds->retry_at <= now) {
        if (!work(refunds, &refunds->waiting))
            refunds->retry_at = in_retry_ms();
    }
    int64_t next = fresh_due(refunds);
    if (refunds->waiting.n > 0 && refunds->retry_at < next)
        next = refunds->retry_at;
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
    refunds->fresh.last = &refunds->fresh.first;
    refunds->waiting.last = &refunds->waiting.first;
    refunds->counters = counters;
    refunds->now = now;
    refunds->arg = arg;
    hash_seed(refunds->seed);
    refunds->sites = calloc(store_sites(counters), sizeof *refunds->sites);
    refunds->worker = worker_new("refunds", refunds_step, refunds, err);
    if (refunds->sites == NULL)
        error_set(err, "out of memory");
    if (refunds->sites == NULL || refunds->worker == NULL || worker_start(refunds->worker, err) != 0) {
        refunds_free(refunds, 0);
        return NULL;
    }
    return refunds;
}

/* Until all that was pushed so far has been tried, and (all) nothing waits, with the lock held before and after. False: the moment
 * has passed. */
static bool wait_over(struct refunds *refunds, bool all, int64_t until_ns)
{
    const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    uint64_t pushed = refunds->pushed;
    refunds->hurried++;
    worker_wake(refunds->worker);
    while ((refunds->tried < pushed || (all && (refunds->waiting.n > 0 || refunds->in_hand))) &&
           pthread_cond_clockwait(&refunds->advance, &refunds->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    refunds->hurried--;
    return refunds->tried >= pushed && (!all || (refunds->waiting.n == 0 && !refunds->in_hand));
}

bool refunds_flush(struct refunds *refunds, int wait_ms)
{
    if (refunds == NULL)
        return true;
    pthread_mutex_lock(&refunds->lock);
    bool flushed = wait_over(refunds, true, clock_monotonic_ns() + wait_ms * 1000000LL);
    pthread_mutex_unlock(&refunds->lock);
    return flushed;
}

uint64_t refunds_moment(const struct refunds *refunds)
{
    return atomic_load(&refunds->batches);
}

bool refunds_flush_counter(struct refunds *refunds, const char *key, const char *limit, uint64_t since,
                           int64_t until_ns)
{
    const struct cell *cell = cell_of(refunds, key, limit);
    pthread_mutex_lock(&refunds->lock);
    if (cell->under_way > 0 && !wait_over(refunds, false, until_ns))
        since = UINT64_MAX;
    bool flushed = cell->waiting == 0 && cell->handed_over > since;
    pthread_mutex_unlock(&refunds->lock);
    return flushed;
}

void refunds_each_waiting(struct refunds *refunds, counters_lag_fn *each, void *arg)
{
    if (refunds == NULL)
        return;
    pthread_mutex_lock(&refunds->lock);
    for (unsigned site = 0; site < store_sites(refunds->counters); site++)
        if (refunds->sites[site].n > 0)
            each(arg, site, refunds->sites[site].n, refunds->sites[site].since_ns);
    pthread_mutex_unlock(&refunds->lock);
}

void refunds_free(struct refunds *refunds, int wait_ms)
{
    if (refunds == NULL)
        return;
    (void)refunds_flush(refunds, wait_ms);
    worker_free(refunds->worker);
    queue_clear(&refunds->fresh);
    queue_clear(&refunds->waiting);
    free(refunds->sites);
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
