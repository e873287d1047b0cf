/* An hour of minutes, from the differences of the metrics. */
#include "gate/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MINUTE = 60000 };

static void rcpt(struct metrics *metrics, enum action action, enum verdict_by by, int64_t ns)
{
    const struct verdict verdict = {.action = action, .by = by}, none = {0};
    metrics_rcpt(metrics, &verdict, &none, COUNT_SOURCE_STORE, true, ns);
}

static void test_minutes(void **state)
{
    (void)state;
    static struct metrics metrics;
    static struct history history;
    struct history_minute hour[HISTORY_MINUTES];
    metrics_init(&metrics);
    history_init(&history);
    rcpt(&metrics, ACTION_ACCEPT, VERDICT_BY_NOBODY, 5);
    history_look(&history, &metrics, -1,
                 (int64_t)1000 * MINUTE); /* what was before the first look is nobody's */
    rcpt(&metrics, ACTION_ACCEPT, VERDICT_BY_NOBODY, 10);
    rcpt(&metrics, ACTION_DEFER, VERDICT_BY_LIMIT, 30);
    metrics_refused_connection(&metrics, VERDICT_BY_BLOCK);
    history_look(&history, &metrics, 7, (int64_t)1000 * MINUTE + 500);
    rcpt(&metrics, ACTION_REJECT, VERDICT_BY_ALIAS, 20);
    history_look(&history, &metrics, -1, (int64_t)1002 * MINUTE);
    history_get(&history, (int64_t)1002 * MINUTE + 1, hour);
    const struct history_minute *last = &hour[HISTORY_MINUTES - 1], *first = last - 2;
    assert_int_equal(last->minute, 1002);
    assert_int_equal(last->answered[ACTION_REJECT], 1);
    assert_int_equal(last->refused[VERDICT_BY_ALIAS], 1);
    assert_int_equal(last->max_ns, 20);
    assert_int_equal(last->queue, -1);
    assert_int_equal(last[-1].minute, 0);
    assert_int_equal(first->minute, 1000);
    assert_int_equal(first->answered[ACTION_ACCEPT], 1);
    assert_int_equal(first->answered[ACTION_DEFER], 1);
    assert_int_equal(first->answered[ACTION_REJECT], 1);
    assert_int_equal(first->refused[VERDICT_BY_LIMIT], 1);
    assert_int_equal(first->refused[VERDICT_BY_BLOCK], 1);
    assert_int_equal(first->refused[VERDICT_BY_NOBODY], 0);
    assert_int_equal(first->decisions, 2);
    assert_int_equal(first->sum_ns, 40);
    assert_int_equal(first->max_ns, 30);
    assert_int_equal(first->queue, 7);
    history_get(&history, (int64_t)1003 * MINUTE, hour); /* a minute that has just begun is no gap */
    assert_int_equal(last->minute, 1003);
    assert_int_equal(last->decisions, 0);
    history_get(&history, (int64_t)1061 * MINUTE, hour); /* an hour later the first is over */
    assert_int_equal(hour[0].minute, 1002);
    history_get(&history, (int64_t)1062 * MINUTE, hour);
    for (int i = 0; i < HISTORY_MINUTES; i++)
        assert_int_equal(hour[i].minute, 0);
    history_done(&history);
    metrics_done(&metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_minutes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
