/* Many processes that lease units of one counter in a real Redis, by a clock of the test's own, in random rounds: whatever they lease, lose,
 * give back and refund, no span of one window ever holds more than max; where there is room, nobody is refused, and few calls are made.
 *
 * usage: test_leases [ROUNDS [SEED]] */
#include "leases.h"
#include "remote.h"
#include "remote_call.h"
#include "counters/stores.h"
#include "counters/window.h"

#include "redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>

#define START_MS INT64_C(1732320000000)
#define MS INT64_C(1000000)

enum { GATES = 12, EVENTS = 60000, SWEEP_MS = 100, SLOTS = 60 };

struct gate { /* a process, with a clock of its own: it began at another time, and runs slow or fast */
    struct leases *leases;
    struct counters *store;
    int64_t base_ns, ppm;
};

struct event { /* a RCPT that was admitted */
    int64_t ms;
    struct count_answer receipt;
    bool given_back;
};

static struct redis_server server;
static struct gate gates[GATES];
static struct event events[EVENTS];
static size_t n_events, n_gates, n_rcpts, n_calls, n_refused, n_needless;
static int64_t
    counted[SLOTS];  /* RCPTs by slot, from that of START_MS on: what a store without leases would count */
static int64_t t_ns; /* since START_MS */
static uint64_t random_state;
static int rounds = 6;
static uint64_t seed = 1;

