/* A table without chains: a request has one place, by its name, which is 128 bits mixed from keyed hashes of
 * all that its answer depends on.
 *
 * Dropping needs no search: each key has one of VERSIONS counters, by its hash; a denial holds the sum of
 * those of its keys (and of the one for all), and is void when that has changed. The sum is taken before the
 * store is asked, so that what is given back meanwhile voids the answer, too. */
#include "denials.h"

#include "hash.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES = 1024, LOCKS = 32, VERSIONS = 16384, ASKS = 8 };

struct denial {
    uint64_t name[2], version;
    int64_t since, until; /* until 0: empty */
    size_t n;
    struct count_answer answers[ASKS];
    char *refusers; /* key NUL limit NUL for each ask that refused */
    size_t n_refusers;
    int64_t refused; /* so often answered from here, and not told yet */
};

struct denials {
    uint64_t seed[2];
    atomic_uint_fast64_t versions[VERSIONS], version_of_all;
    atomic_bool pending;
    pthread_mutex_t locks[LOCKS];
    struct denial places[PLACES];
};

struct denials *denials_new(void)
{
    struct denials *denials = calloc(1, sizeof *denials); /* untouched pages cost nothing */
    if (denials == NULL)
        return NULL;
    hash_seed(denials->seed);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&denials->locks[i], NULL);
    return denials;
}

void denials_free(struct denials *denials)
{
    if (denials == NULL)
        return;
    for (size_t i = 0; i < PLACES; i++)
        free(denials->places[i].refusers);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&denials->locks[i]);
    free(denials);
}

/* ---- names ---- */

static void mix(uint64_t name[2], uint64_t value)
{
    for (int i = 0; i < 2; i++) { /* the finaliser of SplitMix64 between two additions */
        uint64_t x = name[i] + value + UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(i + 1);
        x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
        name[i] = x ^ x >> 31;
    }
}

static uint64_t mix_string(const struct denials *denials, uint64_t name[2], const char *string)
{
    uint64_t hash = hash_string(denials->seed, string);
    mix(name, hash);
    return hash;
}

static bool is_eligible(const struct count_request *request)
{
    if (request->n == 0 || request->n > ASKS || request->retry != NULL)
        return false;
    for (size_t i = 0; i < request->n; i++)
        if ((request->asks[i].flags & COUNT_ATTEMPT) != 0)
            return false;
    return true;
}

static struct denial_ticket ticket_of(struct denials *denials, const struct count_request *request)
{
    struct denial_ticket ticket = {.version = atomic_load(&denials->version_of_all),
                                   .eligible = is_eligible(request)};
    for (size_t i = 0; ticket.eligible && i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        const int64_t numbers[] = {ask->max,        ask->slack,   ask->window_ms,      ask->amount,
                                   ask->need,       ask->hold_ms, (int64_t)ask->flags, ask->share_of,
                                   ask->share_above};
        uint64_t hash = mix_string(denials, ticket.name, ask->key);
        ticket.version += atomic_load(&denials->versions[hash % VERSIONS]);
        mix_string(denials, ticket.name, ask->limit);
        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
            mix(ticket.name, (uint64_t)numbers[k]);
        if (ask->spill != NULL) {
            hash = mix_string(denials, ticket.name, ask->spill);
            ticket.version += atomic_load(&denials->versions[hash % VERSIONS]);
        }
    }
    return ticket;
}

/* Locked. */
static struct denial *place_of(struct denials *denials, const struct denial_ticket *ticket)
{
    size_t at = ticket->name[0] % PLACES;
    pthread_mutex_lock(&denials->locks[at % LOCKS]);
    return &denials->places[at];
}

static void leave(struct denials *denials, const struct denial *place)
{
    pthread_mutex_unlock(&denials->locks[(size_t)(place - denials->places) % LOCKS]);
}

static bool is_of(const struct denial *place, const struct denial_ticket *ticket)
{
    return place->name[0] == ticket->name[0] && place->name[1] == ticket->name[1];
}

/* ---- finding and putting ---- */

bool denials_find(struct denials *denials, const struct count_request *request, int64_t now_ms,
                  struct count_answer *answers, struct denial_ticket *ticket)
{
    *ticket = ticket_of(denials, request);
    if (!ticket->eligible)
        return false;
    struct denial *place = place_of(denials, ticket);
    bool found = is_of(place, ticket) && place->version == ticket->version && place->n == request->n &&
                 now_ms >= place->since && now_ms < place->until;
    if (found) {
        place->refused++;
        memcpy(answers, place->answers, place->n * sizeof *answers);
        for (size_t i = 0; i < place->n; i++)
            if (answers[i].wait_ms > 0)
                answers[i].wait_ms -= now_ms - place->since;
    }
    leave(denials, place);
    if (found && !atomic_load(&denials->pending))
        atomic_store(&denials->pending, true);
    return found;
}

