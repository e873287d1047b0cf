/* netset: see netset.h. Owns its spans; fails only for want of memory.
 *
 * The spans come from one sweep over the sorted networks with a stack of those that are open: networks never
 * overlap but by holding one another. A span begins where a network begins, or behind the last address of
 * one. */
#include "netset.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct key { /* an address as a number */
    uint64_t high, low;
};

struct spans { /* of one family: where each begins, and the network that holds it */
    struct key *starts;
    int32_t *owners;
    size_t n;
};

struct netset {
    struct spans ipv4, ipv6;
    int32_t *wider;
    size_t n;
};

static uint64_t load(const uint8_t *bytes)
{
    uint64_t number = 0;
    for (int i = 0; i < 8; i++)
        number = number << 8 | bytes[i];
    return number;
}

static struct key key_of(const struct network *network)
{
    return (struct key){load(network->addr), load(network->addr + 8)};
}

/* All ones below the first bits. */
static uint64_t tail(unsigned bits)
{
    return bits >= 64 ? 0 : UINT64_MAX >> bits;
}

static struct key last_of(const struct network *network)
{
    struct key key = key_of(network);
    key.high |= tail(network->bits);
    key.low |= network->bits <= 64 ? UINT64_MAX : tail(network->bits - 64U);
    return key;
}

static bool is_below(struct key a, struct key b)
{
    return a.high < b.high || (a.high == b.high && a.low < b.low);
}

int netset_compare(const struct network *a, const struct network *b)
{
    int by_address = memcmp(a->addr, b->addr, sizeof a->addr);
    if (by_address != 0)
        return by_address < 0 ? -1 : 1;
    return (a->bits > b->bits) - (a->bits < b->bits);
}

struct item {
    const struct network *network;
    int32_t index;
};

static int item_compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int by_network = netset_compare(x->network, y->network);
    return by_network != 0 ? by_network : (x->index > y->index) - (x->index < y->index);
}

struct sweep {
    struct spans *spans;
    int32_t *wider;
    const struct item *open[129]; /* each holds the next; there are 129 prefix lengths */
    int n_open;
};

static int32_t sweep_owner(const struct sweep *sweep)
{
    return sweep->n_open > 0 ? sweep->open[sweep->n_open - 1]->index : NETSET_NONE;
}

/* A span begins; one that begins at the same address was empty. */
static void sweep_begin(struct sweep *sweep, struct key start)
{
    struct spans *s = sweep->spans;
    bool empty = s->n > 0 && s->starts[s->n - 1].high == start.high && s->starts[s->n - 1].low == start.low;
    if (!empty)
        s->starts[s->n++] = start;
    s->owners[s->n - 1] = sweep_owner(sweep);
}

/* Closes the networks that end before the address; NULL: all. */
static void sweep_close(struct sweep *sweep, const struct key *before)
{
    while (sweep->n_open > 0) {
        struct key last = last_of(sweep->open[sweep->n_open - 1]->network);
        if (before != NULL && !is_below(last, *before))
            return;
        sweep->n_open--;
        if (last.high == UINT64_MAX && last.low == UINT64_MAX)
            continue; /* nothing is behind it */
        sweep_begin(sweep, (struct key){last.high + (last.low == UINT64_MAX), last.low + 1});
    }
}

static void sweep_add(struct sweep *sweep, const struct item *item)
{
    struct key start = key_of(item->network);
    sweep_close(sweep, &start);
    sweep->wider[item->index] = sweep_owner(sweep);
    if (sweep->n_open > 0 && network_equal(sweep->open[sweep->n_open - 1]->network, item->network)) {
        sweep->wider[item->index] = sweep->wider[sweep_owner(sweep)];
        return;
    }
    sweep->open[sweep->n_open++] = item;
    sweep_begin(sweep, start);
}

static int spans_make(struct spans *spans, const struct item *items, size_t n, bool ipv4, int32_t *wider)
{
    struct sweep sweep = {.spans = spans, .wider = wider};
    size_t mine = 0;
    for (size_t i = 0; i < n; i++)
        mine += network_is_ipv4(items[i].network) == ipv4;
    spans->starts = calloc(2 * mine + 1, sizeof *spans->starts);
    spans->owners = calloc(2 * mine + 1, sizeof *spans->owners);
    if (spans->starts == NULL || spans->owners == NULL)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (network_is_ipv4(items[i].network) == ipv4)
            sweep_add(&sweep, &items[i]);
    sweep_close(&sweep, NULL);
    return 0;
}

static struct item *items_sorted(const struct network *networks, size_t n)
{
    struct item *items = calloc(n + 1, sizeof *items);
    bool sorted = true;
    for (size_t i = 0; items != NULL && i < n; i++) {
        items[i] = (struct item){&networks[i], (int32_t)i};
        sorted = sorted && (i == 0 || netset_compare(&networks[i - 1], &networks[i]) <= 0);
    }
    if (items != NULL && !sorted)
        qsort(items, n, sizeof *items, item_compare);
    return items;
}

struct netset *netset_new(const struct network *networks, size_t n)
{
    struct netset *set = calloc(1, sizeof *set);
    struct item *items = items_sorted(networks, n);
    if (set != NULL) {
        set->n = n;
        set->wider = calloc(n + 1, sizeof *set->wider);
    }
    if (set == NULL || items == NULL || set->wider == NULL ||
        spans_make(&set->ipv4, items, n, true, set->wider) < 0 ||
        spans_make(&set->ipv6, items, n, false, set->wider) < 0) {
        netset_free(set);
        set = NULL;
    }
    free(items);
    return set;
}

void netset_free(struct netset *set)
{
    if (set == NULL)
        return;
    free(set->ipv4.starts);
    free(set->ipv4.owners);
    free(set->ipv6.starts);
    free(set->ipv6.owners);
    free(set->wider);
    free(set);
}

long netset_find(const struct netset *set, const struct network *address)
{
    if (!address->set)
        return NETSET_NONE;
    const struct spans *spans = network_is_ipv4(address) ? &set->ipv4 : &set->ipv6;
    struct key key = key_of(address);
    size_t low = 0, high = spans->n; /* the last span that begins at or before it is in [low - 1, high) */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (is_below(key, spans->starts[middle]))
            high = middle;
        else
            low = middle + 1;
    }
    return low > 0 ? spans->owners[low - 1] : NETSET_NONE;
}

long netset_wider(const struct netset *set, long i)
{
    return i >= 0 && (size_t)i < set->n ? set->wider[i] : NETSET_NONE;
}
