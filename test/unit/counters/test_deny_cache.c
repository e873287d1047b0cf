/* The deny cache: what is answered from it, for how long, and what makes it forget. */
#include "deny_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define NOW INT64_C(1732320000000)

static struct deny_cache *cache;

static int set_up(void **state)
{
    (void)state;
    cache = deny_cache_new((const uint64_t[2]){1, 2});
    return cache == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    deny_cache_free(cache);
    return 0;
}

static struct count_ask an_ask(void)
{
    return (struct count_ask){.key = "recipient:{a@example.com}",
                              .limit = "minute",
                              .max = 10,
                              .window_ms = 60000,
                              .amount = 1,
                              .need = 1,
                              .share_of = -1};
}

static void remember(const struct count_request *request, enum count_result result, int64_t wait_ms)
{
    struct count_answer answer = {.result = result, .used = 10, .wait_ms = wait_ms, .slot = -1};
    struct deny_cache_ticket ticket;
    deny_cache_find(cache, request, NOW, &answer, &ticket);
    answer = (struct count_answer){.result = result, .used = 10, .wait_ms = wait_ms, .slot = -1};
    deny_cache_put(cache, &ticket, request, &answer, NOW);
}

static bool knows(const struct count_request *request, int64_t after)
{
    struct count_answer answer = {0};
    struct deny_cache_ticket ticket;
    bool found = deny_cache_find(cache, request, NOW + after, &answer, &ticket);
    if (found)
        assert_int_equal(answer.used, 10);
    return found;
}

static void test_refusals(void **state)
{
    (void)state;
    struct count_ask ask = an_ask();
    const struct count_request request = {.asks = &ask, .n = 1};
    assert_false(knows(&request, 0));
    remember(&request, COUNT_OVER, 23000);
    assert_true(knows(&request, 0));
    assert_true(knows(&request, DENY_CACHE_MS - 1));
    assert_false(knows(&request, DENY_CACHE_MS));
    assert_false(knows(&request, -1)); /* the clock went back */
    struct count_answer answer;
    struct deny_cache_ticket ticket;
    assert_true(deny_cache_find(cache, &request, NOW + 500, &answer, &ticket));
    assert_int_equal(answer.result, COUNT_OVER);
    assert_int_equal(answer.wait_ms, 22500);
    assert_int_equal(answer.slot, -1);
}

static void test_until_it_fits(void **state)
{
    (void)state;
    struct count_ask ask = an_ask();
    const struct count_request request = {.asks = &ask, .n = 1};
    remember(&request, COUNT_HELD, 200);
    assert_true(knows(&request, 199));
    assert_false(knows(&request, 200));
}

/* A ramp makes a share bind from less of its limit on; a hard answer stands on more, and the store says of the less how long it lasts. */
static void test_share_while_a_ramp_lasts(void **state)
{
    (void)state;
    struct count_ask asks[] = {an_ask(), an_ask()};
    asks[1].key = "recipient+client:{a@example.com}|192.0.2.7";
    asks[1].share_of = 0;
    const struct count_request request = {.asks = asks, .n = 2};
    struct count_answer over = {
        .result = COUNT_OVER, .used = 10, .hard_ms = 5000, .wait_ms = 23000, .slot = -1};
    for (int ramp = 0; ramp <= 1; ramp++)
        for (int hard = 0; hard <= 1; hard++) {
            struct count_answer answers[] = {{.result = COUNT_ADMITTED, .used = 10, .slot = -1}, over};
            struct deny_cache_ticket ticket;
            answers[1].hard = hard;
            asks[0].headroom = 90 * ramp;
            asks[1].amount = 2 * ramp + hard; /* each has a place of its own */
            deny_cache_find(cache, &request, NOW, (struct count_answer[2]){{0}}, &ticket);
            deny_cache_put(cache, &ticket, &request, answers, NOW);
            assert_int_equal(deny_cache_find(cache, &request, NOW, answers, &ticket), !(ramp && hard));
        }
}

