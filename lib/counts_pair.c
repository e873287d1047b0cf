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
 * What far has just refused is refused again from memory (denials.h), and far is told some times a second how
 * often, and of the attempts; and which RCPTs were deferred (retries.h): what it could not be told, or lost, it is
 * told before it answers again (counts_pair_tell.c).
 *
 * Costs memory for near, bounded by its max_subjects; what it had to forget is not brought back. */
#include "clock.h"
#include "counts_pair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    LOOK_MS = 20,  /* is far up again? */
    STAND_MS = 20, /* who stands in waits so long for the last walk */
    TELL_MS = 500, /* between two batches */
};

void pair_note(struct pair *pair, atomic_bool *what)
{
    if (atomic_exchange(what, true))
        return;
    pthread_mutex_lock(&pair->lock);
    pthread_cond_signal(&pair->wake);
    pthread_mutex_unlock(&pair->lock);
}

bool pair_owes(struct pair *pair)
{
    return atomic_load(&pair->closed) || atomic_load(&pair->owing);
}

bool pair_far_well(const struct pair *pair, unsigned *generation)
{
    *generation = 0;
    return pair->far->ops->well == NULL || pair->far->ops->well(pair->far, generation);
}

/* ---- asking ---- */

bool pair_is_current(struct pair *pair)
{
    unsigned generation;
    if (pair->far == NULL || atomic_load(&pair->closed))
        return false;
    if (!pair_far_well(pair, &generation) || generation == atomic_load(&pair->near->generation))
        return true; /* where it is down it says so at once */
    pair_note(pair, &pair->closed);
    return false;
}

static enum counts_status down(const struct count_request *request, struct count_answer *answers)
{
    if (answers != NULL)
        memset(answers, 0, request->n * sizeof *answers);
    return COUNTS_DOWN;
}

/* Is it known from memory that far refuses? If not, far has been told what it lacks for its answer. */
static bool pair_denies(struct pair *pair, const struct count_request *request, int64_t now_ms,
                        struct count_answer *answers, struct denial_ticket *ticket)
{
    bool retry = retries_known(pair->near->retries, request->retry, now_ms);
    bool denied = denials_find(pair->denials, request, retry, now_ms, answers, ticket);
    if (!denied && denials_lacks(pair->denials, request)) {
        pair_tell_attempts(pair);
        denied = denials_find(pair->denials, request, retry, now_ms, answers, ticket);
    }
    if (denied)
        pair_note(pair, &pair->telling);
    return denied;
}

static enum counts_status pair_ask(struct counts *counts, enum counts_mode mode,
                                   const struct count_request *request, int64_t now_ms,
                                   struct count_answer *answers)
{
    struct pair *pair = (struct pair *)counts;
    struct counts *near = &pair->near->counts;
    if (mode == COUNTS_CHARGE)
        (void)near->ops->ask(near, mode, request, now_ms, NULL);
    if (!pair_is_current(pair))
        return down(request, answers);
    struct denial_ticket ticket;
    if (mode == COUNTS_RESERVE && pair_denies(pair, request, now_ms, answers, &ticket))
        return COUNTS_OK;
    if (mode == COUNTS_RESERVE && !pair_is_current(pair)) /* it was told attempts first, and failed */
        return down(request, answers);
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
    struct timespec until = clock_in_ms(STAND_MS);
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
    if (!peek)
        pair_owe_attempts(pair);
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
    bool owed = change->owed && pair_owes(pair);
    mirror_change(pair->near, change, owed, now_ms < 0 ? 0 : now_ms);
    if (owed)
        pair_note(pair, &pair->owing);
}

/* ---- the thread ---- */

/* With the lock held. */
static void pair_rest(struct pair *pair, int ms)
{
    struct timespec until = clock_in_ms(ms);
    while (!pair->stop &&
           pthread_cond_clockwait(&pair->wake, &pair->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        if (pair_owes(pair))
            break;
}

static void *pair_main(void *arg)
{
    struct pair *pair = arg;
    const struct timespec look = {.tv_nsec = LOOK_MS * 1000000L};
    pthread_mutex_lock(&pair->lock);
    while (!pair->stop) {
        if (!pair_owes(pair) && !atomic_load(&pair->telling)) {
            pthread_cond_wait(&pair->wake, &pair->lock);
            continue;
        }
        if (!pair_owes(pair)) /* for more to come together */
            pair_rest(pair, TELL_MS);
        pthread_mutex_unlock(&pair->lock);
        if (pair_owes(pair)) {
            pair_tell_attempts(pair);
            pair_merge(pair);
            if (pair_owes(pair))
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
    pair_tell_attempts(pair); /* those before it are cleared as well */
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
    pair_pay_end(pair, false);
    if (pair->denials != NULL)
        pair_tell_attempts(pair);
    counts_free(pair->far);
    counts_free(&pair->near->counts);
    denials_free(pair->denials);
    pthread_cond_destroy(&pair->opened);
    pthread_cond_destroy(&pair->wake);
    pthread_mutex_destroy(&pair->untold);
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
    pthread_mutex_init(&pair->untold, NULL);
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
