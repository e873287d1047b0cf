#include "later.h"

#include "clock.h"
#include "window.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { JOBS_MAX = 100000, BATCH = 64, RETRY_MS = 500 };

struct job {
    struct job *next;
    struct counts *counts;
    struct count_change change; /* key and limit point into text */
    char text[];                /* key NUL limit NUL */
};

struct later {
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    pthread_t thread;
    struct job *first, **last;
    size_t n;
    bool busy, stopping;
    later_now_fn *now;
    void *arg;
};

static void push(struct later *later, struct job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&later->lock);
    *later->last = job;
    later->last = &job->next;
    struct job *oldest = NULL;
    if (++later->n > JOBS_MAX) {
        oldest = later->first;
        later->first = oldest->next;
        later->n--;
    }
    pthread_cond_signal(&later->wake);
    pthread_mutex_unlock(&later->lock);
    free(oldest);
}

void later_change(struct later *later, struct counts *counts, const struct count_change *change)
{
    size_t key = strlen(change->key) + 1, limit = strlen(change->limit) + 1;
    struct job *job = malloc(sizeof *job + key + limit);
    if (job == NULL)
        return; /* the reservation ends with its window */
    job->counts = counts;
    job->change = *change;
    job->change.key = memcpy(job->text, change->key, key);
    job->change.limit = memcpy(job->text + key, change->limit, limit);
    push(later, job);
}

/* Was this to be added to a window that has ended, while the store was down? It would be charged to the one under way. */
static bool is_past(const struct count_change *change, int64_t now)
{
    return change->amount > 0 && window_slot(change->window_ms, now) - change->slot >= WINDOW_SLOTS;
}

/* Does the first job, and with it those right behind it for the same store. Returns how many jobs are done with. */
static size_t work(struct later *later, struct job *first, bool *again)
{
    *again = false;
    int64_t now = later->now(later->arg);
    struct count_change changes[BATCH];
    size_t jobs = 0, n = 0;
    for (struct job *job = first; job != NULL && jobs < BATCH && job->counts == first->counts;
         job = job->next) {
        jobs++;
        if (!is_past(&job->change, now))
            changes[n++] = job->change;
    }
    *again = counts_change(first->counts, changes, n, now) == COUNTS_DOWN;
    return jobs;
}

/* Detaches up to BATCH jobs, so that they can be worked on without the lock. */
static struct job *detach(struct later *later, struct job **last)
{
    struct job *first = later->first, *job = first;
    size_t n = 1;
    while (n < BATCH && job->next != NULL) {
        job = job->next;
        n++;
    }
    later->first = job->next;
    if (later->first == NULL)
        later->last = &later->first;
    later->n -= n;
    job->next = NULL;
    *last = job;
    return first;
}

static void put_back(struct later *later, struct job *first, struct job *last)
{
    for (struct job *job = first; job != NULL; job = job->next)
        later->n++;
    last->next = later->first;
    if (later->first == NULL)
        later->last = &last->next;
    later->first = first;
}

static void pause_ms(struct later *later, int ms)
{
    struct timespec until = clock_in_ms(ms);
    while (!later->stopping &&
           pthread_cond_clockwait(&later->wake, &later->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
}

static void *later_main(void *arg)
{
    struct later *later = arg;
    pthread_mutex_lock(&later->lock);
    for (;;) {
        while (later->first == NULL && !later->stopping)
            pthread_cond_wait(&later->wake, &later->lock);
        if (later->first == NULL)
            break;
        struct job *last, *job = detach(later, &last);
        later->busy = true;
        pthread_mutex_unlock(&later->lock);

        bool again = false;
        while (job != NULL && !again) {
            size_t done = work(later, job, &again);
            for (; !again && done > 0; done--) {
                struct job *next = job->next;
                free(job);
                job = next;
            }
        }

        pthread_mutex_lock(&later->lock);
        later->busy = false;
        if (job != NULL)
            put_back(later, job, last);
        if (later->first == NULL)
            pthread_cond_broadcast(&later->idle);
        if (again && later->stopping)
            break;
        if (again)
            pause_ms(later, RETRY_MS);
    }
    pthread_cond_broadcast(&later->idle);
    pthread_mutex_unlock(&later->lock);
    return NULL;
}

struct later *later_new(later_now_fn *now, void *arg, struct error *err)
{
    struct later *later = calloc(1, sizeof *later);
    if (later == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&later->lock, NULL);
    pthread_cond_init(&later->wake, NULL);
    pthread_cond_init(&later->idle, NULL);
    later->last = &later->first;
    later->now = now;
    later->arg = arg;
    int rc = pthread_create(&later->thread, NULL, later_main, later);
    if (rc != 0) {
        error_set(err, "cannot start a thread: %s", strerror(rc));
        free(later);
        return NULL;
    }
    return later;
}

/* With the lock held. */
static void wait_idle(struct later *later, int wait_ms)
{
    struct timespec until = clock_in_ms(wait_ms);
    while ((later->first != NULL || later->busy) &&
           pthread_cond_clockwait(&later->idle, &later->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
}

bool later_flush(struct later *later, int wait_ms)
{
    if (later == NULL)
        return true;
    pthread_mutex_lock(&later->lock);
    wait_idle(later, wait_ms);
    bool flushed = later->first == NULL && !later->busy;
    pthread_mutex_unlock(&later->lock);
    return flushed;
}

void later_free(struct later *later, int wait_ms)
{
    if (later == NULL)
        return;
    pthread_mutex_lock(&later->lock);
    wait_idle(later, wait_ms);
    later->stopping = true;
    pthread_cond_signal(&later->wake);
    pthread_mutex_unlock(&later->lock);
    pthread_join(later->thread, NULL);
    while (later->first != NULL) {
        struct job *job = later->first;
        later->first = job->next;
        free(job);
    }
    pthread_cond_destroy(&later->idle);
    pthread_cond_destroy(&later->wake);
    pthread_mutex_destroy(&later->lock);
    free(later);
}
