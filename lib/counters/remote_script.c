/* remote_script: what the counter store in Redis asks of its script: the shape of the arguments,
 * grouped by key so that the script has little to do, and of the answers, checked element by element.
 * counters.lua describes both. */
#include "counters/counters.h"
#include "base/unzeroed.h"
#include "remote_call.h"
#include "remote_script.h"
#include "counters/window.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEAD_ARGS = 4,     /* before the asks of a request */
    ASK_ARGS = 3,      /* of one ask; */
    ASK_NUMBERS = 11,  /* in its last word, where it is not a usual one */
    EXTRA_NUMBERS = 2, /* about deferrals */
    PAIR_KEYS = 2,
    PAIR_KEY = 48, /* bytes of one: "retries:{63}:40102" */
    PAIR_TEXT = sizeof((struct count_pair *)NULL)->id + 2 * NETWORK_TEXT,
    DEFERRAL_ARGS = 5,
    ANSWER_ARGS = 8,
    CHANGE_ARGS = 3,    /* of one change; */
    CHANGE_FEW = 4,     /* numbers in its last one, of a usual one, */
    CHANGE_NUMBERS = 9, /* and of others */
    SETTLE_ARGS = 4,
    LEASE_ARGS = 12,
    LEASE_ANSWER = 6,
    BESIDE_KEY = 160, /* a key beside those of counters: a prefix has 64 bytes at most */
};

/* Lua writes numbers below this as digits alone. */
static const int64_t PLAIN_MOST = INT64_C(100000000000000);

static void args_add_now(struct args *args, const struct remote *store, int64_t now_ms)
{
    args_add_number(args, !atomic_load(&store->follow) ? -1 : now_ms < 0 ? 0 : now_ms);
}

/* How long ago: the store has a clock of its own. */
static int64_t ago(const struct count_deferral *deferral, int64_t now_ms)
{
    return now_ms > deferral->at_ms ? now_ms - deferral->at_ms : 0;
}

/* In one of the two hashes of a pair: that of half-day `half`. */
static const char *pair_key(const struct count_pair *pair, int64_t half, char out[PAIR_KEY])
{
    unsigned long hash = strlen(pair->id) == 32 ? strtoul(pair->id + 30, NULL, 16) : 0;
    snprintf(out, PAIR_KEY, "retries:{%lu}:%lld", hash % COUNTERS_RETRY_HASHES, (long long)half);
    return out;
}

/* The two hashes of a pair that was deferred then, or comes now. */
static void args_add_pair_keys(struct args *args, const struct remote *store, const struct count_pair *pair,
                               int64_t at_ms)
{
    int64_t half = store_half_day(at_ms);
    for (int64_t i = 0; i < PAIR_KEYS; i++) {
        char key[PAIR_KEY];
        args_add_key(args, store->prefix, pair_key(pair, half - i, key));
    }
}

/* A request: which keys, which fields in them. */

struct key {
    const char *name;
    int64_t ttl;
    size_t n_fields, first; /* its fields are numbered from first + 1 */
};

struct place {
    const char *limit;
    size_t key, at; /* the at-th field of that key, from 0 */
};

/* Memory for the layout of n asks: each has a place of its own, one to overflow into, and one where new keys are counted. */
#define PLACES_OF(n) (3 * (n))
#define NUMBERS_OF(n) (5 * (n))
enum { FEW = 8 };

struct layout_few { /* on the stack, for up to 8 asks */
    struct key keys[PLACES_OF(FEW)];
    struct place places[PLACES_OF(FEW)];
    size_t numbers[NUMBERS_OF(FEW)];
};

struct layout {
    struct key *keys;
    size_t n_keys;
    struct place *places;
    size_t n_places;
    size_t *place_of, *overflow_of, *new_of; /* of each ask; SIZE_MAX: none */
    bool own;                                /* each ask has a field of its own, and these come first */
    size_t *order, *turn; /* the asks as they are sent: by field, where they are own; and back */
    size_t key_bytes;
    void *block; /* to be freed; NULL where few is enough */
};

