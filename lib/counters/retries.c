/* retries: see retries.h. Owns one table of a fixed size; cannot fail once it is made.
 *
 * counters.lua does the same in Redis; test/data/counts.txt holds both to the same answers. A set that holds something
 * unsynced has its bit in `dirty`, so that looking for it costs nothing where there is none. */
#include "retries.h"
#include "store.h"
#include "base/hash.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETS = 16384, WAYS = COUNTERS_RETRIES / SETS, LOCKS = 64, WORD = 64 };

struct retry { /* what waits for a pair of one half-day; young + ripe 0: empty */
    uint64_t id[2];
    int64_t at;            /* when the first of the young ones was deferred */
    int64_t half;          /* the number of the half-day in which they were deferred */
    struct network client; /* of the last */
    uint8_t young, ripe;
    uint8_t unsynced; /* so many of both, the newest, the other store is yet to be told of */
    uint16_t on_way;  /* so many it is being told of: who asks meanwhile may be quicker */
    bool lost;        /* it may have known them: it is told how many wait at least */
};

struct retries {
    uint64_t seed[2]; /* pairs can be chosen by strangers, sets cannot */
    pthread_mutex_t locks[LOCKS];
    atomic_uint_fast64_t dirty[SETS / WORD];
    struct retry (*sets)[WAYS]; /* SETS */
};

/* One set, locked. */
struct set {
    struct retries *retries;
    size_t at;
    struct retry *ways;
};

static struct set set_lock(struct retries *retries, size_t at)
{
    pthread_mutex_lock(&retries->locks[at % LOCKS]);
    return (struct set){retries, at, retries->sets[at]};
}

static struct set set_of(struct retries *retries, const uint64_t id[2])
{
    return set_lock(retries, hash_bytes(retries->seed, id, 2 * sizeof *id) % SETS);
}

static void set_unlock(const struct set *set)
{
    pthread_mutex_unlock(&set->retries->locks[set->at % LOCKS]);
}

static void set_soil(const struct set *set)
{
    atomic_fetch_or(&set->retries->dirty[set->at / WORD], UINT64_C(1) << set->at % WORD);
}

/* ---- pairs ---- */

static void parse_id(const char *text, uint64_t id[2])
{
    for (size_t i = 0; i < 2; i++) {
        char digits[17] = "";
        if (strlen(text) > 16 * i)
            snprintf(digits, sizeof digits, "%s", text + 16 * i);
        id[i] = strtoull(digits, NULL, 16);
    }
}

static int waiting(const struct retry *retry)
{
    return retry == NULL ? 0 : retry->young + retry->ripe;
}

/* NULL: nothing waits. */
static struct retry *set_find(const struct set *set, const uint64_t id[2], int64_t half)
{
    for (int i = 0; i < WAYS; i++) {
        struct retry *retry = &set->ways[i];
        if (waiting(retry) > 0 && retry->half == half && retry->id[0] == id[0] && retry->id[1] == id[1])
            return retry;
    }
    return NULL;
}

/* A place for another one: an empty one, else that of the oldest. */
static struct retry *set_make(const struct set *set, const uint64_t id[2], int64_t half)
{
    struct retry *to = &set->ways[0];
    for (int i = 1; i < WAYS && waiting(to) > 0; i++)
        if (waiting(&set->ways[i]) == 0 || set->ways[i].at < to->at)
            to = &set->ways[i];
    *to = (struct retry){.id = {id[0], id[1]}, .half = half};
    return to;
}

/* What is young for a minute is ripe. */
static void roll(struct retry *retry, int64_t now_ms)
{
    if (retry == NULL)
        return;
    if (retry->at > now_ms) /* the clock was set back */
        retry->at = now_ms;
    if (retry->young == 0 || now_ms - retry->at < COUNTERS_RETRY_AFTER_MS)
        return;
    retry->ripe += retry->young;
    retry->young = 0;
}

