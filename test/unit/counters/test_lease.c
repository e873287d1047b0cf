/* One lease, by a clock of the test's own: when a counter is hot, how much is asked for, what is good for whom and until when. */
#include "lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS INT64_C(1000000)
#define PERIOD (LEASE_PERIOD_MS * MS)

static const struct count_ask soft = {
    .key = "all:{}", .limit = "l", .max = 5000, .window_ms = 60000, .amount = 1, .need = 1, .share_of = -1};

static void test_for_whom(void **state)
{
    (void)state;
    struct count_ask asks[2] = {soft, soft};
    const struct count_request request = {.asks = asks, .n = 2};
    assert_true(lease_is_for(&request, 0));
    asks[0].unit = COUNT_UNIT_MESSAGES;
    assert_true(lease_is_for(&request, 0));
    const struct count_ask not [] = {
        {.max = 999},
        {.flags = COUNT_HARD},
        {.flags = COUNT_ATTEMPT},
        {.flags = COUNT_SHADOW},
        {.flags = COUNT_REJECT},
        {.flags = COUNT_EXISTING},
        {.hold_ms = 1},
        {.share_of = 1},
        {.overflow = "o"},
        {.amount = 2},
        {.need = 2},
        {.unit = COUNT_UNIT_BYTES},
    };
    for (size_t i = 0; i < sizeof not / sizeof not [0]; i++) {
        asks[0] = soft;
        asks[0].max = not [i].max > 0 ? not [i].max : soft.max;
        asks[0].flags = not [i].flags;
        asks[0].hold_ms = not [i].hold_ms;
        asks[0].share_of = not [i].share_of > 0 ? 0 : -1;
        asks[0].overflow = not [i].overflow;
        asks[0].amount = not [i].amount > 0 ? not [i].amount : 1;
        asks[0].need = not [i].need > 0 ? not [i].need : 1;
        asks[0].unit = not [i].unit;
        assert_false(lease_is_for(&request, 0));
    }
    asks[0] = soft;
    asks[1].share_of = 0;
    assert_false(lease_is_for(&request, 0));
    assert_false(lease_is_for(&request, 1));
}

/* So many asks in the period that begins at start. */
static void ask(struct lease *lease, int64_t start, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        lease_count(lease, start + i * PERIOD / n);
}

static void test_hot(void **state)
{
    (void)state;
    struct lease lease = {0};
    const int64_t least = LEASE_HOT * LEASE_PERIOD_MS / 1000;
    ask(&lease, 0, least - 1);
    assert_int_equal(lease_wanted(&lease, PERIOD), 0);
    ask(&lease, PERIOD, least);
    assert_int_equal(lease_wanted(&lease, PERIOD * 3 / 2), 0); /* this one is not over */
    assert_int_equal(lease_wanted(&lease, PERIOD * 2), LEASE_HOT * LEASE_AHEAD_MS / 1000);
    ask(&lease, PERIOD * 2, 500);
    assert_int_equal(lease_wanted(&lease, PERIOD * 3 - 1), 10);
    assert_int_equal(lease_wanted(&lease, PERIOD * 3), 100);
    assert_int_equal(lease_wanted(&lease, PERIOD * 4), 0); /* nobody came */
    lease_count(&lease, PERIOD * 5);
    assert_int_equal(lease_wanted(&lease, PERIOD * 5), 0);
}

static struct lease hot_lease(void)
{
    struct lease lease = {0};
    ask(&lease, 0, 500);
    lease_count(&lease, PERIOD);
    assert_int_equal(lease_wanted(&lease, PERIOD), 100);
    return lease;
}

