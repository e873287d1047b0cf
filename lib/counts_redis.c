/* counts_redis: the counter store in Redis, over the client of redis.h and the script counts.lua.
 *
 * Owns the client, and the shape of what goes over the wire: a request becomes one EVALSHA whose arguments are grouped by
 * key, so that the script has little to do. Every answer is checked element by element; one that makes no sense is
 * COUNTS_UNSURE and shows as trouble until a good one came. */
#include "counter.h"
#include "counts_ops.h"
#include "redis.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char counts_lua[];

enum {
    NUMBER_SIZE = 21, /* of an int64_t as text, with the NUL */
    ASK_WORDS = 10,   /* of one ask in the script's arguments */
    HEAD_WORDS = 7,   /* before them */
    ANSWER_WORDS = 6, /* of one ask in its answer */
    CHANGE_WORDS = 6, /* of one change */
    CHANGES_AT_ONCE = 256,
    SCAN_COUNT = 1000,
};

struct redis_counts {
    struct counts counts;
    struct redis *redis;
    struct redis_script script;
    char *prefix, *retries; /* the key of the retries */
    atomic_bool follow;     /* the caller's clock */
    _Atomic uint64_t junk;
    atomic_bool garbled;
    pthread_mutex_t lock; /* of: */
    struct error garbage;
};

/* Words for the wire: one block of memory for pointers, lengths and text, sized beforehand. */
struct words {
    int argc;
    const char **argv;
    size_t *lens;
    char *text;
    void *block;
};

static int words_init(struct words *words, size_t most, size_t text_size)
{
    words->argc = 0;
    words->block = malloc(most * (sizeof *words->argv + sizeof *words->lens) + text_size);
    if (words->block == NULL)
        return -1;
    words->argv = words->block;
    words->lens = (size_t *)(words->argv + most);
    words->text = (char *)(words->lens + most);
    return 0;
}

static void words_add(struct words *words, const char *word)
{
    words->argv[words->argc] = word;
    words->lens[words->argc++] = strlen(word);
}

static void words_add_number(struct words *words, int64_t number)
{
    char digits[NUMBER_SIZE], *at = digits + sizeof digits;
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do
        *--at = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (number < 0)
        *--at = '-';
    size_t n = (size_t)(digits + sizeof digits - at);
    words->argv[words->argc] = memcpy(words->text, at, n);
    words->lens[words->argc++] = n;
    words->text += n;
}

static void words_add_key(struct words *words, const char *prefix, const char *key)
{
    size_t n = strlen(prefix), m = strlen(key);
    char *text = words->text;
    memcpy(text, prefix, n);
    text[n] = ':';
    memcpy(text + n + 1, key, m);
    words->argv[words->argc] = text;
    words->lens[words->argc++] = n + 1 + m;
    words->text += n + 1 + m;
}

static void words_add_now(struct words *words, const struct redis_counts *store, int64_t now_ms)
{
    words_add_number(words, !atomic_load(&store->follow) ? -1 : now_ms < 0 ? 0 : now_ms);
}

/* What the answers look like. */

static enum counts_status garbled(struct redis_counts *store, const redisReply *reply)
{
    pthread_mutex_lock(&store->lock);
    store->garbage = (struct error){0};
    if (reply->type == REDIS_REPLY_ERROR)
        error_set(&store->garbage, "Redis fails on the counters: %s", reply->str);
    else
        error_set(&store->garbage,
                  "Redis gives answers that make no sense (type %d): is it a Redis, and are the keys "
                  "under \"%s:\" left to the gate alone?",
                  reply->type, store->prefix);
    atomic_store(&store->garbled, true);
    pthread_mutex_unlock(&store->lock);
    return COUNTS_UNSURE;
}

/* An array of n numbers, the first of which says how much junk was found. */
static bool is_numbers(const redisReply *reply, size_t n)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != n || n == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (reply->element[i] == NULL || reply->element[i]->type != REDIS_REPLY_INTEGER)
            return false;
    return reply->element[0]->integer >= 0;
}

