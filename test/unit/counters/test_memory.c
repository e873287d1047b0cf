/* What is the embedded store's own: its bounds, its expiry, large requests. What it has in common with Redis is in
 * test_vectors.c and test_random.c. */
#include "counters/stores.h"
#include "base/clock.h"
#include "base/hash.h"

#include "counters/window.h"
#include "memory_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define START INT64_C(1732320000000)

static struct count_ask ask_for(const char *key, int64_t max)
{
    return (struct count_ask){.key = key,
                              .limit = "l",
                              .max = max,
                              .window_ms = 60000,
                              .amount = 1,
                              .need = 1,
                              .ttl_ms = 70000,
                              .share_of = -1};
}

static struct count_answer reserve_one(struct counters *counters, const char *key, int64_t max, int64_t ttl,
                                       int64_t now)
{
    struct count_ask ask = ask_for(key, max);
    struct count_answer answer;
    ask.ttl_ms = ttl;
    assert_int_equal(counters_reserve(counters, &(struct count_request){.asks = &ask, .n = 1}, now, &answer),
                     COUNTERS_OK);
    return answer;
}

static void count_one(void *arg, const struct count_view *view)
{
    (void)view;
    ++*(size_t *)arg;
}

static size_t size_of(struct counters *counters, int64_t now)
{
    static const char *const all[] = {"*"};
    size_t n = 0;
    assert_int_equal(counters_show(counters, all, 1, now, count_one, &n), COUNTERS_OK);
    return n;
}

static void test_bounded(void **state)
{
    (void)state;
    static const size_t bounds[] = {1, 2, 100, 5000};
    for (size_t b = 0; b < sizeof bounds / sizeof bounds[0]; b++) {
        struct counters *counters = counters_memory_new(bounds[b]);
        char key[32];
        for (int i = 0; i < 20000; i++) {
            snprintf(key, sizeof key, "k:{%d}", i);
            assert_int_equal(reserve_one(counters, key, 5, 70000, START + i).result, COUNT_ADMITTED);
        }
        size_t n = size_of(counters, START + 20000);
        assert_true(n <= bounds[b] && n >= bounds[b] / 2);
        assert_int_equal(reserve_one(counters, key, 5, 70000, START + 20000).used,
                         1); /* the newest is there */
        counters_free(counters);
    }
}

static void test_what_lives_long_stays(void **state)
{
    (void)state;
    struct counters *counters = counters_memory_new(100);
    char key[32];
    reserve_one(counters, "long", 5, INT64_C(86400000), START);
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "k:{%d}", i);
        reserve_one(counters, key, 5, 70000, START + i);
    }
    assert_int_equal(reserve_one(counters, "long", 5, 70000, START + 10000).used, 1);
    counters_free(counters);
}

static void test_expires(void **state)
{
    (void)state;
    struct counters *counters = counters_memory_new(100000);
    struct count_answer first = reserve_one(counters, "a", 5, 70000, START);
    reserve_one(counters, "b", 5, 200000, START);
    reserve_one(counters, "c", 5, 1, START); /* never before its count has ended */
    assert_int_equal(size_of(counters, START + 66999), 3);
    assert_int_equal(size_of(counters, START + 67000), 2);
    assert_int_equal(size_of(counters, START + 69999), 2);
    assert_int_equal(size_of(counters, START + 70000), 1);
    assert_true(reserve_one(counters, "a", 5, 70000, START + 70000).created > first.created);
    char key[32]; /* whoever comes by sweeps */
    for (int i = 0; i < 50000; i++) {
        snprintf(key, sizeof key, "k:{%d}", i);
        reserve_one(counters, key, 5, 70000, START + 100000);
    }
    for (int i = 0; i < 100000; i++)
        reserve_one(counters, i % 2 ? "x" : "y", 1000000, 70000, START + 10000000);
    assert_int_equal(size_of(counters, START + 10000000), 2);
    counters_free(counters);
}

