/* counts_pair: one counter store that stands on two, so that the fault of one starts warm and leaves no trace.
 *
 * far (Redis) answers. What it admitted, refused and held is counted along in near (this process), a
 * microsecond's work; near so knows what this host admitted in the windows under way.
 *
 * When far cannot answer, near is asked (stand_in) and starts from that. What near admits then is *owed* to
 * far: each counter of near holds how much of it far does not know yet, and it is the newest part. A charge
 * whose answer was lost is counted in near but not owed: it counts as made.
 *
 * Once far has failed it is not asked, even if it is up again: first it has to be told what is owed. A thread
 * does that (merge), as soon as far is up: it takes what is owed out of near, makes the counters in far (a
 * charge of nothing) and adds to them (a change), slot by slot, the newest first. Such a payment has a number
 * (turn): when its answer is lost the same is sent again, and far adds each number once, whichever of the two
 * comes first. Once the thread has walked through all of near, far answers again. During the last walk nobody
 * stands in, as far could admit a second time what it has not been told of: who would, waits (STAND_MS at most),
 * and asks far where it is open by then.
 *
 * When far has restarted (`generation`), it may have lost counters: it is brought up to what near has, whole.
 * A counter that has kept its birth was saved, and only gets what it lacks. What was cleared in far (DEL,
 * reset, FLUSHALL) while it was up shows by a counter that was born later and has less in it: near is cut
 * down to that. near is never above what far last said by more than what it owes.
 *
 * What far has just refused is refused again from memory (denials.h), and far is told how often, some times a
 * second; and which RCPTs were deferred (retries.h): what it could not be told, or lost, it is told before it
 * answers again.
 *
 * Costs memory for near, bounded by its max_subjects; what it had to forget is not brought back. */
#include "counts_memory.h"
#include "denials.h"
#include "monotonic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    DEBTS = COUNTS_PAY_MOST / WINDOW_SLOTS, /* paid in one call: some 100 µs of Redis' time */
    DOUBTS = 100,                           /* until debts that are never answered for are forgiven */
    PASSES = 3,
    LOOK_MS = 20,  /* is far up again? */
    STAND_MS = 20, /* who stands in waits so long for the last walk */
    TELL_MS = 500, /* between two batches of refusals */
};

struct batch { /* of debts that are being paid; the thread's alone */
    struct debt debts[DEBTS];
    struct count_answer far[DEBTS]; /* what far had before */
    int64_t due[DEBTS];             /* what is added to it */
    size_t n;
    int64_t turn;    /* of the payment; 0: it is not known yet what is due */
    bool in_doubt;   /* the answer was lost: it may have been added */
    unsigned doubts; /* in a row */
};

struct pair {
    struct counts counts;
    struct counts *far; /* NULL: always away */
    struct memory *near;
    struct denials *denials; /* what far has just refused */
    counts_now_fn *now;
    void *arg;
    atomic_bool telling;         /* the thread has refusals or retries to tell */
    atomic_bool closed;          /* far failed or restarted: it is not asked before it was told all */
    atomic_bool owing;           /* near admitted something in its place */
    atomic_uint_fast64_t merged; /* counters that were brought up to date in far */
    struct batch batch;
    int64_t turns; /* payments begun; the thread's alone */
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t lock; /* no wake-up is missed */
    pthread_cond_t wake;
    bool opening;      /* under lock: the last walk is being made, or waits for those who stand in now, */
    unsigned standing; /* this many */
    pthread_cond_t opened;
    atomic_bool stop;
};

/* Sets what the thread is to look at, and wakes it when it was not set. */
static void pair_note(struct pair *pair, atomic_bool *what)
{
    if (atomic_exchange(what, true))
        return;
    pthread_mutex_lock(&pair->lock);
    pthread_cond_signal(&pair->wake);
    pthread_mutex_unlock(&pair->lock);
}

static bool is_owing(struct pair *pair)
{
    return atomic_load(&pair->closed) || atomic_load(&pair->owing);
}

static bool far_well(const struct pair *pair, unsigned *generation)
{
    *generation = 0;
    return pair->far->ops->well == NULL || pair->far->ops->well(pair->far, generation);
}

/* ---- asking ---- */

