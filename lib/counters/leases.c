/* leases: see leases.h. A table without chains: a counter has one place, by its name, which is 64 bits of a keyed hash. Two counters of one
 * name would share a lease, as good as never, and only ones that answer 4xx at most. */
#include "leases.h"

#include "base/hash.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES = 512, LOCKS = 32 };

struct place {
    uint64_t name;
    struct lease lease;
    unsigned generation; /* of the store, of the lease */
    /* of a counter that had a lease: */
    char *texts; /* key NUL limit NUL */
    enum count_unit unit;
    int64_t window_ms;
};

struct leases {
    uint64_t seed[2];
    atomic_bool any; /* was ever granted */
    pthread_mutex_t locks[LOCKS];
    struct place places[PLACES];
};

struct leases *leases_new(void)
{
    struct leases *leases = calloc(1, sizeof *leases);
    if (leases == NULL)
        return NULL;
    hash_seed(leases->seed);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&leases->locks[i], NULL);
    return leases;
}

void leases_free(struct leases *leases)
{
    if (leases == NULL)
        return;
    for (size_t i = 0; i < PLACES; i++)
        free(leases->places[i].texts);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&leases->locks[i]);
    free(leases);
}

/* ---- places ---- */

static uint64_t name_of(const struct leases *leases, const struct count_ask *ask)
{
    const uint64_t parts[] = {hash_string(leases->seed, ask->key), hash_string(leases->seed, ask->limit),
                              (uint64_t)ask->window_ms, (uint64_t)ask->unit};
    return hash_bytes(leases->seed, parts, sizeof parts);
}

/* Locked. */
static struct place *place_of(struct leases *leases, uint64_t name)
{
    size_t at = name % PLACES;
    pthread_mutex_lock(&leases->locks[at % LOCKS]);
    return &leases->places[at];
}

static void place_leave(struct leases *leases, const struct place *place)
{
    pthread_mutex_unlock(&leases->locks[(size_t)(place - leases->places) % LOCKS]);
}

/* Makes it one of that counter; false: another one is hot. */
static bool place_claim(struct place *place, uint64_t name, int64_t now_ns)
{
    if (place->name == name)
        return true;
    if (!lease_is_idle(&place->lease, now_ns))
        return false;
    free(place->texts);
    *place = (struct place){.name = name};
    return true;
}

/* False: out of memory. */
static bool place_name(struct place *place, const struct count_ask *ask)
{
    size_t key = strlen(ask->key) + 1, limit = strlen(ask->limit) + 1;
    if (place->texts == NULL && (place->texts = malloc(key + limit)) != NULL) {
        memcpy(place->texts, ask->key, key);
        memcpy(place->texts + key, ask->limit, limit);
    }
    place->unit = ask->unit;
    place->window_ms = ask->window_ms;
    return place->texts != NULL;
}

/* ---- all ---- */

bool leases_take(struct leases *leases, const struct count_ask *ask, unsigned generation, int64_t now_ns,
                 struct count_answer *out, struct leases_ticket *ticket)
{
    *ticket = (struct leases_ticket){.generation = generation, .asked_ns = now_ns};
    ticket->name = name_of(leases, ask);
    struct place *place = place_of(leases, ticket->name);
    bool taken = false;
    if (place_claim(place, ticket->name, now_ns)) {
        if (place->generation != generation)
            lease_end(&place->lease, true);
        lease_count(&place->lease, now_ns);
        taken = lease_take(&place->lease, ask->max, now_ns, out);
        if (!taken && (ticket->wanted = lease_wanted(&place->lease, now_ns)) > 0)
            lease_ask(&place->lease, &ticket->rest);
    }
    place_leave(leases, place);
    return taken;
}

bool leases_grant(struct leases *leases, const struct leases_ticket *ticket, const struct count_ask *ask,
                  const struct lease_grant *grant, int64_t now_ns, struct count_answer *out)
{
    struct place *place = place_of(leases, ticket->name);
    bool named = place_name(place, ask);
    place->generation = ticket->generation;
    lease_grant(&place->lease, named ? grant : NULL, ask->max, ticket->asked_ns);
    atomic_store(&leases->any, true);
    bool taken = lease_take(&place->lease, ask->max, now_ns, out);
    place_leave(leases, place);
    return taken;
}

bool leases_put_back(struct leases *leases, const struct count_ask *ask, const struct count_answer *answer,
                     int64_t now_ns)
{
    uint64_t name = name_of(leases, ask);
    struct place *place = place_of(leases, name);
    bool back = place->name == name && lease_put_back(&place->lease, answer, now_ns);
    place_leave(leases, place);
    return back;
}

void leases_end(struct leases *leases)
{
    for (size_t i = 0; i < PLACES; i++) {
        pthread_mutex_lock(&leases->locks[i % LOCKS]);
        lease_end(&leases->places[i].lease, false);
        pthread_mutex_unlock(&leases->locks[i % LOCKS]);
    }
}

/* What is left of a place's lease, where that has ended; its texts, a copy, are the caller's to free, or NULL. */
static char *rest_take(struct leases *leases, size_t i, int64_t now_ns, struct count_change *rest,
                       unsigned *generation)
{
    struct place *place = &leases->places[i];
    char *texts = NULL;
    pthread_mutex_lock(&leases->locks[i % LOCKS]);
    struct lease_rest units;
    if (lease_rest(&place->lease, now_ns, &units)) {
        size_t key = strlen(place->texts) + 1, n = key + strlen(place->texts + key) + 1;
        *generation = place->generation;
        if ((texts = malloc(n)) != NULL) {
            memcpy(texts, place->texts, n);
            *rest = (struct count_change){.key = texts,
                                          .limit = texts + key,
                                          .unit = place->unit,
                                          .window_ms = place->window_ms,
                                          .slot = units.slot,
                                          .created = units.created,
                                          .amount = -units.units,
                                          .open = -units.units,
                                          .here = -1};
        }
    }
    pthread_mutex_unlock(&leases->locks[i % LOCKS]);
    return texts;
}

void leases_each_rest(struct leases *leases, int64_t now_ns, leases_rest_fn *each, void *arg)
{
    if (!atomic_load(&leases->any)) /* as nearly everywhere */
        return;
    for (size_t i = 0; i < PLACES; i++) {
        struct count_change rest;
        unsigned generation = 0;
        char *texts = rest_take(leases, i, now_ns, &rest, &generation);
        if (texts != NULL)
            each(arg, &rest, generation);
        free(texts);
    }
}