static uint64_t next_random(void)
{
    random_state += UINT64_C(0x9E3779B97F4A7C15); /* SplitMix64 */
    uint64_t x = random_state;
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static int64_t below(int64_t n)
{
    return (int64_t)(next_random() % (uint64_t)n);
}

static int64_t redis_ms(void)
{
    return START_MS + t_ns / MS;
}

static int64_t gate_ns(const struct gate *gate)
{
    return gate->base_ns + t_ns + t_ns / 1000000 * gate->ppm;
}

/* It begins anew: what it had leased stays charged. */
static void gate_start(struct gate *gate)
{
    leases_free(gate->leases);
    gate->leases = leases_new();
    gate->base_ns = below(INT64_C(1000000000000));
    gate->ppm = below(1001) - 500;
}

/* Half of the way of a call. */
static void travel(void)
{
    t_ns += below(MS / 5);
}

static bool rcpt_leased(struct gate *gate, const struct count_ask *ask, struct count_answer *out)
{
    struct leases_ticket ticket;
    struct lease_grant grant;
    if (leases_take(gate->leases, ask, 0, gate_ns(gate), out, &ticket))
        return true;
    if (ticket.wanted == 0)
        return false;
    travel();
    n_calls++;
    assert_int_equal(
        gate->store->ops->lease(gate->store, ask, ticket.wanted, &ticket.rest, redis_ms(), 0, &grant),
        COUNTERS_OK);
    assert_true(grant.units <= ticket.wanted);
    travel();
    return leases_grant(gate->leases, &ticket, ask, &grant, gate_ns(gate), out);
}

static bool rcpt_asked(struct gate *gate, const struct count_ask *ask, struct count_answer *out)
{
    const struct count_request request = {.asks = ask, .n = 1};
    travel();
    n_calls++;
    assert_int_equal(gate->store->ops->ask(gate->store, COUNTERS_RESERVE, &request, redis_ms(), out),
                     COUNTERS_OK);
    return out->result == COUNT_ADMITTED;
}

static void give_back(struct gate *gate, const struct count_ask *ask, const struct count_answer *receipt)
{
    struct count_change change = {.key = ask->key,
                                  .limit = ask->limit,
                                  .window_ms = ask->window_ms,
                                  .slot = receipt->slot,
                                  .created = receipt->created,
                                  .amount = -1,
                                  .here = -1};
    if (!leases_put_back(gate->leases, ask, receipt, gate_ns(gate)))
        assert_int_equal(counters_change(gate->store, &change, 1, redis_ms()), COUNTERS_OK);
}

static int64_t *counted_in(const struct count_ask *ask, int64_t slot)
{
    int64_t i = slot - window_slot(ask->window_ms, START_MS);
    assert_true(i >= 0 && i < SLOTS);
    return &counted[i];
}

/* Is there room for one more beside what was admitted? */
static bool has_room(const struct count_ask *ask)
{
    int64_t now = window_slot(ask->window_ms, redis_ms()), used = 0;
    for (int64_t slot = now - WINDOW_SLOTS + 1; slot <= now; slot++)
        used += slot < window_slot(ask->window_ms, START_MS) ? 0 : *counted_in(ask, slot);
    return used < ask->max;
}

static void rcpt(struct gate *gate, const struct count_ask *ask)
{
    struct event *event = &events[n_events];
    n_rcpts++;
    if (!rcpt_leased(gate, ask, &event->receipt) && !rcpt_asked(gate, ask, &event->receipt)) {
        n_refused++;
        n_needless += has_room(ask);
        return;
    }
    event->ms = redis_ms();
    event->given_back = false;
    ++*counted_in(ask, event->receipt.slot);
    assert_true(event->receipt.slot >= window_slot(ask->window_ms, event->ms));
    n_events++;
}

static void give_rest(void *arg, struct count_change *rest, unsigned generation)
{
    const struct gate *gate = arg;
    assert_int_equal(generation, 0);
    assert_int_equal(counters_change(gate->store, rest, 1, redis_ms()), COUNTERS_OK);
}

/* How many there were within the fullest span of one window. */
static int64_t worst_span(int64_t window_ms)
{
    int64_t worst = 0, n = 0;
    size_t first = 0;
    for (size_t i = 0; i < n_events; i++) {
        n += !events[i].given_back;
        for (; events[i].ms - events[first].ms > window_ms; first++)
            n -= !events[first].given_back;
        worst = n > worst ? n : worst;
    }
    return worst;
}

/* Some RCPTs at so many a second in all, from any of the gates. */
static void run(const struct count_ask *ask, int64_t per_second, bool faults)
{
    int64_t end_ns = 4 * ask->window_ms * MS, sweep_ns = 0;
    while (t_ns < end_ns && n_events + 1 < EVENTS) {
        t_ns += below(2 * 1000 * MS / per_second);
        rcpt(&gates[below((int64_t)n_gates)], ask);
        struct event *any = &events[n_events > 0 ? below((int64_t)n_events) : 0];
        if (faults && below(10) == 0 && n_events > 0 && !any->given_back) {
            any->given_back = true;
            --*counted_in(ask, any->receipt.slot);
            give_back(&gates[below((int64_t)n_gates)], ask, &any->receipt);
        }
        if (faults && below(20000) == 0)
            gate_start(&gates[below((int64_t)n_gates)]);
        for (size_t i = 0; t_ns >= sweep_ns && i < n_gates; i++)
            leases_each_rest(gates[i].leases, gate_ns(&gates[i]), give_rest, &gates[i]);
        if (t_ns >= sweep_ns)
            sweep_ns = t_ns + SWEEP_MS * MS;
    }
}

/* One round; percent: of what max allows, so much comes. */
static struct count_ask begin(int64_t percent, int64_t *per_second)
{
    n_events = n_rcpts = n_calls = n_refused = n_needless = 0;
    memset(counted, 0, sizeof counted);
    t_ns = 0;
    n_gates = (size_t)(1 + below(GATES));
    for (size_t i = 0; i < n_gates; i++)
        gate_start(&gates[i]);
    int64_t window_ms = 1000 + below(3000);
    *per_second = (int64_t)n_gates * (300 + below(500)) + 2 * LEASE_LEAST_MAX;
    server_do(&server, "FLUSHALL");
    return (struct count_ask){.key = "all:{}",
                              .limit = "l",
                              .max = *per_second * window_ms / 10 / percent,
                              .window_ms = window_ms,
                              .amount = 1,
                              .need = 1,
                              .ttl_ms = 100000,
                              .share_of = -1};
}

static void show(const char *what, const struct count_ask *ask)
{
    print_message("%s: %zu gates, window %" PRId64
                  " ms: %zu RCPTs, %.3f calls each, %.2f %% refused, %.2f %% needlessly, worst span %" PRId64
                  " of %" PRId64 "\n",
                  what, n_gates, ask->window_ms, n_rcpts, (double)n_calls / (double)n_rcpts,
                  100.0 * (double)n_refused / (double)n_rcpts, 100.0 * (double)n_needless / (double)n_rcpts,
                  worst_span(ask->window_ms), ask->max);
}

static void test_never_above_max(void **state)
{
    (void)state;
    for (int i = 0; i < rounds; i++) {
        int64_t per_second;
        const struct count_ask ask = begin(130 + below(200), &per_second);
        run(&ask, per_second, i % 2 == 1);
        show("at the limit", &ask);
        assert_true(worst_span(ask.window_ms) <= ask.max);
        assert_true(n_refused > 0);
        assert_true(i % 2 == 1 ||
                    n_needless * 50 < n_rcpts); /* what is lost with a process refuses for a window */
    }
}

static void test_room_for_all(void **state)
{
    (void)state;
    for (int i = 0; i < rounds; i++) {
        int64_t per_second;
        const struct count_ask ask = begin(20 + below(40), &per_second);
        run(&ask, per_second, i % 2 == 1);
        show("below", &ask);
        assert_int_equal(n_refused, 0);
        assert_true(n_calls * 5 < n_rcpts);
    }
}

/* ---- one call ---- */

static const struct count_ask the_ask = {.key = "all:{}",
                                         .limit = "l",
                                         .max = 4000,
                                         .window_ms = 60000,
                                         .amount = 1,
                                         .need = 1,
                                         .ttl_ms = 70000,
                                         .share_of = -1};

static struct lease_grant lease_at(const struct gate *gate, const struct count_ask *ask, int64_t most,
                                   struct lease_rest rest, int64_t ms)
{
    struct lease_grant grant;
    assert_int_equal(gate->store->ops->lease(gate->store, ask, most, &rest, START_MS + ms, 0, &grant),
                     COUNTERS_OK);
    return grant;
}

static void test_grants(void **state)
{
    (void)state;
    const struct lease_rest none = {0};
    server_do(&server, "FLUSHALL");
    struct lease_grant grant = lease_at(&gates[0], &the_ask, 100, none, 2000);
    assert_int_equal(grant.units, 100);
    assert_int_equal(grant.used, 0);
    assert_int_equal(grant.slot, window_slot(60000, START_MS));
    assert_int_equal(grant.created, START_MS + 2000);
    assert_int_equal(grant.left_ms, 3999);
    grant = lease_at(&gates[0], &the_ask, 10000, none, 2000);
    assert_int_equal(grant.units, 3900 / 4); /* a quarter of the room, */
    assert_int_equal(grant.used, 100);
    grant = lease_at(&gates[1], &the_ask, 10000, none, 2000);
    assert_int_equal(grant.units, 2925 / 8); /* or of two gates an eighth each */
    grant = lease_at(&gates[1], &the_ask, 10000, none, 13000);
    assert_int_equal(grant.units, 2560 / 8); /* as many as a moment ago */
    grant = lease_at(&gates[1], &the_ask, 10000, none, 24000);
    assert_int_equal(grant.units, 2240 / 4); /* the other one does no more */
    struct count_ask full = the_ask;
    full.max = grant.used + grant.units + 7; /* less than 8 is no room for two */
    grant = lease_at(&gates[1], &full, 10000, none, 24000);
    assert_int_equal(grant.units, 0);
    full.max = 1000;
    assert_int_equal(lease_at(&gates[1], &full, 10000, none, 24000).units, 0);
}

static void test_the_rest_goes_back(void **state)
{
    (void)state;
    const struct lease_rest none = {0};
    server_do(&server, "FLUSHALL");
    struct lease_grant grant = lease_at(&gates[0], &the_ask, 100, none, 0);
    struct lease_rest rest = {.units = 40, .slot = grant.slot, .created = grant.created};
    assert_int_equal(lease_at(&gates[0], &the_ask, 10, rest, 7000).used, 60);
    assert_int_equal(lease_at(&gates[0], &the_ask, 0, none, 7000).used, 70);
    rest.created++;
    assert_int_equal(lease_at(&gates[0], &the_ask, 0, rest, 7000).used, 70);
    rest.created--;
    assert_int_equal(lease_at(&gates[0], &the_ask, 0, rest, 7000).used, 30);
    assert_int_equal(lease_at(&gates[0], &the_ask, 0, none, 7000).used, 30);
    assert_int_equal(lease_at(&gates[0], &the_ask, 0, rest, 66000).used, 10); /* it has left the window */
}

/* What was leased before a restart of the store is void after it. */
static void test_generations(void **state)
{
    (void)state;
    const struct lease_grant grant = {.units = 5, .slot = 7, .created = 8, .left_ms = 10000};
    struct leases *leases = leases_new();
    struct leases_ticket ticket;
    struct count_answer answer;
    for (int i = 0; i < 500; i++)
        assert_false(leases_take(leases, &the_ask, 1, 10000 * MS, &answer, &ticket));
    assert_false(leases_take(leases, &the_ask, 1, 10250 * MS, &answer, &ticket));
    assert_int_equal(ticket.wanted, 100);
    assert_true(leases_grant(leases, &ticket, &the_ask, &grant, 10250 * MS, &answer));
    assert_true(leases_take(leases, &the_ask, 1, 10250 * MS, &answer, &ticket));
    assert_false(leases_take(leases, &the_ask, 2, 10250 * MS, &answer, &ticket));
    assert_int_equal(ticket.wanted, 100);
    assert_int_equal(ticket.rest.units, 0);
    leases_free(leases);
}

static int setup(void **state)
{
    (void)state;
    random_state = seed;
    for (size_t i = 0; i < GATES; i++) {
        struct error err = {0};
        struct redis_client *redis = redis_client_new(
            &(struct redis_config){.path = server.socket, .prefix = "test", .timeout_ms = 60000}, NULL, NULL,
            &err);
        assert_non_null(redis);
        gates[i].store = counters_remote_new(redis, &err);
        assert_non_null(gates[i].store);
        remote_follow_caller_clock(gates[i].store);
        assert_true(redis_client_wait(redis, 60000));
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < GATES; i++) {
        struct redis_client *redis = ((struct remote *)gates[i].store)->redis;
        counters_free(gates[i].store);
        redis_client_free(redis);
        leases_free(gates[i].leases);
        gates[i].leases = NULL;
    }
    return 0;
}

int main(int argc, char **argv)
{
    rounds = argc > 1 ? atoi(argv[1]) : rounds;
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : seed;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_grants, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_rest_goes_back, setup, teardown),
        cmocka_unit_test(test_generations),
        cmocka_unit_test_setup_teardown(test_never_above_max, setup, teardown),
        cmocka_unit_test_setup_teardown(test_room_for_all, setup, teardown),
    };
    server_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_remove(&server);
    return failed;
}
