/* shared: each call is a command or two of the client, in portions that keep nobody waiting. Owns nothing but the
 * answer of the moment; false or REDIS_DOWN where Redis is away. */
#include "redis/shared.h"

#include "redis/args.h"

#include <stdio.h>
#include <string.h>

enum { AT_ONCE = 512 }; /* words of one command, so that no other one waits long behind it */

/* The caller frees *reply where this is true. */
static bool call(struct redis_client *redis, const struct args *args, redisReply **reply)
{
    const struct redis_command command = {.argc = args->argc, .argv = args->argv, .lens = args->lens};
    return redis_client_call(redis, &command, reply) == REDIS_ANSWERED;
}

/* "COMMAND prefix:key words..." */
static bool command(struct redis_client *redis, const char *name, const char *key, const char *const *more,
                    size_t n_more, redisReply **reply)
{
    struct args args;
    if (args_init(&args, 2 + n_more, strlen(redis_client_prefix(redis)) + strlen(key) + 2) < 0)
        return false;
    args_add(&args, name);
    args_add_key(&args, redis_client_prefix(redis), key);
    for (size_t i = 0; i < n_more; i++)
        args_add(&args, more[i]);
    bool answered = call(redis, &args, reply);
    args_done(&args);
    return answered;
}

/* The same where the answer says nothing but whether it was done. */
static bool order(struct redis_client *redis, const char *name, const char *key, const char *const *more,
                  size_t n_more)
{
    redisReply *reply = NULL;
    if (!command(redis, name, key, more, n_more, &reply))
        return false;
    bool done = reply->type != REDIS_REPLY_ERROR;
    freeReplyObject(reply);
    return done;
}

static bool expire(struct redis_client *redis, const char *key, int64_t ttl_ms)
{
    char ttl[24];
    snprintf(ttl, sizeof ttl, "%lld", (long long)ttl_ms);
    const char *const words[] = {ttl};
    return order(redis, "PEXPIRE", key, words, 1);
}

bool shared_hash(struct redis_client *redis, const char *key, shared_each_fn *each, void *arg)
{
    redisReply *reply = NULL;
    if (!command(redis, "HGETALL", key, NULL, 0, &reply))
        return false;
    bool good = reply->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; good && i + 1 < reply->elements; i += 2)
        if (reply->element[i]->type == REDIS_REPLY_STRING &&
            reply->element[i + 1]->type == REDIS_REPLY_STRING)
            each(arg, reply->element[i]->str, reply->element[i + 1]->str);
    freeReplyObject(reply);
    return good;
}

bool shared_set_fields(struct redis_client *redis, const char *key, const char *const *words, size_t n_words,
                       int64_t ttl_ms)
{
    for (size_t i = 0; i < n_words; i += AT_ONCE) {
        size_t some = n_words - i < AT_ONCE ? n_words - i : AT_ONCE;
        if (!order(redis, "HSET", key, words + i, some))
            return false;
    }
    return n_words == 0 || expire(redis, key, ttl_ms);
}

bool shared_drop_fields(struct redis_client *redis, const char *key, const char *const *fields, size_t n)
{
    for (size_t i = 0; i < n; i += AT_ONCE) {
        size_t some = n - i < AT_ONCE ? n - i : AT_ONCE;
        if (!order(redis, "HDEL", key, fields + i, some))
            return false;
    }
    return true;
}

/* XADD prefix:events MAXLEN ~ 10000 * name value ... */
enum redis_status shared_stream_add(struct redis_client *redis, const char *const *words_in, size_t n_words)
{
    struct args args;
    redisReply *reply = NULL;
    if (args_init(&args, 6 + n_words, strlen(redis_client_prefix(redis)) + sizeof ":events") < 0)
        return REDIS_DOWN;
    args_add(&args, "XADD");
    args_add_key(&args, redis_client_prefix(redis), "events");
    args_add(&args, "MAXLEN");
    args_add(&args, "~");
    args_add(&args, "10000");
    args_add(&args, "*");
    for (size_t i = 0; i < n_words; i++)
        args_add(&args, words_in[i]);
    const struct redis_command xadd = {.argc = args.argc, .argv = args.argv, .lens = args.lens};
    enum redis_status status = redis_client_call(redis, &xadd, &reply);
    args_done(&args);
    if (status == REDIS_ANSWERED && reply->type != REDIS_REPLY_STRING)
        status = REDIS_LOST; /* a key of another type, or no such command: not worth an alarm */
    freeReplyObject(reply);
    return status;
}

/* [id, [word, ...]]; what is no entry is passed over. */
static void entry_give(const redisReply *entry, shared_entry_fn *each, void *arg)
{
    const char *words[SHARED_STREAM_WORDS];
    size_t n = 0;
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 ||
        entry->element[0]->type != REDIS_REPLY_STRING || entry->element[1]->type != REDIS_REPLY_ARRAY)
        return;
    const redisReply *list = entry->element[1];
    for (; n < list->elements && n < SHARED_STREAM_WORDS; n++) {
        if (list->element[n]->type != REDIS_REPLY_STRING)
            return;
        words[n] = list->element[n]->str;
    }
    each(arg, entry->element[0]->str, words, n);
}

bool shared_stream_read(struct redis_client *redis, const char *after, size_t n, shared_entry_fn *each,
                        void *arg, struct error *why)
{
    char count[24];
    redisReply *reply = NULL;
    bool last = after[0] == '\0';
    snprintf(count, sizeof count, "%zu", n + !last); /* the entry itself comes along */
    const char *const newest[] = {"+", "-", "COUNT", count}, *const behind[] = {after, "+", "COUNT", count};
    if (!command(redis, last ? "XREVRANGE" : "XRANGE", "events", last ? newest : behind, 4, &reply))
        return false;
    bool good = reply->type == REDIS_REPLY_ARRAY;
    if (reply->type == REDIS_REPLY_ERROR)
        error_set(why, "%s", reply->str);
    for (size_t i = 0; good && i < reply->elements; i++) {
        const redisReply *entry = reply->element[last ? reply->elements - 1 - i : i];
        bool known = !last && entry->type == REDIS_REPLY_ARRAY && entry->elements > 0 &&
                     entry->element[0]->type == REDIS_REPLY_STRING &&
                     strcmp(entry->element[0]->str, after) == 0;
        if (!known)
            entry_give(entry, each, arg);
    }
    freeReplyObject(reply);
    return good;
}
