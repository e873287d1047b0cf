/* reconcile: see reconcile.h; failover.c tells the whole story. Owns the sync under way, and those whose answer was lost: they are made
 * once more before their site is told anything else.
 *
 * A sync is of one site. What fails there is put back, or kept, and the walk passes that site over from then on. One that remote makes no sense of, again and again, is dropped: it must not keep remote from being asked. */
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

struct sync { /* of some deltas, of one site */
    struct sync *next;
    unsigned site;
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
    struct sync sync;     /* under way */
    struct sync *kept;    /* whose answer was lost */
    bool *passed_over;    /* in this walk: sites that are away, or to which something could not be told */
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
static enum counters_status sync_open(struct reconcile *reconcile, struct sync *sync, int64_t now)
{
    struct counters *remote = reconcile->state->remote;
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
                                     .flags = counter->hard ? COUNT_HARD : 0,
                                     .share_of = -1};
    }
    const struct count_request request = {.asks = asks, .n = sync->n};
    return remote->ops->ask(remote, COUNTERS_CHARGE, &request, now, sync->remote);
}

/* What is to be added to each, now that it is known what remote has. */
static enum counters_status sync_look(struct reconcile *reconcile, struct sync *sync, int64_t now)
{
    enum counters_status status = sync_open(reconcile, sync, now);
    if (status != COUNTERS_OK)
        return status;
    for (size_t i = 0; i < sync->n; i++)
        sync->missing[i] = delta_amount(&sync->deltas[i], &sync->remote[i]);
    sync->sequence = ++reconcile->syncs;
    return COUNTERS_OK;
}

/* What one slot of a delta adds, as of its middle (of the newest: of now, which may be sooner). Only to the counter that was looked at: one
 * that was made since, after a restart or a reset, is looked at anew. */
static struct count_change slot_change(const struct delta *delta, const struct count_answer *remote,
                                       const struct window *window, int i, int64_t amount, int64_t now)
{
    int64_t middle = window_slot_middle(window->window_ms, window->slot + i);
    bool unknown = !delta->counter.hard && delta->counter.unit != COUNT_UNIT_ATTEMPTS;
    int64_t open = unknown ? amount : window->open[i];
    return (struct count_change){.key = delta->key,
                                 .limit = delta->limit,
                                 .unit = delta->counter.unit,
                                 .window_ms = window->window_ms,
                                 .slot = -1,
                                 .at_ms = middle < now ? middle : now,
                                 .created = remote->created,
                                 .amount = amount,
                                 .open = open < amount ? open : amount,
                                 .here = -1};
}

