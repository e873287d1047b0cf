/* failover: one counter store that stands on two, so that the fault of one starts warm and leaves no trace.
 *
 * The remote one (Redis) answers. What it admitted, refused and held is recorded in the local one (this process), a
 * microsecond's work; local so knows what this host admitted in the windows under way.
 *
 * When remote cannot answer, local is asked (the fallback) and starts from that. What local admits then is *unsynced*:
 * each counter of local holds how much of it remote does not know yet, and it is the newest part. A charge
 * whose answer was lost is counted in local but is not unsynced: it counts as made.
 *
 * Once remote has failed it is not asked, even if it is up again: first it has to be told what is unsynced. A worker
 * does that (reconcile), as soon as remote is up: it takes deltas out of local, makes the counters in remote (a
 * charge of nothing) and adds to them (a change), slot by slot, the newest first; which slot of remote's that is says its age,
 * since the two have clocks of their own. What is open then stays so until its slot leaves. Such a sync has a number
 * (sequence): when its answer is lost the same is sent again, and remote adds each number once, whichever of the two
 * comes first. Once the worker has walked through all of local, remote answers again. During the last walk the fallback
 * answers nobody, as remote could admit a second time what it has not been told of: who needs it waits (FALLBACK_MS at
 * most), and asks remote where it is open by then.
 *
 * When remote has restarted (`generation`), it may have lost counters: it is brought up to what local has, whole.
 * A counter that was made when it was before was saved, and only gets what it lacks. What was cleared in remote (DEL,
 * reset, FLUSHALL) while it was up shows by a counter that was made later and has less in it: local is cut
 * down to that. local is never above what remote last said by more than what is unsynced.
 *
 * What remote has just refused is refused again from memory (the deny cache), and remote is told some times a second how
 * often; and which RCPTs were deferred (retries.h): what it could not be told, or lost, it is told before it answers
 * again.
 *
 * Costs memory for local, bounded by its max_subjects; what it had to forget is not brought back. */
#include "reconcile.h"
#include "counters/stores.h"
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    LOOK_MS = 20,     /* is remote up again? */
    FALLBACK_MS = 20, /* the fallback waits so long for the last walk */
    NOTIFY_MS = 20,   /* between two batches: from another client network a retry may come at once */
    WATCH_MS = 100,   /* has remote restarted, while nobody asked? */
};

struct failover {
    struct counters counters;
    struct failover_state state;
    struct reconcile *reconcile; /* the worker's */
    int64_t notify_at;           /* the worker's: when it tells remote what is pending; 0: nothing was seen */
    pthread_mutex_t lock;        /* of: */
    bool opening;                /* the last walk is being made, or waits for the fallbacks under way, */
    unsigned fallbacks;          /* this many */
    pthread_cond_t opened;
};

static struct failover_state *state_of(struct counters *counters)
{
    return &((struct failover *)counters)->state;
}

/* ---- asking ---- */

static enum counters_status down(const struct count_request *request, struct count_answer *answers)
{
    if (answers != NULL)
        memset(answers, 0, request->n * sizeof *answers);
    return COUNTERS_DOWN;
}

static enum counters_status ask_local(struct failover_state *state, enum counters_mode mode,
                                      const struct count_request *request, int64_t now_ms,
                                      struct count_answer *answers)
{
    struct counters *local = &state->local->counters;
    return local->ops->ask(local, mode, request, now_ms, answers);
}

/* Asks remote, and tells it what was deferred of the pair in the last moments. */
static enum counters_status reserve_remote(struct failover_state *state, const struct count_request *request,
                                           int64_t now_ms, struct count_answer *answers)
{
    struct retries *retries = state->local->retries;
    struct count_request with = *request;
    struct count_deferral deferral;
    if (request->pair != NULL && retries_collect_pair(retries, request->pair, now_ms, &deferral))
        with.deferred = &deferral;
    enum counters_status status =
        state->remote->ops->ask(state->remote, COUNTERS_RESERVE, &with, now_ms, answers);
    if (status == COUNTERS_DOWN && with.deferred != NULL)
        retries_put_back(retries, &deferral, 1);
    return status;
}

