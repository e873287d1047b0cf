/* The memory of refusals: what is answered from it, for how long, and what makes it forget. */
#include "denials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define NOW INT64_C(1732320000000)

static struct denials *denials;

static int set_up(void **state)
{
    (void)state;
    denials = denials_new();
    return denials == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    denials_free(denials);
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
    struct denial_ticket ticket;
    denials_find(denials, request, false, NOW, &answer, &ticket);
    answer = (struct count_answer){.result = result, .used = 10, .wait_ms = wait_ms, .slot = -1};
    denials_put(denials, &ticket, request, &answer, NOW);
}

static bool knows(const struct count_request *request, int64_t later)
{
    struct count_answer answer = {0};
    struct denial_ticket ticket;
    bool found = denials_find(denials, request, false, NOW + later, &answer, &ticket);
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
    assert_true(knows(&request, DENIALS_MS - 1));
    assert_false(knows(&request, DENIALS_MS));
    assert_false(knows(&request, -1)); /* the clock went back */
    struct count_answer answer;
    struct denial_ticket ticket;
    assert_true(denials_find(denials, &request, false, NOW + 500, &answer, &ticket));
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
    denials_drop(denials, ask.key);
    assert_false(knows(&request, 0));
    remember(&request, COUNT_OVER, 23000);
    assert_true(knows(&request, 0));
    denials_drop_all(denials);
    assert_false(knows(&request, 0));

    /* Given back while the store was being asked: what it said may be out of date. */
    struct count_answer answer = {0};
    struct denial_ticket ticket;
    assert_false(denials_find(denials, &request, false, NOW, &answer, &ticket));
    denials_drop(denials, ask.key);
    answer = (struct count_answer){.result = COUNT_OVER, .wait_ms = 23000, .slot = -1};
    denials_put(denials, &ticket, &request, &answer, NOW);
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
    struct denial_ticket ticket;
    struct count_answer found[2];
    assert_false(denials_find(denials, &both, false, NOW, found, &ticket));
    denials_put(denials, &ticket, &both, answers, NOW);
    assert_true(denials_find(denials, &both, false, NOW, found, &ticket));
    remember(&other, COUNT_ADMITTED, 0); /* the owner's may be over now */
    assert_false(denials_find(denials, &both, false, NOW, found, &ticket));
}

struct told {
    int calls;
    int64_t n;
};

static void tell(void *arg, const char *key, const char *limit, int64_t n)
{
    struct told *told = arg;
    assert_string_equal(key, "recipient:{a@example.com}");
    assert_string_equal(limit, "minute");
    told->calls++;
    told->n += n;
}

static void test_telling(void **state)
{
    (void)state;
    struct count_ask ask = an_ask();
    const struct count_request request = {.asks = &ask, .n = 1};
    struct told told = {0};
    remember(&request, COUNT_OVER, 23000);
    assert_false(denials_pending(denials));
    for (int i = 0; i < 7; i++)
        assert_true(knows(&request, i));
    assert_true(denials_pending(denials));
    denials_each_refusal(denials, tell, &told);
    assert_false(denials_pending(denials));
    denials_each_refusal(denials, tell, &told);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.n, 7);
    assert_true(knows(&request, 8)); /* still remembered */
}

/* ---- attempts ---- */

#define RETRY "00112233445566778899aabbccddeeff"

static struct count_ask an_attempt(int64_t max)
{
    struct count_ask ask = an_ask();
    ask.key = "client:{192.0.2.7}";
    ask.limit = "tries";
    ask.max = max;
    ask.flags = COUNT_ATTEMPT;
    return ask;
}

/* An alias that is over, from a client that was counted 6 of max times, this one included. */
static struct count_request flood(struct count_ask asks[2], const char *alias, int64_t max)
{
    struct count_request request = {.asks = asks, .n = 2, .retry = RETRY};
    struct count_answer answers[2];
    struct denial_ticket ticket;
    asks[0] = an_ask();
    asks[0].key = alias;
    asks[1] = an_attempt(max);
    assert_false(denials_find(denials, &request, false, NOW, answers, &ticket));
    answers[0] = (struct count_answer){.result = COUNT_OVER, .used = 10, .wait_ms = 23000, .slot = -1};
    answers[1] = (struct count_answer){.result = COUNT_ADMITTED, .used = 5, .born = 77, .slot = -1};
    denials_put(denials, &ticket, &request, answers, NOW);
    return request;
}

static bool find(const struct count_request *request, bool retry, int64_t *used)
{
    struct count_answer answers[2] = {{0}};
    struct denial_ticket ticket;
    bool found = denials_find(denials, request, retry, NOW + 1, answers, &ticket);
    if (found) {
        assert_int_equal(answers[0].result, COUNT_OVER);
        assert_int_equal(answers[1].result, COUNT_ADMITTED);
        assert_int_equal(answers[1].retry, retry);
        *used = answers[1].used;
    }
    return found;
}

