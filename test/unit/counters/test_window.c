/* The sliding window by itself: slots, waits, clocks that jump, windows that change their length. */
#include "counters/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define START INT64_C(1732320000000)
#define MINUTE INT64_C(60000)
#define MONTH (INT64_C(31) * 86400 * 1000)

static void test_slot(void **state)
{
    (void)state;
    static const struct {
        int64_t window, now, want;
    } rows[] = {
        {1000, 0, 0},
        {1000, 99, 0},
        {1000, 100, 1},
        {1003, 100, 0},
        {1003, 101, 1},
        {1003, 1002, 9},
        {1003, 1003, 10},
        {60000, START, 288720000},
        {MONTH, START, START * 10 / MONTH},
        {1000, -5, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(window_slot(rows[i].window, rows[i].now), rows[i].want);
}

static void test_leaves_after_exactly_its_time(void **state)
{
    (void)state;
    static const int64_t windows[] = {1, 1000, 1001, 1009, 60000, 61111, 86400000, MONTH - 1, MONTH};
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        int64_t w = windows[i];
        struct window window = {0};
        window_move(&window, w, START);
        window_add(&window, 7, 0);
        int64_t wait = window_wait(&window, START, 7, 1);
        assert_true(wait > w && wait <= w + (w + 9) / 10);
        assert_int_equal(window_rest(&window, START), wait);
        struct window after = window;
        window_move(&after, w, START + wait - 1);
        assert_int_equal(window_used(&after), 7);
        assert_int_equal(window_wait(&after, START + wait - 1, 7, 1), 1);
        window_move(&after, w, START + wait);
        assert_int_equal(window_used(&after), 0);
        assert_int_equal(window_wait(&after, START + wait, 7, 7), 0);
    }
}

static void test_wait_is_for_what_must_leave(void **state)
{
    (void)state;
    struct window window = {0};
    for (int i = 0; i < 5; i++) { /* 2 in each of five slots */
        window_move(&window, MINUTE, START + i * 6000);
        window_add(&window, 2, 0);
    }
    int64_t now = START + 4 * 6000;
    assert_int_equal(window_used(&window), 10);
    assert_int_equal(window_wait(&window, now, 11, 1), 0);
    assert_int_equal(window_wait(&window, now, 10, 1), START + 66000 - now);
    assert_int_equal(window_wait(&window, now, 10, 2), START + 66000 - now);
    assert_int_equal(window_wait(&window, now, 10, 3), START + 72000 - now);
    assert_int_equal(window_wait(&window, now, 10, 10), START + 90000 - now);
    assert_int_equal(window_wait(&window, now, 10, 11), 66000); /* never fits */
    assert_int_equal(window_wait(&window, now, 0, 1), 66000);
}

static void test_clock_jumps_back(void **state)
{
    (void)state;
    struct window window = {0};
    window_move(&window, MINUTE, START);
    window_add(&window, 3, 0);
    window_move(&window, MINUTE, START + 12000);
    window_add(&window, 4, 0);
    window_move(&window, MINUTE, START - 3600000);
    assert_int_equal(window_used(&window), 7);
    assert_int_equal(window.count[WINDOW_SLOTS - 1], 7);
    assert_true(window_rest(&window, START - 3600000) <= 66000);
    window_move(&window, MINUTE, START - 3600000 + 66000);
    assert_int_equal(window_used(&window), 0);
}

static void test_clock_before_1970_is_its_beginning(void **state)
{
    (void)state;
    struct window window = {0};
    window_move(&window, MINUTE, -5);
    window_add(&window, 3, 0);
    assert_int_equal(window_rest(&window, -5), 66000);
    window_move(&window, MINUTE, 66000);
    assert_int_equal(window_used(&window), 0);
}

static void test_length_changes(void **state)
{
    (void)state;
    struct window hour = {0};
    window_move(&hour, 60 * MINUTE, START);
    window_add(&hour, 5, 0);
    struct window minute = hour; /* its slot has not ended: it might have been now */
    window_move(&minute, MINUTE, START + 1000);
    assert_int_equal(window_used(&minute), 5);
    minute = hour; /* ended 2 minutes ago */
    window_move(&minute, MINUTE, START + 8 * MINUTE);
    assert_int_equal(window_used(&minute), 0);
    minute = (struct window){0};
    window_move(&minute, MINUTE, START);
    window_add(&minute, 5, 0);
    window_move(&minute, 60 * MINUTE, START + 30000);
    assert_int_equal(window_used(&minute), 5);
    window_move(&minute, 60 * MINUTE, START + 59 * MINUTE);
    assert_int_equal(window_used(&minute), 5);
    window_move(&minute, 60 * MINUTE, START + 67 * MINUTE);
    assert_int_equal(window_used(&minute), 0);
    minute = (struct window){0};
    window_move(&minute, MINUTE, START);
    window_add(&minute, 5, 0);
    window_move(&minute, 2 * MINUTE, 2 * START); /* a slot of the same number, and years later */
    assert_int_equal(window_used(&minute), 0);
}

static void test_change(void **state)
{
    (void)state;
    struct window window = {0};
    window_move(&window, MINUTE, START);
    int64_t slot = window_slot(MINUTE, START);
    window_add(&window, 5, 0);
    window_move(&window, MINUTE, START + 6000);
    window_add(&window, 1, 0);
    assert_true(window_change(&window, slot, MINUTE, -2, 0));
    assert_int_equal(window_used(&window), 4);
    assert_true(window_change(&window, slot, MINUTE, -100, 0));
    assert_int_equal(window_used(&window), 1);
    assert_false(window_change(&window, slot, MINUTE, -1, 0));
    assert_true(window_change(&window, slot, MINUTE, 9, 0));
    assert_int_equal(window_wait(&window, START + 6000, 10, 1), 60000); /* the 9 stand in the old slot */
    window_move(&window, MINUTE, START + 70000);
    assert_false(window_change(&window, slot, MINUTE, -1, 0)); /* has left */
    assert_int_equal(window_used(&window), 1);
    assert_false(window_change(&window, slot, MINUTE, 3, 0));
    assert_true(window_change(&window, window_slot(1000, START + 70000), 1000, -1, 0) ==
                false); /* numbered by another length; nothing is there */
    assert_int_equal(window_used(&window), 1);
}

static void test_open(void **state)
{
    (void)state;
    struct window window = {0};
    window_move(&window, MINUTE, START);
    int64_t slot = window_newest(&window);
    window_add(&window, 5, 5);
    window_add(&window, 2, 0);
    assert_int_equal(window_taken(&window), 2);
    assert_true(window_change(&window, slot, MINUTE, 0, -3)); /* settled */
    assert_int_equal(window_taken(&window), 5);
    assert_true(window_change(&window, slot, MINUTE, -1, -1)); /* given back */
    assert_int_equal(window_used(&window), 6);
    assert_int_equal(window_taken(&window), 5);
    assert_true(window_change(&window, slot, MINUTE, -6, 0)); /* never more open than counted */
    assert_int_equal(window_taken(&window), 0);
    assert_true(window_change(&window, slot, MINUTE, 4, -9));
    assert_int_equal(window_taken(&window), 4);
    window_move(&window, MINUTE, START + 6000);
    window_add(&window, 3, 3);
    assert_int_equal(window_hard_wait(&window, START + 6000, 4, 1), 60000);
    assert_int_equal(window_hard_wait(&window, START + 6000, 7, 1), 0);
    assert_int_equal(window_wait(&window, START + 6000, 7, 5), 66000);
    window_move(&window, MINUTE, START + 66000); /* the slot goes with its open */
    assert_int_equal(window_used(&window), 3);
    assert_int_equal(window_taken(&window), 0);
    window_move(&window, 60 * MINUTE, START + 66000); /* both lists are mapped */
    assert_int_equal(window_used(&window), 3);
    assert_int_equal(window_taken(&window), 0);
}

/* Who looked at the clock before others did joins them; a clock that was set back folds. */
static void test_stale_now(void **state)
{
    (void)state;
    struct window window = {0};
    window_move(&window, 1000, START + 500);
    window_add(&window, 5, 0);
    window_move(&window, 1000, START + 380);
    window_add(&window, 1, 0);
    assert_int_equal(window.count[WINDOW_SLOTS - 1], 6);
    assert_int_equal(window_newest(&window), window_slot(1000, START + 500));
    window_move(&window, 1000, START + 1550);
    assert_int_equal(window_used(&window), 6);
    window_move(&window, 1000, START + 750); /* nothing was charged since: no slot to join */
    assert_int_equal(window_newest(&window), window_slot(1000, START + 750));
    window_move(&window, 1000, START + 500 - WINDOW_STALE_MS);
    assert_int_equal(window_newest(&window), window_slot(1000, START + 500));
    window_move(&window, 1000, START + 500 - WINDOW_STALE_MS - 1);
    assert_int_equal(window_newest(&window), window_slot(1000, START + 499 - WINDOW_STALE_MS));
    assert_int_equal(window_used(&window), 6);
}

/* By the millisecond, also where a tenth of the window is none. */
static void test_slots(void **state)
{
    (void)state;
    static const int64_t widths[] = {1000, 1777, MINUTE, 61111};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
        for (int64_t slot = 0; slot < 40; slot++) {
            int64_t begin = window_slot_end(widths[i], slot - 1) + 1;
            int64_t middle = window_slot_middle(widths[i], slot);
            int64_t end = window_slot_end(widths[i], slot);
            assert_int_equal(window_slot(widths[i], begin), slot);
            assert_int_equal(window_slot(widths[i], end), slot);
            assert_int_equal(window_slot(widths[i], end + 1), slot + 1);
            assert_true(labs((middle - begin) - (end - middle)) <= 1);
        }
    assert_int_equal(window_slot(1000, 0), 0);
    assert_int_equal(window_slot(1000, -1), 0);
}

static void test_trim_takes_the_oldest(void **state)
{
    (void)state;
    struct window window = {0};
    for (int i = 0; i < 3; i++) {
        window_move(&window, MINUTE, START + i * 6000);
        window_add(&window, 2, 0);
    }
    window_trim(&window, 6);
    assert_int_equal(window_used(&window), 6);
    window_trim(&window, 3);
    assert_int_equal(window_used(&window), 3);
    assert_int_equal(window.count[WINDOW_SLOTS - 3], 0);
    assert_int_equal(window.count[WINDOW_SLOTS - 2], 1);
    assert_int_equal(window.count[WINDOW_SLOTS - 1], 2);
    window_move(&window, MINUTE, START + WINDOW_SLOTS * 6000); /* the 1 is in the oldest slot now */
    window_trim(&window, 2);
    assert_int_equal(window_used(&window), 2);
    assert_int_equal(window.count[0], 0);
}

static void test_stays_within_bounds(void **state)
{
    (void)state;
    struct window window = {0};
    window_move(&window, 1000, START);
    for (int i = 0; i < 5; i++)
        window_add(&window, WINDOW_MOST, 0);
    assert_true(window_used(&window) == WINDOW_MOST);
    assert_true(window_change(&window, window_slot(1000, START), 1000, -WINDOW_MOST, 0));
    assert_int_equal(window_used(&window), 0);
}

/* Charges at random, each only where it fits: no span of one window holds more than max, by brute force; and
 * what is asked again after the wait that was told fits. */
static void test_never_more_in_any_span(void **state)
{
    (void)state;
    unsigned short seed[3] = {1, 2, 3};
    enum { CHARGES = 400 };
    static int64_t at[CHARGES], amount[CHARGES];
    int64_t refused = 0, filled = 0;
    for (int round = 0; round < 300; round++) {
        int64_t w = 1000 + (int64_t)(erand48(seed) * erand48(seed) * erand48(seed) * (double)(MONTH - 1000));
        int64_t max = round % 3 == 0 ? 1 : 1 + (int64_t)(erand48(seed) * erand48(seed) * 1e9);
        int64_t now = START + nrand48(seed) % 1000000;
        struct window window = {0};
        int n = 0;
        for (int step = 0; step < CHARGES; step++) {
            now += (int64_t)(erand48(seed) * erand48(seed) * (double)w / 4);
            int64_t need = 1 + (int64_t)(erand48(seed) * erand48(seed) * (double)max * 0.7);
            window_move(&window, w, now);
            int64_t wait = window_wait(&window, now, max, need);
            if (wait > 0 && nrand48(seed) % 2 == 0) {
                struct window early = window;
                window_move(&early, w, now + wait - 1);
                assert_true(window_used(&early) + need > max);
                now += wait;
                window_move(&window, w, now);
                wait = window_wait(&window, now, max, need);
                assert_int_equal(wait, 0);
            }
            if (wait > 0) {
                assert_true(window_used(&window) + need > max);
                refused++;
                continue;
            }
            window_add(&window, need, 0);
            at[n] = now;
            amount[n++] = need;
        }
        for (int i = 0; i < n; i++) {
            int64_t sum = 0;
            for (int j = i; j < n && at[j] - at[i] <= w; j++)
                sum += amount[j];
            assert_true(sum <= max);
            filled += sum == max;
        }
        window_move(&window, w, now + w + (w + 9) / 10);
        assert_int_equal(window_used(&window), 0);
    }
    assert_true(refused > 1000 && filled > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slot),
        cmocka_unit_test(test_leaves_after_exactly_its_time),
        cmocka_unit_test(test_wait_is_for_what_must_leave),
        cmocka_unit_test(test_clock_jumps_back),
        cmocka_unit_test(test_clock_before_1970_is_its_beginning),
        cmocka_unit_test(test_length_changes),
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_stale_now),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_trim_takes_the_oldest),
        cmocka_unit_test(test_stays_within_bounds),
        cmocka_unit_test(test_never_more_in_any_span),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