static size_t layout_key(struct layout *layout, const char *name, int64_t ttl)
{
    size_t i = 0;
    while (i < layout->n_keys && strcmp(layout->keys[i].name, name) != 0)
        i++;
    if (i == layout->n_keys) {
        layout->keys[layout->n_keys++] = (struct key){.name = name};
        layout->key_bytes += strlen(name) + 2; /* a colon, a NUL */
    }
    if (layout->keys[i].ttl < ttl)
        layout->keys[i].ttl = ttl;
    return i;
}

static size_t layout_place(struct layout *layout, const char *name, const char *limit, int64_t ttl)
{
    size_t key = layout_key(layout, name, ttl);
    for (size_t i = 0; i < layout->n_places; i++)
        if (layout->places[i].key == key && strcmp(layout->places[i].limit, limit) == 0)
            return i;
    layout->places[layout->n_places] =
        (struct place){.limit = limit, .key = key, .at = layout->keys[key].n_fields++};
    return layout->n_places++;
}

/* The number that the script knows a place by; 0 for none. */
static int64_t layout_number(const struct layout *layout, size_t place)
{
    if (place == SIZE_MAX)
        return 0;
    const struct place *at = &layout->places[place];
    return (int64_t)(layout->keys[at->key].first + at->at + 1);
}

static int layout_init(struct layout *layout, size_t n, struct layout_few *few)
{
    *layout = (struct layout){.keys = few->keys, .places = few->places, .place_of = few->numbers};
    if (n > FEW) {
        layout->block = malloc(PLACES_OF(n) * (sizeof(struct key) + sizeof(struct place)) +
                               NUMBERS_OF(n) * sizeof(size_t));
        if (layout->block == NULL)
            return -1;
        layout->keys = layout->block;
        layout->places = (struct place *)(void *)(layout->keys + PLACES_OF(n));
        layout->place_of = (size_t *)(void *)(layout->places + PLACES_OF(n));
    }
    layout->overflow_of = layout->place_of + n;
    layout->new_of = layout->overflow_of + n;
    layout->order = layout->new_of + n;
    layout->turn = layout->order + n;
    return 0;
}

/* The keys of the asks, then those that new ones overflow into. */
static void layout_places(struct layout *layout, const struct count_request *request)
{
    for (size_t i = 0; i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        layout->place_of[i] = layout_place(layout, ask->key, ask->limit, store_ttl(ask));
        layout->overflow_of[i] = layout->new_of[i] = SIZE_MAX;
    }
    layout->own = layout->n_places == request->n;
    for (size_t i = 0; i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        if ((ask->flags & COUNT_EXISTING) != 0)
            layout->overflow_of[i] = layout->place_of[i];
        if (ask->overflow == NULL)
            continue;
        layout->overflow_of[i] = layout_place(layout, ask->overflow, ask->limit, store_ttl(ask));
        layout->new_of[i] =
            layout_place(layout, ask->new_key, COUNTERS_NEW_LIMIT, 2 * COUNTERS_NEW_WINDOW_MS);
    }
}

static void layout_make(struct layout *layout, const struct count_request *request)
{
    layout_places(layout, request);
    for (size_t i = 1; i < layout->n_keys; i++)
        layout->keys[i].first = layout->keys[i - 1].first + layout->keys[i - 1].n_fields;
    for (size_t i = 0; i < request->n; i++)
        layout->own = layout->own && layout_number(layout, layout->place_of[i]) <= (int64_t)request->n;
    for (size_t i = 0; i < request->n; i++) {
        layout->turn[i] = layout->own ? (size_t)layout_number(layout, layout->place_of[i]) - 1 : i;
        layout->order[layout->turn[i]] = i;
    }
}

/* What the script is told beside numbers: is what an ask charges open, and what is counted. */
static const char *word_of(bool open, enum count_unit unit)
{
    static const char *const words[2][COUNT_UNITS] = {{"", "messages", "bytes", "attempts"},
                                                      {"h", "hmessages", "hbytes", "hattempts"}};
    return words[open][unit];
}

