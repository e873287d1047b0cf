/* remote: owns its place in the order of changes (epoch and number), and keeps it when a call fails: then the next one asks
 * from there. */
#include "remote.h"

#include "redis/answer.h"
#include "redis/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char blocks_lua[];

struct blocks_remote {
    struct redis_client *redis;
    struct redis_script script;
    char *keys[2];
    char epoch[24]; /* "" before the first look; "0": there are no blocks */
    int64_t number; /* of the last change that is known here */
    unsigned restarts;
};

struct blocks_remote *blocks_remote_new(struct redis_client *redis)
{
    struct blocks_remote *blocks = calloc(1, sizeof *blocks);
    if (blocks == NULL)
        return NULL;
    const char *prefix = redis_client_prefix(redis);
    blocks->redis = redis;
    redis_script_init(&blocks->script, blocks_lua);
    /* The braces put both keys into one slot of a cluster: that of the first one's whole name. */
    if (asprintf(&blocks->keys[0], "%s:blocks", prefix) < 0)
        blocks->keys[0] = NULL;
    if (asprintf(&blocks->keys[1], "%s:changes:{%s:blocks}", prefix, prefix) < 0)
        blocks->keys[1] = NULL;
    if (blocks->keys[0] == NULL || blocks->keys[1] == NULL) {
        blocks_remote_free(blocks);
        return NULL;
    }
    return blocks;
}

void blocks_remote_free(struct blocks_remote *blocks)
{
    if (blocks == NULL)
        return;
    free(blocks->keys[0]);
    free(blocks->keys[1]);
    free(blocks);
}

/* ---- one call ---- */

static bool is_integer(const redisReply *reply)
{
    return reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0;
}

/* epoch, number, number, then pairs of strings */
static bool is_answer(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3 || reply->elements % 2 == 0 ||
        !redis_answer_is_text(reply->element[0]) ||
        reply->element[0]->len >= sizeof((struct blocks_remote *)0)->epoch ||
        !is_integer(reply->element[1]) || !is_integer(reply->element[2]))
        return false;
    for (size_t i = 3; i < reply->elements; i++)
        if (!redis_answer_is_text(reply->element[i]))
            return false;
    return true;
}

/* args begins with both keys. *out is the caller's to free where it is BLOCKS_REMOTE_OK. */
static enum blocks_remote_status run(struct blocks_remote *blocks, struct args *args, redisReply **out,
                                     struct error *err)
{
    const struct redis_command command = {.argc = args->argc, .argv = args->argv, .lens = args->lens};
    redisReply *reply = NULL;
    if (redis_client_eval(blocks->redis, &blocks->script, 2, &command, &reply) != REDIS_ANSWERED)
        return BLOCKS_REMOTE_DOWN;
    if (is_answer(reply)) {
        *out = reply;
        return BLOCKS_REMOTE_OK;
    }
    error_set(err, "Redis fails on %s: %s", blocks->keys[0],
              reply->type == REDIS_REPLY_ERROR ? reply->str : "an answer that makes no sense");
    freeReplyObject(reply);
    return BLOCKS_REMOTE_DOWN;
}

static int args_begin(struct blocks_remote *blocks, struct args *args, const char *what, size_t most,
                      size_t text_size)
{
    if (args_init(args, 3 + most, text_size) < 0)
        return -1;
    args_add(args, blocks->keys[0]);
    args_add(args, blocks->keys[1]);
    args_add(args, what);
    return 0;
}

/* ---- pull ---- */

static void remember(struct blocks_remote *blocks, const redisReply *reply)
{
    memcpy(blocks->epoch, reply->element[0]->str, reply->element[0]->len + 1);
}

/* One portion; *more: there is more to come. */
static enum blocks_remote_status pull_some(struct blocks_remote *blocks, blocks_remote_take_fn *take,
                                           void *arg, bool *more, struct error *err)
{
    struct args args;
    redisReply *reply = NULL;
    if (args_begin(blocks, &args, "pull", 3, 2L * ARGS_NUMBER) < 0)
        return BLOCKS_REMOTE_DOWN;
    args_add(&args, blocks->epoch);
    args_add_number(&args, blocks->number);
    args_add_number(&args, BLOCKS_REMOTE_MOST);
    enum blocks_remote_status status = run(blocks, &args, &reply, err);
    args_done(&args);
    if (status != BLOCKS_REMOTE_OK)
        return status;
    int64_t last = reply->element[1]->integer, reached = reply->element[2]->integer;
    if (strcmp(reply->element[0]->str, blocks->epoch) != 0 || last < blocks->number) {
        remember(blocks, reply);
        blocks->number = 0;
        status = BLOCKS_REMOTE_OTHER;
    } else {
        for (size_t i = 3; i < reply->elements; i += 2)
            take(arg, reply->element[i]->str, reply->element[i + 1]->str);
        *more = reached > blocks->number && reached < last;
        blocks->number = reached;
    }
    freeReplyObject(reply);
    return status;
}

