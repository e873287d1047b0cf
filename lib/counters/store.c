/* store: see store.h. What all stores need; owns nothing, cannot fail. */
#include "store.h"

#include <string.h>

enum { HALF_DAY_MS = 12 * 60 * 60 * 1000 };

unsigned store_sites(const struct counters *counters)
{
    return counters != NULL && counters->n_sites > 1 ? counters->n_sites : 1;
}

unsigned store_site(struct counters *counters, const char *key)
{
    return store_sites(counters) > 1 ? counters->ops->site(counters, key) : 0;
}

enum counters_status store_worse(enum counters_status one, enum counters_status other)
{
    if (one == COUNTERS_DOWN || other == COUNTERS_DOWN)
        return COUNTERS_DOWN;
    return one == COUNTERS_OK ? other : one;
}

bool store_is_synced(const struct count_change *change)
{
    return change->slot < 0 && change->at_ms <= 0;
}

void store_mark_synced(struct count_change *change)
{
    change->slot = -1;
    change->at_ms = 0;
}

int64_t store_half_day(int64_t now_ms)
{
    return now_ms > 0 ? now_ms / HALF_DAY_MS : 0;
}

int64_t store_half_day_begin(int64_t half)
{
    return half * HALF_DAY_MS;
}

int64_t store_ttl(const struct count_ask *ask)
{
    int64_t ttl = ask->window_ms + ask->window_ms / 10 + 1000; /* empty by then; the second is for rounding */
    if (ttl < ask->ttl_ms)
        ttl = ask->ttl_ms;
    return ttl < ask->hold_ms ? ask->hold_ms : ttl;
}

bool store_match(const char *pattern, const char *key)
{
    size_t n = strlen(pattern), length = strlen(key);
    if (n == 0 || (pattern[0] != '*' && pattern[n - 1] != '*'))
        return strcmp(pattern, key) == 0;
    if (strncmp(key, "new:", 4) == 0)
        return false;
    bool open_start = pattern[0] == '*', open_end = pattern[n - 1] == '*';
    const char *part = pattern + (open_start ? 1 : 0);
    size_t part_n = n == 1 ? 0 : n - (open_start ? 1 : 0) - (open_end ? 1 : 0);
    if (part_n > length)
        return false;
    if (open_start && open_end)
        return part_n == 0 || memmem(key, length, part, part_n) != NULL;
    return memcmp(open_start ? key + length - part_n : key, part, part_n) == 0;
}
