/* remote_keys: show and reset of the counter store in Redis. Whole keys are taken as they are, patterns
 * are looked for with SCAN; then each key is read once. What is no counter of ours is passed over, whatever
 * it is called. */
#include "counter.h"
#include "remote_call.h"
#include "remote_keys.h"
#include "redis/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN_COUNT = 1000, LOOK_KEYS = 100 };

const char remote_keys_look[] = "local all = {} "
                                "for i, key in ipairs(KEYS) do all[i] = redis.pcall('HGETALL', key) end "
                                "return all";

/* One command of n words, the second of them its key; *out is the caller's to free when COUNTERS_OK. */
static enum counters_status command(struct remote *store, const char *const *argv, int argc,
                                    const size_t *lens, redisReply **out)
{
    const struct redis_command line = {.argc = argc, .argv = argv, .lens = lens};
    return remote_call_status(redis_client_call(store->redis, &line, out));
}

/* The same without a key, of one node. */
static enum counters_status command_node(struct remote *store, size_t node, const char *const *argv, int argc,
                                         const size_t *lens, redisReply **out)
{
    const struct redis_command line = {.argc = argc, .argv = argv, .lens = lens};
    return remote_call_status(redis_client_call_node(store->redis, node, &line, out));
}

static bool is_wrong_type(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "WRONGTYPE", 9) == 0;
}

struct item { /* a key, without the prefix */
    char *key;
    unsigned site;
};

struct list { /* owns the keys */
    struct item *items;
    size_t n, size;
};

static int list_add(struct list *list, struct remote *store, const char *key)
{
    if (list->n == list->size) {
        size_t size = list->size > 0 ? 2 * list->size : 64;
        struct item *items = realloc(list->items, size * sizeof *items);
        if (items == NULL)
            return -1;
        list->items = items;
        list->size = size;
    }
    struct item item = {.key = strdup(key), .site = store_site(&store->counters, key)};
    if (item.key == NULL)
        return -1;
    list->items[list->n++] = item;
    return 0;
}

static void list_done(struct list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].key);
    free(list->items);
    *list = (struct list){0};
}

static int compare(const void *a, const void *b)
{
    const struct item *left = a, *right = b;
    return left->site != right->site ? (left->site > right->site) - (left->site < right->site)
                                     : strcmp(left->key, right->key);
}