/* The turn-th ask. */
static void add_ask(struct args *args, const struct layout *layout, const struct count_request *request,
                    size_t turn)
{
    size_t i = layout->order[turn];
    const struct count_ask *ask = &request->asks[i];
    const int64_t usual[ASK_NUMBERS] = {(int64_t)turn + 1, 0, 0, 0, 1, 1};
    const int64_t numbers[ASK_NUMBERS] = {
        layout_number(layout, layout->place_of[i]),
        layout_number(layout, layout->overflow_of[i]),
        layout_number(layout, layout->new_of[i]),
        ask->overflow != NULL ? ask->new_max : 0,
        ask->amount,
        ask->need,
        ask->hold_ms,
        (int64_t)(ask->flags & ~(unsigned)(COUNT_HARD | COUNT_EXISTING | COUNT_REJECT)),
        ask->share_of < 0 ? 0 : (int64_t)layout->turn[ask->share_of] + 1,
        ask->share_above,
        ask->headroom};
    args_add_number(args, ask->window_ms);
    args_add_number(args, ask->max);
    const char *word = word_of((ask->flags & (COUNT_HARD | COUNT_ATTEMPT)) == COUNT_HARD, ask->unit);
    if (memcmp(numbers, usual, sizeof usual) == 0)
        args_add(args, word);
    else
        args_add_numbers(args, word, numbers, ASK_NUMBERS);
}

static void add_keys(struct args *args, const struct layout *layout)
{
    for (size_t k = 0; k < layout->n_keys; k++) {
        args_add_number(args, layout->keys[k].ttl);
        args_add_number(args, (int64_t)layout->keys[k].n_fields);
        for (size_t p = 0; p < layout->n_places; p++) /* in the order of their numbers within the key */
            if (layout->places[p].key == k)
                args_add(args, layout->places[p].limit);
    }
}

/* Is it what counters.lua calls plain? */
static bool is_plain(const struct count_request *request, const struct layout *layout)
{
    if (!layout->own || request->deferred != NULL || request->retry || request->refused)
        return false;
    for (size_t i = 0; i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        if (ask->amount != 1 || ask->need != 1 || ask->max >= PLAIN_MOST ||
            (ask->flags & (COUNT_HOLD_ONLY | COUNT_AGAIN)) != 0)
            return false;
    }
    return true;
}

static const char *mode_name(enum counters_mode mode, const struct count_request *request,
                             const struct layout *layout)
{
    if (mode == COUNTERS_PEEK)
        return "peek";
    if (mode == COUNTERS_CHARGE)
        return "charge";
    return request->refused ? "attempts" : is_plain(request, layout) ? "plain" : "reserve";
}

/* The pair, and what was deferred of it in the last moments. */
static void add_pair(struct args *args, const struct count_request *request, int64_t now_ms)
{
    const struct count_deferral *deferred = request->deferred;
    char pair[PAIR_TEXT], client[NETWORK_TEXT], before[NETWORK_TEXT] = "-";
    if (deferred != NULL)
        network_format(&deferred->pair.client, before);
    snprintf(pair, sizeof pair, "%s %s %s", request->pair->id, network_format(&request->pair->client, client),
             before);
    const int64_t numbers[EXTRA_NUMBERS] = {deferred != NULL ? deferred->n : 0,
                                            deferred != NULL ? ago(deferred, now_ms) : 0};
    args_add_numbers(args, pair, numbers, EXTRA_NUMBERS);
}

static int make_args(const struct remote *store, enum counters_mode mode, const struct count_request *request,
                     int64_t now_ms, const struct layout *layout, struct args *args)
{
    size_t most = HEAD_ARGS + ASK_ARGS * request->n + 3 * layout->n_keys + PAIR_KEYS + layout->n_places;
    size_t numbers = HEAD_ARGS + EXTRA_NUMBERS + (2 + ASK_NUMBERS) * request->n + 2 * layout->n_keys;
    size_t text = numbers * (ARGS_NUMBER + 1) + request->n * sizeof "recipients" + layout->key_bytes +
                  layout->n_keys * strlen(store->prefix) + PAIR_KEYS * (strlen(store->prefix) + PAIR_KEY) +
                  PAIR_TEXT;
    if (args_init(args, most, text) < 0)
        return -1;
    for (size_t k = 0; k < layout->n_keys; k++)
        args_add_key(args, store->prefix, layout->keys[k].name);
    if (request->pair != NULL)
        args_add_pair_keys(args, store, request->pair, now_ms);
    const char *name = mode_name(mode, request, layout);
    args->joins = request->pair == NULL && strcmp(name, "plain") == 0;
    args->repeats = mode == COUNTERS_CHARGE; /* of nothing: it makes counters */
    args_add(args, name);
    args_add_now(args, store, now_ms);
    if (request->pair != NULL)
        add_pair(args, request, now_ms);
    else
        args_add(args, request->retry ? "retry" : "");
    args_add_number(args, (int64_t)request->n);
    for (size_t turn = 0; turn < request->n; turn++)
        add_ask(args, layout, request, turn);
    add_keys(args, layout);
    return 0;
}