static enum counts_status from_status(enum redis_status status)
{
    return status == REDIS_ANSWERED ? COUNTS_OK : status == REDIS_DOWN ? COUNTS_DOWN : COUNTS_UNSURE;
}

/* Runs the script; *reply is an array of n numbers, and the caller's to free, when COUNTS_OK. */
static enum counts_status run(struct redis_counts *store, const struct words *words, int n_keys, size_t n,
                              redisReply **out)
{
    const struct redis_command args = {words->argc, words->argv, words->lens};
    redisReply *reply = NULL;
    enum counts_status status = from_status(redis_eval(store->redis, &store->script, n_keys, &args, &reply));
    if (status != COUNTS_OK)
        return status;
    if (!is_numbers(reply, n)) {
        status = garbled(store, reply);
        freeReplyObject(reply);
        return status;
    }
    if (atomic_load(&store->garbled))
        atomic_store(&store->garbled, false);
    if (reply->element[0]->integer > 0)
        atomic_fetch_add(&store->junk, (uint64_t)reply->element[0]->integer);
    *out = reply;
    return COUNTS_OK;
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

struct layout {
    struct key *keys;
    size_t n_keys;
    struct place *places;
    size_t n_places;
    size_t *place_of, *spill_of; /* of each ask; SIZE_MAX: no spill */
    size_t new_place;            /* SIZE_MAX: no new keys are counted */
    size_t key_bytes;
};

static size_t layout_key(struct layout *layout, const char *name, int64_t ttl)
{
    size_t i = 0;
    while (i < layout->n_keys && strcmp(layout->keys[i].name, name) != 0)
        i++;
    if (i == layout->n_keys) {
        layout->keys[layout->n_keys++] = (struct key){.name = name};
        layout->key_bytes += strlen(name) + 1;
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

static int layout_make(struct layout *layout, const struct count_request *request)
{
    size_t most = 2 * request->n + 1;
    *layout = (struct layout){.new_place = SIZE_MAX};
    char *block = malloc(most * (sizeof(struct key) + sizeof(struct place) + sizeof(size_t)));
    if (block == NULL)
        return -1;
    layout->keys = (struct key *)(void *)block;
    layout->places = (struct place *)(void *)(layout->keys + most);
    layout->place_of = (size_t *)(void *)(layout->places + most);
    layout->spill_of = layout->place_of + request->n;
    for (size_t i = 0; i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        int64_t ttl = counts_ttl(ask);
        bool spill = ask->spill != NULL && request->new_key != NULL;
        layout->place_of[i] = layout_place(layout, ask->key, ask->limit, ttl);
        layout->spill_of[i] = spill ? layout_place(layout, ask->spill, ask->limit, ttl) : SIZE_MAX;
        if (spill && layout->new_place == SIZE_MAX)
            layout->new_place =
                layout_place(layout, request->new_key, COUNTS_NEW_LIMIT, 2 * COUNTS_NEW_WINDOW_MS);
    }
    for (size_t i = 1; i < layout->n_keys; i++)
        layout->keys[i].first = layout->keys[i - 1].first + layout->keys[i - 1].n_fields;
    return 0;
}

static void add_ask(struct words *words, const struct layout *layout, const struct count_request *request,
                    size_t i)
{
    const struct count_ask *ask = &request->asks[i];
    words_add_number(words, layout_number(layout, layout->place_of[i]));
    words_add_number(words, layout_number(layout, layout->spill_of[i]));
    words_add_number(words, ask->max);
    words_add_number(words, ask->window_ms);
    words_add_number(words, ask->amount);
    words_add_number(words, ask->need);
    words_add_number(words, ask->hold_ms);
    words_add_number(words, (int64_t)ask->flags);
    words_add_number(words, ask->share_of + 1);
    words_add_number(words, ask->share_above);
}

static void add_keys(struct words *words, const struct layout *layout)
{
    for (size_t k = 0; k < layout->n_keys; k++) {
        words_add_number(words, layout->keys[k].ttl);
        words_add_number(words, (int64_t)layout->keys[k].n_fields);
        for (size_t p = 0; p < layout->n_places; p++) /* in the order of their numbers within the key */
            if (layout->places[p].key == k)
                words_add(words, layout->places[p].limit);
    }
}

static const char *const mode_names[] = {
    [COUNTS_RESERVE] = "reserve", [COUNTS_PEEK] = "peek", [COUNTS_CHARGE] = "charge"};

static int make_words(const struct redis_counts *store, enum counts_mode mode,
                      const struct count_request *request, int64_t now_ms, const struct layout *layout,
                      struct words *words)
{
    size_t numbers = HEAD_WORDS + ASK_WORDS * request->n + 2 * layout->n_keys;
    size_t most = numbers + layout->n_keys + 1 + layout->n_places;
    size_t text = numbers * NUMBER_SIZE + layout->key_bytes + layout->n_keys * strlen(store->prefix);
    if (words_init(words, most, text) < 0)
        return -1;
    for (size_t k = 0; k < layout->n_keys; k++)
        words_add_key(words, store->prefix, layout->keys[k].name);
    if (request->retry != NULL)
        words_add(words, store->retries);
    words_add(words, mode_names[mode]);
    words_add_now(words, store, now_ms);
    words_add(words, request->retry != NULL ? request->retry : "");
    words_add_number(words, layout_number(layout, layout->new_place));
    words_add_number(words, request->new_max);
    words_add_number(words, COUNTS_NEW_WINDOW_MS);
    words_add_number(words, (int64_t)request->n);
    for (size_t i = 0; i < request->n; i++)
        add_ask(words, layout, request, i);
    add_keys(words, layout);
    return 0;
}

/* Reads one ask's numbers; false when they cannot be. */
static bool read_answer(redisReply *const *numbers, struct count_answer *out)
{
    long long result = numbers[0]->integer;
    if (result < COUNT_ADMITTED || result > COUNT_HELD || numbers[1]->integer < 0 || numbers[2]->integer < 0)
        return false;
    *out = (struct count_answer){.result = (enum count_result)result,
                                 .used = numbers[1]->integer,
                                 .wait_ms = numbers[2]->integer,
                                 .slot = numbers[3]->integer,
                                 .born = numbers[4]->integer,
                                 .spilled = numbers[5]->integer != 0};
    return true;
}

static enum counts_status read_answers(struct redis_counts *store, const redisReply *reply, size_t n,
                                       struct count_answer *answers)
{
    for (size_t i = 0; answers != NULL && i < n; i++)
        if (!read_answer(&reply->element[1 + i * ANSWER_WORDS], &answers[i]))
            return garbled(store, reply);
    return COUNTS_OK;
}

static enum counts_status ask_script(struct redis_counts *store, enum counts_mode mode,
                                     const struct count_request *request, int64_t now_ms,
                                     const struct layout *layout, struct count_answer *answers)
{
    struct words words;
    if (make_words(store, mode, request, now_ms, layout, &words) < 0)
        return COUNTS_DOWN;
    int n_keys = (int)layout->n_keys + (request->retry != NULL);
    redisReply *reply = NULL;
    enum counts_status status = run(store, &words, n_keys, 1 + request->n * ANSWER_WORDS, &reply);
    free(words.block);
    if (status == COUNTS_OK)
        status = read_answers(store, reply, request->n, answers);
    if (reply != NULL)
        freeReplyObject(reply);
    return status;
}

static enum counts_status redis_ask(struct counts *counts, enum counts_mode mode,
                                    const struct count_request *request, int64_t now_ms,
                                    struct count_answer *answers)
{
    struct redis_counts *store = (struct redis_counts *)counts;
    struct layout layout;
    enum counts_status status = COUNTS_DOWN;
    if (layout_make(&layout, request) == 0) {
        status = ask_script(store, mode, request, now_ms, &layout, answers);
        free(layout.keys);
    }
    if (status != COUNTS_OK && answers != NULL)
        memset(answers, 0, request->n * sizeof *answers);
    /* Whatever became of a look: it charged nothing. */
    return status == COUNTS_UNSURE && mode == COUNTS_PEEK ? COUNTS_DOWN : status;
}

/* Changes. */

static bool is_change(const struct count_change *change)
{
    return change->slot >= 0 && change->amount != 0 && change->window_ms >= 1;
}

/* At most CHANGES_AT_ONCE. */
static enum counts_status change_some(struct redis_counts *store, const struct count_change *changes,
                                      size_t n, int64_t now_ms)
{
    size_t text = 2 * NUMBER_SIZE, real = 0;
    for (size_t i = 0; i < n; i++) {
        text += strlen(store->prefix) + 1 + strlen(changes[i].key) + CHANGE_WORDS * NUMBER_SIZE;
        real += is_change(&changes[i]);
    }
    struct words words;
    if (real == 0)
        return COUNTS_OK;
    if (words_init(&words, 3 + real * (1 + CHANGE_WORDS), text) < 0)
        return COUNTS_DOWN;
    for (size_t i = 0; i < n; i++)
        if (is_change(&changes[i]))
            words_add_key(&words, store->prefix, changes[i].key);
    words_add(&words, "change");
    words_add_now(&words, store, now_ms);
    words_add_number(&words, (int64_t)real);
    int64_t key = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_change(&changes[i]))
            continue;
        words_add_number(&words, ++key);
        words_add(&words, changes[i].limit);
        words_add_number(&words, changes[i].window_ms);
        words_add_number(&words, changes[i].slot);
        words_add_number(&words, changes[i].born);
        words_add_number(&words, changes[i].amount);
    }
    redisReply *reply = NULL;
    enum counts_status status = run(store, &words, (int)real, 1, &reply);
    free(words.block);
    if (reply != NULL)
        freeReplyObject(reply);
    return status;
}

static enum counts_status redis_change(struct counts *counts, const struct count_change *changes, size_t n,
                                       int64_t now_ms)
{
    for (size_t i = 0; i < n; i += CHANGES_AT_ONCE) {
        size_t some = n - i < CHANGES_AT_ONCE ? n - i : CHANGES_AT_ONCE;
        enum counts_status status = change_some((struct redis_counts *)counts, changes + i, some, now_ms);
        if (status != COUNTS_OK) /* some of it may have been done */
            return i > 0 ? COUNTS_UNSURE : status;
    }
    return COUNTS_OK;
}

static enum counts_status redis_deferred(struct counts *counts, const char *retry, int64_t now_ms)
{
    struct redis_counts *store = (struct redis_counts *)counts;
    struct words words;
    if (words_init(&words, 6, 6 * NUMBER_SIZE) < 0)
        return COUNTS_DOWN;
    words_add(&words, store->retries);
    words_add(&words, "deferred");
    words_add_now(&words, store, now_ms);
    words_add(&words, retry);
    words_add_number(&words, COUNTS_RETRIES);
    words_add_number(&words, COUNTS_RETRY_UNTIL_MS);
    redisReply *reply = NULL;
    enum counts_status status = run(store, &words, 1, 1, &reply);
    free(words.block);
    if (reply != NULL)
        freeReplyObject(reply);
    return status;
}

/* Show and reset. */

/* One command of n words; *out is the caller's to free when COUNTS_OK. */
static enum counts_status command(struct redis_counts *store, const char *const *argv, int argc,
                                  const size_t *lens, redisReply **out)
{
    const struct redis_command words = {argc, argv, lens};
    redisReply *reply = NULL;
    enum counts_status status = from_status(redis_call(store->redis, &words, &reply));
    if (status != COUNTS_OK)
        return status;
    *out = reply;
    return COUNTS_OK;
}

static bool is_wrong_type(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "WRONGTYPE", 9) == 0;
}

