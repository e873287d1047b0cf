/* Both counter stores under requests at random, and under 20 threads at once: never more than max in any span of one
 * window, everything back after 1.1 windows, and the same answers from both, step by step. */
#include "remote.h"
#include "counters/stores.h"
#include "counters/window.h"

#include "redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#define START INT64_C(1732320000000)
#define MONTH (INT64_C(31) * 86400 * 1000)

enum { MEMORY, REDIS, STORES, ROUNDS = 40, STEPS = 150, LIMITS = 3, THREADS = 20 };

static struct redis_server server;
static struct counters *stores[STORES];
static struct redis_client *client;
static unsigned short seed[3] = {4, 5, 6};

static int64_t up_to(double most) /* small ones often */
{
    return (int64_t)(erand48(seed) * erand48(seed) * most);
}

struct charge {
    int64_t at, amount;
    struct count_change change;
};

struct history { /* what one limit admitted and did not get back */
    struct charge charges[2 * STEPS];
    size_t n;
};

static void check_spans(const struct history *history, int64_t window, int64_t max)
{
    for (size_t i = 0; i < history->n; i++) {
        int64_t sum = 0;
        for (size_t j = i; j < history->n && history->charges[j].at - history->charges[i].at <= window; j++)
            sum += history->charges[j].amount;
        assert_true(sum <= max);
    }
}

/* Reserves on both stores; the answers of the first, which are those of the second. */
static void reserve_both(const struct count_request *request, int64_t now, struct count_answer *answers)
{
    for (int s = 0; s < STORES; s++) {
        struct count_answer got[LIMITS];
        assert_int_equal(counters_reserve(stores[s], request, now, got), COUNTERS_OK);
        for (size_t i = 0; i < request->n; i++) {
            if (s == 0)
                answers[i] = got[i];
            assert_int_equal(got[i].result, answers[i].result);
            assert_int_equal(got[i].used, answers[i].used);
            assert_int_equal(got[i].wait_ms, answers[i].wait_ms);
            assert_int_equal(got[i].hard, answers[i].hard);
            assert_int_equal(got[i].hard_ms, answers[i].hard_ms);
            if (got[i].result != COUNT_ADMITTED)
                assert_int_equal(got[i].taken, answers[i].taken);
            assert_int_equal(got[i].slot, answers[i].slot);
            assert_int_equal(got[i].created, answers[i].created);
        }
    }
}

static void give_back_one(struct history *histories, int64_t now)
{
    struct history *history = &histories[nrand48(seed) % LIMITS];
    if (history->n == 0)
        return;
    struct charge *charge = &history->charges[(size_t)nrand48(seed) % history->n];
    for (int s = 0; s < STORES; s++)
        assert_int_equal(counters_change(stores[s], (struct count_change[]){charge->change}, 1, now),
                         COUNTERS_OK);
    *charge = history->charges[--history->n];
}

static int compare_charges(const void *a, const void *b)
{
    int64_t x = ((const struct charge *)a)->at, y = ((const struct charge *)b)->at;
    return (x > y) - (x < y);
}

/* In every other round all charge 1, which the store in Redis has a shorter way for. */
static bool of_ones(int round)
{
    return round % 2 == 1;
}

static void make_asks(struct count_ask *asks, char keys[][32], int round)
{
    for (int i = 0; i < LIMITS; i++) {
        snprintf(keys[i], sizeof keys[i], "k:{%d.%d}", round,
                 i % 2); /* the third shares the key of the first */
        asks[i] = (struct count_ask){
            .key = keys[i],
            .limit = i < 2 ? "one" : "two",
            .max = round % 4 == 0 ? 1 : 1 + up_to(of_ones(round) ? 100 : 1e9),
            .window_ms = i == 0 && round % 3 == 0 ? 1000 : 1000 + up_to((double)(MONTH - 1000)),
            .ttl_ms = 10 * MONTH,
            .flags = i == round % LIMITS ? COUNT_HARD : 0,
            .share_of = -1};
    }
}