/* A scan may name a key twice, so may two patterns, and so do two nodes while its slot is moved. */
static void list_unique(struct list *list)
{
    if (list->n < 2)
        return;
    qsort(list->items, list->n, sizeof *list->items, compare);
    size_t kept = 1;
    for (size_t i = 1; i < list->n; i++) {
        if (strcmp(list->items[i].key, list->items[kept - 1].key) == 0)
            free(list->items[i].key);
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

static bool is_scan(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
           redis_answer_is_text(reply->element[0]) && reply->element[1] != NULL &&
           reply->element[1]->type == REDIS_REPLY_ARRAY;
}

/* Other hashes of ours, which may be large, and the keys of somebody whose prefix is ours, a ':' and more: the first ':' of a
 * counter's name is that before its subject, "per:{subject}". */
static bool is_other(const char *key)
{
    const char *colon = strchr(key, ':');
    return strcmp(key, "blocks") == 0 || strncmp(key, "retries:{", 9) == 0 ||
           (colon != NULL && colon[1] != '{');
}

/* Adds to the list what a SCAN brought that matches; -1 when out of memory. */
static int scan_take(struct remote *store, const redisReply *keys, const char *pattern, struct list *list)
{
    size_t n = strlen(store->prefix) + 1;
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *key = keys->element[i];
        if (redis_answer_is_text(key) && key->len > n && !is_other(key->str + n) &&
            store_match(pattern, key->str + n) && list_add(list, store, key->str + n) < 0)
            return -1;
    }
    return 0;
}

static enum counters_status scan_node(struct remote *store, size_t node, const char *pattern,
                                      struct list *list)
{
    /* A cursor that stands still is no cursor: it would never end. */
    char *glob = glob_make(store->prefix, pattern), cursor[32] = "0", count[16];
    enum counters_status status = glob == NULL ? COUNTERS_DOWN : COUNTERS_OK;
    snprintf(count, sizeof count, "%d", SCAN_COUNT);
    while (status == COUNTERS_OK) {
        const char *const argv[] = {"SCAN", cursor, "MATCH", glob, "COUNT", count};
        const size_t lens[] = {4, strlen(cursor), 5, strlen(glob), 5, strlen(count)};
        redisReply *reply = NULL;
        if ((status = command_node(store, node, argv, 6, lens, &reply)) != COUNTERS_OK)
            break;
        if (!is_scan(reply) || reply->element[0]->len >= sizeof cursor ||
            (strcmp(reply->element[0]->str, "0") != 0 && strcmp(reply->element[0]->str, cursor) == 0))
            status = remote_call_garbled(store, reply);
        else if (scan_take(store, reply->element[1], pattern, list) < 0)
            status = COUNTERS_DOWN;
        else
            memcpy(cursor, reply->element[0]->str, reply->element[0]->len + 1);
        freeReplyObject(reply);
        if (strcmp(cursor, "0") == 0)
            break;
    }
    free(glob);
    return status;
}

/* On every node; those that are away are passed over, unless that are all (counters_missing() names them). */
static enum counters_status scan(struct remote *store, const char *pattern, struct list *list)
{
    enum counters_status status = COUNTERS_DOWN;
    for (size_t node = 0; node < redis_client_nodes(store->redis); node++) {
        enum counters_status one = scan_node(store, node, pattern, list);
        if (one != COUNTERS_DOWN && status != COUNTERS_UNSURE)
            status = one;
    }
    return status;
}

/* Every key that is meant, once, and those of a site together; patterns by a scan. */
static enum counters_status find_keys(struct remote *store, const char *const *keys, size_t n,
                                      struct list *list)
{
    enum counters_status status = COUNTERS_OK;
    for (size_t i = 0; i < n && status == COUNTERS_OK; i++) {
        size_t length = strlen(keys[i]);
        if (length > 0 && (keys[i][0] == '*' || keys[i][length - 1] == '*'))
            status = scan(store, keys[i], list);
        else if (list_add(list, store, keys[i]) < 0)
            status = COUNTERS_DOWN;
    }
    list_unique(list);
    return status;
}

/* What to do with each counter of a key. */
struct visit {
    struct remote *store;
    int64_t now;
    counters_each_fn *each; /* show it, or: */
    void *arg;
    const char *limit; /* reset it; NULL: any */
    size_t n_reset;
};

/* The counter in the i-th pair of a HGETALL; false when that is none of ours. */
static bool pair_counter(const redisReply *reply, size_t i, struct counter *out)
{
    const redisReply *name = reply->element[2 * i], *value = reply->element[2 * i + 1];
    return redis_answer_is_text(name) && redis_answer_is_text(value) &&
           counter_parse(value->str, value->len, out);
}

static enum counters_status visit_show(struct visit *visit, const char *key, const redisReply *pairs)
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
    return COUNTERS_OK;
}

/* HDEL of what is a counter, so that nothing else under the prefix goes with it. */
static enum counters_status visit_reset(struct visit *visit, const char *full, const redisReply *pairs)
{
    struct args args;
    if (args_init(&args, 2 + pairs->elements / 2, 0) < 0)
        return COUNTERS_DOWN;
    args_add(&args, "HDEL");
    args_add(&args, full);
    for (size_t i = 0; i < pairs->elements / 2; i++) {
        struct counter counter;
        if (pair_counter(pairs, i, &counter) &&
            (visit->limit == NULL || strcmp(visit->limit, pairs->element[2 * i]->str) == 0))
            args_add(&args, pairs->element[2 * i]->str);
    }
    redisReply *reply = NULL;
    enum counters_status status = COUNTERS_OK;
    if (args.argc > 2)
        status = command(visit->store, args.argv, args.argc, args.lens, &reply);
    if (reply != NULL) {
        if (reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0)
            visit->n_reset += (size_t)reply->integer;
        else
            status = remote_call_garbled(visit->store, reply);
        freeReplyObject(reply);
    }
    args_done(&args);
    return status;
}

static enum counters_status visit_key(struct visit *visit, const char *key)
{
    struct args args;
    if (args_init(&args, 2, strlen(visit->store->prefix) + strlen(key) + 2) < 0)
        return COUNTERS_DOWN;
    args_add(&args, "HGETALL");
    args_add_key(&args, visit->store->prefix, key);
    redisReply *reply = NULL;
    enum counters_status status = command(visit->store, args.argv, args.argc, args.lens, &reply);
    if (status == COUNTERS_OK) {
        if (reply->type == REDIS_REPLY_ARRAY)
            status =
                visit->each != NULL ? visit_show(visit, key, reply) : visit_reset(visit, args.argv[1], reply);
        else if (!is_wrong_type(reply)) /* that is none of ours */
            status = remote_call_garbled(visit->store, reply);
        freeReplyObject(reply);
    }
    args_done(&args);
    return status;
}