static void test_many_asks(void **state)
{
    (void)state;
    enum { MANY = 200 };
    struct counters *counters = counters_memory_new(100000);
    static struct count_ask asks[MANY];
    static struct count_answer answers[MANY];
    static char keys[MANY][16];
    for (int i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "k:{%d}", i);
        asks[i] = ask_for(keys[i], i == MANY - 1 ? 2 : 10);
    }
    const struct count_request request = {.asks = asks, .n = MANY};
    for (int round = 0; round < 3; round++) {
        assert_int_equal(counters_reserve(counters, &request, START, answers), COUNTERS_OK);
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(answers[i].used, round);
            assert_int_equal(answers[i].result, round == 2 && i == MANY - 1 ? COUNT_OVER : COUNT_ADMITTED);
            assert_int_equal(answers[i].slot >= 0, round < 2);
        }
    }
    assert_int_equal(reserve_one(counters, keys[0], 10, 70000, START).used, 2);
    counters_free(counters);
}

/* A request larger than the store still is all or nothing, and nothing of it is evicted under its feet. */
static void test_request_larger_than_the_store(void **state)
{
    (void)state;
    struct counters *counters = counters_memory_new(2);
    struct count_ask asks[] = {ask_for("a", 5), ask_for("b", 5), ask_for("c", 5), ask_for("d", 5),
                               ask_for("e", 5)};
    struct count_answer answers[5];
    const struct count_request request = {.asks = asks, .n = 5};
    for (int round = 0; round < 3; round++) {
        assert_int_equal(counters_reserve(counters, &request, START, answers), COUNTERS_OK);
        for (int i = 0; i < 5; i++)
            assert_int_equal(answers[i].used, round);
    }
    counters_free(counters);
}

static struct count_ask sender_ask(const char *key, int64_t max)
{
    struct count_ask ask = ask_for(key, max);
    ask.overflow = "sender:{*}|*";
    ask.new_key = "new:{*}|l";
    ask.new_max = 1000000;
    return ask;
}

static enum counters_status send_from(struct counters *counters, int i, int64_t max,
                                      struct count_answer *answer)
{
    char key[32];
    snprintf(key, sizeof key, "sender:{s%d}", i);
    const struct count_ask ask = sender_ask(key, max);
    const struct count_request request = {.asks = &ask, .n = 1};
    return counters_reserve(counters, &request, START, answer);
}

/* Senders that were made up push out one another, and neither what is full nor what is held nor, as long as they are there, what
 * nobody can make up; and it is said that something is forgotten. */
static void test_made_up_senders(void **state)
{
    (void)state;
    enum { BOUND = 10000, SENDERS = 700000, VICTIMS = 50 };
    struct counters *counters = counters_memory_new(BOUND);
    struct error condition = {0};
    struct count_answer answer;
    char key[32];
    for (int i = 0; i < VICTIMS; i++) {
        struct count_ask ask = ask_for(key, 1);
        const struct count_request request = {.asks = &ask, .n = 1};
        snprintf(key, sizeof key, "recipient:{full%d}", i);
        assert_int_equal(counters_reserve(counters, &request, START, &answer), COUNTERS_OK);
        snprintf(key, sizeof key, "client:{held%d}", i);
        ask.hold_ms = 600000;
        ask.max = 0;
        assert_int_equal(counters_reserve(counters, &request, START, &answer), COUNTERS_OK);
        snprintf(key, sizeof key, "recipient:{half%d}", i);
        reserve_one(counters, key, 2, 60000, START);
    }
    counters_condition(counters, &condition);
    assert_string_equal(condition.text, "");
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(send_from(counters, i, 10, &answer), COUNTERS_OK);
    assert_true(size_of(counters, START) <= BOUND + 64);
    for (int i = 0; i < VICTIMS; i++) {
        snprintf(key, sizeof key, "recipient:{full%d}", i);
        assert_int_equal(reserve_one(counters, key, 1, 70000, START).result, COUNT_OVER);
        snprintf(key, sizeof key, "recipient:{half%d}", i);
        assert_int_equal(reserve_one(counters, key, 2, 60000, START).used, 1);
        struct count_ask ask = ask_for(key, 5);
        const struct count_request request = {.asks = &ask, .n = 1};
        ask.hold_ms = 600000;
        snprintf(key, sizeof key, "client:{held%d}", i);
        assert_int_equal(counters_reserve(counters, &request, START, &answer), COUNTERS_OK);
        assert_int_equal(answer.result, COUNT_HELD);
    }
    counters_condition(counters, &condition);
    assert_non_null(strstr(condition.text, "counters.local_subjects"));
    counters_free(counters);
}

