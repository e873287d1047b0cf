/* fuzz_reply: bytes as the answers of a Redis, without a socket. */
#ifndef RCPTGATE_TEST_FUZZ_REPLY_H
#define RCPTGATE_TEST_FUZZ_REPLY_H

#include "fuzz.h"

#include <hiredis/hiredis.h>

/* More elements than anybody sends: the connection of lib/redis makes no such array (unit/redis/client holds it to that). */
static inline bool fuzz_reply_announces_much(const uint8_t *feed, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        size_t digits = 0;
        while (feed[i] == '*' && i + 1 + digits < len && feed[i + 1 + digits] >= '0' &&
               feed[i + 1 + digits] <= '9')
            digits++;
        if (digits > 5)
            return true;
    }
    return false;
}

/* The first answers of all, at most so many; who asked frees them. */
static inline size_t fuzz_reply_read(const uint8_t *feed, size_t len, redisReply **out, size_t most)
{
    size_t n = 0;
    if (fuzz_reply_announces_much(feed, len))
        return 0;
    redisReader *reader = redisReaderCreate();
    demand(reader != NULL);
    redisReaderFeed(reader, (const char *)feed, len);
    for (void *reply = NULL; n < most && redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL;
         reply = NULL)
        out[n++] = reply;
    redisReaderFree(reader);
    return n;
}

#endif
