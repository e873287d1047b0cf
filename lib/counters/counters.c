/* counters: see counters.h. Hands every call to the store that it is for; owns nothing. */
#include "counters/counters.h"

#include "store.h"

enum counters_status counters_reserve(struct counters *counters, const struct count_request *request,
                                      int64_t now_ms, struct count_answer *answers)
{
    if (request->n == 0)
        return COUNTERS_OK;
    return counters->ops->ask(counters, COUNTERS_RESERVE, request, now_ms, answers);
}

enum counters_status counters_peek(struct counters *counters, const struct count_request *request,
                                   int64_t now_ms, struct count_answer *answers)
{
    if (request->n == 0)
        return COUNTERS_OK;
    return counters->ops->ask(counters, COUNTERS_PEEK, request, now_ms, answers);
}

enum counters_status counters_charge(struct counters *counters, const struct count_request *request,
                                     int64_t now_ms)
{
    if (request->n == 0)
        return COUNTERS_OK;
    return counters->ops->ask(counters, COUNTERS_CHARGE, request, now_ms, NULL);
}

void counters_change_here(struct counters *counters, struct count_change *change, int64_t now_ms)
{
    if (counters->ops->change_here != NULL)
        counters->ops->change_here(counters, change, now_ms);
}

enum counters_status counters_change(struct counters *counters, struct count_change *changes, size_t n,
                                     int64_t now_ms)
{
    return n == 0 ? COUNTERS_OK : counters->ops->change(counters, changes, n, now_ms);
}

enum counters_status counters_settle(struct counters *counters, const struct count_change *changes, size_t n,
                                     int64_t now_ms, int64_t deadline, struct count_answer *answers)
{
    return n == 0 ? COUNTERS_OK : counters->ops->settle(counters, changes, n, now_ms, deadline, answers);
}

unsigned counters_site(struct counters *counters, const char *key)
{
    return store_site(counters, key);
}

enum counters_status counters_settle_here(struct counters *counters, enum counters_status before,
                                          struct count_change *changes, size_t n, int64_t now_ms,
                                          struct count_answer *answers)
{
    if (counters->ops->settle_here == NULL)
        return COUNTERS_DOWN;
    enum counters_status status = counters->ops->settle_here(counters, changes, n, now_ms, answers);
    for (size_t i = 0; i < n && before == COUNTERS_UNSURE; i++)
        store_mark_synced(&changes[i]); /* it counts as made there */
    return status;
}

enum counters_status counters_deferred(struct counters *counters, struct count_deferral *deferrals, size_t n,
                                       int64_t now_ms)
{
    return n == 0 ? COUNTERS_OK : counters->ops->deferred(counters, deferrals, n, now_ms);
}

enum counters_status counters_show(struct counters *counters, const char *const *keys, size_t n,
                                   int64_t now_ms, counters_each_fn *each, void *arg)
{
    return n == 0 ? COUNTERS_OK : counters->ops->show(counters, keys, n, now_ms, each, arg);
}

enum counters_status counters_reset(struct counters *counters, const char *const *keys, size_t n,
                                    const char *limit, size_t *n_reset)
{
    *n_reset = 0;
    return n == 0 ? COUNTERS_OK : counters->ops->reset(counters, keys, n, limit, n_reset);
}

int64_t counters_back_ms(struct counters *counters, const char *key)
{
    return counters->ops->back_ms != NULL ? counters->ops->back_ms(counters, key) : 0;
}

void counters_missing(struct counters *counters, struct error *out)
{
    *out = (struct error){0};
    if (counters->ops->missing != NULL)
        counters->ops->missing(counters, out);
}

void counters_condition(struct counters *counters, struct error *out)
{
    counters->ops->condition(counters, out);
}

uint64_t counters_junk_resets(struct counters *counters)
{
    return counters->ops->junk(counters);
}

void counters_free(struct counters *counters)
{
    if (counters != NULL)
        counters->ops->free(counters);
}
