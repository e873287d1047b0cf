/* inspect, where a cluster's nodes are not what they should be. */
#include "redis/inspect.h"

#include "shards.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct shards shards;

struct said {
    char text[4096];
    int reached;
};

static void say(void *arg, bool wrong, const char *key, const char *text)
{
    struct said *said = arg;
    size_t n = strlen(said->text);
    snprintf(said->text + n, sizeof said->text - n, "%s %s %s\n", wrong ? "wrong" : "well", key, text);
}

static void reached(void *arg, const struct sockaddr *address)
{
    (void)address;
    ((struct said *)arg)->reached++;
}

static void inspect(const char *slots, struct said *said)
{
    const struct redis_address address = {"127.0.0.1", shards.port[0]};
    const struct redis_config config = {
        .topology = REDIS_TOPOLOGY_CLUSTER, .addresses = &address, .n_addresses = 1, .timeout_ms = 1000};
    *said = (struct said){.reached = 0};
    atomic_store(&shards.slots, slots);
    redis_inspect(&config, &(struct redis_inspector){say, reached, said});
}

static void test_masters(void **state)
{
    (void)state;
    struct said said;
    inspect(NULL, &said);
    assert_int_equal(said.reached, 1);
    assert_null(strstr(said.text, "wrong"));
}

/* A range that ends before it begins, and one that another takes all of. */
static void test_masters_without_slots(void **state)
{
    (void)state;
    static const char backwards[] = "*1\r\n*3\r\n:9\r\n:3\r\n*3\r\n$9\r\n127.0.0.1\r\n:6379\r\n$2\r\nab\r\n";
    static const char covered[] = "*2\r\n*3\r\n:5\r\n:6\r\n*3\r\n$9\r\n127.0.0.1\r\n:6379\r\n$2\r\nab\r\n"
                                  "*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:6380\r\n$2\r\ncd\r\n";
    const char *const answers[] = {backwards, covered};
    struct said said;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        inspect(answers[i], &said);
        assert_int_equal(said.reached, 0);
        assert_non_null(strstr(said.text, "CLUSTER SLOTS with what makes no sense"));
        assert_null(strstr(said.text, ":63"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_masters),
                                       cmocka_unit_test(test_masters_without_slots)};
    shards_start(&shards, 1);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    shards_stop(&shards);
    return rc;
}