static enum counters_status sync_add(struct reconcile *reconcile, const struct sync *sync, int64_t now)
{
    struct counters *remote = reconcile->state->remote;
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

/* Something could not be told there. */
static void site_fails(struct reconcile *reconcile, unsigned site)
{
    reconcile->passed_over[site] = true;
    atomic_store(&reconcile->state->sites[site].unsynced, true);
}

/* The sync was made, or dropped; or not: it is unsynced again. */
static void sync_end(struct reconcile *reconcile, struct sync *sync, bool made)
{
    struct failover_state *state = reconcile->state;
    for (size_t i = 0; i < sync->n; i++)
        mirror_settle(state->local, &sync->deltas[i], made ? sync->remote[i].created : -1);
    if (made)
        atomic_fetch_add(&state->synced, sync->n);
    sync->n = 0;
}

/* Tries it. Ended (n is 0) where it was made, or put back; else its answer was lost. */
static void sync_make(struct reconcile *reconcile, struct sync *sync, int64_t now)
{
    enum counters_status status = sync->sequence == 0 ? sync_look(reconcile, sync, now) : COUNTERS_OK;
    bool made = false;
    if (status == COUNTERS_OK) {
        status = sync_add(reconcile, sync, now);
        made = status == COUNTERS_OK;
        sync->unsure = sync->unsure || status == COUNTERS_UNSURE;
    }
    sync->doubts += status == COUNTERS_UNSURE;
    bool dropped = !made && sync->doubts == DOUBTS;
    if (!made && !dropped)
        site_fails(reconcile, sync->site);
    if (made || dropped || (!sync->unsure && sync->doubts == 0))
        sync_end(reconcile, sync, made || dropped);
}

/* Keeps the sync under way for later; where memory is short, it counts as made. */
static void sync_keep(struct reconcile *reconcile)
{
    struct sync *kept = malloc(sizeof *kept);
    if (kept == NULL) {
        sync_end(reconcile, &reconcile->sync, true);
        return;
    }
    *kept = reconcile->sync;
    kept->next = reconcile->kept;
    reconcile->kept = kept;
    reconcile->sync.n = 0;
}

/* Those whose answer was lost, and whose site is there, or (again) all that surely were not added. */
static void walk_kept(struct reconcile *reconcile, bool again)
{
    int64_t now = failover_state_now(reconcile->state);
    for (struct sync **at = &reconcile->kept; *at != NULL;) {
        struct sync *sync = *at;
        if (again && !sync->unsure)
            sync_end(reconcile, sync, false);
        else if (!again && !reconcile->passed_over[sync->site])
            sync_make(reconcile, sync, now);
        if (sync->n > 0) {
            site_fails(reconcile, sync->site);
            at = &sync->next;
            continue;
        }
        *at = sync->next;
        free(sync);
    }
}

/* Makes a sync of those deltas that are of the same site as the first, and takes them out. Returns how many are left. */
static size_t walk_site(struct reconcile *reconcile, struct delta *deltas, size_t n, int64_t now)
{
    struct sync *sync = &reconcile->sync;
    size_t left = 0;
    *sync = (struct sync){.site = deltas[0].site};
    for (size_t i = 0; i < n; i++)
        if (deltas[i].site == sync->site)
            sync->deltas[sync->n++] = deltas[i];
        else
            deltas[left++] = deltas[i];
    if (reconcile->passed_over[sync->site])
        sync_end(reconcile, sync, false);
    else
        sync_make(reconcile, sync, now);
    if (sync->n > 0)
        sync_keep(reconcile);
    return left;
}

/* All of local, but for what is passed over. */
static void walk_counters(struct reconcile *reconcile)
{
    struct failover_state *state = reconcile->state;
    struct delta deltas[DELTAS];
    struct mirror_cursor cursor = {.passed_over = reconcile->passed_over};
    size_t n;
    walk_kept(reconcile, false);
    do {
        int64_t now = failover_state_now(state);
        n = mirror_collect(state->local, &cursor, now, deltas, DELTAS);
        for (size_t left = n; left > 0;)
            left = walk_site(reconcile, deltas, left, now);
    } while (n > 0 && !worker_stopping(state->worker));
}

/* ---- retries and refusals ---- */

/* Which RCPTs were deferred here: they may be tried again elsewhere. False: remote, or a part of it, is away. Those whose answer was
 * lost may count when they come again. */
static bool notify_retries(struct failover_state *state)
{
    struct retries *retries = state->local->retries;
    struct count_deferral list[COUNTERS_DEFERRALS];
    size_t n;
    int64_t now = failover_state_now(state);
    bool all = true;
    while (!worker_stopping(state->worker) && all &&
           (n = retries_collect(retries, now, list, COUNTERS_DEFERRALS)) > 0) {
        all = counters_deferred(state->remote, list, n, now) != COUNTERS_DOWN;
        retries_arrived(retries, list, n);
    }
    return all;
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

/* Once through all of local. False: nothing is up. */
static bool reconcile_walk(struct reconcile *reconcile)
{
    struct failover_state *state = reconcile->state;
    bool any = false;
    for (unsigned site = 0; site < state->n_sites; site++) {
        unsigned generation;
        bool up = failover_state_remote_up(state, site, &generation);
        reconcile->passed_over[site] = !up;
        any = any || up;
        if (up)
            atomic_store(&state->sites[site].unsynced, false);
    }
    if (!any)
        return false;
    if (!notify_retries(state) && state->n_sites == 1)
        site_fails(reconcile, 0);
    else
        walk_counters(reconcile);
    return true;
}

/* Sites that have restarted: all of local is looked at again, and nobody believes before that it is as before. */
static void reconcile_restarts(struct reconcile *reconcile)
{
    struct failover_state *state = reconcile->state;
    bool restarted = false;
    for (unsigned site = 0; site < state->n_sites; site++) {
        unsigned generation;
        if (!failover_state_remote_up(state, site, &generation) ||
            generation == atomic_load(&state->generations[site]))
            continue;
        failover_state_close(state, site);
        atomic_store(&state->generations[site], generation);
        restarted = true;
    }
    if (!restarted)
        return;
    walk_kept(reconcile,
              true); /* one that is unsure is sent again as it is: it may have been added, and saved */
    retries_unsync(state->local->retries);
    deny_cache_drop_all(state->deny_cache); /* the counters that they were read from may be others by now */
}

/* Is anything left to be told where it could be? */
static bool reconcile_is_due(const struct reconcile *reconcile)
{
    const struct failover_state *state = reconcile->state;
    for (unsigned site = 0; site < state->n_sites; site++)
        if (!reconcile->passed_over[site] && atomic_load(&state->sites[site].unsynced))
            return true;
    return false;
}

bool reconcile_run(struct reconcile *reconcile)
{
    reconcile_restarts(reconcile);
    for (int pass = 0; pass < PASSES; pass++)
        if (!reconcile_walk(reconcile))
            return false;
        else if (!reconcile_is_due(reconcile))
            break;
    return true;
}

void reconcile_open(struct reconcile *reconcile)
{
    struct failover_state *state = reconcile->state;
    if (!reconcile_walk(reconcile))
        return;
    for (unsigned site = 0; site < state->n_sites; site++)
        if (!reconcile->passed_over[site] && atomic_load(&state->sites[site].closed)) {
            atomic_store(&state->sites[site].back_ms, failover_state_now(state));
            atomic_store(&state->sites[site].closed, false);
        }
}

struct reconcile *reconcile_new(struct failover_state *state)
{
    struct reconcile *reconcile = calloc(1, sizeof *reconcile);
    if (reconcile == NULL)
        return NULL;
    reconcile->state = state;
    reconcile->passed_over = calloc(state->n_sites, sizeof *reconcile->passed_over);
    if (reconcile->passed_over != NULL)
        return reconcile;
    free(reconcile);
    return NULL;
}

void reconcile_free(struct reconcile *reconcile)
{
    if (reconcile == NULL)
        return;
    for (struct sync *sync = reconcile->kept, *next; sync != NULL; sync = next) {
        next = sync->next;
        sync_end(reconcile, sync, false);
        free(sync);
    }
    free(reconcile->passed_over);
    free(reconcile);
}
