/* totals: counts, first and last times, the order, and what happens beyond its bound. */
#include "replay/totals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void counters_and_order(void **state)
{
    (void)state;
    struct totals *totals = totals_new();
    size_t n = 1;
    assert_non_null(totals);
    free(totals_sorted(totals, &n));
    assert_int_equal(n, 0);
    totals_add(totals, "b", "x", 50);
    totals_add(totals, "a", "y", 40);
    totals_add(totals, "b", "x", 30);
    totals_add(totals, "a", "x", 20);
    totals_add(totals, "b", "x", 60);
    void **rows = totals_sorted(totals, &n);
    static const struct {
        const char *what, *subject;
        uint64_t count;
        int64_t first_ms, last_ms;
    } want[] = {{"b", "x", 3, 30, 60}, {"a", "x", 1, 20, 20}, {"a", "y", 1, 40, 40}};
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) {
        const struct totals_row *row = rows[i];
        assert_string_equal(row->what, want[i].what);
        assert_string_equal(row->subject, want[i].subject);
        assert_int_equal(row->count, want[i].count);
        assert_int_equal(row->first_ms, want[i].first_ms);
        assert_int_equal(row->last_ms, want[i].last_ms);
    }
    free(rows);
    totals_free(totals);
    totals_free(NULL);
}

static void assert_row(const struct totals_row *row, const char *subject, uint64_t count)
{
    assert_string_equal(row->subject, subject);
    assert_int_equal(row->count, count);
}

static void beyond_its_bound(void **state)
{
    (void)state;
    struct totals *totals = totals_new();
    char subject[32];
    size_t n = 0;
    assert_non_null(totals);
    for (int i = 0; i < TOTALS_ROWS + 500; i++) {
        snprintf(subject, sizeof subject, "s%d", i);
        totals_add(totals, i % 2 == 0 ? "even" : "odd", subject, i);
    }
    totals_add(totals, "even", "s0", 7); /* those that are known go on */
    void **rows = totals_sorted(totals, &n);
    assert_int_equal(n, TOTALS_ROWS + 2);
    assert_row(rows[0], "(others)", 250);
    assert_row(rows[1], "(others)", 250);
    assert_row(rows[2], "s0", 2);
    free(rows);
    totals_free(totals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_order),
        cmocka_unit_test(beyond_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