/* Reads one ask's numbers; false when they cannot be. */
static bool read_answer(redisReply *const *numbers, const struct count_ask *ask, struct count_answer *out)
{
    long long result = numbers[0]->integer,
              most = (ask->flags & COUNT_EXISTING) != 0 ? COUNT_ABSENT : COUNT_HELD;
    if (result < COUNT_ADMITTED || result > most || numbers[1]->integer < 0 || numbers[2]->integer < 0 ||
        numbers[6]->integer < 0 || numbers[7]->integer < 0)
        return false;
    *out = (struct count_answer){.result = (enum count_result)result,
                                 .used = numbers[1]->integer,
                                 .wait_ms = numbers[2]->integer,
                                 .slot = numbers[3]->integer,
                                 .created = numbers[4]->integer,
                                 .overflowed = (numbers[5]->integer & 1) != 0,
                                 .retry = (numbers[5]->integer & 2) != 0,
                                 .taken = numbers[6]->integer,
                                 .hard_ms = numbers[7]->integer,
                                 .hard = numbers[7]->integer > 0,
                                 .here = -1};
    return true;
}

/* The next number of a text: digits alone, 16 at most, as WINDOW_MOST has, with a blank or the end behind them. */
static bool take_number(const char **at, int64_t *out)
{
    enum { DIGITS = 16 };
    uint64_t number = 0; /* whatever more digits make of it */
    const char *digit = *at;
    for (unsigned value; (value = (unsigned)*digit - '0') <= 9; digit++)
        number = number * 10 + value;
    if (digit == *at || digit - *at > DIGITS || number > (uint64_t)WINDOW_MOST ||
        (*digit != ' ' && *digit != '\0'))
        return false;
    *at = *digit == ' ' && digit[1] != '\0' ? digit + 1 : digit;
    *out = (int64_t)number;
    return true;
}

/* The short answer to a plain request, all of which was admitted: "TIME USED CREATED USED CREATED". */
static bool read_plain(const char *text, const struct count_request *request, const struct layout *layout,
                       struct count_answer *answers)
{
    int64_t now, used, created;
    bool good = take_number(&text, &now);
    for (size_t turn = 0; turn < request->n && good; turn++) {
        const struct count_ask *ask = &request->asks[layout->order[turn]];
        const bool kept = (ask->flags & COUNT_ATTEMPT) != 0; /* never given back */
        good = take_number(&text, &used) && take_number(&text, &created);
        if (good)
            answers[layout->order[turn]] =
                (struct count_answer){.result = COUNT_ADMITTED,
                                      .used = used,
                                      .slot = kept ? -1 : window_slot(ask->window_ms, now),
                                      .created = created,
                                      .here = -1};
    }
    return good && *text == '\0';
}

static bool read_full(const redisReply *reply, const struct count_request *request,
                      const struct layout *layout, struct count_answer *answers)
{
    bool good = reply->elements == 1 + request->n * ANSWER_ARGS;
    for (size_t turn = 0; answers != NULL && turn < request->n && good; turn++)
        good = read_answer(&reply->element[1 + turn * ANSWER_ARGS], &request->asks[layout->order[turn]],
                           &answers[layout->order[turn]]);
    return good;
}

