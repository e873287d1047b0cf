/* counts: hands every call to the store that it is for; the few helpers that both stores need. */
#include "counts_ops.h"

#include <string.h>

enum counts_status counts_reserve(struct counts *counts, const struct count_request *request, int64_t now_ms,
                                  struct count_answer *answers)
{
    if (request->n == 0)
        return COUNTS_OK;
    return counts->ops->ask(counts, COUNTS_RESERVE, request, now_ms, answers);
}

enum counts_status counts_peek(struct counts *counts, const struct count_request *request, int64_t now_ms,
                               struct count_answer *answers)
{
    if (request->n == 0)
        return COUNTS_OK;
    return counts->ops->ask(counts, COUNTS_PEEK, request, now_ms, answers);
}

enum counts_status counts_charge(struct counts *counts, const struct count_request *request, int64_t now_ms)
{
    if (request->n == 0)
        return COUNTS_OK;
    return counts->ops->ask(counts, COUNTS_CHARGE, request, now_ms, NULL);
}

enum counts_status counts_stand_in(struct counts *counts, bool peek, enum counts_status before,
                                   const struct count_request *request, int64_t now_ms,
                                   struct count_answer *answers)
{
    if (counts->ops->fallback == NULL)
        return COUNTS_DOWN;
    return counts->ops->fallback(counts, peek, before, request, now_ms, answers);
}

void counts_change_here(struct counts *counts, struct count_change *change, int64_t now_ms)
{
    if (counts->ops->change_here != NULL)
        counts->ops->change_here(counts, change, now_ms);
}

enum counts_status counts_change(struct counts *counts, const struct count_change *changes, size_t n,
                                 int64_t now_ms)
{
    return n == 0 ? COUNTS_OK : counts->ops->change(counts, changes, n, now_ms);
}

enum counts_status counts_deferred(struct counts *counts, const struct count_deferral *deferrals, size_t n,
                                   int64_t now_ms)
{
    return n == 0 ? COUNTS_OK : counts->ops->deferred(counts, deferrals, n, now_ms);
}

enum counts_status counts_show(struct counts *counts, const char *const *keys, size_t n, int64_t now_ms,
                               counts_each_fn *each, void *arg)
{
    return n == 0 ? COUNTS_OK : counts->ops->show(counts, keys, n, now_ms, each, arg);
}

enum counts_status counts_reset(struct counts *counts, const char *const *keys, size_t n, const char *limit,
                                size_t *n_reset)
{
    *n_reset = 0;
    return n == 0 ? COUNTS_OK : counts->ops->reset(counts, keys, n, limit, n_reset);
}

void counts_trouble(struct counts *counts, struct error *out)
{
    counts->ops->trouble(counts, out);
}

uint64_t counts_junk_resets(struct counts *counts)
{
    return counts->ops->junk(counts);
}

void counts_free(struct counts *counts)
{
    if (counts != NULL)
        counts->ops->free(counts);
}

int64_t counts_ttl(const struct count_ask *ask)
{
    int64_t ttl = ask->window_ms + ask->window_ms / 10 + 1000; /* empty by then; the second is for rounding */
    if (ttl < ask->ttl_ms)
        ttl = ask->ttl_ms;
    return ttl < ask->hold_ms ? ask->hold_ms : ttl;
}

bool counts_match(const char *pattern, const char *key)
{
    size_t n = strlen(pattern), length = strlen(key);
    if (n == 0 || (pattern[0] != '*' && pattern[n - 1] != '*'))
        return strcmp(pattern, key) == 0;
    bool open_start = pattern[0] == '*', open_end = pattern[n - 1] == '*';
    const char *part = pattern + (open_start ? 1 : 0);
    size_t part_n = n == 1 ? 0 : n - (open_start ? 1 : 0) - (open_end ? 1 : 0);
    if (part_n > length)
        return false;
    if (open_start && open_end)
        return part_n == 0 || memmem(key, length, part, part_n) != NULL;
    return memcmp(open_start ? key + length - part_n : key, part, part_n) == 0;
}
