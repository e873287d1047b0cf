/* reconcile: see reconcile.h; failover.c tells the whole story. Owns the sync under way.
 *
 * A sync that remote makes no sense of, again and again, is dropped: it must not keep remote from being asked. */
#include "reconcile.h"
#include "base/clock.h"

#include "counters/counters.h"

#include <stdlib.h>

static const int64_t REFUSALS_NS = 500000000; /* between two batches of them */

enum {
    DELTAS = COUNTERS_SYNC_MOST / WINDOW_SLOTS, /* synced in one call: some 100 µs of Redis' time */
    DOUBTS = 100,                               /* until a sync that is never answered for is dropped */
    PASSES = 3,
};

struct sync { /* of some deltas */
    struct delta deltas[DELTAS];
    struct count_answer remote[DELTAS]; /* what remote had before */
    int64_t missing[DELTAS];            /* what is added to it */
    size_t n;
    int64_t sequence; /* its number; 0: it is not known yet what is missing */
    bool unsure;      /* the answer was lost: it may have been added */
    unsigned doubts;  /* in a row */
};

struct reconcile {
    struct failover_state *state;
    struct sync sync;
    int64_t syncs;        /* begun */
    int64_t refusals_due; /* monotonic, ns */
};

/* ---- counters ---- */

/* How much remote lacks. Where it never said when its counter was made, that is the one: a charge whose answer was lost may be in it. */
static int64_t delta_amount(const struct delta *delta, const struct count_answer *remote)
{
    bool same = delta->remote_created == 0 || delta->remote_created == remote->created;
    int64_t known = same ? remote->used : 0;
    int64_t lost = delta->lost ? window_used(&delta->counter.window) - known : 0;
    return lost > delta->unsynced ? lost : delta->unsynced;
}

/* Makes the counters in remote, where they are not; what they are now. */
static enum counters_status sync_open(struct reconcile *reconcile, int64_t now)
{
    struct counters *remote = reconcile->state->remote;
    struct sync *sync = &reconcile->sync;
    struct count_ask asks[DELTAS];
    for (size_t i = 0; i < sync->n; i++) {
        const struct delta *delta = &sync->deltas[i];
        const struct counter *counter = &delta->counter;
        asks[i] = (struct count_ask){.key = delta->key,
                                     .limit = delta->limit,
                                     .unit = counter->unit,
                                     .max = counter->max,
                                     .window_ms = counter->window.window_ms,
                                     .hold_ms = counter->held > now ? counter->held - now : 0,
                                     .ttl_ms = delta->ttl_ms,
                                     .share_of = -1};
    }
    const struct count_request request = {.asks = asks, .n = sync->n};
    return remote->ops->ask(remote, COUNTERS_CHARGE, &request, now, sync->remote);
}

/* What is to be added to each, now that it is known what remote has. */
static enum counters_status sync_look(struct reconcile *reconcile, int64_t now)
{
    struct sync *sync = &reconcile->sync;
    enum counters_status status = sync_open(reconcile, now);
    if (status != COUNTERS_OK)
        return status;
    for (size_t i = 0; i < sync->n; i++)
        sync->missing[i] = delta_amount(&sync->deltas[i], &sync->remote[i]);
    sync->sequence = ++reconcile->syncs;
    return COUNTERS_OK;
}

/* What one slot of a delta adds, as of its last millisecond: by the clocks of both that is no sooner than it was. Only to the counter that
 * was looked at: one that was made since, after a restart or a reset, is looked at anew. */
static struct count_change slot_change(const struct delta *delta, const struct count_answer *remote,
                                       const struct window *window, int i, int64_t amount, int64_t now)
{
    int64_t end = window_slot_end(window->window_ms, window->slot + i);
    return (struct count_change){.key = delta->key,
                                 .limit = delta->limit,
                                 .unit = delta->counter.unit,
                                 .window_ms = window->window_ms,
                                 .slot = -1,
                                 .at_ms = end < now ? end : now,
                                 .created = remote->created,
                                 .amount = amount,
                                 .open = window->open[i] < amount ? window->open[i] : amount,
                                 .here = -1};
}

static enum counters_status sync_add(struct reconcile *reconcile, int64_t now)
{
    struct counters *remote = reconcile->state->remote;
    struct sync *sync = &reconcile->sync;
    struct count_change changes[DELTAS * WINDOW_SLOTS];
    size_t n = 0;
    for (size_t i = 0; i < sync->n; i++) {
        struct window window = sync->deltas[i].counter.window;
        int64_t left = sync->missing[i];
        window_move(&window, window.window_ms, now); /* what has left it meanwhile is missing no more */
        for (int s = WINDOW_SLOTS - 1; s >= 0 && left > 0; s--) {
            int64_t amount = window.count[s] < left ? window.count[s] : left;
            left -= amount;
            if (amount > 0)
                changes[n++] = slot_change(&sync->deltas[i], &sync->remote[i], &window, s, amount, now);
        }
    }
    return n > 0 ? remote->ops->sync(remote, changes, n, now, sync->sequence) : COUNTERS_OK;
}

