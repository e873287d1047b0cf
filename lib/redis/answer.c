/* answer: see answer.h. What makes no sense is not there. */
#include "redis/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool redis_answer_is_text(const redisReply *reply)
{
    return reply != NULL && reply->type == REDIS_REPLY_STRING && strlen(reply->str) == reply->len;
}

const char *redis_answer_field(const redisReply *reply, const char *name, char *out, size_t size)
{
    const size_t n = strlen(name);
    const char *at = reply->type == REDIS_REPLY_STRING ? reply->str : NULL;
    while (at != NULL && (strncmp(at, name, n) != 0 || at[n] != ':')) {
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    const char *value = at != NULL ? at + n + 1 : "";
    const size_t length = strcspn(value, "\r\n");
    snprintf(out, size, "%.*s", (int)(length < size ? length : size - 1), value);
    return out;
}

/* Digits alone, so few that they can be counted with. */
static bool is_number(const redisReply *reply)
{
    enum { DIGITS = 15 };
    return redis_answer_is_text(reply) && reply->len > 0 && reply->len <= DIGITS &&
           strspn(reply->str, "0123456789") == reply->len;
}

bool redis_answer_time(const redisReply *reply, int64_t *out)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !is_number(reply->element[0]) ||
        !is_number(reply->element[1]))
        return false;
    *out =
        strtoll(reply->element[0]->str, NULL, 10) * 1000 + strtoll(reply->element[1]->str, NULL, 10) / 1000;
    return true;
}