static void test_attempts_have_room(void **state)
{
    (void)state;
    struct count_ask asks[2];
    const struct count_request request = flood(asks, "recipient:{a@example.com}", 10);
    int64_t used = 0;
    assert_false(denials_lacks(denials, &request));
    for (int i = 6; i < 10; i++) {
        assert_true(find(&request, false, &used));
        assert_int_equal(used, i);
    }
    assert_false(find(&request, false, &used));    /* the eleventh is for the store to refuse, */
    assert_true(denials_lacks(denials, &request)); /* once it knows of the others */

    struct untold *list;
    assert_int_equal(denials_take(denials, &list), 1);
    assert_string_equal(list[0].retry, RETRY);
    assert_int_equal(list[0].n, 4);
    assert_true(list[0].counts);
    struct count_change changes[DENIALS_ASKS];
    assert_int_equal(denials_charge(denials, list[0].who, 3, changes), 1);
    assert_string_equal(changes[0].key, "client:{192.0.2.7}");
    assert_string_equal(changes[0].limit, "tries");
    assert_int_equal(changes[0].amount, 3);
    assert_int_equal(changes[0].born, 77);
    assert_int_equal(changes[0].window_ms, 60000);
    assert_true(denials_lacks(denials, &request)); /* not told yet */
    denials_told(denials, list[0].who, 4);
    assert_false(denials_lacks(denials, &request));
    assert_int_equal(denials_take(denials, &list), 0);
    assert_false(find(&request, false, &used)); /* room is what the store says there is */
}

static void test_attempts_of_other_requests(void **state)
{
    (void)state;
    struct count_ask asks[2], others[2];
    const struct count_request one = flood(asks, "recipient:{a@example.com}", 10);
    const struct count_request other = flood(others, "recipient:{b@example.com}", 10);
    int64_t used;
    assert_true(find(&one, false, &used)); /* the 8th: the other's was one, too */
    assert_int_equal(used, 7);
    assert_true(find(&other, false, &used));
    assert_true(find(&other, false, &used));
    assert_false(find(&one, false, &used));
}

static void test_known_retries_are_not_noted(void **state)
{
    (void)state;
    struct count_ask asks[2];
    const struct count_request request = flood(asks, "recipient:{a@example.com}", 7);
    struct untold *list;
    int64_t used;
    for (int i = 0; i < 5; i++)
        assert_true(find(&request, true, &used));
    assert_int_equal(used, 6);
    assert_int_equal(denials_take(denials, &list), 0);
    assert_true(find(&request, false, &used));
    assert_false(find(&request, false, &used));
}

static void test_book_is_bounded(void **state)
{
    (void)state;
    struct count_ask asks[2];
    struct count_request request = flood(asks, "recipient:{a@example.com}", 1000000);
    char retry[33];
    int64_t used, n = 0, told = 0;
    struct untold *list;
    for (request.retry = retry; n < 100000; n++) {
        snprintf(retry, sizeof retry, "%032x", (unsigned)n);
        if (!find(&request, false, &used))
            break;
    }
    assert_int_equal(n, 3072);
    for (size_t i = denials_take(denials, &list); i > 0; i--)
        told += list[i - 1].n;
    assert_int_equal(told, n);
    assert_true(find(&request, false, &used)); /* there is room again */
}

/* What the store said of a request that counts attempts, and how long that is sure. */
static void test_sure(void **state)
{
    (void)state;
    static const struct {
        const char *name, *spill;
        enum count_result result;
        int64_t window_ms, hold_ms, wait_ms, sure_ms;
        bool retry;
    } rows[] = {
        {"held", NULL, COUNT_HELD, 60000, 600000, 23000, DENIALS_MS, false},
        {"held no longer", NULL, COUNT_HELD, 60000, 600000, 300, 300, false},
        {"over", NULL, COUNT_OVER, 60000, 0, 23000, DENIALS_MS, false},
        {"until a slot leaves", NULL, COUNT_OVER, 60000, 0, 12200, 200, false},
        {"until the last one leaves", NULL, COUNT_OVER, 60000, 0, 150, 150, false},
        {"trips a hold", NULL, COUNT_OVER, 60000, 600000, 600000, 0, false},
        {"is a retry", NULL, COUNT_OVER, 60000, 0, 23000, 0, true},
        {"short window", NULL, COUNT_OVER, 9990, 0, 9000, 0, false},
        {"odd window", NULL, COUNT_OVER, 60001, 0, 23000, 0, false},
        {"may spill", "client:{*}", COUNT_OVER, 60000, 0, 23000, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct count_ask ask = an_attempt(10);
        const struct count_request request = {.asks = &ask, .n = 1, .retry = RETRY};
        struct count_answer answer;
        struct denial_ticket ticket;
        denials_drop_all(denials);
        ask.window_ms = rows[i].window_ms;
        ask.hold_ms = rows[i].hold_ms;
        ask.spill = rows[i].spill;
        assert_false(denials_find(denials, &request, false, NOW, &answer, &ticket));
        answer = (struct count_answer){
            .result = rows[i].result, .used = 10, .wait_ms = rows[i].wait_ms, .retry = rows[i].retry};
        denials_put(denials, &ticket, &request, &answer, NOW);
        bool before = denials_find(denials, &request, false, NOW + rows[i].sure_ms - 1, &answer, &ticket);
        if (before != (rows[i].sure_ms > 0) ||
            denials_find(denials, &request, false, NOW + rows[i].sure_ms, &answer, &ticket))
            fail_msg("%s", rows[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_until_it_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_remembered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dropped_by_a_charge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_telling, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_attempts_have_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_attempts_of_other_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_known_retries_are_not_noted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_book_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sure, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