struct list { /* of strings that it owns */
    char **items;
    size_t n, size;
};

static int list_add(struct list *list, const char *item)
{
    if (list->n == list->size) {
        size_t size = list->size > 0 ? 2 * list->size : 64;
        char **items = realloc(list->items, size * sizeof *items);
        if (items == NULL)
            return -1;
        list->items = items;
        list->size = size;
    }
    if ((list->items[list->n] = strdup(item)) == NULL)
        return -1;
    list->n++;
    return 0;
}

static void list_done(struct list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct list){0};
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A scan may name a key twice, and so may two patterns. */
static void list_unique(struct list *list)
{
    if (list->n < 2)
        return;
    qsort(list->items, list->n, sizeof *list->items, compare);
    size_t kept = 1;
    for (size_t i = 1; i < list->n; i++) {
        if (strcmp(list->items[i], list->items[kept - 1]) == 0)
            free(list->items[i]);
        else
            list->items[kept++] = list->items[i];
    }
    list->n = kept;
}

/* The pattern for MATCH: stars at the ends stay stars, all else is taken as it is. NULL: out of memory. */
static char *glob_make(const char *prefix, const char *pattern)
{
    size_t n = strlen(pattern);
    char *glob = malloc(2 * (strlen(prefix) + n) + 2), *to = glob;
    if (glob == NULL)
        return NULL;
    for (const char *c = prefix; *c != '\0'; c++) {
        if (strchr("*?[]\\", *c) != NULL)
            *to++ = '\\';
        *to++ = *c;
    }
    *to++ = ':';
    for (size_t i = 0; i < n; i++) {
        bool star = pattern[i] == '*' && (i == 0 || i == n - 1);
        if (!star && strchr("*?[]\\", pattern[i]) != NULL)
            *to++ = '\\';
        *to++ = pattern[i];
    }
    *to = '\0';
    return glob;
}

