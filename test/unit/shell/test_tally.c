/* tally: counts, first and last times, the order, and what happens beyond its bound. */
#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void counts_and_order(void **state)
{
    (void)state;
    struct tally *tally = tally_new();
    size_t n = 1;
    assert_non_null(tally);
    (void)tally_sorted(tally, &n);
    assert_int_equal(n, 0);
    tally_add(tally, "b", "x", 50);
    tally_add(tally, "a", "y", 40);
    tally_add(tally, "b", "x", 30);
    tally_add(tally, "a", "x", 20);
    tally_add(tally, "b", "x", 60);
    struct tally_row *const *rows = tally_sorted(tally, &n);
    static const struct {
        const char *what, *subject;
        uint64_t count;
        int64_t first_ms, last_ms;
    } want[] = {{"b", "x", 3, 30, 60}, {"a", "x", 1, 20, 20}, {"a", "y", 1, 40, 40}};
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(rows[i]->what, want[i].what);
        assert_string_equal(rows[i]->subject, want[i].subject);
        assert_int_equal(rows[i]->count, want[i].count);
        assert_int_equal(rows[i]->first_ms, want[i].first_ms);
        assert_int_equal(rows[i]->last_ms, want[i].last_ms);
    }
    tally_free(tally);
    tally_free(NULL);
}

static void beyond_its_bound(void **state)
{
    (void)state;
    struct tally *tally = tally_new();
    char subject[32];
    size_t n = 0;
    assert_non_null(tally);
    for (int i = 0; i < TALLY_ROWS + 500; i++) {
        snprintf(subject, sizeof subject, "s%d", i);
        tally_add(tally, i % 2 == 0 ? "even" : "odd", subject, i);
    }
    tally_add(tally, "even", "s0", 7); /* those that are known go on */
    struct tally_row *const *rows = tally_sorted(tally, &n);
    assert_int_equal(n, TALLY_ROWS + 2);
    assert_string_equal(rows[0]->subject, "(others)");
    assert_string_equal(rows[1]->subject, "(others)");
    assert_int_equal(rows[0]->count, 250);
    assert_int_equal(rows[1]->count, 250);
    assert_string_equal(rows[2]->subject, "s0");
    assert_int_equal(rows[2]->count, 2);
    tally_free(tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_and_order),
        cmocka_unit_test(beyond_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