static enum counters_status failover_reserve(struct failover_state *state,
                                             const struct count_request *request, int64_t now_ms,
                                             struct count_answer *answers)
{
    struct deny_cache_ticket ticket;
    if (deny_cache_find(state->deny_cache, request, now_ms, answers, &ticket)) {
        failover_state_note(state, &state->pending);
        return COUNTERS_OK;
    }
    enum counters_status status = reserve_remote(state, request, now_ms, answers);
    if (status != COUNTERS_OK) {
        failover_state_note(state, &state->closed);
        return status;
    }
    (void)ask_local(state, COUNTERS_RECORD, request, now_ms,
                    answers); /* short of memory, it starts a little colder */
    deny_cache_put(state->deny_cache, &ticket, request, answers, now_ms);
    return COUNTERS_OK;
}

static enum counters_status failover_ask(struct counters *counters, enum counters_mode mode,
                                         const struct count_request *request, int64_t now_ms,
                                         struct count_answer *answers)
{
    struct failover_state *state = state_of(counters);
    if (mode == COUNTERS_CHARGE)
        (void)ask_local(state, mode, request, now_ms, NULL);
    if (!failover_state_current(state))
        return down(request, answers);
    if (mode == COUNTERS_RESERVE)
        return failover_reserve(state, request, now_ms, answers);
    return state->remote->ops->ask(state->remote, mode, request, now_ms, answers);
}