/* Where all that is there must stay, what is made up shares a counter, and what is not still finds room. */
static void test_full_of_what_must_stay(void **state)
{
    (void)state;
    enum { BOUND = 1000 };
    struct counters *counters = counters_memory_new(BOUND);
    struct error condition = {0};
    struct count_answer answer;
    int overflowed = 0;
    for (int i = 0; i < 5 * BOUND; i++) {
        assert_int_equal(send_from(counters, i, 1, &answer), COUNTERS_OK);
        overflowed += answer.overflowed;
    }
    assert_in_range(overflowed, 4 * BOUND - 10, 4 * BOUND + 10);
    assert_true(size_of(counters, START) <= BOUND + 10);
    counters_condition(counters, &condition);
    assert_non_null(strstr(condition.text, "full or held"));
    for (int i = 0; i < BOUND - 10; i++) {
        assert_int_equal(send_from(counters, i, 1, &answer), COUNTERS_OK);
        assert_int_equal(answer.result, COUNT_OVER);
    }
    assert_int_equal(reserve_one(counters, "recipient:{a}", 5, 70000, START).used, 0);
    assert_int_equal(reserve_one(counters, "recipient:{a}", 5, 70000, START).used, 1);
    counters_free(counters);
}

/* A request that finds room for one of its counters only leaves nothing behind. */
static void test_room_for_half_of_a_request(void **state)
{
    (void)state;
    enum { BOUND = 1000 };
    struct counters *counters = counters_memory_new(BOUND);
    struct count_ask asks[] = {ask_for("recipient:{a}", 5), ask_for("recipient:{b}", 5)};
    struct count_answer answers[2];
    const struct count_request request = {.asks = asks, .n = 2};
    char key[32];
    for (int i = 0; i < 2 * BOUND - 1; i++) {
        snprintf(key, sizeof key, "recipient:{full%d}", i);
        assert_int_equal(reserve_one(counters, key, 1, 70000, START).result, COUNT_ADMITTED);
    }
    assert_int_equal(counters_reserve(counters, &request, START, answers), COUNTERS_DOWN);
    assert_int_equal(size_of(counters, START), 2 * BOUND - 1);
    struct count_change change = {.key = "recipient:{a}",
                                  .limit = "l",
                                  .window_ms = 60000,
                                  .at_ms = START,
                                  .slot = -1,
                                  .created = INT64_MAX,
                                  .amount = -1};
    assert_int_equal(counters_change(counters, &change, 1, START), COUNTERS_OK);
    assert_int_equal(size_of(counters, START), 2 * BOUND - 1);
    counters_free(counters);
}

static void test_retries_are_bounded(void **state)
{
    (void)state;
    struct counters *counters = counters_memory_new(1000);
    for (int i = 0; i < 300000; i++) {
        struct count_deferral deferral = {.at_ms = START + i, .n = 1};
        snprintf(deferral.pair.id, sizeof deferral.pair.id, "%032x", i);
        assert_int_equal(counters_deferred(counters, &deferral, 1, START + i), COUNTERS_OK);
    }
    int known = 0;
    struct count_ask ask = ask_for("client:{c}", 0);
    ask.flags = COUNT_ATTEMPT;
    for (int i = 0; i < 300000; i += 100) {
        struct count_answer answer;
        struct count_pair pair = {0};
        snprintf(pair.id, sizeof pair.id, "%032x", i);
        const struct count_request request = {.asks = &ask, .n = 1, .pair = &pair};
        assert_int_equal(counters_peek(counters, &request, START + 1000000, &answer), COUNTERS_OK);
        known += answer.result == COUNT_ADMITTED;
        if (i >= 290000)
            assert_int_equal(answer.result, COUNT_ADMITTED); /* the oldest give way */
    }
    assert_true(known > 1200 && known <= 2000); /* of 3,000 looked at */
    counters_free(counters);
}

