/* counts_pair_tell: what far is told in batches, some times a second: which RCPTs were deferred, and how often it would
 * have refused had it been asked. */
#include "counts_pair.h"

enum { DEFERRALS = 4 * COUNTS_DEFERRALS }; /* looked for at once */

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
    deny_cache_each_refusal(pair->deny_cache, tell_one, pair);
    if (!pair_tell_retries(pair))
        atomic_store(&pair->telling, true); /* once more after a while */
}