static enum counters_status ask_script(struct remote *store, enum counters_mode mode,
                                       const struct count_request *request, int64_t now_ms,
                                       const struct layout *layout, struct count_answer *answers)
{
    struct args args UNZEROED;
    if (make_args(store, mode, request, now_ms, layout, &args) < 0)
        return COUNTERS_DOWN;
    int n_keys = (int)layout->n_keys + (request->pair != NULL ? PAIR_KEYS : 0);
    redisReply *reply = NULL;
    enum counters_status status = remote_call_script(store, &args, n_keys, request->deadline, &reply);
    args_done(&args);
    if (status == COUNTERS_OK && !(reply->type == REDIS_REPLY_STRING && answers != NULL
                                       ? read_plain(reply->str, request, layout, answers)
                                       : read_full(reply, request, layout, answers)))
        status = remote_call_garbled(store, reply);
    if (reply != NULL)
        freeReplyObject(reply);
    return status;
}

enum counters_status remote_script_ask(struct counters *counters, enum counters_mode mode,
                                       const struct count_request *request, int64_t now_ms,
                                       struct count_answer *answers)
{
    struct remote *store = (struct remote *)counters;
    struct layout layout;
    struct layout_few few UNZEROED;
    enum counters_status status = COUNTERS_DOWN;
    if (layout_init(&layout, request->n, &few) == 0) {
        layout_make(&layout, request);
        status = ask_script(store, mode, request, now_ms, &layout, answers);
        free(layout.block);
    }
    if (status != COUNTERS_OK && answers != NULL)
        memset(answers, 0, request->n * sizeof *answers);
    /* Whatever became of a look: it charged nothing. */
    return status == COUNTERS_UNSURE && mode == COUNTERS_PEEK ? COUNTERS_DOWN : status;
}

/* Changes. */

static bool is_change(const struct count_change *change)
{
    return (change->slot >= 0 || change->at_ms > 0) && change->window_ms >= 1 &&
           (change->amount != 0 || change->open != 0 || change->late > 0 ||
            change->check != COUNT_CHECK_NOTHING);
}

static void add_change(struct args *args, const struct count_change *change, int64_t now_ms)
{
    const bool usual = change->slot >= 0 && change->late == 0 && change->check == COUNT_CHECK_NOTHING;
    const int64_t numbers[CHANGE_NUMBERS] = {
        change->window_ms,
        change->slot < 0 ? -1 : change->slot,
        change->amount,
        change->open,
        change->at_ms > 0 && change->at_ms < now_ms ? now_ms - change->at_ms : 0, /* its age */
        change->late,
        change->max,
        change->ttl_ms,
        (int64_t)change->check};
    args_add(args, change->limit);
    args_add_number(args, change->created);
    args_add_numbers(args, usual ? "" : word_of(false, change->unit), numbers,
                     usual ? CHANGE_FEW : CHANGE_NUMBERS);
}

/* Some changes, at most COUNTERS_SYNC_MOST, all of one site. */
struct some {
    const struct count_change *list[COUNTERS_SYNC_MOST];
    size_t n;
};

static void args_add_change(struct args *args, const struct some *some, int64_t now_ms)
{
    for (size_t i = 0; i < some->n; i++)
        if (is_change(some->list[i]))
            add_change(args, some->list[i], now_ms);
}

/* sequence 0: it is no sync. Nothing to be done: COUNTERS_OK, and *out is NULL. */
static enum counters_status change_some(struct remote *store, const char *verb, const struct some *some,
                                        int64_t now_ms, int64_t sequence, int64_t deadline, redisReply **out)
{
    size_t text = 3 * ARGS_NUMBER, real = 0;
    char mark[BESIDE_KEY] = "";
    for (size_t i = 0; i < some->n; i++) {
        text += strlen(store->prefix) + strlen(some->list[i]->key) + 2 + sizeof "messages" +
                (1 + CHANGE_NUMBERS) * (ARGS_NUMBER + 1);
        real += is_change(some->list[i]);
    }
    struct args args;
    *out = NULL;
    if (real == 0)
        return COUNTERS_OK;
    if (args_init(&args, 5 + real * (1 + CHANGE_ARGS), text) < 0)
        return COUNTERS_DOWN;
    for (size_t i = 0; i < some->n; i++)
        if (is_change(some->list[i]))
            args_add_key(&args, store->prefix, some->list[i]->key);
    if (sequence > 0) {
        (void)redis_client_key_beside(store->redis, store_site(&store->counters, some->list[0]->key),
                                      store->syncs, mark, sizeof mark);
        args_add(&args, mark);
    }
    int n_keys = args.argc;
    args.repeats = sequence > 0; /* only its number is written before all that may be stopped */
    args_add(&args, verb);
    args_add_now(&args, store, now_ms);
    args_add_number(&args, (int64_t)real);
    args_add_number(&args, sequence);
    args_add_change(&args, some, now_ms);
    enum counters_status status = remote_call_script(store, &args, n_keys, deadline, out);
    args_done(&args);
    return status;
}