static void test_nothing_asked(void **state)
{
    (void)state;
    struct counters *counters = counters_memory_new(10);
    const struct count_request request = {0};
    size_t n = 5;
    assert_int_equal(counters_reserve(counters, &request, START, NULL), COUNTERS_OK);
    assert_int_equal(counters_change(counters, NULL, 0, START), COUNTERS_OK);
    assert_int_equal(counters_reset(counters, NULL, 0, NULL, &n), COUNTERS_OK);
    assert_int_equal(n, 0);
    counters_free(counters);
    counters_free(NULL);
}

enum { STALE_THREADS = 16, STALE_MAX = 20, STALE_MS = 20, MOST_ADMITTED = 4096 };

struct stale { /* threads that look at the clock, then for something else, then reserve */
    struct counters *counters;
    int64_t until;
    atomic_size_t n;
    int64_t at[MOST_ADMITTED]; /* when admitted, by their own clock */
    _Atomic int64_t oldest;    /* so old was a clock at most when it was used */
    atomic_uint seeds;
};

static void *stale_run(void *arg)
{
    struct stale *stale = arg;
    unsigned seed = atomic_fetch_add(&stale->seeds, 1);
    for (int64_t now; (now = clock_now_ms()) < stale->until;) {
        usleep((useconds_t)(rand_r(&seed) % (STALE_MS * 1000)));
        struct count_ask ask = ask_for("k", STALE_MAX);
        ask.window_ms = 1000;
        struct count_answer answer;
        assert_int_equal(
            counters_reserve(stale->counters, &(struct count_request){.asks = &ask, .n = 1}, now, &answer),
            COUNTERS_OK);
        int64_t old = clock_now_ms() - now, oldest = atomic_load(&stale->oldest);
        while (old > oldest && !atomic_compare_exchange_weak(&stale->oldest, &oldest, old))
            ;
        if (answer.result == COUNT_ADMITTED)
            stale->at[atomic_fetch_add(&stale->n, 1) % MOST_ADMITTED] = now;
    }
    return NULL;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A newer charge never moves back for who comes with an older time: no more than max in a span (less what a clock was old at
 * most: a busy machine holds a thread up). */
static void test_stale_clocks(void **state)
{
    (void)state;
    static struct stale stale;
    pthread_t threads[STALE_THREADS];
    stale = (struct stale){.counters = counters_memory_new(1000), .until = clock_now_ms() + 2500};
    for (int i = 0; i < STALE_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, stale_run, &stale), 0);
    for (int i = 0; i < STALE_THREADS; i++)
        pthread_join(threads[i], NULL);
    size_t n = atomic_load(&stale.n), most = 0;
    qsort(stale.at, n, sizeof stale.at[0], compare_times);
    for (size_t i = 0; i < n; i++) {
        size_t span = 0;
        while (i + span < n && stale.at[i + span] - stale.at[i] <= 1000 - atomic_load(&stale.oldest))
            span++;
        most = span > most ? span : most;
    }
    assert_true(n >= STALE_MAX && n <= MOST_ADMITTED);
    assert_true(most <= STALE_MAX);
    counters_free(stale.counters);
}