/* The sync was made, or dropped; or not: it is unsynced again. */
static void sync_end(struct reconcile *reconcile, bool made)
{
    struct failover_state *state = reconcile->state;
    struct sync *sync = &reconcile->sync;
    for (size_t i = 0; i < sync->n; i++)
        mirror_settle(state->local, &sync->deltas[i], made ? sync->remote[i].created : -1);
    if (made)
        atomic_fetch_add(&state->synced, sync->n);
    *sync = (struct sync){0};
}

/* True: made, or dropped. */
static bool sync_make(struct reconcile *reconcile, int64_t now)
{
    struct sync *sync = &reconcile->sync;
    enum counters_status status = sync->sequence == 0 ? sync_look(reconcile, now) : COUNTERS_OK;
    bool made = false;
    if (status == COUNTERS_OK) {
        status = sync_add(reconcile, now);
        made = status == COUNTERS_OK;
        sync->unsure = sync->unsure || status == COUNTERS_UNSURE;
    }
    sync->doubts += status == COUNTERS_UNSURE;
    made = made || sync->doubts == DOUBTS;
    if (made || (!sync->unsure && sync->doubts == 0))
        sync_end(reconcile, made);
    return made;
}

/* All of local. False: remote is away again. */
static bool walk_counters(struct reconcile *reconcile)
{
    struct failover_state *state = reconcile->state;
    struct sync *sync = &reconcile->sync;
    struct mirror_cursor cursor = {0};
    while (!worker_stopping(state->worker)) {
        int64_t now = failover_state_now(state);
        if (sync->n == 0)
            sync->n = mirror_collect(state->local, &cursor, now, sync->deltas, DELTAS);
        if (sync->n == 0)
            return true;
        if (!sync_make(reconcile, now))
            return false;
    }
    return false;
}

/* ---- retries and refusals ---- */

/* Which RCPTs were deferred here: they may be tried again elsewhere. False: remote is away. Those whose answer was lost
 * may count when they come again. */
static bool notify_retries(struct failover_state *state)
{
    struct retries *retries = state->local->retries;
    struct count_deferral list[COUNTERS_DEFERRALS];
    size_t n;
    int64_t now = failover_state_now(state);
    while (!worker_stopping(state->worker) &&
           (n = retries_collect(retries, now, list, COUNTERS_DEFERRALS)) > 0)
        if (counters_deferred(state->remote, list, n, now) == COUNTERS_DOWN) {
            retries_put_back(retries, list, n);
            return false;
        }
    return true;
}

static void notify_refusal(void *arg, const char *key, const char *limit, int64_t n)
{
    struct failover_state *state = arg;
    struct counters *remote = state->remote;
    if (remote->ops->refused != NULL)
        (void)remote->ops->refused(remote, key, limit, n,
                                   failover_state_now(state)); /* only `top` misses it */
}

void reconcile_notify(struct reconcile *reconcile)
{
    struct failover_state *state = reconcile->state;
    int64_t now = clock_monotonic_ns();
    bool due = now >= reconcile->refusals_due;
    if (due)
        atomic_store(&state->pending, false);
    if (!notify_retries(state))
        atomic_store(&state->pending, true); /* once more after a while */
    if (!due)
        return;
    deny_cache_each_refusal(state->deny_cache, notify_refusal, state);
    reconcile->refusals_due = now + REFUSALS_NS;
}

/* ---- all ---- */

bool reconcile_walk(struct reconcile *reconcile)
{
    struct failover_state *state = reconcile->state;
    atomic_store(&state->unsynced, false);
    if (notify_retries(state) && walk_counters(reconcile))
        return true;
    atomic_store(&state->unsynced, true);
    return false;
}

bool reconcile_run(struct reconcile *reconcile)
{
    struct failover_state *state = reconcile->state;
    unsigned generation;
    if (!failover_state_remote_up(state, &generation))
        return false;
    if (generation != atomic_load(&state->local->generation)) { /* all of local is looked at again */
        atomic_store(&state->closed, true);                     /* before anybody believes it is as before */
        if (!reconcile->sync.unsure) /* else the same is sent again: it may have been added, and saved */
            sync_end(reconcile, false);
        retries_unsync(state->local->retries);
        deny_cache_drop_all(
            state->deny_cache); /* the counters that they were read from may be others by now */
    }
    atomic_store(&state->local->generation, generation);
    for (int pass = 0; pass < PASSES; pass++)
        if (!reconcile_walk(reconcile))
            return false;
        else if (!atomic_load(&state->unsynced))
            break;
    return true;
}

struct reconcile *reconcile_new(struct failover_state *state)
{
    struct reconcile *reconcile = calloc(1, sizeof *reconcile);
    if (reconcile != NULL)
        reconcile->state = state;
    return reconcile;
}

void reconcile_free(struct reconcile *reconcile)
{
    if (reconcile == NULL)
        return;
    sync_end(reconcile, false);
    free(reconcile);
}
