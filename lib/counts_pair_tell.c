/* counts_pair_tell: what far is told in batches, some times a second: the attempts that were answered from memory, which
 * RCPTs were deferred, and how often it would have refused had it been asked.
 *
 * An attempt is counted once far has said that it was no retry: in far, as of the moment it is told (a little late, on
 * the safe side), and in near. Where far cannot be asked any more, near owes it, as what near itself admits; where the
 * answer was lost it counts as made. A counter that was cleared meanwhile stays cleared. */
#include "counts_pair.h"
#include "window.h"

enum {
    CHANGES = COUNTS_PAY_MOST,
    DEFERRALS = 4 * COUNTS_DEFERRALS, /* looked for at once */
};

/* Those that far knows as retries count no more. COUNTS_OK: all were looked up. */
static enum counts_status drop_retries(struct pair *pair, struct untold *list, size_t n)
{
    const char *retries[COUNTS_KNOWN_MOST];
    bool known[COUNTS_KNOWN_MOST];
    for (size_t at = 0; at < n; at += COUNTS_KNOWN_MOST) {
        size_t some = n - at < COUNTS_KNOWN_MOST ? n - at : COUNTS_KNOWN_MOST;
        for (size_t i = 0; i < some; i++)
            retries[i] = list[at + i].retry;
        enum counts_status status =
            pair->far->ops->known(pair->far, retries, some, pair->now(pair->arg), known);
        if (status != COUNTS_OK)
            return status;
        for (size_t i = 0; i < some; i++)
            list[at + i].counts = !known[i];
    }
    return COUNTS_OK;
}

static void make_changes(struct pair *pair, struct count_change *changes, size_t n)
{
    int64_t now = pair->now(pair->arg);
    enum counts_status status = COUNTS_DOWN;
    for (size_t i = 0; i < n; i++) /* far's clock may be another: for it this is now, whatever is later */
        changes[i].slot = window_slot(changes[i].window_ms, now + 10 * changes[i].window_ms);
    if (pair_is_current(pair))
        status = counts_change(pair->far, changes, n, now);
    for (size_t i = 0; i < n; i++) {
        changes[i].here = window_slot(changes[i].window_ms, now);
        changes[i].owed = status == COUNTS_DOWN;
        mirror_change(pair->near, &changes[i], true, now);
    }
    if (status == COUNTS_DOWN)
        pair_note(pair, &pair->owing);
    if (status != COUNTS_OK)
        pair_note(pair, &pair->closed);
}

/* Those of one denial, from list on. Returns how many entries they are, and how many attempts. */
static size_t count_of(const struct untold *list, size_t n, int64_t *all, int64_t *counted)
{
    size_t i = 0;
    *all = *counted = 0;
    for (; i < n && list[i].who == list[0].who; i++) {
        *all += list[i].n;
        *counted += list[i].counts ? list[i].n : 0;
    }
    return i;
}

/* As many denials of the list as fit into one batch. Returns how many entries they are. */
static size_t tell_some(struct pair *pair, const struct untold *list, size_t n)
{
    struct count_change changes[CHANGES];
    size_t n_changes = 0, end = 0;
    int64_t all, counted;
    while (end < n && n_changes + DENIALS_ASKS <= CHANGES) {
        uint16_t who = list[end].who;
        end += count_of(list + end, n - end, &all, &counted);
        n_changes += counted > 0 ? denials_charge(pair->denials, who, counted, changes + n_changes) : 0;
    }
    if (n_changes > 0)
        make_changes(pair, changes, n_changes);
    for (size_t i = 0; i < end;) {
        uint16_t who = list[i].who;
        i += count_of(list + i, end - i, &all, &counted);
        denials_told(pair->denials, who, all);
    }
    return end;
}

/* With pair->untold locked. */
static void tell_attempts(struct pair *pair)
{
    struct untold *list;
    size_t n = denials_take(pair->denials, &list);
    if (n == 0)
        return;
    bool told = pair_is_current(pair) && drop_retries(pair, list, n) == COUNTS_OK;
    if (!told)
        pair_note(pair, &pair->closed);
    for (size_t at = 0; at < n;)
        at += tell_some(pair, list + at, n - at);
}

void pair_tell_attempts(struct pair *pair)
{
    pthread_mutex_lock(&pair->untold);
    tell_attempts(pair);
    pthread_mutex_unlock(&pair->untold);
}

void pair_owe_attempts(struct pair *pair)
{
    if (pthread_mutex_trylock(&pair->untold) != 0)
        return;
    tell_attempts(pair);
    pthread_mutex_unlock(&pair->untold);
}

static bool tell_deferrals(struct pair *pair, const struct count_deferral *list, size_t n)
{
    for (size_t at = 0; at < n; at += COUNTS_DEFERRALS) {
        size_t some = n - at < COUNTS_DEFERRALS ? n - at : COUNTS_DEFERRALS;
        if (counts_deferred(pair->far, list + at, some, pair->now(pair->arg)) == COUNTS_DOWN)
            return false;
        retries_told(pair->near->retries, list + at, some);
    }
    return true;
}

bool pair_tell_retries(struct pair *pair)
{
    struct count_deferral list[DEFERRALS];
    size_t cursor = 0, n;
    while (!pair->stop && (n = retries_untold(pair->near->retries, &cursor, list, DEFERRALS)) > 0) {
        pair_tell_attempts(pair);
        if (!tell_deferrals(pair, list, n))
            return false;
    }
    return true;
}

static void tell_one(void *arg, const char *key, const char *limit, int64_t n)
{
    struct pair *pair = arg;
    if (pair->far->ops->refused != NULL)
        (void)pair->far->ops->refused(pair->far, key, limit, n,
                                      pair->now(pair->arg)); /* only `top` misses it */
}

void pair_tell(struct pair *pair)
{
    atomic_store(&pair->telling, false);
    pair_tell_attempts(pair);
    denials_each_refusal(pair->denials, tell_one, pair);
    if (!pair_tell_retries(pair))
        atomic_store(&pair->telling, true); /* once more after a while */
}