static bool is_string(const redisReply *reply)
{
    return reply != NULL && reply->type == REDIS_REPLY_STRING;
}

static bool is_scan(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && is_string(reply->element[0]) &&
           reply->element[1] != NULL && reply->element[1]->type == REDIS_REPLY_ARRAY;
}

/* Adds to the list what a SCAN brought that matches; -1 when out of memory. */
static int scan_take(const struct redis_counts *store, const redisReply *keys, const char *pattern,
                     struct list *list)
{
    size_t n = strlen(store->prefix) + 1;
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *key = keys->element[i];
        if (is_string(key) && strlen(key->str) == key->len && key->len > n &&
            counts_match(pattern, key->str + n) && list_add(list, key->str + n) < 0)
            return -1;
    }
    return 0;
}

static enum counts_status scan(struct redis_counts *store, const char *pattern, struct list *list)
{
    /* A cursor that stands still is no cursor: it would never end. */
    char *glob = glob_make(store->prefix, pattern), cursor[32] = "0", count[16];
    enum counts_status status = glob == NULL ? COUNTS_DOWN : COUNTS_OK;
    snprintf(count, sizeof count, "%d", SCAN_COUNT);
    while (status == COUNTS_OK) {
        const char *const argv[] = {"SCAN", cursor, "MATCH", glob, "COUNT", count};
        const size_t lens[] = {4, strlen(cursor), 5, strlen(glob), 5, strlen(count)};
        redisReply *reply = NULL;
        if ((status = command(store, argv, 6, lens, &reply)) != COUNTS_OK)
            break;
        if (!is_scan(reply) || reply->element[0]->len >= sizeof cursor ||
            (strcmp(reply->element[0]->str, "0") != 0 && strcmp(reply->element[0]->str, cursor) == 0))
            status = garbled(store, reply);
        else if (scan_take(store, reply->element[1], pattern, list) < 0)
            status = COUNTS_DOWN;
        else
            memcpy(cursor, reply->element[0]->str, reply->element[0]->len + 1);
        freeReplyObject(reply);
        if (strcmp(cursor, "0") == 0)
            break;
    }
    free(glob);
    return status;
}

