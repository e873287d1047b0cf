/* Leases as the gate has them: ten stores that stand on two, over one real Redis, by real clocks. What they admit is what is counted, the
 * calls are few, no span of a window holds more than max; and what refuses, resets, fails or restarts meanwhile leaves no trace. */
#include "base/clock.h"
#include "counters/stores.h"
#include "lease.h"
#include "memory.h"

#include "patience.h"
#include "redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <pthread.h>

enum { HOSTS = 10, RCPTS = 3000 };

struct host {
    struct redis_client *redis;
    struct counters *store;
};

struct event { /* a RCPT that was admitted, and not given back: by Redis' clock, between these two */
    int64_t from_ms, until_ms;
};

static struct redis_server server;
static struct host hosts[HOSTS];

static int64_t the_now(void *arg)
{
    (void)arg;
    return clock_now_ms();
}

static int setup(void **state)
{
    (void)state;
    struct error err = {0};
    server_do(&server, "FLUSHALL");
    for (size_t i = 0; i < HOSTS; i++) {
        hosts[i].redis = redis_client_new(
            &(struct redis_config){.path = server.socket, .prefix = "test", .timeout_ms = 20000}, NULL, NULL,
            &err);
        assert_non_null(hosts[i].redis);
        assert_true(redis_client_wait(hosts[i].redis, PATIENCE_MS));
        hosts[i].store = failover_new(counters_remote_new(hosts[i].redis, &err), counters_memory_new(1000),
                                      the_now, NULL, &err);
        assert_non_null(hosts[i].store);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < HOSTS; i++) {
        counters_free(hosts[i].store);
        redis_client_free(hosts[i].redis);
    }
    return 0;
}

/* How often a script was called. */
static int64_t calls(void)
{
    redisContext *context = server_connect(&server);
    redisReply *reply = redisCommand(context, "INFO commandstats");
    const char *found = strstr(reply->str, "cmdstat_evalsha:calls=");
    int64_t n = found != NULL ? strtoll(strchr(found, '=') + 1, NULL, 10) : 0;
    freeReplyObject(reply);
    redisFree(context);
    return n;
}

static struct count_ask ask_for(const char *key, int64_t max, int64_t window_ms)
{
    return (struct count_ask){.key = key,
                              .limit = "l",
                              .max = max,
                              .window_ms = window_ms,
                              .amount = 1,
                              .need = 1,
                              .ttl_ms = 2 * window_ms,
                              .share_of = -1};
}

static bool reserve(const struct host *host, const struct count_ask *asks, size_t n,
                    struct count_answer *answers)
{
    const struct count_request request = {.asks = asks, .n = n, .local = asks};
    (void)counters_reserve(host->store, &request, clock_now_ms(), answers);
    for (size_t i = 0; i < n; i++)
        if (answers[i].result != COUNT_ADMITTED)
            return false;
    return true;
}

/* As the gate's refunds. */
static void give_back(const struct host *host, const struct count_ask *ask, const struct count_answer *answer)
{
    struct count_change change = {.key = ask->key,
                                  .limit = ask->limit,
                                  .window_ms = ask->window_ms,
                                  .slot = answer->slot,
                                  .created = answer->created,
                                  .amount = -1,
                                  .open = (ask->flags & COUNT_HARD) != 0 ? -1 : 0,
                                  .here = answer->here,
                                  .unsynced = answer->unsynced};
    counters_change_here(host->store, &change, clock_now_ms());
    if (!store_is_synced(&change))
        (void)counters_change(host->store, &change, 1, clock_now_ms());
}

static void add_used(void *arg, const struct count_view *view)
{
    *(int64_t *)arg += view->used;
}

static int64_t used(const char *key)
{
    int64_t n = 0;
    (void)counters_show(hosts[0].store, &key, 1, clock_now_ms(), add_used, &n);
    return n;
}

/* On a machine that is too slow no counter is hot, and nothing is leased: there the test is skipped. asked_ms: how long a host took for its
 * last n RCPTs. */
static void fail_unless_slow(int64_t n, int64_t asked_ms)
{
    if (n * 1000 >= 2 * LEASE_HOT * asked_ms)
        fail_msg("nothing is leased");
    print_message("too slow for a counter to be hot: %" PRId64 " RCPTs of a host took %" PRId64 " ms\n", n,
                  asked_ms);
    skip();
}

