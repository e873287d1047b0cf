/* What is counted, and the rates that are made of it. */
#include "gate/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static char *printed(struct metrics *metrics)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    metrics_print(out, metrics);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_line(struct metrics *metrics, const char *line)
{
    char *text = printed(metrics), want[256];
    snprintf(want, sizeof want, "\n%s\n", line);
    if (strstr(text, want) == NULL)
        fail_msg("no line \"%s\" in\n%s", line, text);
    free(text);
}

static const struct verdict none = {0};

static void test_counters(void **state)
{
    (void)state;
    struct metrics m;
    metrics_init(&m);
    const struct limit limit = {.name = "minute", .over = ACTION_REJECT};
    const struct policy policy = {.limits = (struct limit *)(uintptr_t)&limit, .n_limits = 1};
    metrics_know(&m, &policy);
    assert_line(&m, "rcptgate_limit_refused_total{limit=\"minute\",action=\"reject\"} 0");
    const struct verdict refused = {.action = ACTION_DEFER, .by = VERDICT_BY_LIMIT, .limit = &limit};
    metrics_rcpt(&m, &refused, &none, COUNT_SOURCE_STORE, true, 60000);
    metrics_rcpt(&m, &(struct verdict){.action = ACTION_ACCEPT}, &refused, COUNT_SOURCE_LOCAL, true,
                 600000000);
    metrics_rcpt(&m, &(struct verdict){.action = ACTION_DEFER, .by = VERDICT_BY_BACKEND}, &none,
                 COUNT_SOURCE_NONE, true, 1);
    metrics_rcpt(&m, &(struct verdict){.action = ACTION_ACCEPT}, &none, COUNT_SOURCE_NONE, false, 1);
    assert_line(&m, "rcptgate_rcpt_total{verdict=\"accept\",by=\"nobody\"} 2");
    assert_line(&m, "rcptgate_rcpt_total{verdict=\"defer\",by=\"limit\"} 1");
    assert_line(&m, "rcptgate_rcpt_total{verdict=\"defer\",by=\"backend\"} 1");
    assert_line(&m, "rcptgate_limit_refused_total{limit=\"minute\",action=\"defer\"} 1");
    assert_line(&m, "rcptgate_limit_shadow_total{limit=\"minute\",action=\"defer\"} 1");
    assert_line(&m, "rcptgate_rcpt_without_counters_total{by=\"local\"} 1");
    assert_line(&m, "rcptgate_rcpt_without_counters_total{by=\"nobody\"} 1");
    assert_line(&m, "rcptgate_decision_seconds_bucket{le=\"0.00005\"} 2");
    assert_line(&m, "rcptgate_decision_seconds_bucket{le=\"0.0001\"} 3");
    assert_line(&m, "rcptgate_decision_seconds_bucket{le=\"0.5\"} 3");
    assert_line(&m, "rcptgate_decision_seconds_bucket{le=\"+Inf\"} 4");
    assert_line(&m, "rcptgate_decision_seconds_sum 0.600060002");
    assert_line(&m, "rcptgate_decision_max_seconds 0.600000000");
    metrics_forget_longest(&m);
    assert_int_equal(m.longest_decision.ever_ns, 0);
    metrics_rcpt(&m, &none, &none, COUNT_SOURCE_STORE, true,
                 INT64_C(10050) * 1000000); /* timeout at its most */
    assert_line(&m, "rcptgate_decision_seconds_bucket{le=\"10\"} 4");
    assert_line(&m, "rcptgate_decision_seconds_bucket{le=\"20\"} 5");
    assert_int_equal(metrics_total(&m, ACTION_ACCEPT), 2);
    uint64_t refusals, shadow;
    metrics_limit_totals(&m, "minute", &refusals, &shadow);
    assert_int_equal(refusals, 1);
    assert_int_equal(shadow, 1);
    metrics_limit_totals(&m, "nobody", &refusals, &shadow);
    assert_int_equal(refusals + shadow, 0);
    metrics_done(&m);
}

/* What took long once does not show for ever. */
static void test_longest(void **state)
{
    (void)state;
    struct metrics m;
    metrics_init(&m);
    metrics_sample(&m, 1000000);
    metrics_callback(&m, 3000000000);
    metrics_callback(&m, 2000000000);
    assert_line(&m, "rcptgate_callback_max_seconds 3.000000000");
    metrics_sample(&m, 1059000);
    metrics_sample(&m, 1060000);
    metrics_callback(&m, 1000000000);
    assert_line(&m, "rcptgate_callback_max_seconds 3.000000000");
    metrics_sample(&m, 1119000);
    assert_line(&m, "rcptgate_callback_max_seconds 3.000000000");
    metrics_sample(&m, 1120000);
    assert_line(&m, "rcptgate_callback_max_seconds 1.000000000");
    metrics_sample(&m, 1000); /* the clock was set */
    assert_line(&m, "rcptgate_callback_max_seconds 0.000000000");
    assert_int_equal(m.longest_callback.ever_ns, 3000000000);
    metrics_done(&m);
}

/* A store that is known to be down answers at once: that is no time of the store. */
static void test_store(void **state)
{
    (void)state;
    struct metrics m;
    metrics_init(&m);
    metrics_counters(&m, COUNTERS_OK, 1000000);
    metrics_counters(&m, COUNTERS_UNSURE, 100000000);
    metrics_counters(&m, COUNTERS_DOWN, 100);
    assert_line(&m, "rcptgate_counters_calls_total{status=\"ok\"} 1");
    assert_line(&m, "rcptgate_counters_calls_total{status=\"unsure\"} 1");
    assert_line(&m, "rcptgate_counters_calls_total{status=\"down\"} 1");
    assert_line(&m, "rcptgate_counters_seconds_count 2");
    metrics_done(&m);
}

static void test_rates(void **state)
{
    (void)state;
    struct metrics m;
    double rates[METRICS_ACTIONS];
    metrics_init(&m);
    metrics_rates(&m, rates);
    assert_true(rates[ACTION_ACCEPT] == 0);
    for (int second = 0; second <= 200; second++) { /* 3 a second, then none for 80 s */
        for (int i = 0; i < 3 && second < 120; i++)
            metrics_rcpt(&m, &(struct verdict){.action = ACTION_ACCEPT}, &none, COUNT_SOURCE_STORE, false, 1);
        metrics_sample(&m, second * 1000);
        metrics_sample(&m, second * 1000 + 500); /* too soon: passed over */
        if (second == 0 || second % 40 != 0)
            continue;
        metrics_rates(&m, rates);
        double want = second <= 80 ? 3 : second == 120 ? 59.0 * 3 / 60 : second == 160 ? 19.0 * 3 / 60 : 0;
        assert_true(rates[ACTION_ACCEPT] > want - 0.01 && rates[ACTION_ACCEPT] < want + 0.01);
        assert_true(rates[ACTION_REJECT] == 0);
    }
    metrics_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counters), cmocka_unit_test(test_longest),
                                       cmocka_unit_test(test_store), cmocka_unit_test(test_rates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
