/* deny_cache: see deny_cache.h. A table without chains: a request has one place, by its name, which is mixed from keyed hashes of
 * its keys. What else its answer depends on is compared where a place has that name: most requests meet none.
 *
 * Dropping needs no search: each key has one of VERSIONS counters, by its hash; an entry holds the sum of
 * those of its keys (and of the one for all), and is void when that has changed. The sum is taken before the
 * store is asked, so that what is given back meanwhile voids the answer, too. Short of memory, nothing is
 * remembered. */
#include "deny_cache.h"

#include "base/hash.h"
#include "base/unzeroed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES = 1024, LOCKS = 32, VERSIONS = 16384, ASKS = DENY_CACHE_ASKS };

struct place {
    uint64_t name, rest, version;
    int64_t since;
    size_t n;
    struct count_answer answers[ASKS];
    char *texts;     /* of each ask: key NUL limit NUL */
    int64_t refused; /* so often answered from here; the store is yet to be told */
};

struct deny_cache {
    uint64_t seed[2];
    atomic_uint_fast64_t versions[VERSIONS], version_of_all;
    pthread_mutex_t locks[LOCKS];
    struct place places[PLACES];
    /* Of each place; 0: empty. Written under its lock, and looked at without, too: most are over. */
    atomic_int_least64_t until[PLACES];
};

struct deny_cache *deny_cache_new(const uint64_t seed[2])
{
    struct deny_cache *cache = calloc(1, sizeof *cache); /* untouched pages cost nothing */
    if (cache == NULL)
        return NULL;
    memcpy(cache->seed, seed, sizeof cache->seed);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&cache->locks[i], NULL);
    return cache;
}

void deny_cache_free(struct deny_cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < PLACES; i++)
        free(cache->places[i].texts);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&cache->locks[i]);
    free(cache);
}

/* ---- names ---- */