static size_t random_round(int round)
{
    static struct history histories[LIMITS];
    struct count_ask asks[LIMITS];
    struct count_answer answers[LIMITS];
    char keys[LIMITS][32];
    size_t refused = 0;
    int64_t now = START + up_to(1e9), longest = 0;
    memset(histories, 0, sizeof histories);
    make_asks(asks, keys, round);
    for (int step = 0; step < STEPS; step++) {
        now += up_to((double)asks[nrand48(seed) % LIMITS].window_ms / 4);
        for (int i = 0; i < LIMITS; i++)
            asks[i].need = asks[i].amount = 1 + (of_ones(round) ? 0 : up_to((double)asks[i].max * 0.5));
        reserve_both(&(struct count_request){.asks = asks, .n = LIMITS}, now, answers);
        bool admitted = true;
        for (int i = 0; i < LIMITS; i++)
            admitted = admitted && answers[i].result == COUNT_ADMITTED;
        refused += !admitted;
        for (int i = 0; i < LIMITS; i++) {
            assert_int_equal(answers[i].slot >= 0, admitted);
            if (admitted)
                histories[i].charges[histories[i].n++] =
                    (struct charge){now,
                                    asks[i].amount,
                                    {.key = asks[i].key,
                                     .limit = asks[i].limit,
                                     .unit = asks[i].unit,
                                     .window_ms = asks[i].window_ms,
                                     .slot = answers[i].slot,
                                     .created = answers[i].created,
                                     .amount = -asks[i].amount,
                                     .open = (asks[i].flags & COUNT_HARD) != 0 ? -asks[i].amount : 0,
                                     .here = -1}};
        }
        if (nrand48(seed) % 5 == 0)
            give_back_one(histories, now);
    }
    for (int i = 0; i < LIMITS; i++) {
        qsort(histories[i].charges, histories[i].n, sizeof histories[i].charges[0], compare_charges);
        check_spans(&histories[i], asks[i].window_ms, asks[i].max);
        int64_t silence = asks[i].window_ms + (asks[i].window_ms + 9) / 10;
        longest = longest > silence ? longest : silence;
    }
    for (int i = 0; i < LIMITS; i++)
        asks[i].need = asks[i].amount = asks[i].max;
    reserve_both(&(struct count_request){.asks = asks, .n = LIMITS}, now + longest, answers);
    for (int i = 0; i < LIMITS; i++)
        assert_true(answers[i].used == 0 && answers[i].slot >= 0);
    return refused;
}

static void test_random(void **state)
{
    (void)state;
    size_t refused = 0;
    for (int round = 0; round < ROUNDS; round++)
        refused += random_round(round);
    assert_true(refused > ROUNDS * STEPS / 20 && refused < ROUNDS * STEPS);
}

/* The clock jumps and limits change at random: both stores agree, and nobody is refused for longer than 1.1 windows. */
static void test_agree_whatever_happens(void **state)
{
    (void)state;
    static const int64_t windows[] = {1000, 1777, 60000, 61111, 3600000, 86400000, MONTH};
    int64_t now = START;
    char key[32];
    for (int step = 0; step < 4000; step++) {
        struct count_ask asks[2];
        struct count_answer answers[LIMITS];
        snprintf(key, sizeof key, "w:{%d}", step / 400);
        for (int i = 0; i < 2; i++)
            asks[i] = (struct count_ask){.key = key,
                                         .limit = i == 0 ? "one" : "two",
                                         .max = up_to(30),
                                         .window_ms = windows[nrand48(seed) % 7],
                                         .amount = nrand48(seed) % 4,
                                         .need = nrand48(seed) % 4,
                                         .hold_ms = nrand48(seed) % 3 == 0 ? up_to(1e5) : 0,
                                         .headroom = nrand48(seed) % 3 == 0 ? up_to(10) : 0,
                                         .ttl_ms = 10 * MONTH,
                                         .flags = (unsigned)nrand48(seed) & (unsigned)nrand48(seed) & 15,
                                         .share_of = i == 1 && nrand48(seed) % 3 == 0 ? 0 : -1,
                                         .share_above = 3};
        now += nrand48(seed) % 20 == 0 ? -up_to(1e8) : up_to(1e5);
        reserve_both(&(struct count_request){.asks = asks, .n = 2}, now, answers);
        for (int i = 0; i < 2; i++) {
            int64_t most =
                asks[i].window_ms + (asks[i].window_ms + 9) / 10; /* slots end at whole milliseconds */
            assert_true(answers[i].wait_ms >= 0);
            assert_true(answers[i].wait_ms <=
                        (most > asks[i].hold_ms ? most : asks[i].hold_ms) + WINDOW_STALE_MS);
            assert_true(answers[i].hard_ms <= most + WINDOW_STALE_MS || answers[i].result == COUNT_HELD);
        }
        if (answers[0].slot >= 0 && nrand48(seed) % 4 == 0) {
            int64_t amount = nrand48(seed) % 9 - 4;
            const struct count_change change = {.key = key,
                                                .limit = "one",
                                                .window_ms = asks[0].window_ms,
                                                .slot = answers[0].slot,
                                                .created = answers[0].created,
                                                .amount = amount,
                                                .open = nrand48(seed) % 9 - 4,
                                                .late = nrand48(seed) % 3 == 0 ? 3 : 0,
                                                .max = 7,
                                                .ttl_ms = 10 * MONTH,
                                                .here = -1};
            now += up_to(1e5);
            for (int s = 0; s < STORES; s++)
                assert_int_equal(counters_change(stores[s], (struct count_change[]){change}, 1, now),
                                 COUNTERS_OK);
        }
    }
}

