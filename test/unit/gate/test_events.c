/* The ring, what is sent how often, and a stream that is away for a while, in a real Redis. */
#include "gate/events.h"

#include "patience.h"
#include "redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *text_of(const json_t *event, const char *name)
{
    return json_string_value(json_object_get(event, name));
}

static void test_ring(void **state)
{
    (void)state;
    struct events *events = events_new("mx", NULL);
    assert_int_equal(events_start(events, NULL, NULL), 0);
    for (int i = 0; i < 2500; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        const struct event_field fields[] = {{"n", value}, {"subject", "a@example.com"}, {"odd", NULL}};
        events_add(events, 1000, "thing", fields, 3);
    }
    json_t *list = events_recent(events, 5000, false);
    assert_in_range(json_array_size(list), 900, 1000);
    assert_string_equal(text_of(json_array_get(list, 0), "n"), "2499");
    assert_string_equal(text_of(json_array_get(list, 0), "event"), "thing");
    assert_string_equal(text_of(json_array_get(list, 0), "at"), "1970-01-01T00:00:01Z");
    assert_string_equal(text_of(json_array_get(list, 0), "odd"), "");
    assert_null(text_of(json_array_get(list, 0), "subject"));
    json_decref(list);
    list = events_recent(events, 2, true);
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(text_of(json_array_get(list, 1), "subject"), "a@example.com");
    json_decref(list);
    assert_int_equal(events_added(events), 2500);
    assert_int_equal(events_dropped(events), 0);
    events_stop(events, 0);
    events_free(events);
}

/* Whatever the lengths, the words of an event stay pairs and inside their room. */
static void test_long_fields(void **state)
{
    (void)state;
    struct events *events = events_new("mx", NULL);
    assert_int_equal(events_start(events, NULL, NULL), 0);
    char longest[3000];
    for (size_t n = 0; n < sizeof longest; n += 7) {
        memset(longest, 'x', n);
        longest[n] = '\0';
        const struct event_field fields[] = {{"a", "1"}, {"long", longest}, {"b", "2"}, {"long2", longest},
                                             {"c", "3"}, {"d", "4"},        {"e", "5"}, {"f", "6"}};
        events_add(events, 0, "thing", fields, sizeof fields / sizeof fields[0]);
        json_t *list = events_recent(events, 1, true);
        const json_t *event = json_array_get(list, 0);
        assert_string_equal(text_of(event, "a"), "1");
        const char *kept = text_of(event, "long");
        assert_non_null(kept);
        assert_memory_equal(kept, longest, strlen(kept));
        assert_true(strlen(kept) == n || strlen(kept) > 500);
        const char *b = text_of(event, "b");
        assert_true(b == NULL || strcmp(b, "2") == 0);
        json_decref(list);
    }
    events_free(events);
}

static void test_due(void **state)
{
    (void)state;
    struct events *events = events_new("mx", NULL);
    assert_true(events_due(events, "a", "minute", 1000000, 60000));
    assert_false(events_due(events, "a", "minute", 1000000, 60000));
    assert_false(events_due(events, "a", "minute", 1059000, 60000));
    assert_true(events_due(events, "a", "day", 1000000, 60000));
    assert_true(events_due(events, "b", "minute", 1000000, 60000));
    assert_true(events_due(events, "am", "inute", 1000000, 60000));
    assert_true(events_due(events, "a", "minute", 1061000, 60000));
    assert_false(events_due(NULL, "a", "minute", 0, 1));
    assert_int_equal(events_dropped(events), 0);
    int said = 0;
    for (int i = 0; i < 1000; i++) {
        char subject[16];
        snprintf(subject, sizeof subject, "s%d", i);
        said += events_due(events, subject, "minute", 2000000 + (i < 500 ? 0 : 1000), 60000);
    }
    assert_int_equal(said, 2 * 50);
    assert_int_equal(events_dropped(events), 1000 - 2 * 50);
    events_free(events);
}

/* ---- the stream ---- */

static struct redis_server server;
static struct redis_client *redis;

static int with_redis(void **state)
{
    (void)state;
    struct error err = {0};
    server_start(&server);
    redis =
        redis_client_new(&(struct redis_config){.path = server.socket, .prefix = "test", .timeout_ms = 10000},
                         NULL, NULL, &err);
    return redis != NULL && redis_client_wait(redis, 60000) ? 0 : -1;
}

static int without_redis(void **state)
{
    (void)state;
    redis_client_free(redis);
    server_remove(&server);
    return 0;
}

/* A number that Redis answers with; 0: it does not, or with something else. */
static long long number(const char *command)
{
    redisContext *context = server_connect(&server);
    redisReply *reply = context != NULL ? redisCommand(context, command) : NULL;
    long long n = reply != NULL && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    freeReplyObject(reply);
    if (context != NULL)
        redisFree(context);
    return n;
}

static void test_stream_comes_back(void **state)
{
    (void)state;
    server_kill(&server);
    while (redis_client_is_up(redis))
        usleep(5000);
    struct events *events = events_new("mx", NULL);
    assert_int_equal(events_start(events, redis, NULL), 0);
    for (int i = 0; i < 1200; i++)
        events_add(events, 0, i == 1199 ? "last" : "thing", NULL, 0);
    assert_int_equal(events_dropped(events), 200);
    server_launch(&server);
    for (int i = 0; i < PATIENCE_MS / 5 && number("XLEN test:events") < 1000; i++)
        usleep(5000);
    events_stop(events, 1000);
    assert_int_equal(number("XLEN test:events"), 1000);
    assert_int_equal(events_dropped(events), 200);
    events_add(events, 0, "afterwards", NULL, 0); /* harmless */
    events_free(events);
}

/* One that is refused again and again does not hold up the rest for ever. */
static void test_stream_that_refuses(void **state)
{
    (void)state;
    server_do(&server, "SET test:events junk");
    struct events *events = events_new("mx", NULL);
    assert_int_equal(events_start(events, redis, NULL), 0);
    events_add(events, 0, "thing", NULL, 0);
    for (int i = 0; i < PATIENCE_MS / 5 && events_dropped(events) == 0; i++)
        usleep(5000);
    assert_int_equal(events_dropped(events), 1);
    server_do(&server, "DEL test:events");
    events_add(events, 0, "thing", NULL, 0);
    for (int i = 0; i < PATIENCE_MS / 5 && number("XLEN test:events") < 1; i++)
        usleep(5000);
    events_stop(events, 1000);
    assert_int_equal(number("XLEN test:events"), 1);
    events_free(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring), cmocka_unit_test(test_long_fields), cmocka_unit_test(test_due),
        cmocka_unit_test_setup_teardown(test_stream_comes_back, with_redis, without_redis),
        cmocka_unit_test_setup_teardown(test_stream_that_refuses, with_redis, without_redis)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
