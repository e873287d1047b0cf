/* census: an open table with names in a pool. It is at most half full and doubles, so that a look-up touches
 * a slot or two. */
#include "census.h"

#include "hash.h"
#include "pool.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 64 };

struct slot {
    const char *name; /* NULL: free */
    uint64_t hash, mark;
    int64_t n;
};

struct census {
    struct slot *slots;
    size_t n_slots, n_names, max_names;
    uint64_t seed[2];
    struct pool pool;
};

struct census *census_new(size_t max_names)
{
    struct census *census = calloc(1, sizeof *census);
    if (census == NULL)
        return NULL;
    census->slots = calloc(FIRST_SLOTS, sizeof *census->slots);
    if (census->slots == NULL) {
        free(census);
        return NULL;
    }
    census->n_slots = FIRST_SLOTS;
    census->max_names = max_names;
    hash_seed(census->seed);
    return census;
}

void census_free(struct census *census)
{
    if (census == NULL)
        return;
    pool_done(&census->pool);
    free(census->slots);
    free(census);
}

/* The slot of a name, or the free one where it would go. */
static struct slot *slot_of(struct slot *slots, size_t n_slots, uint64_t hash, const char *name)
{
    size_t i = hash & (n_slots - 1);
    while (slots[i].name != NULL && (slots[i].hash != hash || strcmp(slots[i].name, name) != 0))
        i = (i + 1) & (n_slots - 1);
    return &slots[i];
}

static bool grow(struct census *census)
{
    size_t n_slots = 2 * census->n_slots;
    struct slot *slots = calloc(n_slots, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < census->n_slots; i++)
        if (census->slots[i].name != NULL)
            *slot_of(slots, n_slots, census->slots[i].hash, census->slots[i].name) = census->slots[i];
    free(census->slots);
    census->slots = slots;
    census->n_slots = n_slots;
    return true;
}

bool census_add(struct census *census, const char *name, int64_t n, uint64_t mark)
{
    uint64_t hash = hash_string(census->seed, name);
    struct slot *slot = slot_of(census->slots, census->n_slots, hash, name);
    if (slot->name == NULL) {
        if (census->n_names == census->max_names || (2 * census->n_names >= census->n_slots && !grow(census)))
            return false;
        const char *copy = pool_strdup(&census->pool, name);
        if (copy == NULL)
            return false;
        slot = slot_of(census->slots, census->n_slots, hash, name);
        *slot = (struct slot){.name = copy, .hash = hash};
        census->n_names++;
    } else if (mark != 0 && slot->mark == mark) {
        return true;
    }
    slot->mark = mark;
    slot->n += n;
    return true;
}

int64_t census_of(const struct census *census, const char *name)
{
    if (census == NULL)
        return 0;
    return slot_of(census->slots, census->n_slots, hash_string(census->seed, name), name)->n;
}

size_t census_names(const struct census *census)
{
    return census != NULL ? census->n_names : 0;
}

void census_each(const struct census *census, census_each_fn *each, void *arg)
{
    for (size_t i = 0; census != NULL && i < census->n_slots; i++)
        if (census->slots[i].name != NULL)
            each(arg, census->slots[i].name, census->slots[i].n);
}