static enum counters_status change_unheard(struct remote *store, const struct some *some, int64_t now_ms,
                                           int64_t sequence)
{
    redisReply *reply = NULL;
    enum counters_status status = change_some(store, "change", some, now_ms, sequence, 0, &reply);
    if (reply != NULL)
        freeReplyObject(reply);
    return status;
}

/* What became of some of them, and marks those that were made, or may have been. */
static void change_mark(struct count_change *changes, const struct some *some, enum counters_status status)
{
    for (size_t i = 0; i < some->n && (status == COUNTERS_OK || status == COUNTERS_UNSURE); i++)
        store_mark_synced(&changes[some->list[i] - changes]);
}

/* Those of the site of the first. */
static enum counters_status change_site(struct remote *store, struct count_change *changes,
                                        const struct some *some, int64_t now_ms)
{
    enum counters_status worst = change_unheard(store, some, now_ms, 0);
    change_mark(changes, some, worst);
    if (worst != COUNTERS_SPLIT)
        return worst;
    worst = COUNTERS_OK;
    for (size_t i = 0; i < some->n; i++) {
        const struct some one = {.list = {some->list[i]}, .n = 1};
        enum counters_status status = change_unheard(store, &one, now_ms, 0);
        change_mark(changes, &one, status);
        worst = store_worse(worst, status == COUNTERS_SPLIT ? COUNTERS_DOWN : status);
    }
    return worst;
}

/* At most COUNTERS_SYNC_MOST. */
static enum counters_status change_sites(struct remote *store, struct count_change *changes, size_t n,
                                         int64_t now_ms)
{
    bool tried[COUNTERS_SYNC_MOST] = {false};
    enum counters_status worst = COUNTERS_OK;
    for (size_t i = 0; i < n; i++) {
        struct some some = {.n = 0};
        if (tried[i])
            continue;
        unsigned site = store_site(&store->counters, changes[i].key);
        for (size_t k = i; k < n; k++)
            if (!tried[k] && store_site(&store->counters, changes[k].key) == site) {
                tried[k] = true;
                some.list[some.n++] = &changes[k];
            }
        worst = store_worse(worst, change_site(store, changes, &some, now_ms));
    }
    return worst;
}

enum counters_status remote_script_change(struct counters *counters, struct count_change *changes, size_t n,
                                          int64_t now_ms)
{
    enum counters_status worst = COUNTERS_OK;
    for (size_t i = 0; i < n; i += COUNTERS_SYNC_MOST) {
        size_t some = n - i < COUNTERS_SYNC_MOST ? n - i : COUNTERS_SYNC_MOST;
        worst = store_worse(worst, change_sites((struct remote *)counters, changes + i, some, now_ms));
    }
    return worst;
}

static void some_all(struct some *some, const struct count_change *changes, size_t n)
{
    for (some->n = 0; some->n < n; some->n++)
        some->list[some->n] = &changes[some->n];
}

enum counters_status remote_script_sync(struct counters *counters, const struct count_change *changes,
                                        size_t n, int64_t now_ms, int64_t sequence)
{
    struct some some;
    assert(n <= COUNTERS_SYNC_MOST && sequence > 0);
    some_all(&some, changes, n);
    enum counters_status status = change_unheard((struct remote *)counters, &some, now_ms, sequence);
    return status == COUNTERS_SPLIT ? COUNTERS_DOWN : status;
}

static bool read_settled(redisReply *const *numbers, struct count_answer *out)
{
    long long result = numbers[0]->integer;
    *out = (struct count_answer){.result = result == COUNT_OVER ? COUNT_OVER : COUNT_ADMITTED,
                                 .used = numbers[1]->integer,
                                 .wait_ms = numbers[2]->integer,
                                 .taken = numbers[3]->integer,
                                 .slot = -1,
                                 .here = -1};
    return (result == COUNT_ADMITTED || result == COUNT_OVER) && out->used >= 0 && out->wait_ms >= 0;
}

