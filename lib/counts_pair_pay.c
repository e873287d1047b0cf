/* counts_pair_pay: how what near admitted in far's place is paid to far, once (counts_pair.c tells the whole story). All of
 * it is the thread's. A payment that far makes no sense of, again and again, is forgiven. */
#include "counts_pair.h"

enum {
    DOUBTS = 100, /* until debts that are never answered for are forgiven */
    PASSES = 3,
};

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
    struct count_ask asks[PAIR_DEBTS];
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
    struct count_change changes[PAIR_DEBTS * WINDOW_SLOTS];
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

void pair_pay_end(struct pair *pair, bool paid)
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
        pair_pay_end(pair, done);
    return done;
}

/* Once through all of near. False: far is away again. */
static bool merge_pass(struct pair *pair)
{
    struct batch *batch = &pair->batch;
    struct debt_cursor cursor = {0};
    while (!pair->stop) {
        int64_t now = pair->now(pair->arg);
        if (batch->n == 0)
            batch->n = mirror_collect(pair->near, &cursor, now, batch->debts, PAIR_DEBTS);
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
    if (pair_tell_retries(pair) && merge_pass(pair))
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

/* Under load near goes on admitting meanwhile, the less the shorter a walk is. */
void pair_merge(struct pair *pair)
{
    unsigned generation;
    if (!pair_far_well(pair, &generation))
        return;
    if (generation != atomic_load(&pair->near->generation)) { /* all of near is looked at again */
        pair_pay_end(pair, false);
        retries_untell(pair->near->retries);
        deny_cache_drop_all(
            pair->deny_cache); /* the counters that they were read from may be others by now */
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