/* The answer of the script; what is no hash of ours is passed over. */
static enum counters_status look_take(struct visit *visit, const struct item *items, size_t n,
                                      const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != n)
        return remote_call_garbled(visit->store, reply);
    for (size_t i = 0; i < n; i++)
        if (reply->element[i] != NULL && reply->element[i]->type == REDIS_REPLY_ARRAY)
            (void)visit_show(visit, items[i].key, reply->element[i]); /* which cannot fail */
    return COUNTERS_OK;
}

/* Shows n keys, all of one site, with one question. */
static enum counters_status visit_look(struct visit *visit, const struct item *items, size_t n)
{
    struct args args;
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += strlen(visit->store->prefix) + strlen(items[i].key) + 2;
    if (args_init(&args, n, size) < 0)
        return COUNTERS_DOWN;
    for (size_t i = 0; i < n; i++)
        args_add_key(&args, visit->store->prefix, items[i].key);
    const struct redis_command command = {.argc = args.argc, .argv = args.argv, .lens = args.lens};
    redisReply *reply = NULL;
    enum counters_status status = remote_call_status(
        redis_client_eval(visit->store->redis, &visit->store->look, (int)n, &command, &reply));
    args_done(&args);
    if (status == COUNTERS_OK) {
        status = look_take(visit, items, n, reply);
        freeReplyObject(reply);
    }
    return status;
}

/* Some keys of one site from the i-th on; how many that were is added to *i. */
static enum counters_status visit_some(struct visit *visit, const struct list *list, size_t *i)
{
    const struct item *first = &list->items[*i];
    size_t some = 1;
    while (some < LOOK_KEYS && *i + some < list->n && first[some].site == first->site)
        some++;
    enum counters_status status = COUNTERS_SPLIT;
    if (visit->each != NULL && some > 1)
        status = visit_look(visit, first, some);
    if (status != COUNTERS_SPLIT) {
        *i += some;
        return status;
    }
    ++*i;
    return visit_key(visit, first->key);
}

/* What belongs to a site that is away is passed over, where others are not. */
static enum counters_status visit_all(struct visit *visit, const char *const *keys, size_t n)
{
    struct list list = {0};
    enum counters_status status = find_keys(visit->store, keys, n, &list), worst = status;
    bool partly = store_sites(&visit->store->counters) > 1 && status == COUNTERS_OK;
    size_t answered = 0;
    for (size_t i = 0; i < list.n && (worst == COUNTERS_OK || partly);) {
        status = visit_some(visit, &list, &i);
        answered += status == COUNTERS_OK;
        worst = store_worse(worst, status);
    }
    list_done(&list);
    return answered > 0 && partly && worst == COUNTERS_DOWN ? COUNTERS_OK : worst;
}

/* The server's clock in ms, or the caller's. */
static enum counters_status redis_now(struct remote *store, int64_t *now)
{
    if (atomic_load(&store->follow))
        return COUNTERS_OK;
    const char *const argv[] = {"TIME"};
    const size_t lens[] = {4};
    redisReply *reply = NULL;
    enum counters_status status = COUNTERS_DOWN;
    for (size_t node = 0; status == COUNTERS_DOWN && node < redis_client_nodes(store->redis); node++)
        status = command_node(store, node, argv, 1, lens, &reply);
    if (status != COUNTERS_OK)
        return status;
    if (!redis_answer_time(reply, now))
        status = remote_call_garbled(store, reply);
    freeReplyObject(reply);
    return status;
}

enum counters_status remote_keys_show(struct counters *counters, const char *const *keys, size_t n,
                                      int64_t now_ms, counters_each_fn *each, void *arg)
{
    struct visit visit = {.store = (struct remote *)counters, .now = now_ms, .each = each, .arg = arg};
    enum counters_status status = redis_now(visit.store, &visit.now);
    return status == COUNTERS_OK ? visit_all(&visit, keys, n) : status;
}

enum counters_status remote_keys_reset(struct counters *counters, const char *const *keys, size_t n,
                                       const char *limit, size_t *n_reset)
{
    struct visit visit = {.store = (struct remote *)counters, .limit = limit};
    enum counters_status status = visit_all(&visit, keys, n);
    *n_reset = visit.n_reset;
    return status;
}
