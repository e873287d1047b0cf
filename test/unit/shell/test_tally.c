/* tally: counts, first and last times, the order, and what happens beyond its bound. */
#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void counts_and_order(void **state)
{
    (void)state;
    struct tally *tally = tally_new();
    size_t n = 1;
    assert_non_null(tally);
    free(tally_sorted(tally, &n));
    assert_int_equal(n, 0);
    tally_add(tally, "b", "x", 50);
    tally_add(tally, "a", "y", 40);
    tally_add(tally, "b", "x", 30);
    tally_add(tally, "a", "x", 20);
    tally_add(tally, "b", "x", 60);
    void **rows = tally_sorted(tally, &n);
    static const struct {
        const char *what, *subject;
        uint64_t count;
        int64_t first_ms, last_ms;
    } want[] = {{"b", "x", 3, 30, 60}, {"a", "x", 1, 20, 20}, {"a", "y", 1, 40, 40}};
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) {
        const struct tally_row *row = rows[i];
        assert_string_equal(row->what, want[i].what);
        assert_string_equal(row->subject, want[i].subject);
        assert_int_equal(row->count, want[i].count);
        assert_int_equal(row->first_ms, want[i].first_ms);
        assert_int_equal(row->last_ms, want[i].last_ms);
    }
    free(rows);
    tally_free(tally);
    tally_free(NULL);
}

static void assert_row(const struct tally_row *row, const char *subject, uint64_t count)
{
    assert_string_equal(row->subject, subject);
    assert_int_equal(row->count, count);
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
    void **rows = tally_sorted(tally, &n);
    assert_int_equal(n, TALLY_ROWS + 2);
    assert_row(rows[0], "(others)", 250);
    assert_row(rows[1], "(others)", 250);
    assert_row(rows[2], "s0", 2);
    free(rows);
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