/* Every key that is meant, once; patterns by a scan. */
static enum counts_status find_keys(struct redis_counts *store, const char *const *keys, size_t n,
                                    struct list *list)
{
    enum counts_status status = COUNTS_OK;
    for (size_t i = 0; i < n && status == COUNTS_OK; i++) {
        size_t length = strlen(keys[i]);
        if (length > 0 && (keys[i][0] == '*' || keys[i][length - 1] == '*'))
            status = scan(store, keys[i], list);
        else if (list_add(list, keys[i]) < 0)
            status = COUNTS_DOWN;
    }
    list_unique(list);
    return status;
}

/* What to do with each counter of a key. */
struct visit {
    struct redis_counts *store;
    int64_t now;
    counts_each_fn *each; /* show it, or: */
    void *arg;
    const char *limit; /* reset it; NULL: any */
    size_t n_reset;
};

static char *full_key(const struct redis_counts *store, const char *key)
{
    size_t n = strlen(store->prefix) + strlen(key) + 2;
    char *full = malloc(n);
    if (full != NULL)
        snprintf(full, n, "%s:%s", store->prefix, key);
    return full;
}

/* The counter in the i-th pair of a HGETALL; false when that is none of ours. */
static bool pair_counter(const redisReply *reply, size_t i, struct counter *out)
{
    const redisReply *name = reply->element[2 * i], *value = reply->element[2 * i + 1];
    return is_string(name) && is_string(value) && strlen(name->str) == name->len &&
           counter_parse(value->str, value->len, out);
}

