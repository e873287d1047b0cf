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

enum { PLACES = 1024, LOCKS = 32, VERSIONS = 16384, ASKS = DENIALS_ASKS };

struct part { /* of a denial: one ask */
    int64_t max, window_ms;
    bool attempts; /* it counts them, */
    size_t tally;  /* here, too; */
    int64_t base;  /* from this on */
    bool refuses;
    int64_t refused; /* so often answered from here, and not told yet */
};

struct denial {
    uint64_t name[2], version;
    int64_t since, until; /* until 0: empty */
    size_t n;
    struct count_answer answers[ASKS];
    struct part parts[ASKS];
    char *texts;     /* of each ask: key NUL limit NUL */
    int64_t refused; /* not told yet; so are */
    int64_t untold;  /* attempts. While there are any, this place is nobody else's */
};

struct tally {              /* of the attempts on all counters whose hash leads here */
    _Atomic int64_t made;   /* by this process, wherever they were counted */
    _Atomic int64_t untold; /* those among them that the store may not know of */
};

struct denials {
    uint64_t seed[2];
    atomic_uint_fast64_t versions[VERSIONS], version_of_all;
    struct tally tallies[VERSIONS];
    struct untold_book *book;
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
    denials->book = untold_new();
    if (denials->book != NULL)
        return denials;
    denials_free(denials);
    return NULL;
}

void denials_free(struct denials *denials)
{
    if (denials == NULL)
        return;
    for (size_t i = 0; i < PLACES; i++)
        free(denials->places[i].texts);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&denials->locks[i]);
    untold_free(denials->book);
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

/* ---- attempts ---- */

static bool counts_attempts(const struct count_ask *ask)
{
    return (ask->flags & COUNT_ATTEMPT) != 0 && (ask->flags & COUNT_HOLD_ONLY) == 0;
}

static size_t tally_of(const struct denials *denials, const struct count_ask *ask)
{
    uint64_t name[2] = {0};
    mix_string(denials, name, ask->key);
    mix_string(denials, name, ask->limit);
    return name[0] % VERSIONS;
}

/* What is not in the base was made since. In this order: who makes one is in one of the two, or made it after this. */
static int64_t tally_base(struct tally *tally)
{
    int64_t made = atomic_load(&tally->made);
    return atomic_load(&tally->untold) - made;
}

/* How many attempts are made by now, the store's answer and all of this process since; rather too many than too few. */
static int64_t part_used(const struct denials *denials, const struct denial *place, size_t i)
{
    const struct part *part = &place->parts[i];
    return place->answers[i].used + part->base + atomic_load(&denials->tallies[part->tally].made);
}

static bool has_room(const struct denials *denials, const struct denial *place)
{
    for (size_t i = 0; i < place->n; i++)
        if (place->parts[i].attempts && place->answers[i].result == COUNT_ADMITTED &&
            part_used(denials, place, i) + 1 > place->parts[i].max)
            return false;
    return true;
}

/* False: there is no room. */
static bool note_attempt(struct denials *denials, struct denial *place, const char *retry)
{
    bool any = false;
    for (size_t i = 0; i < place->n; i++)
        any = any || place->parts[i].attempts;
    if (!any)
        return true;
    if (!untold_add(denials->book, (uint16_t)(place - denials->places), retry))
        return false;
    place->untold++;
    for (size_t i = 0; i < place->n; i++) {
        struct tally *tally = &denials->tallies[place->parts[i].tally];
        if (!place->parts[i].attempts)
            continue;
        atomic_fetch_add(&tally->untold, 1); /* first: see tally_base() */
        atomic_fetch_add(&tally->made, 1);
    }
    return true;
}

bool denials_lacks(const struct denials *denials, const struct count_request *request)
{
    for (size_t i = 0; i < request->n; i++)
        if (counts_attempts(&request->asks[i]) &&
            atomic_load(&denials->tallies[tally_of(denials, &request->asks[i])].untold) > 0)
            return true;
    return false;
}

/* ---- tickets ---- */