void blocks_remote_again(struct blocks_remote *blocks)
{
    blocks->number = 0;
}

bool blocks_remote_is_new(const struct blocks_remote *blocks)
{
    return blocks->number == 0;
}

enum blocks_remote_status blocks_remote_pull(struct blocks_remote *blocks, blocks_remote_take_fn *take,
                                             void *arg, struct error *err)
{
    enum blocks_remote_status status;
    bool more;
    unsigned restarts =
        redis_client_restarts(blocks->redis, redis_client_slot(blocks->redis, blocks->keys[0]));
    if (restarts != blocks->restarts) /* what it had last may be lost, and others may have written since */
        blocks->epoch[0] = '\0';
    do {
        more = false;
        status = pull_some(blocks, take, arg, &more, err);
    } while (status == BLOCKS_REMOTE_OK && more);
    if (status != BLOCKS_REMOTE_DOWN)
        blocks->restarts = restarts;
    return status;
}

/* ---- push and drop ---- */

enum blocks_remote_status blocks_remote_push(struct blocks_remote *blocks, const struct block *const *list,
                                             size_t n, int64_t latest_ms, struct error *err)
{
    struct args args;
    redisReply *reply = NULL;
    char latest[BLOCK_TIME];
    char(*texts)[NETWORK_TEXT + BLOCK_TIME + BLOCK_TEXT] = calloc(n + 1, sizeof *texts);
    if (texts == NULL || args_begin(blocks, &args, "push", 3 * n + 1, 0) < 0) {
        free(texts);
        return BLOCKS_REMOTE_DOWN;
    }
    args_add(&args, blocklist_time_ms(latest_ms, latest));
    for (size_t i = 0; i < n; i++) {
        char *network = texts[i], *at = network + NETWORK_TEXT, *value = at + BLOCK_TIME;
        struct text text;
        text_init(&text, value, BLOCK_TEXT);
        blocklist_format(list[i], &text);
        args_add(&args, network_format(&list[i]->network, network));
        args_add(&args, blocklist_time_ms(list[i]->changed_ms, at));
        args_add(&args, value);
    }
    enum blocks_remote_status status = run(blocks, &args, &reply, err);
    args_done(&args);
    free(texts);
    if (status != BLOCKS_REMOTE_OK)
        return status;
    /* Nobody else changed anything since the last look: there is nothing to pull. */
    bool first = strcmp(blocks->epoch, "0") == 0 && reply->element[1]->integer == 0;
    if (first || (strcmp(blocks->epoch, reply->element[0]->str) == 0 &&
                  blocks->number == reply->element[1]->integer)) {
        remember(blocks, reply);
        blocks->number = reply->element[2]->integer;
    }
    freeReplyObject(reply);
    return BLOCKS_REMOTE_OK;
}

enum blocks_remote_status blocks_remote_drop(struct blocks_remote *blocks, const struct block *list, size_t n,
                                             struct error *err)
{
    struct args args;
    redisReply *reply = NULL;
    char(*texts)[NETWORK_TEXT + BLOCK_TIME] = calloc(n + 1, sizeof *texts);
    if (texts == NULL || args_begin(blocks, &args, "drop", 2 * n, 0) < 0) {
        free(texts);
        return BLOCKS_REMOTE_DOWN;
    }
    for (size_t i = 0; i < n; i++) {
        args_add(&args, network_format(&list[i].network, texts[i]));
        args_add(&args, blocklist_time_ms(list[i].changed_ms, texts[i] + NETWORK_TEXT));
    }
    enum blocks_remote_status status = run(blocks, &args, &reply, err);
    args_done(&args);
    free(texts);
    if (status == BLOCKS_REMOTE_OK)
        freeReplyObject(reply);
    return status;
}