static enum counts_status visit_show(struct visit *visit, const char *key, const redisReply *pairs)
{
    for (size_t i = 0; i < pairs->elements / 2; i++) {
        struct counter counter;
        struct count_view view;
        if (!pair_counter(pairs, i, &counter))
            continue;
        counter_view(&counter, visit->now, &view);
        view.key = key;
        view.limit = pairs->element[2 * i]->str;
        visit->each(visit->arg, &view);
    }
    return COUNTS_OK;
}

/* HDEL of what is a counter, so that nothing else under the prefix goes with it. */
static enum counts_status visit_reset(struct visit *visit, const char *full, const redisReply *pairs)
{
    struct words words;
    if (words_init(&words, 2 + pairs->elements / 2, 0) < 0)
        return COUNTS_DOWN;
    words_add(&words, "HDEL");
    words_add(&words, full);
    for (size_t i = 0; i < pairs->elements / 2; i++) {
        struct counter counter;
        if (pair_counter(pairs, i, &counter) &&
            (visit->limit == NULL || strcmp(visit->limit, pairs->element[2 * i]->str) == 0))
            words_add(&words, pairs->element[2 * i]->str);
    }
    redisReply *reply = NULL;
    enum counts_status status = COUNTS_OK;
    if (words.argc > 2)
        status = command(visit->store, words.argv, words.argc, words.lens, &reply);
    if (reply != NULL) {
        if (reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0)
            visit->n_reset += (size_t)reply->integer;
        else
            status = garbled(visit->store, reply);
        freeReplyObject(reply);
    }
    free(words.block);
    return status;
}

static enum counts_status visit_key(struct visit *visit, const char *key)
{
    char *full = full_key(visit->store, key);
    if (full == NULL)
        return COUNTS_DOWN;
    const char *const argv[] = {"HGETALL", full};
    const size_t lens[] = {7, strlen(full)};
    redisReply *reply = NULL;
    enum counts_status status = command(visit->store, argv, 2, lens, &reply);
    if (status == COUNTS_OK) {
        if (reply->type == REDIS_REPLY_ARRAY)
            status = visit->each != NULL ? visit_show(visit, key, reply) : visit_reset(visit, full, reply);
        else if (!is_wrong_type(reply)) /* that is none of ours */
            status = garbled(visit->store, reply);
        freeReplyObject(reply);
    }
    free(full);
    return status;
}

static enum counts_status visit_all(struct visit *visit, const char *const *keys, size_t n)
{
    struct list list = {0};
    enum counts_status status = find_keys(visit->store, keys, n, &list);
    for (size_t i = 0; i < list.n && status == COUNTS_OK; i++)
        status = visit_key(visit, list.items[i]);
    list_done(&list);
    return status;
}

