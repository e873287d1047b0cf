/* Refunds: in the background, several in one call; kept while the store is down, never repeated. */
#include "counters/refunds.h"
#include "base/clock.h"
#include "store.h"
#include "patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct store {
    struct counters counters;
    atomic_int status;        /* what it answers */
    _Atomic int64_t refunded; /* by the calls that it did not answer with COUNTERS_DOWN */
    atomic_int calls;
    atomic_size_t most; /* changes of a call */
    pthread_t last;     /* who called it */
};

static enum counters_status store_change(struct counters *counters, struct count_change *changes, size_t n,
                                         int64_t now_ms)
{
    struct store *store = (struct store *)counters;
    (void)now_ms;
    store->last = pthread_self();
    if (n > atomic_load(&store->most))
        atomic_store(&store->most, n);
    enum counters_status status = (enum counters_status)atomic_load(&store->status);
    for (size_t i = 0; status != COUNTERS_DOWN && i < n; i++) {
        assert_string_equal(changes[i].key, "k");
        assert_string_equal(changes[i].limit, "l");
        atomic_fetch_sub(&store->refunded, changes[i].amount);
        store_mark_synced(&changes[i]);
    }
    atomic_fetch_add(&store->calls, 1);
    return status;
}

static const struct counters_ops ops = {.change = store_change};
static struct store store;
static struct refunds *refunds;
static _Atomic int64_t now = 1732320000000;

static int64_t the_now(void *arg)
{
    (void)arg;
    return atomic_load(&now);
}

static int setup(void **state)
{
    (void)state;
    store = (struct store){.counters.ops = &ops};
    refunds = refunds_new(&store.counters, the_now, NULL, NULL);
    return refunds != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    refunds_free(refunds, 0);
    return 0;
}

static void refund(int n, int64_t amount)
{
    char key[] = "k", limit[] = "l";
    for (int i = 0; i < n; i++) {
        const struct count_change change = {.key = key,
                                            .limit = limit,
                                            .window_ms = 60000,
                                            .slot = the_now(NULL) / 6000,
                                            .amount = amount,
                                            .here = -1};
        refunds_add(refunds, &change);
    }
    key[0] = limit[0] = '-'; /* they were copied */
}

static bool is_soon(int64_t began_ns)
{
    return clock_monotonic_ns() - began_ns < REFUNDS_GATHER_MS * 1000000LL;
}

/* What several sessions bring within a moment is one call; nobody waits for it. */
static void test_gathered(void **state)
{
    (void)state;
    bool soon = false;
    for (int round = 1; round <= 1000 && !soon;
         round++) { /* a busy machine may not get there within that moment */
        int64_t began = clock_monotonic_ns();
        int calls = atomic_load(&store.calls);
        for (int i = 0; i < 30; i++)
            refund(1, -1);
        soon = is_soon(began);
        for (int i = 0; i < PATIENCE_MS && atomic_load(&store.refunded) < 30 * round; i++)
            usleep(1000);
        assert_int_equal(store.refunded, 30 * round);
        if (soon)
            assert_int_equal(store.calls, calls + 1);
    }
    assert_true(soon);
    assert_false(pthread_equal(store.last, pthread_self()));
    int calls = atomic_load(&store.calls);
    refund(5, 0); /* nothing */
    assert_true(refunds_flush(refunds, PATIENCE_MS));
    assert_int_equal(store.calls, calls);
}

static void test_no_more_than_fit(void **state)
{
    (void)state;
    refund(100, -1);
    assert_true(refunds_flush(refunds, PATIENCE_MS));
    assert_int_equal(store.refunded, 100);
    assert_true(store.calls >= 2);
    assert_true(store.most <= REFUNDS_MOST);
}

static void add_waiting(void *arg, unsigned site, size_t n, int64_t since_ns)
{
    size_t *sum = arg;
    assert_int_equal(site, 0);
    assert_true(n > 0 && since_ns > 0 && since_ns <= clock_monotonic_ns());
    *sum += n;
}

static size_t waiting(void)
{
    size_t n = 0;
    refunds_each_waiting(refunds, add_waiting, &n);
    return n;
}

static void test_kept_while_down(void **state)
{
    (void)state;
    atomic_store(&store.status, COUNTERS_DOWN);
    refund(100, -1);
    refund(50, -1);
    assert_false(refunds_flush(refunds, 50));
    assert_int_equal(store.refunded, 0);
    for (int i = 0; i < PATIENCE_MS && waiting() < 150; i++)
        usleep(1000);
    assert_int_equal(waiting(), 150);
    atomic_store(&store.status, COUNTERS_OK);
    assert_true(refunds_flush(refunds, PATIENCE_MS));
    assert_int_equal(store.refunded, 150);
    assert_int_equal(waiting(), 0);
}

static void test_not_repeated(void **state)
{
    (void)state;
    atomic_store(&store.status, COUNTERS_UNSURE);
    refund(10, -1);
    refund(10, -1);
    assert_true(refunds_flush(refunds, PATIENCE_MS));
    assert_int_equal(store.refunded, 20);
}

/* Is that another counter, for all that is known? Once in 4,096 times it shares a cell with the one that changes. */
static bool is_another(uint64_t since, const char *key, const char *limit, int64_t until)
{
    static int alike;
    bool another = !refunds_flush_counter(refunds, key, limit, since, until);
    alike += !another;
    assert_in_range(alike, 0, 1);
    return another;
}

/* What waits for a counter is handed over at once for who is refused by it; nobody else hurries it. */
static void test_flushed_at_once(void **state)
{
    (void)state;
    int64_t soon = clock_monotonic_ns() + PATIENCE_MS * 1000000LL;
    uint64_t since = refunds_moment(refunds);
    assert_false(refunds_flush_counter(refunds, "k", "l", since, soon));
    int64_t began = clock_monotonic_ns();
    refund(3, -1);
    if (is_another(since, "k", "another", soon) + is_another(since, "another", "l", soon) == 2) {
        int calls = atomic_load(&store.calls);
        assert_true(calls == 0 || !is_soon(began));
    }
    assert_true(refunds_flush_counter(refunds, "k", "l", since, soon));
    assert_int_equal(store.refunded, 3);
    assert_true(refunds_flush_counter(refunds, "k", "l", since, soon)); /* it was handed over since */
    assert_false(refunds_flush_counter(refunds, "k", "l", refunds_moment(refunds), soon));
    atomic_store(&store.status, COUNTERS_DOWN);
    refund(1, -1);
    assert_false(refunds_flush_counter(refunds, "k", "l", since, clock_monotonic_ns() + 50000000));
    atomic_store(&store.status, COUNTERS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gathered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flushed_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_more_than_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kept_while_down, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_repeated, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