/* The finaliser of SplitMix64. */
static uint64_t mix(uint64_t name, uint64_t value)
{
    uint64_t x = name + value + UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t hash_of(const struct deny_cache *cache, const char *string)
{
    return hash_string(cache->seed, string);
}

/* The hash of an ask's key, which many share with the one before. */
static uint64_t hash_of_key(const struct deny_cache *cache, const struct count_request *request, size_t i,
                            const uint64_t *hashes)
{
    bool same = i > 0 && strcmp(request->asks[i].key, request->asks[i - 1].key) == 0;
    return same ? hashes[i - 1] : hash_of(cache, request->asks[i].key);
}

static bool is_eligible(const struct count_request *request)
{
    if (request->n == 0 || request->n > ASKS)
        return false;
    for (size_t i = 0; i < request->n; i++)
        if ((request->asks[i].flags & COUNT_ATTEMPT) != 0)
            return false;
    return true;
}

/* Those that its answer depends on. */
static unsigned flags_of(const struct count_ask *ask)
{
    return ask->flags & ~(unsigned)COUNT_AGAIN;
}

/* The name of a request has its keys in it, and what is not the same for all RCPTs that have these. */
static struct deny_cache_ticket ticket_of(struct deny_cache *cache, const struct count_request *request)
{
    struct deny_cache_ticket ticket UNZEROED;
    ticket.name = 0;
    ticket.version = atomic_load(&cache->version_of_all);
    ticket.eligible = is_eligible(request);
    for (size_t i = 0; ticket.eligible && i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        uint64_t key = ticket.keys[i] = hash_of_key(cache, request, i, ticket.keys);
        ticket.name = mix(ticket.name, key + ((uint64_t)ask->amount << 8) + flags_of(ask));
        ticket.version += atomic_load(&cache->versions[key % VERSIONS]);
        if (ask->overflow != NULL) {
            uint64_t overflow = hash_of(cache, ask->overflow);
            ticket.name = mix(ticket.name, overflow);
            ticket.version += atomic_load(&cache->versions[overflow % VERSIONS]);
        }
    }
    return ticket;
}

/* Of the numbers that its answer depends on. */
static uint64_t rest_of(const struct deny_cache *cache, const struct count_request *request)
{
    uint64_t rest = 0;
    for (size_t i = 0; i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        const int64_t numbers[] = {ask->max,           ask->headroom,   ask->window_ms,         ask->amount,
                                   ask->need,          ask->hold_ms,    (int64_t)flags_of(ask), ask->share_of,
                                   (int64_t)ask->unit, ask->share_above};
        rest = mix(rest, hash_bytes(cache->seed, numbers, sizeof numbers));
    }
    return rest;
}

static atomic_int_least64_t *until_of(struct deny_cache *cache, const struct deny_cache_ticket *ticket)
{
    return &cache->until[ticket->name % PLACES];
}

/* Locked. */
static struct place *place_of(struct deny_cache *cache, const struct deny_cache_ticket *ticket)
{
    size_t at = ticket->name % PLACES;
    pthread_mutex_lock(&cache->locks[at % LOCKS]);
    return &cache->places[at];
}

static void place_leave(struct deny_cache *cache, const struct place *place)
{
    pthread_mutex_unlock(&cache->locks[(size_t)(place - cache->places) % LOCKS]);
}

/* Returns what follows. */
static const char *next_texts(const char *at, const char **key, const char **limit)
{
    *key = at;
    *limit = at + strlen(at) + 1;
    return *limit + strlen(*limit) + 1;
}

static bool texts_are(const struct place *place, const struct count_request *request)
{
    const char *at = place->texts, *key, *limit;
    for (size_t i = 0; i < request->n; i++) {
        at = next_texts(at, &key, &limit);
        if (strcmp(key, request->asks[i].key) != 0 || strcmp(limit, request->asks[i].limit) != 0)
            return false;
    }
    return true;
}

/* Is it the place of this very request? */
static bool place_is_of(const struct place *place, const struct deny_cache *cache,
                        const struct deny_cache_ticket *ticket, const struct count_request *request)
{
    return place->texts != NULL && place->name == ticket->name && place->n == request->n &&
           place->rest == rest_of(cache, request) && texts_are(place, request);
}

/* ---- finding and putting ---- */

/* What a place says now. */
static void place_answer(const struct place *place, int64_t now_ms, struct count_answer *answers)
{
    for (size_t i = 0; i < place->n; i++) {
        answers[i] = place->answers[i];
        if (answers[i].wait_ms > 0)
            answers[i].wait_ms -= now_ms - place->since;
    }
}

bool deny_cache_find(struct deny_cache *cache, const struct count_request *request, int64_t now_ms,
                     struct count_answer *answers, struct deny_cache_ticket *ticket)
{
    *ticket = ticket_of(cache, request);
    if (!ticket->eligible || now_ms >= atomic_load(until_of(cache, ticket)))
        return false;
    struct place *place = place_of(cache, ticket);
    bool found = place->version == ticket->version && now_ms >= place->since &&
                 now_ms < atomic_load(until_of(cache, ticket)) && place_is_of(place, cache, ticket, request);
    if (found) {
        place_answer(place, now_ms, answers);
        place->refused++;
    }
    place_leave(cache, place);
    return found;
}

static void drop(struct deny_cache *cache, uint64_t hash)
{
    atomic_fetch_add(&cache->versions[hash % VERSIONS], 1);
}

void deny_cache_drop(struct deny_cache *cache, const char *key)
{
    drop(cache, hash_of(cache, key));
}

void deny_cache_drop_all(struct deny_cache *cache)
{
    atomic_fetch_add(&cache->version_of_all, 1);
}

static bool refuses(const struct count_answer *answer)
{
    return answer->result == COUNT_OVER || answer->result == COUNT_HELD;
}

/* Is ask i a source's share of a limit that a ramp lowers? It binds from less of it on meanwhile, for which no hard answer stands. */
static bool is_ramped_share(const struct count_request *request, size_t i)
{
    int whole = request->asks[i].share_of;
    return whole >= 0 && request->asks[whole].headroom > 0;
}

/* For how long a refusal is sure to be answered so. */
static int64_t sure_ms(const struct count_request *request, const struct count_answer *answers, size_t i)
{
    const struct count_answer *answer = &answers[i];
    if (!answer->hard)
        return answer->wait_ms;
    if (is_ramped_share(request, i))
        return 0;
    return answer->hard_ms < answer->wait_ms ? answer->hard_ms : answer->wait_ms;
}

/* NULL: out of memory. */
static char *texts_of(const struct count_request *request)
{
    size_t bytes = 0;
    for (size_t i = 0; i < request->n; i++)
        bytes += strlen(request->asks[i].key) + strlen(request->asks[i].limit) + 2;
    char *texts = malloc(bytes), *at = texts;
    for (size_t i = 0; texts != NULL && i < request->n; i++) {
        at = stpcpy(at, request->asks[i].key) + 1;
        at = stpcpy(at, request->asks[i].limit) + 1;
    }
    return texts;
}

/* Makes the place one for this request. False: out of memory, or the store is to be told of its old owner's first: soon. */
static bool place_claim(struct place *place, const struct deny_cache *cache,
                        const struct deny_cache_ticket *ticket, const struct count_request *request)
{
    if (place_is_of(place, cache, ticket, request))
        return true;
    char *texts = place->refused == 0 ? texts_of(request) : NULL;
    if (texts == NULL)
        return false;
    free(place->texts);
    *place = (struct place){
        .name = ticket->name, .rest = rest_of(cache, request), .n = request->n, .texts = texts};
    return true;
}

static void place_fill(struct place *place, const struct deny_cache_ticket *ticket,
                       const struct count_answer *answers, int64_t now_ms)
{
    place->version = ticket->version;
    place->since = now_ms;
    memcpy(place->answers, answers, place->n * sizeof *answers);
    for (size_t i = 0; i < place->n; i++)
        place->answers[i].slot = place->answers[i].here = -1; /* a receipt is good for one */
}

static void drop_charged(struct deny_cache *cache, const struct deny_cache_ticket *ticket,
                         const struct count_request *request, const struct count_answer *answers)
{
    for (size_t i = 0; i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        if (ticket->eligible && !answers[i].overflowed)
            drop(cache, ticket->keys[i]);
        else
            deny_cache_drop(cache, answers[i].overflowed ? ask->overflow : ask->key);
    }
}

void deny_cache_put(struct deny_cache *cache, const struct deny_cache_ticket *ticket,
                    const struct count_request *request, const struct count_answer *answers, int64_t now_ms)
{
    bool refused = false;
    int64_t until = now_ms + DENY_CACHE_MS;
    for (size_t i = 0; i < request->n; i++) {
        if (!refuses(&answers[i]))
            continue;
        refused = refused || (request->asks[i].flags & COUNT_SHADOW) == 0;
        int64_t sure = sure_ms(request, answers, i);
        if (now_ms + sure < until)
            until = now_ms + sure;
    }
    if (!refused) /* what was charged may be over now, too, and refuse harder than what is remembered */
        drop_charged(cache, ticket, request, answers);
    if (!ticket->eligible || !refused || until <= now_ms)
        return;
    struct place *place = place_of(cache, ticket);
    if (place_claim(place, cache, ticket, request)) {
        place_fill(place, ticket, answers, now_ms);
        atomic_store(until_of(cache, ticket), until);
    }
    place_leave(cache, place);
}

/* ---- telling ---- */

/* A copy of what refused here since the last time; n 0: nothing did, or memory is short. texts are the caller's to free. */
static struct place take_refusals(struct deny_cache *cache, size_t i)
{
    struct place *place = &cache->places[i], copy = {0};
    pthread_mutex_lock(&cache->locks[i % LOCKS]);
    if (place->refused > 0) {
        const char *end = place->texts, *key, *limit;
        for (size_t k = 0; k < place->n; k++)
            end = next_texts(end, &key, &limit);
        char *texts = malloc((size_t)(end - place->texts) + 1);
        if (texts != NULL) {
            copy = *place;
            copy.texts = memcpy(texts, place->texts, (size_t)(end - place->texts));
        }
        place->refused = 0;
    }
    pthread_mutex_unlock(&cache->locks[i % LOCKS]);
    return copy;
}

void deny_cache_each_refusal(struct deny_cache *cache, deny_cache_refusal_fn *each, void *arg)
{
    for (size_t i = 0; i < PLACES; i++) {
        struct place copy = take_refusals(cache, i);
        const char *at = copy.texts, *key, *limit;
        for (size_t k = 0; k < copy.n; k++) {
            at = next_texts(at, &key, &limit);
            if (refuses(&copy.answers[k]) && !copy.answers[k].overflowed)
                each(arg, key, limit, copy.refused);
        }
        free(copy.texts);
    }
}
