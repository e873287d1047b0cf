/* tally: an open table with names in a pool. It is at most half full and doubles, so that a look-up touches a slot or two. */
#include "tally.h"

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

struct tally {
    struct slot *slots;
    size_t n_slots, n_names, max_names;
    uint64_t seed[2];
    struct pool pool;
};

struct tally *tally_new(size_t max_names)
{
    struct tally *tally = calloc(1, sizeof *tally);
    if (tally == NULL)
        return NULL;
    tally->slots = calloc(FIRST_SLOTS, sizeof *tally->slots);
    if (tally->slots == NULL) {
        free(tally);
        return NULL;
    }
    tally->n_slots = FIRST_SLOTS;
    tally->max_names = max_names;
    hash_seed(tally->seed);
    return tally;
}

void tally_free(struct tally *tally)
{
    if (tally == NULL)
        return;
    pool_done(&tally->pool);
    free(tally->slots);
    free(tally);
}

/* The slot of a name, or the free one where it would go. */
static struct slot *slot_of(struct slot *slots, size_t n_slots, uint64_t hash, const char *name)
{
    size_t i = hash & (n_slots - 1);
    while (slots[i].name != NULL && (slots[i].hash != hash || strcmp(slots[i].name, name) != 0))
        i = (i + 1) & (n_slots - 1);
    return &slots[i];
}

static bool grow(struct tally *tally)
{
    size_t n_slots = 2 * tally->n_slots;
    struct slot *slots = calloc(n_slots, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < tally->n_slots; i++)
        if (tally->slots[i].name != NULL)
            *slot_of(slots, n_slots, tally->slots[i].hash, tally->slots[i].name) = tally->slots[i];
    free(tally->slots);
    tally->slots = slots;
    tally->n_slots = n_slots;
    return true;
}

bool tally_add(struct tally *tally, const char *name, int64_t n, uint64_t mark)
{
    uint64_t hash = hash_string(tally->seed, name);
    struct slot *slot = slot_of(tally->slots, tally->n_slots, hash, name);
    if (slot->name == NULL) {
        if (tally->n_names == tally->max_names || (2 * tally->n_names >= tally->n_slots && !grow(tally)))
            return false;
        const char *copy = pool_strdup(&tally->pool, name);
        if (copy == NULL)
            return false;
        slot = slot_of(tally->slots, tally->n_slots, hash, name);
        *slot = (struct slot){.name = copy, .hash = hash};
        tally->n_names++;
    } else if (mark != 0 && slot->mark == mark) {
        return true;
    }
    slot->mark = mark;
    slot->n += n;
    return true;
}

int64_t tally_of(const struct tally *tally, const char *name)
{
    if (tally == NULL)
        return 0;
    return slot_of(tally->slots, tally->n_slots, hash_string(tally->seed, name), name)->n;
}

size_t tally_names(const struct tally *tally)
{
    return tally != NULL ? tally->n_names : 0;
}

void tally_each(const struct tally *tally, tally_each_fn *each, void *arg)
{
    for (size_t i = 0; tally != NULL && i < tally->n_slots; i++)
        if (tally->slots[i].name != NULL)
            each(arg, tally->slots[i].name, tally->slots[i].n);
}
