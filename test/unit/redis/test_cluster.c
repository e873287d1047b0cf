/* The client of a cluster whose masters come and go, against scripted nodes; what real ones do is test/e2e/test_cluster.py's. */
#include "redis/client.h"

#include "base/clock.h"
#include "shards.h"
#include "patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { ADDRESSES = 270 };

static struct shards shards;

static struct redis_client *client_new(void)
{
    const struct redis_address address = {"127.0.0.1", shards.port[0]};
    const struct redis_config config = {
        .topology = REDIS_TOPOLOGY_CLUSTER, .addresses = &address, .n_addresses = 1, .timeout_ms = 1000};
    struct redis_client *redis = redis_client_new(&config, NULL, NULL, NULL);
    assert_non_null(redis);
    assert_true(redis_client_wait(redis, PATIENCE_MS));
    return redis;
}

/* The number of the node that answers; -1: none. */
static long long ask(struct redis_client *redis)
{
    const char *const argv[] = {"GET", "key"};
    redisReply *reply = NULL;
    long long node = -1;
    if (redis_client_call(redis, &(struct redis_command){.argc = 2, .argv = argv}, &reply) ==
            REDIS_ANSWERED &&
        reply->type == REDIS_REPLY_INTEGER)
        node = reply->integer;
    freeReplyObject(reply);
    return node;
}

/* Until that node is asked: a map that was read a moment before may send somebody back to the one before it. */
static void wait_for(struct redis_client *redis, int node)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    long long got;
    while ((got = ask(redis)) != node && clock_monotonic_ms() < until)
        (void)poll(NULL, 0, 20);
    assert_int_equal(got, node);
}

/* Of a master that is none any more no connection is kept. */
static void test_rest(void **state)
{
    (void)state;
    shards_start(&shards, 2);
    struct redis_client *redis = client_new();
    wait_for(redis, 0);
    assert_true(atomic_load(&shards.open[0]) > 0);
    atomic_store(&shards.master, 1);
    wait_for(redis, 1);
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    while (atomic_load(&shards.open[0]) > 0 && clock_monotonic_ms() < until)
        (void)poll(NULL, 0, 20);
    assert_int_equal(atomic_load(&shards.open[0]), 0);
    wait_for(redis, 1);
    atomic_store(&shards.master, 0);
    wait_for(redis, 0);
    redis_client_free(redis);
    shards_stop(&shards);
}

/* Where each restart of a node gives it another address, as in Kubernetes, they are more in time than masters there can be. */
static void test_addresses(void **state)
{
    (void)state;
    shards_start(&shards, ADDRESSES);
    struct redis_client *redis = client_new();
    for (int i = 0; i < ADDRESSES; i++) {
        atomic_store(&shards.master, i);
        wait_for(redis, i);
    }
    redis_client_free(redis);
    shards_stop(&shards);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rest), cmocka_unit_test(test_addresses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