/* The same with clocks that are old for longer than a slot, step by step: 60 of 20 once. */
static void test_old_clocks(void **state)
{
    (void)state;
    struct counters *counters = counters_memory_new(1000);
    struct count_ask ask = ask_for("k", 20);
    ask.window_ms = 1000;
    size_t got = 0;
    for (int i = 0; i < 900; i++) {
        struct count_answer answer;
        int64_t now = START + i - (i % 3) * 400; /* one of three is new */
        assert_int_equal(
            counters_reserve(counters, &(struct count_request){.asks = &ask, .n = 1}, now, &answer),
            COUNTERS_OK);
        got += answer.result == COUNT_ADMITTED;
        if (answer.slot >= 0)
            assert_true(answer.slot >= window_slot(1000, now));
    }
    assert_int_equal(got, 20);
    counters_free(counters);
}

static struct value value_of(int64_t count, int64_t open)
{
    struct value value = {.remote_created = 1, .unsynced = 2};
    struct counter *counter = &value.counter;
    counter_move(counter, 60000, 0, START);
    window_add(&counter->window, 7, 0);
    counter_move(counter, 60000, 0, START + 12000);
    window_add(&counter->window, count, open);
    counter->unit = COUNT_UNIT_BYTES;
    counter->hard = true;
    counter->max = 3;
    counter->refused = 4;
    counter->held = 5;
    return value;
}

static void assert_kept(struct field *field, const struct value *value)
{
    struct value got = {0};
    memory_table_field_set(field, value);
    memory_table_field_get(field, &got);
    assert_memory_equal(&got.counter.window, &value->counter.window, sizeof got.counter.window);
    assert_int_equal(got.counter.unit, value->counter.unit);
    assert_int_equal(got.counter.hard, value->counter.hard);
    assert_int_equal(got.counter.max, value->counter.max);
    assert_int_equal(got.counter.created, value->counter.created);
    assert_int_equal(got.counter.refused, value->counter.refused);
    assert_int_equal(got.counter.held, value->counter.held);
    assert_int_equal(got.remote_created, value->remote_created);
    assert_int_equal(got.unsynced, value->unsynced);
}

/* What is open, or has more than 32 bits, has memory from when something is. */
static void test_value_is_kept(void **state)
{
    (void)state;
    struct field field = {0};
    struct value closed = value_of(UINT32_MAX, 0), open = value_of(9, 4);
    struct value wide = value_of(INT64_C(1) + UINT32_MAX, 0), most = value_of(WINDOW_MOST, WINDOW_MOST - 1);
    assert_kept(&field, &(struct value){0});
    assert_kept(&field, &closed);
    assert_null(field.rest);
    assert_kept(&field, &open);
    assert_non_null(field.rest);
    assert_kept(&field, &most);
    assert_kept(&field, &closed);
    free(field.rest);
    field.rest = NULL;
    assert_kept(&field, &wide);
    assert_non_null(field.rest);
    assert_kept(&field, &open);
    free(field.rest);
}

/* Where there was no memory for what is open, all of it is; until nothing is, or there is memory. */
static void test_all_is_open_without_memory(void **state)
{
    (void)state;
    struct field field = {0};
    struct value closed = value_of(9, 0), open = value_of(9, 4), got;
    memory_table_field_set(&field, &open);
    free(field.rest);
    field.rest = NULL;
    field.all_open = true;
    memory_table_field_get(&field, &got);
    assert_int_equal(window_used(&got.counter.window), 16);
    assert_int_equal(window_taken(&got.counter.window), 0);
    assert_kept(&field, &closed);
    assert_null(field.rest);
    field.all_open = true;
    assert_kept(&field, &open);
    free(field.rest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value_is_kept),
        cmocka_unit_test(test_all_is_open_without_memory),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_what_lives_long_stays),
        cmocka_unit_test(test_expires),
        cmocka_unit_test(test_many_asks),
        cmocka_unit_test(test_request_larger_than_the_store),
        cmocka_unit_test(test_made_up_senders),
        cmocka_unit_test(test_full_of_what_must_stay),
        cmocka_unit_test(test_room_for_half_of_a_request),
        cmocka_unit_test(test_retries_are_bounded),
        cmocka_unit_test(test_nothing_asked),
        cmocka_unit_test(test_stale_clocks),
        cmocka_unit_test(test_old_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