void denials_drop(struct denials *denials, const char *key)
{
    atomic_fetch_add(&denials->versions[hash_string(denials->seed, key) % VERSIONS], 1);
}

void denials_drop_all(struct denials *denials)
{
    atomic_fetch_add(&denials->version_of_all, 1);
}

static bool refuses(const struct count_answer *answer)
{
    return answer->result == COUNT_OVER || answer->result == COUNT_HELD;
}

/* NULL: out of memory. */
static char *refusers_of(const struct count_request *request, const struct count_answer *answers, size_t *n)
{
    size_t bytes = 1;
    for (size_t i = 0; i < request->n; i++)
        bytes += strlen(request->asks[i].key) + strlen(request->asks[i].limit) + 2;
    char *text = malloc(bytes), *at = text;
    *n = 0;
    for (size_t i = 0; text != NULL && i < request->n; i++) {
        if (!refuses(&answers[i]) || answers[i].spilled)
            continue;
        at = stpcpy(at, request->asks[i].key) + 1;
        at = stpcpy(at, request->asks[i].limit) + 1;
        ++*n;
    }
    return text;
}

static void place_fill(struct denial *place, const struct denial_ticket *ticket,
                       const struct count_request *request, const struct count_answer *answers, int64_t since,
                       int64_t until)
{
    size_t n = 0;
    char *refusers = place->refused == 0 ? refusers_of(request, answers, &n) : NULL;
    if (refusers == NULL && !is_of(place, ticket))
        return;
    if (refusers != NULL) {
        free(place->refusers);
        place->refusers = refusers;
        place->n_refusers = n;
    }
    memcpy(place->name, ticket->name, sizeof place->name);
    place->version = ticket->version;
    place->since = since;
    place->until = until;
    place->n = request->n;
    memcpy(place->answers, answers, request->n * sizeof *answers);
}

void denials_put(struct denials *denials, const struct denial_ticket *ticket,
                 const struct count_request *request, const struct count_answer *answers, int64_t now_ms)
{
    bool refused = false;
    int64_t until = now_ms + DENIALS_MS;
    for (size_t i = 0; i < request->n; i++) {
        if (!refuses(&answers[i]))
            continue;
        refused = refused || (request->asks[i].flags & COUNT_SHADOW) == 0;
        if (now_ms + answers[i].wait_ms < until)
            until = now_ms + answers[i].wait_ms;
    }
    if (!refused) /* what was charged may be over now, too, and refuse harder than what is remembered */
        for (size_t i = 0; i < request->n; i++)
            denials_drop(denials, answers[i].spilled ? request->asks[i].spill : request->asks[i].key);
    if (!ticket->eligible || !refused || until <= now_ms)
        return;
    struct denial *place = place_of(denials, ticket);
    if (is_of(place, ticket) ||
        place->refused == 0) /* else the other's refusals are to be told first: soon */
        place_fill(place, ticket, request, answers, now_ms, until);
    leave(denials, place);
}

/* ---- telling ---- */

bool denials_pending(const struct denials *denials)
{
    return atomic_load(&denials->pending);
}

/* Copies out who refused how often; *n 0: nobody. The copy is the caller's to free. */
static char *take_refusals(struct denials *denials, size_t i, size_t *n, int64_t *times)
{
    struct denial *place = &denials->places[i];
    char *copy = NULL;
    *n = 0;
    pthread_mutex_lock(&denials->locks[i % LOCKS]);
    if (place->refused > 0) {
        const char *end = place->refusers;
        for (size_t k = 0; k < 2 * place->n_refusers; k++)
            end += strlen(end) + 1;
        size_t bytes = (size_t)(end - place->refusers);
        copy = malloc(bytes + 1);
        if (copy != NULL) {
            memcpy(copy, place->refusers, bytes);
            *n = place->n_refusers;
            *times = place->refused;
        }
        place->refused = 0;
    }
    pthread_mutex_unlock(&denials->locks[i % LOCKS]);
    return copy;
}

void denials_each_refusal(struct denials *denials, denials_refusal_fn *each, void *arg)
{
    atomic_store(&denials->pending, false); /* before: what comes meanwhile is for the next time */
    for (size_t i = 0; i < PLACES; i++) {
        size_t n;
        int64_t times = 0;
        char *refusers = take_refusals(denials, i, &n, &times);
        const char *at = refusers;
        for (size_t k = 0; k < n; k++) {
            const char *limit = at + strlen(at) + 1;
            each(arg, at, limit, times);
            at = limit + strlen(limit) + 1;
        }
        free(refusers);
    }
}