enum counters_status remote_script_settle(struct counters *counters, const struct count_change *changes,
                                          size_t n, int64_t now_ms, int64_t deadline,
                                          struct count_answer *answers)
{
    struct remote *store = (struct remote *)counters;
    struct some some;
    redisReply *reply = NULL;
    assert(n <= COUNTERS_SYNC_MOST);
    some_all(&some, changes, n);
    enum counters_status status = change_some(store, "settle", &some, now_ms, 0, deadline, &reply);
    size_t at = 1;
    bool good = status == COUNTERS_OK;
    for (size_t i = 0; i < n && good; i++) {
        answers[i] = (struct count_answer){.result = COUNT_ADMITTED, .slot = -1, .here = -1};
        if (!is_change(&changes[i]))
            continue;
        good = reply != NULL && reply->elements >= at + SETTLE_ARGS &&
               read_settled(&reply->element[at], &answers[i]);
        at += SETTLE_ARGS;
    }
    if (status == COUNTERS_OK && !good && reply != NULL)
        status = remote_call_garbled(store, reply);
    if (reply != NULL)
        freeReplyObject(reply);
    return status == COUNTERS_SPLIT ? COUNTERS_DOWN : status;
}

/* Deferrals, at most COUNTERS_DEFERRALS, of pairs of one site. */
struct deferred {
    const struct count_deferral *list[COUNTERS_DEFERRALS];
    size_t n;
};

static unsigned pair_site(struct remote *store, const struct count_pair *pair)
{
    char key[PAIR_KEY];
    return store_site(&store->counters, pair_key(pair, 0, key));
}

static enum counters_status deferred_site(struct remote *store, const struct deferred *some, int64_t now_ms)
{
    struct args args;
    char clients[COUNTERS_DEFERRALS][NETWORK_TEXT];
    size_t n = some->n;
    if (args_init(&args, 3 + (PAIR_KEYS + DEFERRAL_ARGS) * n,
                  2 * ARGS_NUMBER + n * (2 * ARGS_NUMBER + PAIR_KEYS * (strlen(store->prefix) + PAIR_KEY))) <
        0)
        return COUNTERS_DOWN;
    for (size_t i = 0; i < n; i++)
        args_add_pair_keys(&args, store, &some->list[i]->pair, some->list[i]->at_ms);
    args_add(&args, "deferred");
    args_add_now(&args, store, now_ms);
    args_add_number(&args, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        const struct count_deferral *deferral = some->list[i];
        args_add(&args, deferral->pair.id);
        args_add(&args, network_format(&deferral->pair.client, clients[i]));
        args_add_number(&args, ago(deferral, now_ms));
        args_add_number(&args, deferral->n);
        args_add(&args, deferral->least ? "1" : "0");
    }
    redisReply *reply = NULL;
    enum counters_status status = remote_call_script(store, &args, PAIR_KEYS * (int)n, 0, &reply);
    args_done(&args);
    if (reply != NULL)
        freeReplyObject(reply);
    return status == COUNTERS_SPLIT ? COUNTERS_DOWN : status;
}

enum counters_status remote_script_deferred(struct counters *counters, struct count_deferral *deferrals,
                                            size_t n, int64_t now_ms)
{
    struct remote *store = (struct remote *)counters;
    bool tried[COUNTERS_DEFERRALS] = {false};
    enum counters_status worst = COUNTERS_OK;
    assert(n <= COUNTERS_DEFERRALS);
    for (size_t i = 0; i < n; i++) {
        struct deferred some = {.n = 0};
        if (tried[i])
            continue;
        unsigned site = pair_site(store, &deferrals[i].pair);
        for (size_t k = i; k < n; k++)
            if (!tried[k] && pair_site(store, &deferrals[k].pair) == site) {
                tried[k] = true;
                some.list[some.n++] = &deferrals[k];
            }
        enum counters_status status = deferred_site(store, &some, now_ms);
        for (size_t k = 0; k < some.n && status != COUNTERS_DOWN; k++)
            deferrals[some.list[k] - deferrals].n = 0;
        worst = store_worse(worst, status);
    }
    return worst;
}

