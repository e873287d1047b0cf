/* Numbers by name: against what is counted by hand, and within bounds. */
#include "census.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>

enum { NAMES = 50000 };

static void add_up(void *arg, const char *name, int64_t n)
{
    int64_t *sum = arg;
    assert_true(name[0] == 'n' && n > 0);
    sum[0] += n;
    sum[1]++;
}

static void test_many(void **state)
{
    (void)state;
    struct census *census = census_new(NAMES);
    char name[32];
    int64_t sum[2] = {0};
    for (int round = 1; round <= 3; round++)
        for (int i = 0; i < NAMES; i += round) {
            snprintf(name, sizeof name, "name%d", i);
            assert_true(census_add(census, name, 1, 0));
        }
    assert_int_equal(census_names(census), NAMES);
    assert_false(census_add(census, "one too many", 1, 0));
    assert_true(census_add(census, "name0", 5, 0));
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "name%d", i);
        assert_int_equal(census_of(census, name), 1 + (i % 2 == 0) + (i % 3 == 0) + (i == 0 ? 5 : 0));
    }
    assert_int_equal(census_of(census, "one too many"), 0);
    census_each(census, add_up, sum);
    assert_int_equal(sum[1], NAMES);
    assert_int_equal(sum[0], NAMES + (NAMES + 1) / 2 + (NAMES + 2) / 3 + 5);
    census_free(census);
}

static void test_marks(void **state)
{
    (void)state;
    struct census *census = census_new(10);
    for (uint64_t mark = 1; mark <= 3; mark++) {
        assert_true(census_add(census, "a", 1, mark));
        assert_true(census_add(census, "b", 1, mark));
        assert_true(census_add(census, "a", 1, mark));
    }
    assert_int_equal(census_of(census, "a"), 3);
    assert_int_equal(census_of(census, "b"), 3);
    census_free(census);
}

static void test_nothing(void **state)
{
    int64_t sum[2] = {0};
    (void)state;
    assert_int_equal(census_of(NULL, "a"), 0);
    assert_int_equal(census_names(NULL), 0);
    census_each(NULL, add_up, sum);
    census_free(NULL);
    struct census *census = census_new(0);
    assert_false(census_add(census, "a", 1, 0));
    census_free(census);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many), cmocka_unit_test(test_marks),
                                       cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