/* Can it be said how long a refusal by this ask is one for retries, too (see sure_for())? */
static bool is_eligible_ask(const struct count_request *request, const struct count_ask *ask)
{
    return !counts_attempts(ask) || (request->retry != NULL && ask->amount == 1 && ask->need == 1 &&
                                     ask->max >= 1 && ask->window_ms >= DENIALS_WINDOW_MS &&
                                     ask->window_ms % 10 == 0 && ask->share_of < 0 && ask->spill == NULL);
}

static bool is_eligible(const struct count_request *request)
{
    if (request->n == 0 || request->n > ASKS)
        return false;
    for (size_t i = 0; i < request->n; i++)
        if (!is_eligible_ask(request, &request->asks[i]))
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
        if (counts_attempts(ask))
            ticket.base[i] = tally_base(&denials->tallies[tally_of(denials, ask)]);
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

/* What a denial says now. */
static void place_answer(const struct denials *denials, const struct denial *place, bool retry,
                         int64_t now_ms, struct count_answer *answers)
{
    for (size_t i = 0; i < place->n; i++) {
        answers[i] = place->answers[i];
        answers[i].retry = retry;
        if (place->parts[i].attempts)
            answers[i].used = part_used(denials, place, i);
        if (answers[i].wait_ms > 0)
            answers[i].wait_ms -= now_ms - place->since;
    }
}

static void note_refusal(struct denial *place)
{
    place->refused++;
    for (size_t i = 0; i < place->n; i++)
        place->parts[i].refused += place->parts[i].refuses;
}

bool denials_find(struct denials *denials, const struct count_request *request, bool retry, int64_t now_ms,
                  struct count_answer *answers, struct denial_ticket *ticket)
{
    *ticket = ticket_of(denials, request);
    if (!ticket->eligible)
        return false;
    struct denial *place = place_of(denials, ticket);
    bool found = is_of(place, ticket) && place->version == ticket->version && place->n == request->n &&
                 now_ms >= place->since && now_ms < place->until && has_room(denials, place);
    if (found) {
        place_answer(denials, place, retry, now_ms, answers);
        found = retry || note_attempt(denials, place, request->retry);
    }
    if (found)
        note_refusal(place);
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

/* Returns what follows. */
static const char *next_texts(const char *at, const char **key, const char **limit)
{
    *key = at;
    *limit = at + strlen(at) + 1;
    return *limit + strlen(*limit) + 1;
}

/* Makes the place one for this request. False: out of memory, or its old owner's counts are to be told first: soon. */
static bool place_claim(struct denial *place, const struct denial_ticket *ticket,
                        const struct count_request *request)
{
    if (is_of(place, ticket) && place->texts != NULL)
        return true;
    char *texts = place->refused == 0 && place->untold == 0 ? texts_of(request) : NULL;
    if (texts == NULL)
        return false;
    free(place->texts);
    *place = (struct denial){.name = {ticket->name[0], ticket->name[1]}, .n = request->n, .texts = texts};
    return true;
}

static void place_fill(const struct denials *denials, struct denial *place,
                       const struct denial_ticket *ticket, const struct count_request *request,
                       const struct count_answer *answers)
{
    place->version = ticket->version;
    memcpy(place->answers, answers, request->n * sizeof *answers);
    for (size_t i = 0; i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        struct part *part = &place->parts[i];
        part->max = ask->max;
        part->window_ms = ask->window_ms;
        part->attempts = counts_attempts(ask);
        part->tally = tally_of(denials, ask);
        part->base = ticket->base[i];
        part->refuses = refuses(&answers[i]) && !answers[i].spilled;
    }
}

/* So long is what an ask said, a refusal, said again: to a retry as well, which needs no room. */
static int64_t sure_for(const struct count_ask *ask, const struct count_answer *answer)
{
    if (!counts_attempts(ask) || answer->result == COUNT_HELD)
        return answer->wait_ms;
    if (ask->hold_ms > 0 || answer->wait_ms <= 0) /* the next one trips it, or finds it held */
        return 0;
    int64_t slot = ask->window_ms / 10; /* until the next one begins it stays over: the wait ends with one */
    return (answer->wait_ms - 1) % slot + 1;
}

/* What the store itself counted just now. */
static void tally_charges(struct denials *denials, const struct count_request *request,
                          const struct count_answer *answers)
{
    for (size_t i = 0; i < request->n; i++)
        if (counts_attempts(&request->asks[i]) && !answers[i].retry)
            atomic_fetch_add(&denials->tallies[tally_of(denials, &request->asks[i])].made,
                             request->asks[i].amount);
}

static bool was_retry(const struct count_request *request, const struct count_answer *answers)
{
    return request->retry != NULL && answers[0].retry;
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
        int64_t sure = sure_for(&request->asks[i], &answers[i]);
        if (now_ms + sure < until)
            until = now_ms + sure;
    }
    tally_charges(denials, request, answers);
    if (!refused) /* what was charged may be over now, too, and refuse harder than what is remembered */
        for (size_t i = 0; i < request->n; i++)
            denials_drop(denials, answers[i].spilled ? request->asks[i].spill : request->asks[i].key);
    if (!ticket->eligible || !refused || until <= now_ms || was_retry(request, answers))
        return;
    struct denial *place = place_of(denials, ticket);
    if (place_claim(place, ticket, request)) {
        place_fill(denials, place, ticket, request, answers);
        place->since = now_ms;
        place->until = until;
    }
    leave(denials, place);
}

/* ---- telling ---- */

bool denials_pending(const struct denials *denials)
{
    return atomic_load(&denials->pending);
}

/* Copies out who refused how often; NULL: nobody. The copy is the caller's to free. */
static char *take_refusals(struct denials *denials, size_t i, int64_t times[ASKS], size_t *n)
{
    struct denial *place = &denials->places[i];
    char *copy = NULL;
    pthread_mutex_lock(&denials->locks[i % LOCKS]);
    if (place->refused > 0) {
        const char *end = place->texts, *key, *limit;
        for (size_t k = 0; k < place->n; k++) {
            times[k] = place->parts[k].refused;
            place->parts[k].refused = 0;
            end = next_texts(end, &key, &limit);
        }
        copy = malloc((size_t)(end - place->texts) + 1);
        if (copy != NULL)
            memcpy(copy, place->texts, (size_t)(end - place->texts));
        *n = place->n;
        place->refused = 0;
    }
    pthread_mutex_unlock(&denials->locks[i % LOCKS]);
    return copy;
}

void denials_each_refusal(struct denials *denials, denials_refusal_fn *each, void *arg)
{
    atomic_store(&denials->pending, false); /* before: what comes meanwhile is for the next time */
    for (size_t i = 0; i < PLACES; i++) {
        size_t n = 0;
        int64_t times[ASKS];
        char *texts = take_refusals(denials, i, times, &n);
        const char *at = texts, *key, *limit;
        for (size_t k = 0; texts != NULL && k < n; k++) {
            at = next_texts(at, &key, &limit);
            if (times[k] > 0)
                each(arg, key, limit, times[k]);
        }
        free(texts);
    }
}

size_t denials_take(struct denials *denials, struct untold **out)
{
    return untold_take(denials->book, out);
}

size_t denials_charge(struct denials *denials, uint16_t who, int64_t amount,
                      struct count_change out[DENIALS_ASKS])
{
    struct denial *place = &denials->places[who];
    size_t n = 0;
    pthread_mutex_lock(&denials->locks[who % LOCKS]);
    const char *at = place->texts, *key, *limit;
    for (size_t i = 0; i < place->n; i++) {
        at = next_texts(at, &key, &limit);
        if (place->parts[i].attempts)
            out[n++] = (struct count_change){.key = key,
                                             .limit = limit,
                                             .window_ms = place->parts[i].window_ms,
                                             .slot = -1,
                                             .born = place->answers[i].born,
                                             .amount = amount,
                                             .here = -1};
    }
    pthread_mutex_unlock(&denials->locks[who % LOCKS]);
    return n;
}

void denials_told(struct denials *denials, uint16_t who, int64_t n)
{
    struct denial *place = &denials->places[who];
    pthread_mutex_lock(&denials->locks[who % LOCKS]);
    place->untold -= n;
    for (size_t i = 0; i < place->n; i++)
        if (place->parts[i].attempts)
            atomic_fetch_sub(&denials->tallies[place->parts[i].tally].untold, n);
    pthread_mutex_unlock(&denials->locks[who % LOCKS]);
}