/* The server's clock in ms, or the caller's. */
static enum counts_status redis_now(struct redis_counts *store, int64_t *now)
{
    if (atomic_load(&store->follow))
        return COUNTS_OK;
    const char *const argv[] = {"TIME"};
    const size_t lens[] = {4};
    redisReply *reply = NULL;
    enum counts_status status = command(store, argv, 1, lens, &reply);
    if (status != COUNTS_OK)
        return status;
    const redisReply *const *part = (const redisReply *const *)reply->element;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && is_string(part[0]) && is_string(part[1]))
        *now = strtoll(part[0]->str, NULL, 10) * 1000 + strtoll(part[1]->str, NULL, 10) / 1000;
    else
        status = garbled(store, reply);
    freeReplyObject(reply);
    return status;
}

static enum counts_status redis_show(struct counts *counts, const char *const *keys, size_t n, int64_t now_ms,
                                     counts_each_fn *each, void *arg)
{
    struct visit visit = {.store = (struct redis_counts *)counts, .now = now_ms, .each = each, .arg = arg};
    enum counts_status status = redis_now(visit.store, &visit.now);
    return status == COUNTS_OK ? visit_all(&visit, keys, n) : status;
}

static enum counts_status redis_reset(struct counts *counts, const char *const *keys, size_t n,
                                      const char *limit, size_t *n_reset)
{
    struct visit visit = {.store = (struct redis_counts *)counts, .limit = limit};
    enum counts_status status = visit_all(&visit, keys, n);
    *n_reset = visit.n_reset;
    return status;
}

static void redis_counts_trouble(struct counts *counts, struct error *out)
{
    struct redis_counts *store = (struct redis_counts *)counts;
    redis_trouble(store->redis, out);
    if (!atomic_load(&store->garbled))
        return;
    pthread_mutex_lock(&store->lock);
    error_set(out, "%s", store->garbage.text);
    pthread_mutex_unlock(&store->lock);
}

static uint64_t redis_junk(struct counts *counts)
{
    return atomic_load(&((struct redis_counts *)counts)->junk);
}

static void redis_counts_free(struct counts *counts)
{
    struct redis_counts *store = (struct redis_counts *)counts;
    redis_free(store->redis);
    pthread_mutex_destroy(&store->lock);
    free(store->prefix);
    free(store->retries);
    free(store);
}

static const struct counts_ops redis_ops = {
    .ask = redis_ask,
    .change = redis_change,
    .deferred = redis_deferred,
    .show = redis_show,
    .reset = redis_reset,
    .trouble = redis_counts_trouble,
    .junk = redis_junk,
    .free = redis_counts_free,
};

struct counts *counts_redis_new(const struct counts_redis_config *config, counts_event_fn *event, void *arg,
                                struct error *err)
{
    struct redis_counts *store = calloc(1, sizeof *store);
    if (store == NULL) {
        error_set(err, "out of memory for the client of Redis");
        return NULL;
    }
    pthread_mutex_init(&store->lock, NULL);
    store->counts.ops = &redis_ops;
    redis_script_init(&store->script, counts_lua);
    store->prefix = strdup(config->prefix);
    char *probe = NULL;
    if (store->prefix != NULL) {
        store->retries = full_key(store, "deferred");
        probe = full_key(store, "probe");
    }
    if (store->retries != NULL && probe != NULL) {
        const struct redis_config client = {.host = config->host,
                                            .path = config->path,
                                            .port = config->port,
                                            .db = config->db,
                                            .user = config->user,
                                            .password = config->password,
                                            .password_file = config->password_file,
                                            .probe_key = probe,
                                            .timeout_ms = config->timeout_ms};
        store->redis = redis_new(&client, event, arg, err);
    } else {
        error_set(err, "out of memory for the client of Redis");
    }
    free(probe);
    if (store->redis == NULL) {
        redis_counts_free(&store->counts);
        return NULL;
    }
    return &store->counts;
}

void counts_redis_follow_caller_clock(struct counts *counts)
{
    atomic_store(&((struct redis_counts *)counts)->follow, true);
}

bool counts_redis_wait(struct counts *counts, int64_t timeout_ms)
{
    return redis_wait(((struct redis_counts *)counts)->redis, timeout_ms);
}