/* Can far be asked? Not before it knows what it lost. */
static bool is_current(struct pair *pair)
{
    unsigned generation;
    if (pair->far == NULL || atomic_load(&pair->closed))
        return false;
    if (!far_well(pair, &generation) || generation == atomic_load(&pair->near->generation))
        return true; /* where it is down it says so at once */
    pair_note(pair, &pair->closed);
    return false;
}

static enum counts_status pair_ask(struct counts *counts, enum counts_mode mode,
                                   const struct count_request *request, int64_t now_ms,
                                   struct count_answer *answers)
{
    struct pair *pair = (struct pair *)counts;
    struct counts *near = &pair->near->counts;
    if (mode == COUNTS_CHARGE)
        (void)near->ops->ask(near, mode, request, now_ms, NULL);
    if (!is_current(pair)) {
        if (answers != NULL)
            memset(answers, 0, request->n * sizeof *answers);
        return COUNTS_DOWN;
    }
    struct denial_ticket ticket;
    if (mode == COUNTS_RESERVE && denials_find(pair->denials, request, now_ms, answers, &ticket)) {
        pair_note(pair, &pair->telling);
        return COUNTS_OK;
    }
    enum counts_status status = pair->far->ops->ask(pair->far, mode, request, now_ms, answers);
    if (status == COUNTS_OK && mode == COUNTS_RESERVE) {
        (void)near->ops->ask(near, COUNTS_ECHO, request, now_ms, answers);
        denials_put(pair->denials, &ticket, request, answers, now_ms);
    } else if (mode == COUNTS_RESERVE) {
        pair_note(pair, &pair->closed);
    }
    return status; /* without memory for the echo, near starts a little colder */
}