/* Once what nobody used was given back. */
static void wait_used(const char *key, int64_t expected)
{
    for (int64_t waited = 0; used(key) != expected && waited < PATIENCE_MS; waited += 10)
        nap(10);
    assert_int_equal(used(key), expected);
}

/* RCPTs of one host until one was answered without Redis; how many were admitted. */
static int64_t heat(const struct host *host, const struct count_ask *ask)
{
    struct count_answer answer;
    int64_t n = 0, before;
    const int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    int64_t asked_ms = 0;
    do {
        if (clock_monotonic_ms() >= until_ms)
            fail_unless_slow(50, asked_ms);
        const int64_t from_ms = clock_monotonic_ms();
        for (int i = 0; i < 50; i++)
            n += reserve(host, ask, 1, &answer);
        asked_ms = clock_monotonic_ms() - from_ms;
        before = calls();
        n += reserve(host, ask, 1, &answer);
    } while (calls() != before || answer.slot < 0 || answer.here < 0); /* a slow Redis is not asked either */
    return n;
}

/* ---- ten hosts ---- */

struct load { /* of one host */
    const struct host *host;
    struct count_ask ask;
    int pause_ms; /* after each RCPT */
    struct event events[RCPTS];
    size_t n, refused;
};

static void *load_run(void *arg)
{
    struct load *load = arg;
    load->n = load->refused = 0;
    for (int i = 0; i < RCPTS; i++) {
        struct count_answer answer;
        struct event *event = &load->events[load->n];
        event->from_ms = clock_now_ms();
        bool admitted = reserve(load->host, &load->ask, 1, &answer);
        event->until_ms = clock_now_ms();
        load->refused += !admitted;
        if (admitted && i % 20 == 0)
            give_back(load->host, &load->ask, &answer);
        else
            load->n += admitted;
        if (load->pause_ms > 0)
            nap(load->pause_ms);
    }
    return NULL;
}

/* All of them at once; calls a RCPT. */
static double load_all(struct load *loads, const struct count_ask *ask, int pause_ms)
{
    pthread_t threads[HOSTS];
    int64_t before = calls();
    for (size_t i = 0; i < HOSTS; i++) {
        loads[i].host = &hosts[i];
        loads[i].ask = *ask;
        loads[i].pause_ms = pause_ms;
        assert_int_equal(pthread_create(&threads[i], NULL, load_run, &loads[i]), 0);
    }
    for (size_t i = 0; i < HOSTS; i++)
        pthread_join(threads[i], NULL);
    return (double)(calls() - before) / (HOSTS * RCPTS);
}

static size_t sum_refused(const struct load *loads)
{
    size_t n = 0;
    for (size_t i = 0; i < HOSTS; i++)
        n += loads[i].refused;
    return n;
}

static size_t sum_admitted(const struct load *loads)
{
    size_t n = 0;
    for (size_t i = 0; i < HOSTS; i++)
        n += loads[i].n;
    return n;
}

