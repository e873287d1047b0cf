/* remote_call: see remote_call.h. Owns nothing; `lock` guards what was said last of an answer that makes no sense. */
#include "remote_call.h"

enum counters_status remote_call_garbled(struct remote *store, const redisReply *reply)
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
    return COUNTERS_UNSURE;
}

/* An array of numbers, the first of which says how much junk was found. */
static bool is_numbers(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0)
        return false;
    for (size_t i = 0; i < reply->elements; i++)
        if (reply->element[i] == NULL || reply->element[i]->type != REDIS_REPLY_INTEGER)
            return false;
    return reply->element[0]->integer >= 0;
}

enum counters_status remote_call_status(enum redis_status status)
{
    switch (status) {
    case REDIS_ANSWERED:
        return COUNTERS_OK;
    case REDIS_DOWN:
        return COUNTERS_DOWN;
    case REDIS_SPLIT:
        return COUNTERS_SPLIT;
    case REDIS_LOST:
        break;
    }
    return COUNTERS_UNSURE;
}

enum counters_status remote_call_script(struct remote *store, const struct args *args, int n_keys,
                                        int64_t deadline, redisReply **out)
{
    const struct redis_command command = {args->argc, args->argv,  args->lens,
                                          deadline,   args->joins, args->repeats};
    redisReply *reply = NULL;
    enum counters_status status =
        remote_call_status(redis_client_eval(store->redis, &store->script, n_keys, &command, &reply));
    if (status != COUNTERS_OK)
        return status;
    if (reply->type != REDIS_REPLY_STRING && !is_numbers(reply)) {
        status = remote_call_garbled(store, reply);
        freeReplyObject(reply);
        return status;
    }
    if (atomic_load(&store->garbled))
        atomic_store(&store->garbled, false);
    if (reply->elements > 0 && reply->element[0]->integer > 0)
        atomic_fetch_add(&store->junk, (uint64_t)reply->element[0]->integer);
    *out = reply;
    return COUNTERS_OK;
}