static void test_taken_and_given_back(void **state)
{
    (void)state;
    struct lease lease = hot_lease();
    struct count_answer answer[3] = {0};
    const struct lease_grant grant = {.units = 2, .used = 40, .slot = 7, .created = 9, .left_ms = 100000};
    assert_false(lease_take(&lease, 5000, PERIOD, &answer[0]));
    lease_grant(&lease, &grant, 5000, PERIOD);
    assert_int_equal(lease_wanted(&lease, PERIOD), 0);
    assert_false(lease_take(&lease, 4999, PERIOD, &answer[0])); /* a policy that is stricter by now */
    assert_true(lease_take(&lease, 5001, PERIOD, &answer[0]));
    assert_true(lease_take(&lease, 5000, PERIOD, &answer[1]));
    assert_int_equal(answer[0].result, COUNT_ADMITTED);
    assert_int_equal(answer[0].used, 40);
    assert_int_equal(answer[1].used, 41);
    assert_int_equal(answer[1].slot, 7);
    assert_int_equal(answer[1].created, 9);
    assert_int_equal(answer[1].here, -1);
    assert_false(lease_take(&lease, 5000, PERIOD, &answer[2]));
    assert_true(lease_put_back(&lease, &answer[0], PERIOD));
    answer[1].slot = 6;
    assert_false(lease_put_back(&lease, &answer[1], PERIOD));
    assert_true(lease_take(&lease, 5000, PERIOD, &answer[2]));
    assert_false(lease_put_back(&lease, &answer[2], PERIOD + LEASE_MS * MS));
}

/* The last moment at which a lease that was asked for at 0 is good. */
static int64_t last_ms(int64_t left_ms)
{
    struct lease lease = {0};
    struct count_answer answer;
    int64_t ms = 0;
    lease_grant(&lease, &(struct lease_grant){.units = 1000000, .left_ms = left_ms}, 5000, 0);
    while (lease_take(&lease, 5000, ms * MS, &answer))
        ms++;
    return ms - 1;
}

static void test_ends(void **state)
{
    (void)state;
    assert_int_equal(last_ms(100000), LEASE_MS - 1);
    assert_int_equal(last_ms(500), 497); /* a clock that is slow, and the last ms */
    assert_int_equal(last_ms(3), 1);
    assert_int_equal(last_ms(0), -1);
    assert_int_equal(last_ms(-5), -1);
    struct lease lease = hot_lease();
    lease_grant(&lease, &(struct lease_grant){.units = 5, .left_ms = 101}, 5000, PERIOD);
    struct lease_rest rest;
    assert_false(lease_rest(&lease, PERIOD + 99 * MS, &rest));
    assert_true(lease_rest(&lease, PERIOD + 100 * MS, &rest));
    assert_int_equal(rest.units, 5);
    assert_false(lease_rest(&lease, PERIOD + 100 * MS, &rest)); /* once */
    lease_grant(&lease, &(struct lease_grant){.units = 5, .slot = 8, .created = 9, .left_ms = 101}, 5000,
                PERIOD);
    lease_end(&lease, false);
    assert_int_equal(lease_wanted(&lease, PERIOD), 100);
    lease_ask(&lease, &rest); /* who asks for more takes it along */
    assert_int_equal(rest.units, 5);
    assert_int_equal(rest.slot, 8);
    assert_int_equal(rest.created, 9);
    assert_int_equal(lease_wanted(&lease, PERIOD), 0);
    lease_grant(&lease, &(struct lease_grant){.units = 5, .left_ms = 101}, 5000, PERIOD);
    lease_end(&lease, true);
    assert_false(lease_rest(&lease, PERIOD, &rest));
}

static void test_none_granted(void **state)
{
    (void)state;
    struct lease lease = hot_lease();
    lease.asking = true;
    assert_int_equal(lease_wanted(&lease, PERIOD), 0);
    assert_false(lease_is_idle(&lease, PERIOD * 100));
    lease_grant(&lease, &(struct lease_grant){.left_ms = 1000}, 5000, PERIOD);
    assert_int_equal(lease_wanted(&lease, PERIOD + (LEASE_PAUSE_MS - 1) * MS), 0);
    assert_int_equal(lease_wanted(&lease, PERIOD + LEASE_PAUSE_MS * MS), 100);
    lease_grant(&lease, NULL, 5000, PERIOD);
    assert_int_equal(lease_wanted(&lease, PERIOD), 0);
    assert_false(lease_is_idle(&lease, PERIOD));
    assert_true(lease_is_idle(&lease, PERIOD * 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_for_whom),
        cmocka_unit_test(test_hot),
        cmocka_unit_test(test_taken_and_given_back),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_none_granted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