static void test_nothing_else(void **state)
{
    (void)state;
    struct count_ask ask = an_ask();
    const struct count_request request = {.asks = &ask, .n = 1};
    remember(&request, COUNT_OVER, 23000);
    struct count_ask others[] = {an_ask(), an_ask(), an_ask(), an_ask(), an_ask(), an_ask()};
    others[0].max = 11;
    others[1].limit = "hour";
    others[2].key = "recipient:{b@example.com}";
    others[3].need = 2;
    others[4].hold_ms = 1;
    others[5].flags = COUNT_SHADOW;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(knows(&(struct count_request){.asks = &others[i], .n = 1}, 0));
    struct count_ask two[] = {an_ask(), an_ask()};
    two[1].limit = "day";
    assert_false(knows(&(struct count_request){.asks = two, .n = 2}, 0));
}

static void test_not_remembered(void **state)
{
    (void)state;
    struct count_ask ask = an_ask();
    const struct count_request request = {.asks = &ask, .n = 1};
    remember(&request, COUNT_ADMITTED, 0);
    assert_false(knows(&request, 0));
    ask.flags = COUNT_SHADOW;
    remember(&request, COUNT_OVER, 23000);
    assert_false(knows(&request, 0));
}

static void test_dropped(void **state)
{
    (void)state;
    struct count_ask ask = an_ask();
    const struct count_request request = {.asks = &ask, .n = 1};
    remember(&request, COUNT_OVER, 23000);
    deny_cache_drop(cache, ask.key);
    assert_false(knows(&request, 0));
    remember(&request, COUNT_OVER, 23000);
    assert_true(knows(&request, 0));
    deny_cache_drop_all(cache);
    assert_false(knows(&request, 0));

    /* Given back while the store was being asked: what it said may be out of date. */
    struct count_answer answer = {0};
    struct deny_cache_ticket ticket;
    assert_false(deny_cache_find(cache, &request, NOW, &answer, &ticket));
    deny_cache_drop(cache, ask.key);
    answer = (struct count_answer){.result = COUNT_OVER, .wait_ms = 23000, .slot = -1};
    deny_cache_put(cache, &ticket, &request, &answer, NOW);
    assert_false(knows(&request, 0));
}

static void test_dropped_by_a_charge(void **state)
{
    (void)state;
    struct count_ask asks[] = {an_ask(), an_ask()};
    asks[1].key = "owner:{olga}";
    const struct count_request both = {.asks = asks, .n = 2}, other = {.asks = &asks[1], .n = 1};
    struct count_answer answers[] = {{.result = COUNT_OVER, .wait_ms = 23000, .slot = -1},
                                     {.result = COUNT_ADMITTED, .slot = -1}};
    struct deny_cache_ticket ticket;
    struct count_answer found[2];
    assert_false(deny_cache_find(cache, &both, NOW, found, &ticket));
    deny_cache_put(cache, &ticket, &both, answers, NOW);
    assert_true(deny_cache_find(cache, &both, NOW, found, &ticket));
    remember(&other, COUNT_ADMITTED, 0); /* the owner's may be over now */
    assert_false(deny_cache_find(cache, &both, NOW, found, &ticket));
}

struct notified {
    int calls;
    int64_t n;
};

static void notify(void *arg, const char *key, const char *limit, int64_t n)
{
    struct notified *notified = arg;
    assert_string_equal(key, "recipient:{a@example.com}");
    assert_string_equal(limit, "minute");
    notified->calls++;
    notified->n += n;
}

static void test_telling(void **state)
{
    (void)state;
    struct count_ask ask = an_ask();
    const struct count_request request = {.asks = &ask, .n = 1};
    struct notified notified = {0};
    remember(&request, COUNT_OVER, 23000);
    for (int i = 0; i < 7; i++)
        assert_true(knows(&request, i));
    deny_cache_each_refusal(cache, notify, &notified);
    deny_cache_each_refusal(cache, notify, &notified);
    assert_int_equal(notified.calls, 1);
    assert_int_equal(notified.n, 7);
    assert_true(knows(&request, 8)); /* still remembered */
}

static void test_attempts_always_ask(void **state)
{
    (void)state;
    struct count_ask ask = an_ask();
    const struct count_request request = {.asks = &ask, .n = 1};
    ask.flags = COUNT_ATTEMPT;
    remember(&request, COUNT_OVER, 23000);
    assert_false(knows(&request, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_until_it_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_share_while_a_ramp_lasts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_remembered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dropped_by_a_charge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_telling, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_attempts_always_ask, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
