/* Texts, fields of INFO, and TIME: what is one, and what is none. */
#include "redis/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static redisReply *reply_of_bytes(const char *bytes, size_t n)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    assert_int_equal(redisReaderFeed(reader, bytes, n), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    redisReaderFree(reader);
    assert_non_null(reply);
    return reply;
}

static redisReply *reply_of(const char *bytes)
{
    return reply_of_bytes(bytes, strlen(bytes));
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        bool text;
    } rows[] = {{"$3\r\nabc\r\n", 9, true},
                {"$0\r\n\r\n", 6, true},
                {"$3\r\na\0c\r\n", 9, false},
                {"+abc\r\n", 6, false},
                {"$-1\r\n", 5, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        redisReply *reply = reply_of_bytes(rows[i].bytes, rows[i].n);
        assert_int_equal(redis_answer_is_text(reply), rows[i].text);
        freeReplyObject(reply);
    }
    assert_false(redis_answer_is_text(NULL));
}

static void test_fields(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name, *value;
    } rows[] = {
        {"# Server\r\nrun_id:abc\r\nrole:master\r\n", "run_id", "abc"},
        {"# Server\r\nrun_id:abc\r\nrole:master\r\n", "role", "master"},
        {"run_id:abc", "run_id", "abc"},
        {"run_id:\r\nrole:x\r\n", "run_id", ""},
        {"xrun_id:abc\r\nrun_ids:abc\r\n", "run_id", ""},
        {"role:first\r\nrole:second\r\n", "role", "first"},
        {"role:much-longer\r\n", "role", "much-lo"}, /* cut */
        {"", "role", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char bytes[256], value[8];
        snprintf(bytes, sizeof bytes, "$%zu\r\n%s\r\n", strlen(rows[i].text), rows[i].text);
        redisReply *reply = reply_of(bytes);
        assert_string_equal(redis_answer_field(reply, rows[i].name, value, sizeof value), rows[i].value);
        freeReplyObject(reply);
    }
    char value[8] = "before";
    redisReply *reply = reply_of("-NOPERM role:x\r\n");
    assert_string_equal(redis_answer_field(reply, "role", value, sizeof value), "");
    freeReplyObject(reply);
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        int64_t ms; /* -1: none */
    } rows[] = {
        {"*2\r\n$10\r\n1700000000\r\n$6\r\n123456\r\n", 1700000000123},
        {"*2\r\n$1\r\n0\r\n$1\r\n0\r\n", 0},
        {"*2\r\n$19\r\n9223372036854775807\r\n$1\r\n0\r\n", -1},
        {"*2\r\n$2\r\n-1\r\n$1\r\n0\r\n", -1},
        {"*2\r\n$2\r\n1x\r\n$1\r\n0\r\n", -1},
        {"*2\r\n$0\r\n\r\n$1\r\n0\r\n", -1},
        {"*2\r\n:1700000000\r\n:1\r\n", -1},
        {"*1\r\n$1\r\n0\r\n", -1},
        {"-ERR\r\n", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t ms = -1;
        redisReply *reply = reply_of(rows[i].bytes);
        assert_int_equal(redis_answer_time(reply, &ms), rows[i].ms >= 0);
        assert_int_equal(ms, rows[i].ms);
        freeReplyObject(reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts), cmocka_unit_test(test_fields),
                                       cmocka_unit_test(test_times)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