/* Up to n that the other store was told of, the oldest first: they may have come again elsewhere, and are that store's to limit. */
static int forget(struct retry *retry, int n)
{
    const int synced = retry != NULL ? waiting(retry) - retry->unsynced : 0;
    if (n > synced)
        n = synced;
    if (n <= 0)
        return 0;
    const int ripe = n < retry->ripe ? n : retry->ripe;
    retry->ripe = (uint8_t)(retry->ripe - ripe);
    retry->young = (uint8_t)(retry->young - (n - ripe));
    return n;
}

void retries_note(struct retries *retries, const struct count_deferral *deferral, int64_t now_ms)
{
    uint64_t id[2];
    int64_t half = store_half_day(deferral->at_ms);
    parse_id(deferral->pair.id, id);
    struct set set = set_of(retries, id);
    struct retry *retry = set_find(&set, id, half), *old = set_find(&set, id, half - 1);
    int n = deferral->least ? deferral->n - waiting(retry) : deferral->n;
    int over = waiting(retry) + waiting(old) + n - COUNTERS_RETRY_WAITING;
    over -= forget(old, over);
    over -= forget(retry, over);
    if (over > 0)
        n -= over;
    if (retry == NULL && n > 0)
        retry = set_make(&set, id, half);
    roll(retry, now_ms);
    if (retry != NULL)
        retry->client = deferral->pair.client;
    if (n > 0) {
        if (retry->young == 0)
            retry->at = deferral->at_ms;
        retry->young += (uint8_t)n;
        retry->unsynced += (uint8_t)n;
        set_soil(&set);
    }
    set_unlock(&set);
}

static bool take(uint8_t *from, struct retry *retry, bool look)
{
    if (*from == 0)
        return false;
    if (!look)
        --*from;
    if (retry->unsynced > waiting(retry))
        retry->unsynced = (uint8_t)waiting(retry);
    return true;
}

static bool take_ripe(struct retry *retry, bool look)
{
    return retry != NULL && take(&retry->ripe, retry, look);
}

static bool take_young(struct retry *retry, const struct network *client, bool look)
{
    return retry != NULL && !network_equal(&retry->client, client) && take(&retry->young, retry, look);
}

bool retries_take(struct retries *retries, const struct count_pair *pair, int64_t now_ms, bool look)
{
    uint64_t id[2];
    int64_t half = store_half_day(now_ms);
    parse_id(pair->id, id);
    struct set set = set_of(retries, id);
    struct retry *old = set_find(&set, id, half - 1), *retry = set_find(&set, id, half);
    roll(old, now_ms);
    roll(retry, now_ms);
    bool taken = take_ripe(old, look) || take_ripe(retry, look) || take_young(old, &pair->client, look) ||
                 take_young(retry, &pair->client, look);
    set_unlock(&set);
    return taken;
}

/* ---- what the other store is yet to be told ---- */

/* n of a pair; least: that many in all. Never of the half-day before: there they would be taken for others. */
static struct count_deferral deferral_of(const struct retry *retry, int n, int64_t at)
{
    const int64_t begin = store_half_day_begin(retry->half);
    struct count_deferral deferral = {
        .pair.client = retry->client, .at_ms = at > begin ? at : begin, .n = n, .least = retry->lost};
    snprintf(deferral.pair.id, sizeof deferral.pair.id, "%016" PRIx64 "%016" PRIx64, retry->id[0],
             retry->id[1]);
    return deferral;
}

/* They are on their way now. */
static void send_off(struct retry *retry)
{
    retry->on_way = (uint16_t)(retry->on_way + retry->unsynced);
    retry->unsynced = 0;
    retry->lost = false;
}

/* Those that are ripe were deferred a minute before the young ones, or earlier. Returns how many deferrals: at most 2. */
static size_t retry_collect(struct retry *retry, struct count_deferral *out)
{
    size_t n = 0;
    int young = retry->unsynced < retry->young ? retry->unsynced : retry->young;
    int ripe = retry->unsynced - young;
    if (ripe > 0) {
        out[n] = deferral_of(retry, ripe, retry->at - COUNTERS_RETRY_AFTER_MS);
        out[n++].on_way = ripe;
    }
    if (young > 0) {
        out[n] = deferral_of(retry, young + (retry->lost ? ripe : 0), retry->at);
        out[n++].on_way = young;
    }
    send_off(retry);
    return n;
}

