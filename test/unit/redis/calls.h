/* Calls of the Redis client, and what is asserted of them. They hand down deadlines of their own, so that none waits for the timeout of
 * the client: LONG where an answer is expected, or none at once, and little for what is never answered. */
#ifndef RCPTGATE_TEST_CALLS_H
#define RCPTGATE_TEST_CALLS_H

#include "base/clock.h"
#include "patience.h"
#include "redis/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum {
    TIMEOUT = 1000,   /* of a client, ms: to connect and to probe */
    LATE = 5000,      /* a call may overrun by this where the machine is busy */
    LONG = 10 * LATE, /* what is over within LATE has not waited for that */
};

#define TCP(name, number) .addresses = &(const struct redis_address){name, number}, .n_addresses = 1

static inline struct redis_client *client(const struct redis_config *config)
{
    struct error err = {0};
    struct redis_client *redis = redis_client_new(config, NULL, NULL, &err);
    assert_non_null(redis);
    assert_string_equal(err.text, "");
    return redis;
}

static inline struct redis_client *client_of_path(const char *path)
{
    struct redis_client *redis = client(&(struct redis_config){.path = path, .timeout_ms = TIMEOUT});
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    return redis;
}

/* ms: until its deadline; 0: it has none, and the client's timeout holds. */
static inline enum redis_status repeat(struct redis_client *redis, const char *word, int64_t ms,
                                       redisReply **reply)
{
    const char *argv[] = {"ECHO", word};
    const struct redis_command command = {
        .argc = 2, .argv = argv, .deadline = ms > 0 ? clock_monotonic_ns() + ms * 1000000 : 0};
    return redis_client_call(redis, &command, reply);
}

/* The answer is the right one. */
static inline void assert_repeat(struct redis_client *redis, const char *word)
{
    redisReply *reply = NULL;
    assert_int_equal(repeat(redis, word, LONG, &reply), REDIS_ANSWERED);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    assert_string_equal(reply->str, word);
    assert_int_equal(reply->len, strlen(word));
    freeReplyObject(reply);
}

/* That is its status, without a wait. */
static inline void assert_at_once(struct redis_client *redis, enum redis_status expected)
{
    redisReply *untouched = (void *)redis, *reply = untouched;
    int64_t start = clock_monotonic_ms();
    assert_int_equal(repeat(redis, "word", LONG, &reply), expected);
    assert_in_range(clock_monotonic_ms() - start, 0, LATE);
    assert_ptr_equal(reply, untouched);
}

/* It is sent, not answered, and over at its deadline; where all of the time went by before it was sent, on a busy machine, again with more.
 * timeout: the client's, which holds then; 0: a deadline is handed down. */
static inline void assert_lost(struct redis_client *redis, int64_t timeout)
{
    enum redis_status status = REDIS_DOWN;
    for (int64_t ms = 50; status == REDIS_DOWN && redis_client_is_up(redis); ms *= 2) {
        redisReply *untouched = (void *)redis, *reply = untouched;
        int64_t start = clock_monotonic_ms(), most = timeout > 0 ? timeout : ms;
        status = repeat(redis, "a word that is so long that it drips for more than a second",
                        timeout > 0 ? 0 : ms, &reply);
        assert_in_range(clock_monotonic_ms() - start, most - 1, most + LATE);
        assert_ptr_equal(reply, untouched);
    }
    assert_int_equal(status, REDIS_LOST);
}

static inline void assert_condition(struct redis_client *redis, const char *part)
{
    struct error condition = {0};
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    do {
        redis_client_condition(redis, &condition);
        if (part[0] == '\0' ? condition.text[0] == '\0' : strstr(condition.text, part) != NULL)
            return;
        nap(10);
    } while (clock_monotonic_ms() < until);
    fail_msg("condition is \"%s\", expected \"%s\"", condition.text, part);
}

#endif
