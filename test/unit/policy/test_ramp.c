/* The ramp: where it begins and ends, and that it only grows. */
#include "ramp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MONTH INT64_C(2678400000)
#define MOST INT64_C(1000000000000000)

static void test_points(void **state)
{
    static const struct {
        int64_t max, ramp, since, want;
    } points[] = {
        {100, 0, 0, 100},
        {100, 0, -7, 100},
        {100, 1, 0, 10},
        {100, 10, 0, 10},
        {100, 10, 1, 19},
        {100, 10, -1, 10},
        {2, 1000, 0, 1},
        {100, 1000, 0, 10},
        {100, 1000, 500, 55},
        {100, 1000, 999, 99},
        {100, 1000, 1000, 100},
        {100, 1000, 5000, 100},
        {100, 1000, -7, 10},
        {5, 1000, 0, 1},
        {1, 1000, 0, 1},
        {0, 1000, 0, 0},
        {19, 1000, 0, 1},
        {20, 1000, 0, 2},
        {MOST, MONTH, 0, MOST / 10},
        {MOST, MONTH, MONTH / 2, MOST / 20 * 11},
        {MOST, MONTH, MONTH, MOST},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(points); i++)
        assert_int_equal(ramp_max(points[i].max, points[i].ramp, points[i].since), points[i].want);
}

static void test_grows(void **state)
{
    static const int64_t maxes[] = {0, 1, 2, 9, 10, 11, 99, 1000, 123456789, MOST};
    static const int64_t ramps[] = {1, 7, 1000, 60000, 3600000, MONTH};
    (void)state;
    for (size_t m = 0; m < COUNT_OF(maxes); m++)
        for (size_t r = 0; r < COUNT_OF(ramps); r++) {
            int64_t last = 0, max = maxes[m], ramp = ramps[r];
            for (int step = 0; step <= 100; step++) {
                int64_t since = ramp / 100 * step, now = ramp_max(max, ramp, since);
                assert_true(now >= last && now <= max && (now >= 1 || max == 0) && now >= max / 10);
                last = now;
            }
            assert_int_equal(ramp_max(max, ramp, ramp), max);
        }
}

static void test_wait(void **state)
{
    (void)state;
    assert_int_equal(ramp_wait(100, 1000, 0, 10), 0);
    assert_int_equal(ramp_wait(100, 10, -5, 100), 10);
    assert_int_equal(ramp_wait(100, 10, 0, 100), 10);
    assert_int_equal(ramp_wait(100, 10, 1, 100), 9);
    assert_int_equal(ramp_wait(100, 10, 1, 19), 0);
    assert_int_equal(ramp_wait(100, 1000, 0, 100), 1000);
    assert_int_equal(ramp_wait(100, 1000, 0, 1000), 1000);
    assert_int_equal(ramp_wait(100, 1000, 400, 55), 100);
    assert_int_equal(ramp_wait(100, 0, 0, 100), 0);
    assert_int_equal(ramp_wait(100, 1000, 2000, 100), 0);
    for (int64_t since = 0; since < 60000; since += 777)
        for (int64_t wanted = 0; wanted <= 50; wanted++) {
            int64_t wait = ramp_wait(50, 60000, since, wanted);
            assert_true(ramp_max(50, 60000, since + wait) >= wanted);
            if (wait > 0)
                assert_true(ramp_max(50, 60000, since + wait - 1) < wanted);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_points), cmocka_unit_test(test_grows),
                                       cmocka_unit_test(test_wait)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