/* Until stand_end() far is not opened. False: it is open already. */
static bool stand_begin(struct pair *pair)
{
    struct timespec until = monotonic_in_ms(STAND_MS);
    pthread_mutex_lock(&pair->lock);
    while (pair->opening &&
           pthread_cond_clockwait(&pair->opened, &pair->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    bool away = pair->far == NULL || atomic_load(&pair->closed);
    pair->standing += away;
    pthread_mutex_unlock(&pair->lock);
    return away;
}

static void stand_end(struct pair *pair)
{
    pthread_mutex_lock(&pair->lock);
    if (--pair->standing == 0)
        pthread_cond_broadcast(&pair->opened);
    pthread_mutex_unlock(&pair->lock);
}

static enum counts_status pair_stand_in(struct counts *counts, bool peek, enum counts_status before,
                                        const struct count_request *request, int64_t now_ms,
                                        struct count_answer *answers)
{
    struct pair *pair = (struct pair *)counts;
    struct counts *near = &pair->near->counts;
    while (!peek && before == COUNTS_DOWN && !stand_begin(pair)) {
        before = pair_ask(counts, COUNTS_RESERVE, request, now_ms, answers);
        if (before == COUNTS_OK)
            return COUNTS_OK;
    }
    bool owe = before != COUNTS_UNSURE;
    enum counts_mode mode = peek ? COUNTS_PEEK : owe ? COUNTS_OWE : COUNTS_RESERVE;
    enum counts_status status = near->ops->ask(near, mode, request, now_ms, answers);
    bool charged = false;
    for (size_t i = 0; i < request->n && status == COUNTS_OK && !peek; i++) {
        answers[i].here = answers[i].slot;
        answers[i].slot = -1;
        answers[i].owed = owe;
        charged = charged || answers[i].here >= 0 || (request->asks[i].flags & COUNT_ATTEMPT) != 0;
    }
    if (owe && charged)
        pair_note(pair, &pair->owing);
    if (mode == COUNTS_OWE)
        stand_end(pair);
    return status;
}

static void pair_change_here(struct counts *counts, struct count_change *change, int64_t now_ms)
{
    struct pair *pair = (struct pair *)counts;
    bool owed = change->owed && is_owing(pair);
    mirror_change(pair->near, change, owed, now_ms < 0 ? 0 : now_ms);
    if (owed)
        pair_note(pair, &pair->owing);
}

/* ---- paying ---- */

/* How much far lacks. */
static int64_t debt_amount(const struct debt *debt, const struct count_answer *far)
{
    int64_t known = far->born == debt->far_born ? far->used : 0;
    int64_t lost = debt->lost ? window_used(&debt->counter.window) - known : 0;
    return lost > debt->owed ? lost : debt->owed;
}

/* Makes the counters in far, where they are not; what they are now. */
static enum counts_status batch_open(struct pair *pair, int64_t now, struct count_answer *far)
{
    struct batch *batch = &pair->batch;
    struct count_ask asks[DEBTS];
    for (size_t i = 0; i < batch->n; i++) {
        const struct debt *debt = &batch->debts[i];
        const struct counter *counter = &debt->counter;
        asks[i] = (struct count_ask){.key = debt->key,
                                     .limit = debt->limit,
                                     .max = counter->max,
                                     .window_ms = counter->window.window_ms,
                                     .hold_ms = counter->held > now ? counter->held - now : 0,
                                     .ttl_ms = debt->ttl_ms,
                                     .share_of = -1};
    }
    const struct count_request request = {.asks = asks, .n = batch->n};
    return pair->far->ops->ask(pair->far, COUNTS_CHARGE, &request, now, far);
}

/* What is to be added to each, now that it is known what far has. */
static enum counts_status batch_look(struct pair *pair, int64_t now)
{
    struct batch *batch = &pair->batch;
    enum counts_status status = batch_open(pair, now, batch->far);
    if (status != COUNTS_OK)
        return status;
    for (size_t i = 0; i < batch->n; i++)
        batch->due[i] = debt_amount(&batch->debts[i], &batch->far[i]);
    batch->turn = ++pair->turns;
    return COUNTS_OK;
}

static enum counts_status batch_add(struct pair *pair, int64_t now)
{
    struct batch *batch = &pair->batch;
    struct count_change changes[DEBTS * WINDOW_SLOTS];
    size_t n = 0;
    for (size_t i = 0; i < batch->n; i++) {
        const struct debt *debt = &batch->debts[i];
        struct window window = debt->counter.window;
        int64_t left = batch->due[i];
        window_move(&window, window.window_ms, now); /* what has left it meanwhile is owed no more */
        for (int s = WINDOW_SLOTS - 1; s >= 0 && left > 0; s--) {
            int64_t amount = window.count[s] < left ? window.count[s] : left;
            left -= amount;
            if (amount > 0)
                changes[n++] = (struct count_change){.key = debt->key,
                                                     .limit = debt->limit,
                                                     .window_ms = window.window_ms,
                                                     .slot = window.slot + s,
                                                     .born = INT64_MAX,
                                                     .amount = amount,
                                                     .here = -1};
        }
    }
    return n > 0 ? pair->far->ops->pay(pair->far, changes, n, now, batch->turn) : COUNTS_OK;
}

/* paid: or forgiven. Else near owes it again. */
static void batch_end(struct pair *pair, bool paid)
{
    struct batch *batch = &pair->batch;
    for (size_t i = 0; i < batch->n; i++)
        mirror_settle(pair->near, &batch->debts[i], paid ? batch->far[i].born : -1);
    if (paid)
        atomic_fetch_add(&pair->merged, batch->n);
    *batch = (struct batch){0};
}

/* True: paid. What far makes no sense of, again and again, is forgiven: it must not keep far from being asked. */
static bool batch_pay(struct pair *pair, int64_t now)
{
    struct batch *batch = &pair->batch;
    enum counts_status status = batch->turn == 0 ? batch_look(pair, now) : COUNTS_OK;
    bool done = false;
    if (status == COUNTS_OK) {
        status = batch_add(pair, now);
        done = status == COUNTS_OK;
        batch->in_doubt = batch->in_doubt || status == COUNTS_UNSURE;
    }
    batch->doubts += status == COUNTS_UNSURE;
    done = done || batch->doubts == DOUBTS;
    if (done || (!batch->in_doubt && batch->doubts == 0))
        batch_end(pair, done);
    return done;
}

/* Which RCPTs were deferred here: they may be tried again elsewhere. False: far is away. One whose answer was
 * lost may count. */
static bool tell_retries(struct pair *pair)
{
    struct count_deferral list[COUNTS_DEFERRALS];
    size_t cursor = 0, n;
    while (!pair->stop && (n = retries_untold(pair->near->retries, &cursor, list, COUNTS_DEFERRALS)) > 0) {
        if (counts_deferred(pair->far, list, n, pair->now(pair->arg)) == COUNTS_DOWN)
            return false;
        retries_told(pair->near->retries, list, n);
    }
    return true;
}

/* Once through all of near. False: far is away again. */
static bool merge_pass(struct pair *pair)
{
    struct batch *batch = &pair->batch;
    struct debt_cursor cursor = {0};
    while (!pair->stop) {
        int64_t now = pair->now(pair->arg);
        if (batch->n == 0)
            batch->n = mirror_collect(pair->near, &cursor, now, batch->debts, DEBTS);
        if (batch->n == 0)
            return true;
        if (!batch_pay(pair, now))
            return false;
    }
    return false;
}

/* The same, and far has been told all then that near admitted before. */
static bool merge_walk(struct pair *pair)
{
    atomic_store(&pair->owing, false);
    if (tell_retries(pair) && merge_pass(pair))
        return true;
    atomic_store(&pair->owing, true);
    return false;
}

/* Nobody stands in any more, nor begins to. */
static void open_begin(struct pair *pair)
{
    pthread_mutex_lock(&pair->lock);
    pair->opening = true;
    while (pair->standing > 0)
        pthread_cond_wait(&pair->opened, &pair->lock);
    pthread_mutex_unlock(&pair->lock);
}

static void open_end(struct pair *pair)
{
    pthread_mutex_lock(&pair->lock);
    pair->opening = false;
    pthread_cond_broadcast(&pair->opened);
    pthread_mutex_unlock(&pair->lock);
}

/* Tells far all that it does not know; then it may be asked again. Under load near goes on admitting
 * meanwhile, the less the shorter a walk is. */
static void pair_merge(struct pair *pair)
{
    unsigned generation;
    if (!far_well(pair, &generation))
        return;
    if (generation != atomic_load(&pair->near->generation)) { /* all of near is looked at again */
        batch_end(pair, false);
        retries_untell(pair->near->retries);
    }
    atomic_store(&pair->near->generation, generation);
    for (int pass = 0; pass < PASSES; pass++)
        if (!merge_walk(pair))
            return;
        else if (!atomic_load(&pair->owing))
            break;
    if (!atomic_load(&pair->closed))
        return;
    open_begin(pair);
    if (merge_walk(pair))
        atomic_store(&pair->closed, false);
    open_end(pair);
}

static void tell_one(void *arg, const char *key, const char *limit, int64_t n)
{
    struct pair *pair = arg;
    if (pair->far->ops->refused != NULL)
        (void)pair->far->ops->refused(pair->far, key, limit, n,
                                      pair->now(pair->arg)); /* only `top` misses it */
}

static void pair_tell(struct pair *pair)
{
    atomic_store(&pair->telling, false);
    denials_each_refusal(pair->denials, tell_one, pair);
    if (!tell_retries(pair))
        atomic_store(&pair->telling, true); /* once more after a while */
}

/* With the lock held. */
static void pair_rest(struct pair *pair, int ms)
{
    struct timespec until = monotonic_in_ms(ms);
    while (!pair->stop &&
           pthread_cond_clockwait(&pair->wake, &pair->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        if (is_owing(pair))
            break;
}

static void *pair_main(void *arg)
{
    struct pair *pair = arg;
    const struct timespec look = {.tv_nsec = LOOK_MS * 1000000L};
    pthread_mutex_lock(&pair->lock);
    while (!pair->stop) {
        if (!is_owing(pair) && !atomic_load(&pair->telling)) {
            pthread_cond_wait(&pair->wake, &pair->lock);
            continue;
        }
        if (!is_owing(pair)) /* for more to come together */
            pair_rest(pair, TELL_MS);
        pthread_mutex_unlock(&pair->lock);
        if (is_owing(pair)) {
            pair_merge(pair);
            if (is_owing(pair))
                (void)nanosleep(&look, NULL);
        } else {
            pair_tell(pair);
        }
        pthread_mutex_lock(&pair->lock);
    }
    pthread_mutex_unlock(&pair->lock);
    return NULL;
}

/* ---- the rest is far's ---- */

static enum counts_status pair_change(struct counts *counts, const struct count_change *changes, size_t n,
                                      int64_t now_ms)
{
    struct pair *pair = (struct pair *)counts;
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any = any || changes[i].slot >= 0;
    if (!any)
        return COUNTS_OK;
    enum counts_status status =
        pair->far != NULL ? counts_change(pair->far, changes, n, now_ms) : COUNTS_DOWN;
    for (size_t i = 0; i < n; i++) /* only now does far answer otherwise */
        if (changes[i].amount < 0)
            denials_drop(pair->denials, changes[i].key);
    return status;
}

static enum counts_status pair_deferred(struct counts *counts, const struct count_deferral *deferrals,
                                        size_t n, int64_t now_ms)
{
    struct pair *pair = (struct pair *)counts;
    enum counts_status status = counts_deferred(&pair->near->counts, deferrals, n, now_ms);
    if (pair->far != NULL)
        pair_note(pair, &pair->telling);
    return status;
}

static enum counts_status pair_show(struct counts *counts, const char *const *keys, size_t n, int64_t now_ms,
                                    counts_each_fn *each, void *arg)
{
    struct pair *pair = (struct pair *)counts;
    return pair->far != NULL ? counts_show(pair->far, keys, n, now_ms, each, arg) : COUNTS_DOWN;
}

static enum counts_status pair_reset(struct counts *counts, const char *const *keys, size_t n,
                                     const char *limit, size_t *n_reset)
{
    struct pair *pair = (struct pair *)counts;
    size_t n_near;
    (void)counts_reset(&pair->near->counts, keys, n, limit, &n_near);
    enum counts_status status =
        pair->far != NULL ? counts_reset(pair->far, keys, n, limit, n_reset) : COUNTS_DOWN;
    denials_drop_all(pair->denials);
    return status;
}

static void pair_trouble(struct counts *counts, struct error *out)
{
    struct pair *pair = (struct pair *)counts;
    if (pair->far != NULL)
        counts_trouble(pair->far, out);
    else
        error_set(out, "counters.url names no store that can be used: mend it and restart");
}

static uint64_t pair_junk(struct counts *counts)
{
    struct pair *pair = (struct pair *)counts;
    return pair->far != NULL ? counts_junk_resets(pair->far) : 0;
}

static void pair_free(struct counts *counts)
{
    struct pair *pair = (struct pair *)counts;
    pthread_mutex_lock(&pair->lock);
    pair->stop = true;
    pthread_cond_signal(&pair->wake);
    pthread_mutex_unlock(&pair->lock);
    if (pair->has_thread)
        pthread_join(pair->thread, NULL);
    batch_end(pair, false);
    counts_free(pair->far);
    counts_free(&pair->near->counts);
    denials_free(pair->denials);
    pthread_cond_destroy(&pair->opened);
    pthread_cond_destroy(&pair->wake);
    pthread_mutex_destroy(&pair->lock);
    free(pair);
}

static const struct counts_ops pair_ops = {
    .ask = pair_ask,
    .change = pair_change,
    .deferred = pair_deferred,
    .show = pair_show,
    .reset = pair_reset,
    .stand_in = pair_stand_in,
    .change_here = pair_change_here,
    .trouble = pair_trouble,
    .junk = pair_junk,
    .free = pair_free,
};

struct counts *counts_pair_new(struct counts *far, struct counts *near, counts_now_fn *now, void *arg,
                               struct error *err)
{
    struct pair *pair = calloc(1, sizeof *pair);
    if (pair == NULL) {
        error_set(err, "out of memory for the counters");
        counts_free(far);
        counts_free(near);
        return NULL;
    }
    *pair = (struct pair){
        .counts.ops = &pair_ops, .far = far, .near = (struct memory *)near, .now = now, .arg = arg};
    pthread_mutex_init(&pair->lock, NULL);
    pthread_cond_init(&pair->wake, NULL);
    pthread_cond_init(&pair->opened, NULL);
    pair->denials = denials_new();
    if (pair->denials == NULL) {
        error_set(err, "out of memory for the counters");
        pair_free(&pair->counts);
        return NULL;
    }
    int rc = far != NULL ? pthread_create(&pair->thread, NULL, pair_main, pair) : 0;
    pair->has_thread = far != NULL && rc == 0;
    if (rc == 0)
        return &pair->counts;
    error_set(err, "cannot start a thread: %s", strerror(rc));
    pair_free(&pair->counts);
    return NULL;
}

uint64_t counts_pair_merged(struct counts *pair)
{
    return atomic_load(&((struct pair *)pair)->merged);
}