struct race {
    struct counters *counters;
    int round;
    atomic_int admitted, refused;
};

static void *race_run(void *arg)
{
    struct race *race = arg;
    char key[32], other[32];
    snprintf(key, sizeof key, "race:{%d}", race->round);
    snprintf(other, sizeof other, "wide:{%d}", race->round);
    const struct count_ask asks[] = {
        {.key = other,
         .limit = "l",
         .max = 100000,
         .window_ms = 60000,
         .amount = 1,
         .need = 1,
         .share_of = -1},
        {.key = key, .limit = "l", .max = 100, .window_ms = 60000, .amount = 1, .need = 1, .share_of = -1},
    };
    for (int i = 0; i < 50; i++) {
        struct count_answer answers[2];
        const struct count_request request = {.asks = asks, .n = 2};
        assert_int_equal(counters_reserve(race->counters, &request, START, answers), COUNTERS_OK);
        atomic_fetch_add(answers[1].result == COUNT_ADMITTED ? &race->admitted : &race->refused, 1);
    }
    return NULL;
}

static void test_race(void **state)
{
    (void)state;
    for (int s = 0; s < STORES; s++)
        for (int round = 0; round < 5; round++) {
            struct race race = {.counters = stores[s], .round = round};
            pthread_t threads[THREADS];
            for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, race_run, &race), 0);
            for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
            assert_int_equal(atomic_load(&race.admitted), 100);
            assert_int_equal(atomic_load(&race.refused), THREADS * 50 - 100);
            struct count_ask ask = {.limit = "l", .max = 1000000, .window_ms = 60000, .share_of = -1};
            char key[32];
            snprintf(key, sizeof key, "wide:{%d}", round);
            ask.key = key;
            struct count_answer answer;
            assert_int_equal(
                counters_peek(stores[s], &(struct count_request){.asks = &ask, .n = 1}, START, &answer),
                COUNTERS_OK);
            assert_int_equal(answer.used, 100); /* the other 900 charged nothing */
        }
}

static int start(void **state)
{
    (void)state;
    struct error err = {0};
    server_start(&server);
    stores[MEMORY] = counters_memory_new(100000);
    client =
        redis_client_new(&(struct redis_config){.path = server.socket, .prefix = "test", .timeout_ms = 10000},
                         NULL, NULL, &err);
    stores[REDIS] = client != NULL ? counters_remote_new(client, &err) : NULL;
    if (stores[MEMORY] == NULL || stores[REDIS] == NULL)
        return -1;
    remote_follow_caller_clock(stores[REDIS]);
    return redis_client_wait(client, 10000) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    for (int s = 0; s < STORES; s++)
        counters_free(stores[s]);
    redis_client_free(client);
    server_remove(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_agree_whatever_happens),
        cmocka_unit_test(test_race),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
