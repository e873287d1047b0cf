/* board: what the gates of several hosts tell each other through Redis (see board.h). Owns nothing but the
 * answer of the moment. */
#include "board.h"

#include "counts_redis.h"

#include <stdio.h>
#include <string.h>

enum { AT_ONCE = 512 }; /* words of one command, so that no other one waits long behind it */

/* The caller frees *reply where this is true. */
static bool call(struct redis_counts *store, const struct words *words, redisReply **reply)
{
    const struct redis_command command = {words->argc, words->argv, words->lens};
    return redis_call(store->redis, &command, reply) == REDIS_ANSWERED;
}

/* "COMMAND prefix:key words..." */
static bool command(struct counts *counts, const char *name, const char *key, const char *const *more,
                    size_t n_more, redisReply **reply)
{
    struct redis_counts *store = (struct redis_counts *)counts;
    struct words words;
    if (words_init(&words, 2 + n_more, strlen(store->prefix) + strlen(key) + 2) < 0)
        return false;
    words_add(&words, name);
    words_add_key(&words, store->prefix, key);
    for (size_t i = 0; i < n_more; i++)
        words_add(&words, more[i]);
    bool answered = call(store, &words, reply);
    words_done(&words);
    return answered;
}

/* The same where the answer says nothing but whether it was done. */
static bool order(struct counts *counts, const char *name, const char *key, const char *const *more,
                  size_t n_more)
{
    redisReply *reply = NULL;
    if (!command(counts, name, key, more, n_more, &reply))
        return false;
    bool done = reply->type != REDIS_REPLY_ERROR;
    freeReplyObject(reply);
    return done;
}

static bool expire(struct counts *counts, const char *key, int64_t ttl_ms)
{
    char ttl[24];
    snprintf(ttl, sizeof ttl, "%lld", (long long)ttl_ms);
    const char *const words[] = {ttl};
    return order(counts, "PEXPIRE", key, words, 1);
}

bool board_hash(struct counts *counts, const char *key, board_each_fn *each, void *arg)
{
    redisReply *reply = NULL;
    if (!command(counts, "HGETALL", key, NULL, 0, &reply))
        return false;
    bool good = reply->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; good && i + 1 < reply->elements; i += 2)
        if (reply->element[i]->type == REDIS_REPLY_STRING &&
            reply->element[i + 1]->type == REDIS_REPLY_STRING)
            each(arg, reply->element[i]->str, reply->element[i + 1]->str);
    freeReplyObject(reply);
    return good;
}

bool board_set_fields(struct counts *counts, const char *key, const char *const *words, size_t n_words,
                      int64_t ttl_ms)
{
    for (size_t i = 0; i < n_words; i += AT_ONCE) {
        size_t some = n_words - i < AT_ONCE ? n_words - i : AT_ONCE;
        if (!order(counts, "HSET", key, words + i, some))
            return false;
    }
    return n_words == 0 || expire(counts, key, ttl_ms);
}

bool board_drop_fields(struct counts *counts, const char *key, const char *const *fields, size_t n)
{
    for (size_t i = 0; i < n; i += AT_ONCE) {
        size_t some = n - i < AT_ONCE ? n - i : AT_ONCE;
        if (!order(counts, "HDEL", key, fields + i, some))
            return false;
    }
    return true;
}
