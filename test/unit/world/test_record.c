/* A record comes out of its bytes as it went in, whatever its numbers are, and a usual one is short. */
#include "record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t assert_kept(const struct record *record)
{
    uint8_t bytes[RECORD_MOST + 1];
    struct record got;
    memset(bytes, 0xa5, sizeof bytes);
    memset(&got, 0x5a, sizeof got);
    size_t n = record_pack(record, bytes);
    assert_in_range(n, 1, RECORD_MOST);
    assert_int_equal(bytes[n], 0xa5);
    record_unpack(bytes, &got);
    assert_memory_equal(&got, record, sizeof got); /* all of it is int64_t: no padding */
    return n;
}

static void test_edges(void **state)
{
    (void)state;
    struct record record = {0};
    assert_true(assert_kept(&record) < 10);
    for (size_t i = 0; i < sizeof record / sizeof(int64_t); i++) { /* each number by itself at its largest */
        record = (struct record){0};
        ((int64_t *)(void *)&record)[i] = i == 1 ? INT64_MAX - WINDOW_SLOTS : INT64_MAX;
        assert_kept(&record);
    }
    for (size_t i = 0; i < sizeof record / sizeof(int64_t); i++)
        ((int64_t *)(void *)&record)[i] = i == 1 ? INT64_MAX - WINDOW_SLOTS : INT64_MAX;
    assert_kept(&record);
}

static void test_negative(void **state)
{
    (void)state;
    struct record record = {.counter.window = {.window_ms = 60000, .slot = 1 - WINDOW_SLOTS}, .far_born = -1};
    assert_kept(&record); /* at the epoch; and what a store said that cannot be */
}

static void test_usual(void **state)
{
    (void)state;
    const int64_t now = 1732320000000;
    struct record record = {.counter = {.max = 100, .born = now - 1000}, .far_born = now - 999};
    window_move(&record.counter.window, 60000, now);
    window_add(&record.counter.window, 7);
    assert_true(assert_kept(&record) <= 26);
}

static int64_t random_number(void)
{
    int64_t number = (int64_t)random() << 31 | random();
    return number >> random() % 63;
}

static void test_random(void **state)
{
    (void)state;
    srandom(3);
    for (int round = 0; round < 100000; round++) {
        struct record record;
        for (size_t i = 0; i < sizeof record / sizeof(int64_t); i++)
            ((int64_t *)(void *)&record)[i] = random_number();
        assert_kept(&record);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_negative),
        cmocka_unit_test(test_usual),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