enum counters_status remote_script_retry(struct counters *counters, const struct count_request *request,
                                         bool look, int64_t now_ms, bool *out)
{
    struct remote *store = (struct remote *)counters;
    struct args args;
    if (args_init(&args, PAIR_KEYS + 3,
                  PAIR_KEYS * (strlen(store->prefix) + PAIR_KEY) + PAIR_TEXT +
                      (2 + EXTRA_NUMBERS) * (ARGS_NUMBER + 1)) < 0)
        return COUNTERS_DOWN;
    args_add_pair_keys(&args, store, request->pair, now_ms);
    args_add(&args, look ? "look" : "take");
    args_add_now(&args, store, now_ms);
    add_pair(&args, request, now_ms);
    redisReply *reply = NULL;
    enum counters_status status = remote_call_script(store, &args, PAIR_KEYS, request->deadline, &reply);
    args_done(&args);
    if (status == COUNTERS_OK && (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2))
        status = remote_call_garbled(store, reply);
    else if (status == COUNTERS_OK)
        *out = reply->element[1]->integer == 1;
    if (reply != NULL)
        freeReplyObject(reply);
    return status == COUNTERS_SPLIT ? COUNTERS_DOWN : status;
}

/* Leases. */

static bool read_grant(const redisReply *reply, int64_t most, struct lease_grant *out)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != LEASE_ANSWER)
        return false;
    const struct lease_grant grant = {.units = reply->element[1]->integer,
                                      .used = reply->element[2]->integer,
                                      .slot = reply->element[3]->integer,
                                      .created = reply->element[4]->integer,
                                      .left_ms = reply->element[5]->integer};
    if (grant.units < 0 || grant.units > most || grant.used < 0 || grant.used > WINDOW_MOST || grant.slot < 0)
        return false;
    *out = grant;
    return true;
}

enum counters_status remote_script_lease(struct counters *counters, const struct count_ask *ask, int64_t most,
                                         const struct lease_rest *rest, int64_t now_ms, int64_t deadline,
                                         struct lease_grant *out)
{
    struct remote *store = (struct remote *)counters;
    struct args args;
    char beside[BESIDE_KEY];
    if (args_init(&args, 2 + LEASE_ARGS, strlen(store->prefix) + strlen(ask->key) + 2 + 9 * ARGS_NUMBER) < 0)
        return COUNTERS_DOWN;
    (void)redis_client_key_beside(store->redis, store_site(counters, ask->key), "leases:all", beside,
                                  sizeof beside);
    args_add_key(&args, store->prefix, ask->key);
    args_add(&args, beside);
    args_add(&args, "lease");
    args_add_now(&args, store, now_ms);
    args_add(&args, ask->limit);
    args_add_number(&args, ask->window_ms);
    args_add_number(&args, ask->max);
    args_add(&args, word_of(false, ask->unit));
    args_add_number(&args, most);
    args_add(&args, store->syncs); /* the name of this process */
    args_add_number(&args, store_ttl(ask));
    args_add_number(&args, rest->units);
    args_add_number(&args, rest->slot);
    args_add_number(&args, rest->created);
    redisReply *reply = NULL;
    enum counters_status status = remote_call_script(store, &args, 2, deadline, &reply);
    args_done(&args);
    if (status == COUNTERS_OK && !read_grant(reply, most, out))
        status = remote_call_garbled(store, reply);
    if (reply != NULL)
        freeReplyObject(reply);
    return status;
}

enum counters_status remote_script_refused(struct counters *counters, const char *key, const char *limit,
                                           int64_t n, int64_t now_ms)
{
    struct remote *store = (struct remote *)counters;
    struct args args;
    if (args_init(&args, 5, strlen(store->prefix) + strlen(key) + 2 + 3 * ARGS_NUMBER) < 0)
        return COUNTERS_DOWN;
    args_add_key(&args, store->prefix, key);
    args_add(&args, "refused");
    args_add_now(&args, store, now_ms);
    args_add(&args, limit);
    args_add_number(&args, n);
    redisReply *reply = NULL;
    enum counters_status status = remote_call_script(store, &args, 1, 0, &reply);
    args_done(&args);
    if (reply != NULL)
        freeReplyObject(reply);
    return status;
}
