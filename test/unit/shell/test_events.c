/* The ring, what is told how often, and a stream that is away for a while. */
#include "events.h"

#include "counts_ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
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

/* ---- a stream of our own ---- */

struct stream {
    struct counts counts;
    _Atomic int status; /* what it answers */
    _Atomic int asked, taken;
    char last[64]; /* the event of the last one taken */
};

static enum counts_status stream_add(struct counts *counts, const char *const *words, size_t n)
{
    struct stream *stream = (struct stream *)counts;
    assert_int_equal(n % 2, 0);
    assert_string_equal(words[0], "event");
    atomic_fetch_add(&stream->asked, 1);
    enum counts_status status = (enum counts_status)atomic_load(&stream->status);
    if (status == COUNTS_OK) {
        snprintf(stream->last, sizeof stream->last, "%s", words[1]);
        atomic_fetch_add(&stream->taken, 1);
    }
    return status;
}

static const struct counts_ops ops = {.stream_add = stream_add};

static void wait_until(_Atomic int *number, int n)
{
    for (int i = 0; i < 2000 && atomic_load(number) < n; i++)
        usleep(5000);
    assert_true(atomic_load(number) >= n);
}

static void test_stream_comes_back(void **state)
{
    (void)state;
    struct stream stream = {.counts = {.ops = &ops}, .status = COUNTS_DOWN};
    struct events *events = events_new("mx", NULL);
    assert_int_equal(events_start(events, &stream.counts, NULL), 0);
    for (int i = 0; i < 1200; i++)
        events_add(events, 0, i == 1199 ? "last" : "thing", NULL, 0);
    wait_until(&stream.asked, 1);
    assert_int_equal(events_dropped(events), 200);
    atomic_store(&stream.status, COUNTS_OK);
    wait_until(&stream.taken, 1000);
    events_stop(events, 1000);
    assert_int_equal(atomic_load(&stream.taken), 1000);
    assert_string_equal(stream.last, "last");
    assert_int_equal(events_dropped(events), 200);
    events_add(events, 0, "afterwards", NULL, 0); /* harmless */
    events_free(events);
}

/* An answer that is lost again and again does not hold up the rest for ever. */
static void test_stream_that_refuses(void **state)
{
    (void)state;
    struct stream stream = {.counts = {.ops = &ops}, .status = COUNTS_UNSURE};
    struct events *events = events_new("mx", NULL);
    assert_int_equal(events_start(events, &stream.counts, NULL), 0);
    events_add(events, 0, "thing", NULL, 0);
    wait_until(&stream.asked, 3);
    events_stop(events, 1000);
    assert_int_equal(events_dropped(events), 1);
    assert_int_equal(atomic_load(&stream.asked), 3);
    events_free(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ring), cmocka_unit_test(test_long_fields),
                                       cmocka_unit_test(test_due), cmocka_unit_test(test_stream_comes_back),
                                       cmocka_unit_test(test_stream_that_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
