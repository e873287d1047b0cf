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
 * A counter that is asked all the time is charged in remote ahead, some units at once (lease.h): then its asks are answered here, and
 * only the rest of a request is asked there.
 *
 * Costs memory for local, bounded by its max_subjects; what it had to forget is not brought back. */
#include "chain.h"
#include "failover_lease.h"
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

static enum counters_status ask_local(struct failover_state *state, enum counters_mode mode,
                                      const struct count_request *request, int64_t now_ms,
                                      struct count_answer *answers)
{
    struct counters *local = &state->local->counters;
    return local->ops->ask(local, mode, request, now_ms, answers);
}

/* It was told of it, or, where it is away, was not. */
static void deferral_sent(struct retries *retries, struct count_deferral *deferral,
                          enum counters_status status)
{
    if (status != COUNTERS_DOWN)
        deferral->n = 0;
    retries_arrived(retries, deferral, 1);
}

/* Asks remote, and tells it what was deferred of the pair in the last moments. */
static enum counters_status ask_remote(struct failover_state *state, enum counters_mode mode,
                                       const struct count_request *request, int64_t now_ms,
                                       struct count_answer *answers)
{
    struct retries *retries = state->local->retries;
    struct count_request with = *request;
    struct count_deferral deferral;
    if (mode == COUNTERS_RESERVE && request->pair != NULL &&
        retries_collect_pair(retries, request->pair, now_ms, &deferral))
        with.deferred = &deferral;
    enum counters_status status = state->remote->ops->ask(state->remote, mode, &with, now_ms, answers);
    if (with.deferred != NULL)
        deferral_sent(retries, &deferral, status);
    return status;
}

/* What remote did, is done here. */
static void record(struct failover_state *state, const struct count_request *request, int64_t now_ms,
                   struct count_answer *answers)
{
    (void)ask_local(state, COUNTERS_RECORD, request, now_ms,
                    answers); /* short of memory, it starts a little colder */
}