static int compare(const void *a, const void *b)
{
    const int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* How many were surely within the fullest span of a window: that began before the first of them, and ended after the last. */
static size_t worst_span(const struct load *loads, int64_t window_ms)
{
    static int64_t from[HOSTS * RCPTS], until[HOSTS * RCPTS];
    size_t n = 0, worst = 0;
    for (size_t i = 0; i < HOSTS; i++)
        for (size_t k = 0; k < loads[i].n; k++, n++) {
            from[n] = loads[i].events[k].from_ms;
            until[n] = loads[i].events[k].until_ms;
        }
    qsort(from, n, sizeof *from, compare);
    qsort(until, n, sizeof *until, compare);
    for (size_t first = 0, end = 0; first < n; first++) {
        while (end < n && until[end] <= from[first] + window_ms)
            end++;
        if (end > first && end - first > worst)
            worst = end - first;
    }
    return worst;
}

static void test_room_for_all(void **state)
{
    (void)state;
    static struct load loads[HOSTS];
    const struct count_ask ask = ask_for("all:{}", 10000000, 600000);
    const int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    int64_t admitted = 0, from_ms;
    double cost;
    do {
        from_ms = clock_monotonic_ms();
        cost = load_all(loads, &ask, 0);
        print_message("%d hosts, below max: %.3f calls a RCPT, %zu refused\n", HOSTS, cost,
                      sum_refused(loads));
        assert_int_equal(sum_refused(loads), 0);
        admitted += (int64_t)sum_admitted(loads);
    } while (cost >= 0.3 && clock_monotonic_ms() < until_ms);
    if (cost >= 0.3)
        fail_unless_slow(RCPTS, clock_monotonic_ms() - from_ms);
    wait_used("all:{}", admitted);
}

static void test_never_above_max(void **state)
{
    (void)state;
    static struct load loads[HOSTS];
    const struct count_ask ask = ask_for("all:{}", 2000, 1000);
    double cost = load_all(loads, &ask, 1);
    size_t worst = worst_span(loads, ask.window_ms);
    print_message("%d hosts, at max: %.3f calls a RCPT, %zu refused of %d, worst span %zu of %" PRId64 "\n",
                  HOSTS, cost, sum_refused(loads), HOSTS * RCPTS, worst, ask.max);
    assert_true(worst <= (size_t)ask.max);
}

/* ---- one host ---- */

static void test_the_rest_refuses(void **state)
{
    (void)state;
    struct count_ask asks[2] = {ask_for("all:{}", 10000000, 600000), ask_for("recipient:{a}", 3, 600000)};
    struct count_answer answers[2];
    int64_t n = heat(&hosts[0], &asks[0]);
    asks[1].flags = COUNT_HARD;
    for (int i = 0; i < 50; i++) {
        bool admitted = reserve(&hosts[0], asks, 2, answers);
        assert_int_equal(admitted, i < 3);
        n += admitted;
        if (!admitted && answers[0].slot >= 0)
            give_back(&hosts[0], &asks[0], &answers[0]);
    }
    assert_int_equal(used("recipient:{a}"), 3);
    wait_used("all:{}", n);
}

static void test_a_look_takes_nothing(void **state)
{
    (void)state;
    const struct count_ask ask = ask_for("all:{}", 10000000, 600000);
    struct count_answer answer;
    int64_t n = heat(&hosts[0], &ask), before = calls();
    for (int i = 0; i < 100; i++)
        assert_int_equal(counters_peek(hosts[0].store,
                                       &(struct count_request){.asks = &ask, .n = 1, .local = &ask},
                                       clock_now_ms(), &answer),
                         COUNTERS_OK);
    assert_true(calls() >= before + 100);
    assert_int_equal(answer.slot, -1);
    wait_used("all:{}", n);
}

static void test_reset(void **state)
{
    (void)state;
    const struct count_ask ask = ask_for("all:{}", 10000000, 600000);
    static const char *const keys[] = {"all:{}"};
    struct count_answer answer;
    size_t n_reset;
    (void)heat(&hosts[0], &ask);
    assert_int_equal(counters_reset(hosts[0].store, keys, 1, NULL, &n_reset), COUNTERS_OK);
    assert_int_equal(n_reset, 1);
    for (int i = 0; i < 5; i++)
        assert_true(reserve(&hosts[0], &ask, 1, &answer));
    wait_used("all:{}", 5);
}

/* A policy that allows less is not answered by what was leased for more. */
static void test_lower_max(void **state)
{
    (void)state;
    struct count_ask ask = ask_for("all:{}", 10000000, 600000);
    struct count_answer answer;
    do
        (void)heat(&hosts[0], &ask);
    while (used("all:{}") < LEASE_LEAST_MAX);
    ask.max = LEASE_LEAST_MAX;
    assert_false(reserve(&hosts[0], &ask, 1, &answer));
    assert_int_equal(answer.result, COUNT_OVER);
}

/* Redis dies while units of it are leased, and comes back empty: what was admitted is counted there, no more and no less. */
static void test_restart(void **state)
{
    (void)state;
    const struct count_ask ask = ask_for("all:{}", 10000000, 600000);
    struct count_answer answer;
    int64_t n = heat(&hosts[0], &ask);
    server_kill(&server);
    for (int i = 0; i < 20; i++)
        n += reserve(&hosts[0], &ask, 1, &answer);
    server_launch(&server);
    const int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    do {
        assert_true(clock_monotonic_ms() < until_ms);
        n += reserve(&hosts[0], &ask, 1, &answer);
        nap(1);
    } while (answer.local);
    wait_used("all:{}", n);
    n += heat(&hosts[0], &ask);
    wait_used("all:{}", n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_room_for_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_never_above_max, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_rest_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_look_takes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lower_max, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
    };
    server_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_remove(&server);
    return failed;
}