/* Until fallback_end() remote is not opened. False: it is open already. */
static bool fallback_begin(struct failover *failover, int64_t deadline)
{
    struct failover_state *state = &failover->state;
    int64_t left_ms = deadline > 0 ? (deadline - clock_monotonic_ns()) / 1000000 : FALLBACK_MS;
    struct timespec until = clock_in_ms(left_ms < 0 ? 0 : left_ms < FALLBACK_MS ? left_ms : FALLBACK_MS);
    pthread_mutex_lock(&failover->lock);
    while (failover->opening &&
           pthread_cond_clockwait(&failover->opened, &failover->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    bool away = state->remote == NULL || atomic_load(&state->closed);
    failover->fallbacks += away;
    pthread_mutex_unlock(&failover->lock);
    return away;
}

static void fallback_end(struct failover *failover)
{
    pthread_mutex_lock(&failover->lock);
    if (--failover->fallbacks == 0)
        pthread_cond_broadcast(&failover->opened);
    pthread_mutex_unlock(&failover->lock);
}

/* Makes receipts of what local charged; true: it charged anything. */
static bool fallback_receipts(const struct count_request *request, bool unsynced,
                              struct count_answer *answers)
{
    bool charged = false;
    for (size_t i = 0; i < request->n; i++) {
        answers[i].here = answers[i].slot;
        answers[i].slot = -1;
        answers[i].unsynced = unsynced;
        charged = charged || answers[i].here >= 0 || (request->asks[i].flags & COUNT_ATTEMPT) != 0;
    }
    return charged;
}

static enum counters_status failover_fallback(struct counters *counters, bool peek,
                                              enum counters_status before,
                                              const struct count_request *request, int64_t now_ms,
                                              struct count_answer *answers)
{
    struct failover *failover = (struct failover *)counters;
    struct failover_state *state = &failover->state;
    if (peek)
        return ask_local(state, COUNTERS_PEEK, request, now_ms, answers);
    while (before == COUNTERS_DOWN && !fallback_begin(failover, request->deadline)) {
        before = failover_ask(counters, COUNTERS_RESERVE, request, now_ms, answers);
        if (before == COUNTERS_OK)
            return COUNTERS_OK;
    }
    bool unsynced = before != COUNTERS_UNSURE; /* else remote may have it: it counts as made */
    enum counters_status status =
        ask_local(state, unsynced ? COUNTERS_FALLBACK : COUNTERS_RESERVE, request, now_ms, answers);
    if (status == COUNTERS_OK && fallback_receipts(request, unsynced, answers) && unsynced)
        failover_state_note(state, &state->unsynced);
    if (unsynced)
        fallback_end(failover);
    return status;
}

static void failover_change_here(struct counters *counters, struct count_change *change, int64_t now_ms)
{
    struct failover_state *state = state_of(counters);
    bool unsynced = change->unsynced && failover_state_behind(state);
    mirror_change(state->local, change, unsynced, now_ms < 0 ? 0 : now_ms);
    if (unsynced)
        failover_state_note(state, &state->unsynced);
}

/* The bytes of a message that ends: what remote has of them is checked there, and echoed here. A charge that local made is found
 * there by its age. */
static enum counters_status failover_settle(struct counters *counters, const struct count_change *changes,
                                            size_t n, int64_t now_ms, struct count_answer *answers)
{
    struct failover_state *state = state_of(counters);
    struct count_change sent[COUNTERS_SETTLE_MOST];
    if (!failover_state_current(state) || n > COUNTERS_SETTLE_MOST)
        return COUNTERS_DOWN;
    for (size_t i = 0; i < n; i++) {
        sent[i] = changes[i];
        if (sent[i].slot >= 0 || sent[i].here < 0)
            continue;
        sent[i].at_ms = window_slot_end(sent[i].window_ms, sent[i].here);
        sent[i].created = INT64_MAX;
        sent[i].open = 0;
    }
    enum counters_status status = state->remote->ops->settle(state->remote, sent, n, now_ms, answers);
    bool admitted = status == COUNTERS_OK;
    if (!admitted)
        failover_state_note(state, &state->closed);
    for (size_t i = 0; i < n && admitted; i++)
        admitted = answers[i].result == COUNT_ADMITTED;
    for (size_t i = 0; i < n && admitted; i++) {
        struct count_change record = changes[i];
        record.unsynced = false;
        mirror_change(state->local, &record, false, now_ms < 0 ? 0 : now_ms);
        deny_cache_drop(state->deny_cache, changes[i].key);
    }
    return status;
}

static enum counters_status failover_settle_here(struct counters *counters, struct count_change *changes,
                                                 size_t n, int64_t now_ms, struct count_answer *answers)
{
    struct failover_state *state = state_of(counters);
    bool unsynced = failover_state_behind(state);
    mirror_settle_here(state->local, changes, n, unsynced, now_ms < 0 ? 0 : now_ms, answers);
    if (unsynced)
        failover_state_note(state, &state->unsynced);
    return COUNTERS_OK;
}

/* ---- the worker ---- */

/* No fallback is under way any more, nor begins. */
static void open_begin(struct failover *failover)
{
    pthread_mutex_lock(&failover->lock);
    failover->opening = true;
    while (failover->fallbacks > 0)
        pthread_cond_wait(&failover->opened, &failover->lock);
    pthread_mutex_unlock(&failover->lock);
}

static void open_end(struct failover *failover)
{
    pthread_mutex_lock(&failover->lock);
    failover->opening = false;
    pthread_cond_broadcast(&failover->opened);
    pthread_mutex_unlock(&failover->lock);
}

/* Tells remote all that it does not know; then it may be asked again. */
static void failover_open(struct failover *failover)
{
    struct failover_state *state = &failover->state;
    if (!reconcile_run(failover->reconcile) || !atomic_load(&state->closed))
        return;
    open_begin(failover);
    if (reconcile_walk(failover->reconcile))
        atomic_store(&state->closed, false);
    open_end(failover);
}

/* Remote is told of what is pending, some time after it was seen: for more to come together. */
static int64_t failover_notify(struct failover *failover, int64_t now)
{
    if (failover->notify_at == 0)
        failover->notify_at = now + NOTIFY_MS * 1000000LL;
    if (now < failover->notify_at)
        return failover->notify_at;
    failover->notify_at = 0;
    reconcile_notify(failover->reconcile);
    return now;
}

static int64_t failover_step(void *arg)
{
    struct failover *failover = arg;
    struct failover_state *state = &failover->state;
    int64_t now = clock_monotonic_ns();
    if (failover_state_behind(state)) {
        failover_open(failover);
        return failover_state_behind(state) ? clock_monotonic_ns() + LOOK_MS * 1000000LL : now;
    }
    if (atomic_load(&state->pending))
        return failover_notify(failover, now);
    (void)failover_state_current(
        state); /* has it restarted? It is told what it lost at once: other hosts ask it, too */
    return now + WATCH_MS * 1000000LL;
}

/* ---- the rest is remote's ---- */

static enum counters_status failover_change(struct counters *counters, const struct count_change *changes,
                                            size_t n, int64_t now_ms)
{
    struct failover_state *state = state_of(counters);
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any = any || !store_is_synced(&changes[i]);
    if (!any)
        return COUNTERS_OK;
    enum counters_status status =
        state->remote != NULL ? counters_change(state->remote, changes, n, now_ms) : COUNTERS_DOWN;
    for (size_t i = 0; i < n; i++) /* only now does remote answer otherwise: softer, or harder */
        if (!store_is_synced(&changes[i]))
            deny_cache_drop(state->deny_cache, changes[i].key);
    return status;
}

static enum counters_status
failover_deferred(struct counters *counters, const struct count_deferral *deferrals, size_t n, int64_t now_ms)
{
    struct failover_state *state = state_of(counters);
    enum counters_status status = counters_deferred(&state->local->counters, deferrals, n, now_ms);
    if (state->remote != NULL)
        failover_state_note(state, &state->pending);
    return status;
}

static enum counters_status failover_show(struct counters *counters, const char *const *keys, size_t n,
                                          int64_t now_ms, counters_each_fn *each, void *arg)
{
    struct counters *remote = state_of(counters)->remote;
    return remote != NULL ? counters_show(remote, keys, n, now_ms, each, arg) : COUNTERS_DOWN;
}

static enum counters_status failover_reset(struct counters *counters, const char *const *keys, size_t n,
                                           const char *limit, size_t *n_reset)
{
    struct failover_state *state = state_of(counters);
    size_t n_local;
    (void)counters_reset(&state->local->counters, keys, n, limit, &n_local);
    enum counters_status status =
        state->remote != NULL ? counters_reset(state->remote, keys, n, limit, n_reset) : COUNTERS_DOWN;
    deny_cache_drop_all(state->deny_cache);
    return status;
}

static void failover_condition(struct counters *counters, struct error *out)
{
    struct counters *remote = state_of(counters)->remote;
    if (remote != NULL)
        counters_condition(remote, out);
    else
        error_set(out, "counters.url names no store that can be used: mend it and restart");
}

static uint64_t failover_junk(struct counters *counters)
{
    struct counters *remote = state_of(counters)->remote;
    return remote != NULL ? counters_junk_resets(remote) : 0;
}

static void failover_free(struct counters *counters)
{
    struct failover *failover = (struct failover *)counters;
    struct failover_state *state = &failover->state;
    worker_free(state->worker);
    reconcile_free(failover->reconcile);
    counters_free(state->remote);
    counters_free(&state->local->counters);
    deny_cache_free(state->deny_cache);
    pthread_cond_destroy(&failover->opened);
    pthread_mutex_destroy(&failover->lock);
    free(failover);
}

static const struct counters_ops failover_ops = {
    .ask = failover_ask,
    .change = failover_change,
    .deferred = failover_deferred,
    .show = failover_show,
    .reset = failover_reset,
    .fallback = failover_fallback,
    .change_here = failover_change_here,
    .settle = failover_settle,
    .settle_here = failover_settle_here,
    .condition = failover_condition,
    .junk = failover_junk,
    .free = failover_free,
};

/* Memory and the worker; -1 with err set. */
static int failover_start(struct failover *failover, struct error *err)
{
    failover->state.deny_cache = deny_cache_new();
    failover->reconcile = reconcile_new(&failover->state);
    if (failover->state.deny_cache == NULL || failover->reconcile == NULL) {
        error_set(err, "out of memory for the counters");
        return -1;
    }
    if (failover->state.remote == NULL)
        return 0;
    failover->state.worker = worker_new("failover", failover_step, failover, err);
    return failover->state.worker == NULL ? -1 : worker_start(failover->state.worker, err);
}

struct counters *failover_new(struct counters *remote, struct counters *local, counters_now_fn *now,
                              void *arg, struct error *err)
{
    struct failover *failover = calloc(1, sizeof *failover);
    if (failover == NULL) {
        error_set(err, "out of memory for the counters");
        counters_free(remote);
        counters_free(local);
        return NULL;
    }
    failover->counters.ops = &failover_ops;
    failover->state =
        (struct failover_state){.remote = remote, .local = (struct memory *)local, .now = now, .arg = arg};
    pthread_mutex_init(&failover->lock, NULL);
    pthread_cond_init(&failover->opened, NULL);
    if (failover_start(failover, err) == 0)
        return &failover->counters;
    failover_free(&failover->counters);
    return NULL;
}

uint64_t failover_merged(struct counters *pair)
{
    return atomic_load(&state_of(pair)->synced);
}