/* Until fallback_end() remote is not opened there. False: it is open already. */
static bool fallback_begin(struct failover *failover, unsigned site, int64_t deadline)
{
    struct failover_state *state = &failover->state;
    int64_t left_ms = deadline > 0 ? (deadline - clock_monotonic_ns()) / 1000000 : FALLBACK_MS;
    struct timespec until = clock_in_ms(left_ms < 0 ? 0 : left_ms < FALLBACK_MS ? left_ms : FALLBACK_MS);
    pthread_mutex_lock(&failover->lock);
    while (failover->opening &&
           pthread_cond_clockwait(&failover->opened, &failover->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    bool away = state->remote == NULL || atomic_load(&state->sites[site].closed);
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

/* This process alone. unsynced: remote is to be told of it; else it may have it: it counts as made. */
static void fallback_ask(struct failover_state *state, unsigned site, enum counters_mode mode, bool unsynced,
                         const struct count_request *request, int64_t now_ms, struct count_answer *answers)
{
    struct count_request here = *request;
    here.asks = request->local;
    mode = mode == COUNTERS_PEEK ? COUNTERS_PEEK : unsynced ? COUNTERS_FALLBACK : COUNTERS_RESERVE;
    enum counters_status status = ask_local(state, mode, &here, now_ms, answers);
    if (status == COUNTERS_OK && mode != COUNTERS_PEEK && fallback_receipts(&here, unsynced, answers) &&
        unsynced)
        failover_state_unsync(state, site);
    for (size_t i = 0; i < request->n && status == COUNTERS_OK; i++)
        answers[i].local = true;
}

/* Did remote just refuse this? */
static bool failover_known(void *arg, const struct count_request *request, int64_t now_ms,
                           struct count_answer *answers)
{
    struct failover_state *state = &((struct failover *)arg)->state;
    struct deny_cache_ticket ticket;
    bool known = deny_cache_find(state->deny_cache, request, now_ms, answers, &ticket);
    if (known)
        failover_state_note(state, &state->pending);
    return known;
}

/* Asks remote, where it can be asked, and where what it has just refused is not known. */
static enum counters_status ask_current(struct failover_state *state, unsigned site, enum counters_mode mode,
                                        const struct count_request *request, int64_t now_ms,
                                        struct count_answer *answers)
{
    struct deny_cache_ticket ticket = {0};
    if (!failover_state_current(state, site))
        return COUNTERS_DOWN;
    bool cached = mode == COUNTERS_RESERVE && !request->refused;
    if (cached && deny_cache_find(state->deny_cache, request, now_ms, answers, &ticket)) {
        failover_state_note(state, &state->pending);
        return COUNTERS_OK;
    }
    enum counters_status status = ask_remote(state, mode, request, now_ms, answers);
    if (status != COUNTERS_OK || mode != COUNTERS_RESERVE)
        return status;
    if (state->n_sites == 1) { /* a chain does, when all of it is known */
        struct count_request with = *request;
        with.hashes = ticket.eligible ? ticket.keys : NULL;
        record(state, &with, now_ms, answers);
    }
    deny_cache_put(state->deny_cache, &ticket, request, answers, now_ms);
    return COUNTERS_OK;
}

/* What is at one site, of whoever answers for it now. answers may be NULL where nobody stands in. */
static enum counters_status failover_ask_site(void *arg, unsigned site, enum counters_mode mode,
                                              const struct count_request *request, bool splittable,
                                              int64_t now_ms, struct count_answer *answers)
{
    struct failover *failover = arg;
    struct failover_state *state = &failover->state;
    enum counters_status status;
    bool split, begun;
    do {
        status = ask_current(state, site, mode, request, now_ms, answers);
        split = status == COUNTERS_SPLIT;
        if (status == COUNTERS_OK || (split && splittable))
            return status;
        if (split)
            status = COUNTERS_DOWN;
        else if (mode == COUNTERS_RESERVE && state->remote != NULL)
            failover_state_close(state, site);
        if (answers != NULL)
            memset(answers, 0, request->n * sizeof *answers);
        if (request->local == NULL || answers == NULL || mode == COUNTERS_CHARGE)
            return status;
        begun = mode != COUNTERS_PEEK && status == COUNTERS_DOWN && !split;
    } while (begun && !fallback_begin(failover, site, request->deadline));
    fallback_ask(state, site, mode, status == COUNTERS_DOWN, request, now_ms, answers);
    if (begun)
        fallback_end(failover);
    return status;
}

static void failover_record(void *arg, const struct count_request *request, int64_t now_ms,
                            struct count_answer *answers)
{
    record(&((struct failover *)arg)->state, request, now_ms, answers);
}

/* Is it a retry? Where the pair has a site of its own, that is asked first. */
static bool failover_retry(struct failover_state *state, const struct count_request *request, bool look,
                           int64_t now_ms)
{
    struct retries *retries = state->local->retries;
    struct count_request with = *request;
    struct count_deferral deferral;
    bool retry = false;
    if (!look && retries_collect_pair(retries, request->pair, now_ms, &deferral))
        with.deferred = &deferral;
    enum counters_status status = state->remote->ops->retry(state->remote, &with, look, now_ms, &retry);
    if (with.deferred != NULL)
        deferral_sent(retries, &deferral, status);
    if (status != COUNTERS_OK)
        return retries_take(retries, request->pair, now_ms, look);
    if (retry && !look)
        (void)retries_take(retries, request->pair, now_ms, false); /* as there */
    return retry;
}

static enum counters_status failover_chain(struct failover *failover, enum counters_mode mode,
                                           const struct count_request *request, int64_t now_ms,
                                           struct count_answer *answers)
{
    static const struct chain_ops ops = {
        .ask = failover_ask_site, .known = failover_known, .record = failover_record};
    struct failover_state *state = &failover->state;
    struct count_request chained = *request;
    struct deny_cache_ticket ticket;
    if (mode == COUNTERS_RESERVE && deny_cache_find(state->deny_cache, request, now_ms, answers, &ticket)) {
        failover_state_note(state, &state->pending);
        return COUNTERS_OK;
    }
    if (request->pair != NULL && mode != COUNTERS_CHARGE) {
        chained.retry = failover_retry(state, request, mode == COUNTERS_PEEK, now_ms);
        chained.pair = NULL;
    }
    enum counters_status status = chain_ask(state->remote, &ops, failover, mode, &chained, now_ms, answers);
    if (mode == COUNTERS_RESERVE && status == COUNTERS_OK)
        deny_cache_put(state->deny_cache, &ticket, request, answers, now_ms);
    return status;
}

static enum counters_status ask_sites(struct failover *failover, enum counters_mode mode,
                                      const struct count_request *request, int64_t now_ms,
                                      struct count_answer *answers)
{
    if (failover->state.n_sites > 1)
        return failover_chain(failover, mode, request, now_ms, answers);
    return failover_ask_site(failover, 0, mode, request, false, now_ms, answers);
}

/* What no lease answers. */
static enum counters_status reserve_rest(void *arg, const struct count_request *request, int64_t now_ms,
                                         struct count_answer *answers)
{
    return ask_sites(arg, COUNTERS_RESERVE, request, now_ms, answers);
}

static enum counters_status failover_ask(struct counters *counters, enum counters_mode mode,
                                         const struct count_request *request, int64_t now_ms,
                                         struct count_answer *answers)
{
    struct failover *failover = (struct failover *)counters;
    if (mode == COUNTERS_CHARGE)
        (void)ask_local(&failover->state, mode, request, now_ms, NULL);
    if (mode == COUNTERS_RESERVE)
        return failover_lease_reserve(&failover->state, reserve_rest, failover, request, now_ms, answers);
    return ask_sites(failover, mode, request, now_ms, answers);
}

static void failover_change_here(struct counters *counters, struct count_change *change, int64_t now_ms)
{
    struct failover_state *state = state_of(counters);
    unsigned site = change->unsynced ? store_site(state->remote, change->key) : 0;
    bool unsynced = change->unsynced && failover_state_is_behind(state, site);
    mirror_change(state->local, change, unsynced, now_ms < 0 ? 0 : now_ms);
    if (unsynced)
        failover_state_unsync(state, site);
}

/* The bytes of a message that ends: what remote has of them is checked there, and echoed here. A charge that local made is found
 * there by its age. */
static enum counters_status failover_settle(struct counters *counters, const struct count_change *changes,
                                            size_t n, int64_t now_ms, int64_t deadline,
                                            struct count_answer *answers)
{
    struct failover_state *state = state_of(counters);
    struct count_change sent[COUNTERS_SETTLE_MOST];
    unsigned site = store_site(state->remote, changes[0].key);
    if (!failover_state_current(state, site) || n > COUNTERS_SETTLE_MOST)
        return COUNTERS_DOWN;
    for (size_t i = 0; i < n; i++) {
        sent[i] = changes[i];
        if (sent[i].slot >= 0 || sent[i].here < 0)
            continue;
        sent[i].at_ms = window_slot_middle(sent[i].window_ms, sent[i].here);
        sent[i].created = INT64_MAX;
        sent[i].open = 0;
    }
    enum counters_status status =
        state->remote->ops->settle(state->remote, sent, n, now_ms, deadline, answers);
    bool admitted = status == COUNTERS_OK;
    if (!admitted)
        failover_state_close(state, site);
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
    unsigned site = store_site(state->remote, changes[0].key);
    bool unsynced = failover_state_is_behind(state, site);
    mirror_settle_here(state->local, changes, n, unsynced, now_ms < 0 ? 0 : now_ms, answers);
    if (unsynced)
        failover_state_unsync(state, site);
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

/* Tells remote all that it does not know, wherever it is up; then it may be asked again there. */
static void failover_open(struct failover *failover)
{
    if (!failover_state_any_behind(&failover->state, false) || !reconcile_run(failover->reconcile))
        return;
    open_begin(failover);
    reconcile_open(failover->reconcile);
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

/* Something is behind. When to look again: at once, where nothing is any more. */
static int64_t failover_mend(struct failover *failover)
{
    struct failover_state *state = &failover->state;
    failover_state_date(state);
    failover_open(failover);
    failover_state_date(state);
    atomic_store(&state->behind, false); /* before the look: who closes another one now sets it again */
    if (!failover_state_any_behind(state, true))
        return 0;
    atomic_store(&state->behind, true);
    return clock_monotonic_ns() + LOOK_MS * 1000000LL;
}

static int64_t failover_step(void *arg)
{
    struct failover *failover = arg;
    struct failover_state *state = &failover->state;
    int64_t now = clock_monotonic_ns(), look = WORKER_IDLE;
    if (atomic_load(&state->behind)) {
        look = failover_mend(failover);
        if (state->n_sites == 1 || look == 0)
            return look;
    }
    failover_lease_return(state);
    if (atomic_load(&state->pending)) { /* what is away is no reason to tell the rest nothing */
        int64_t due = failover_notify(failover, now);
        return due < look ? due : look;
    }
    for (unsigned site = 0; site < state->n_sites;
         site++) /* has it restarted? It is told what it lost at once: other hosts */
        (void)failover_state_current(state, site); /* ask it, too */
    int64_t watch = now + WATCH_MS * 1000000LL;
    return watch < look ? watch : look;
}

/* ---- the rest is remote's ---- */

static enum counters_status failover_change(struct counters *counters, struct count_change *changes, size_t n,
                                            int64_t now_ms)
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
        deny_cache_drop(state->deny_cache, changes[i].key);
    return status;
}

static enum counters_status failover_deferred(struct counters *counters, struct count_deferral *deferrals,
                                              size_t n, int64_t now_ms)
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
    leases_end(state->leases);
    deny_cache_drop_all(state->deny_cache);
    return status;
}

static int64_t failover_back_ms(struct counters *counters, const char *key)
{
    struct failover_state *state = state_of(counters);
    if (state->n_sites == 1) /* whoever sees the whole store come back, knows */
        return 0;
    return atomic_load(&state->sites[store_site(state->remote, key)].back_ms);
}

static void failover_missing(struct counters *counters, struct error *out)
{
    struct counters *remote = state_of(counters)->remote;
    if (remote != NULL)
        counters_missing(remote, out);
}

static unsigned failover_site(struct counters *counters, const char *key)
{
    return store_site(state_of(counters)->remote, key);
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
    if (state->worker != NULL) {
        leases_end(state->leases);
        failover_lease_return(state);
    }
    worker_free(state->worker);
    reconcile_free(failover->reconcile);
    counters_free(state->remote);
    counters_free(&state->local->counters);
    deny_cache_free(state->deny_cache);
    leases_free(state->leases);
    failover_state_done(state);
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
    .site = failover_site,
    .change_here = failover_change_here,
    .settle = failover_settle,
    .settle_here = failover_settle_here,
    .back_ms = failover_back_ms,
    .missing = failover_missing,
    .condition = failover_condition,
    .junk = failover_junk,
    .free = failover_free,
};

/* Memory and the worker; -1 with err set. */
static int failover_start(struct failover *failover, struct error *err)
{
    failover->counters.n_sites = store_sites(failover->state.remote);
    failover->state.deny_cache = deny_cache_new(failover->state.local->seed);
    failover->state.leases = leases_new();
    if (failover_state_init(&failover->state) == 0)
        failover->reconcile = reconcile_new(&failover->state);
    if (failover->state.deny_cache == NULL || failover->state.leases == NULL || failover->reconcile == NULL) {
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

uint64_t failover_synced(struct counters *store)
{
    return atomic_load(&state_of(store)->synced);
}

void failover_each_behind(struct counters *store, counters_lag_fn *each, void *arg)
{
    struct failover_state *state = state_of(store);
    for (unsigned site = 0; site < state->n_sites; site++) {
        int64_t since = atomic_load(&state->sites[site].since_ns);
        if (since != 0)
            each(arg, site, 1, since);
    }
}

unsigned failover_behind(struct counters *store)
{
    struct failover_state *state = state_of(store);
    unsigned n = 0;
    for (unsigned site = 0; site < state->n_sites; site++)
        n += failover_state_is_behind(state, site);
    return n;
}