/* False: there was no room for all. */
static bool set_collect(const struct set *set, int64_t oldest, struct count_deferral *out, size_t *n,
                        size_t most)
{
    for (int i = 0; i < WAYS; i++) {
        struct retry *retry = &set->ways[i];
        if (waiting(retry) == 0 || retry->unsynced == 0 || retry->half < oldest)
            continue;
        if (*n + 2 > most)
            return false;
        *n += retry_collect(retry, &out[*n]);
    }
    return true;
}

size_t retries_collect(struct retries *retries, int64_t now_ms, struct count_deferral *out, size_t n)
{
    size_t got = 0;
    int64_t oldest = store_half_day(now_ms) - 1;
    for (size_t word = 0; word < SETS / WORD; word++)
        for (uint64_t bits = atomic_exchange(&retries->dirty[word], 0); bits != 0; bits &= bits - 1) {
            struct set set = set_lock(retries, word * WORD + (size_t)__builtin_ctzll(bits));
            bool all = set_collect(&set, oldest, out, &got, n);
            set_unlock(&set);
            if (!all) {
                atomic_fetch_or(&retries->dirty[word], bits);
                return got;
            }
        }
    return got;
}

bool retries_collect_pair(struct retries *retries, const struct count_pair *pair, int64_t now_ms,
                          struct count_deferral *out)
{
    uint64_t id[2];
    parse_id(pair->id, id);
    struct set set = set_of(retries, id);
    struct retry *retry = set_find(&set, id, store_half_day(now_ms));
    int n = retry != NULL ? retry->unsynced + retry->on_way : 0;
    if (n > 0) {
        *out = deferral_of(retry, n < waiting(retry) ? n : waiting(retry), retry->at);
        out->on_way = retry->unsynced;
        send_off(retry);
    }
    set_unlock(&set);
    return n > 0;
}

void retries_arrived(struct retries *retries, const struct count_deferral *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t id[2];
        parse_id(list[i].pair.id, id);
        struct set set = set_of(retries, id);
        struct retry *retry = set_find(&set, id, store_half_day(list[i].at_ms));
        if (retry != NULL)
            retry->on_way = (uint16_t)(retry->on_way > list[i].on_way ? retry->on_way - list[i].on_way : 0);
        if (retry != NULL && list[i].n > 0) {
            int unsynced = list[i].least ? waiting(retry) : retry->unsynced + list[i].n;
            retry->unsynced = (uint8_t)(unsynced < waiting(retry) ? unsynced : waiting(retry));
            retry->lost = retry->lost || list[i].least;
            set_soil(&set);
        }
        set_unlock(&set);
    }
}

void retries_unsync(struct retries *retries)
{
    for (size_t s = 0; s < SETS; s++) {
        struct set set = set_lock(retries, s);
        for (int i = 0; i < WAYS; i++) {
            struct retry *retry = &set.ways[i];
            if (waiting(retry) == 0) /* what was never written stays out of memory */
                continue;
            retry->unsynced = (uint8_t)waiting(retry);
            retry->lost = true;
            set_soil(&set);
        }
        set_unlock(&set);
    }
}

struct retries *retries_new(void)
{
    struct retries *retries = calloc(1, sizeof *retries);
    if (retries == NULL)
        return NULL;
    hash_seed(retries->seed);
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_init(&retries->locks[i], NULL);
    retries->sets = calloc(SETS, sizeof *retries->sets);
    if (retries->sets == NULL) {
        retries_free(retries);
        return NULL;
    }
    return retries;
}

void retries_free(struct retries *retries)
{
    if (retries == NULL)
        return;
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&retries->locks[i]);
    free(retries->sets);
    free(retries);
}
