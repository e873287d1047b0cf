/* The counter store in Redis fed with answers that no Redis should give: it says that it is unsure, zeroes
 * its answers, and never crashes. The client is replaced by redis_fed.h: bytes go in as RESP, no socket is
 * needed. */
#include "remote.h"
#include "redis_fed.h"
#include "store.h"
#include "counters/stores.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *feed; /* what every call is answered with */
static size_t feed_len;
static enum redis_status feed_status;
static int calls;

static enum redis_status redis_fed_answer(redisReply **out)
{
    void *reply = NULL;
    calls++;
    if (feed_status != REDIS_ANSWERED)
        return feed_status;
    redisReader *reader = redisReaderCreate();
    assert_non_null(reader);
    redisReaderFeed(reader, feed, feed_len);
    if (redisReaderGetReply(reader, &reply) != REDIS_OK || reply == NULL) {
        redisReaderFree(reader);
        return REDIS_LOST; /* what the client says of bytes that are no answer */
    }
    redisReaderFree(reader);
    *out = reply;
    return REDIS_ANSWERED;
}

static struct counters *new_counters(void)
{
    static struct redis_client client;
    struct counters *counters = counters_remote_new(&client, NULL);
    assert_non_null(counters);
    return counters;
}

static void set_feed(const char *bytes, size_t n, enum redis_status status)
{
    feed = bytes;
    feed_len = n;
    feed_status = status;
}

static const struct count_ask the_ask = {
    .key = "k", .limit = "l", .max = 1, .window_ms = 1000, .share_of = -1};
static const struct count_request the_request = {.asks = &the_ask, .n = 1};

static enum counters_status reserve(struct counters *counters, struct count_answer *out)
{
    memset(out, 0x55, sizeof *out);
    return counters_reserve(counters, &the_request, 0, out);
}

#define GOOD_PLAIN "$8\r\n7000 5 8\r\n"
#define GOOD "*9\r\n:0\r\n:1\r\n:5\r\n:0\r\n:7\r\n:8\r\n:0\r\n:5\r\n:0\r\n"

static void test_good(void **state)
{
    (void)state;
    struct counters *counters = new_counters();
    struct count_answer got;
    set_feed(GOOD, strlen(GOOD), REDIS_ANSWERED);
    assert_int_equal(reserve(counters, &got), COUNTERS_OK);
    assert_int_equal(got.result, COUNT_ADMITTED);
    assert_int_equal(got.used, 5);
    assert_int_equal(got.slot, 7);
    assert_int_equal(got.created, 8);
    counters_free(counters);
}

static void test_good_plain(void **state)
{
    (void)state;
    struct counters *counters = new_counters();
    const struct count_ask ask = {
        .key = "k", .limit = "l", .max = 9, .window_ms = 1000, .amount = 1, .need = 1, .share_of = -1};
    const struct count_request request = {.asks = &ask, .n = 1};
    struct count_answer got;
    set_feed(GOOD_PLAIN, strlen(GOOD_PLAIN), REDIS_ANSWERED);
    assert_int_equal(counters_reserve(counters, &request, 0, &got), COUNTERS_OK);
    assert_int_equal(got.result, COUNT_ADMITTED);
    assert_int_equal(got.used, 5);
    assert_int_equal(got.slot, 70);
    assert_int_equal(got.created, 8);
    counters_free(counters);
}

static void test_garbage(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "+OK\r\n",
        "$-1\r\n",
        "$2\r\nhi\r\n",
        ":1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "-ERR what\r\n",
        "*6\r\n:0\r\n:1\r\n:5\r\n:0\r\n:7\r\n:8\r\n",
        "*8\r\n:0\r\n:1\r\n:5\r\n:0\r\n:7\r\n:8\r\n:0\r\n:0\r\n",
        "*9\r\n:0\r\n:1\r\n:5\r\n:0\r\n:7\r\n:8\r\n:0\r\n:-5\r\n:0\r\n",
        "*9\r\n:0\r\n:1\r\n:5\r\n:0\r\n:7\r\n:8\r\n:0\r\n:5\r\n:-1\r\n",
        "$0\r\n\r\n",
        "$9\r\n-7000 5 8\r\n",
        "$6\r\n7000 5\r\n",
        "$7\r\n7000 5 \r\n",
        "$9\r\n7000 5 8 \r\n",
        "$9\r\n7000 -5 8\r\n",
        "$9\r\n7000 5  8\r\n",
        "$10\r\n7000 5 8 9\r\n",
        "$10\r\n7000 5 8\r\n\r\n",
        "$23\r\n9000000000000000000 5 8\r\n",
        "$30\r\n7000 99999999999999999999999 8\r\n",
        "+7000 5 8\r\n",
        "*9\r\n:-1\r\n:1\r\n:5\r\n:0\r\n:7\r\n:8\r\n:0\r\n:5\r\n:0\r\n",
        "*9\r\n:0\r\n:0\r\n:5\r\n:0\r\n:7\r\n:8\r\n:0\r\n:5\r\n:0\r\n",
        "*9\r\n:0\r\n:4\r\n:5\r\n:0\r\n:7\r\n:8\r\n:0\r\n:5\r\n:0\r\n",
        "*9\r\n:0\r\n:1\r\n:-5\r\n:0\r\n:7\r\n:8\r\n:0\r\n:5\r\n:0\r\n",
        "*9\r\n:0\r\n:1\r\n:5\r\n:-1\r\n:7\r\n:8\r\n:0\r\n:5\r\n:0\r\n",
        "*9\r\n:0\r\n:1\r\n$1\r\n5\r\n:0\r\n:7\r\n:8\r\n:0\r\n:5\r\n:0\r\n",
        "*9\r\n:0\r\n:1\r\n:5\r\n:0\r\n:7\r\n:8\r\n$-1\r\n:5\r\n:0\r\n",
        "*9\r\n*0\r\n*0\r\n*0\r\n*0\r\n*0\r\n*0\r\n*0\r\n:5\r\n:0\r\n",
    };
    struct counters *counters = new_counters();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct count_answer got;
        struct error condition = {0};
        set_feed(rows[i], strlen(rows[i]), REDIS_ANSWERED);
        assert_int_equal(reserve(counters, &got), COUNTERS_UNSURE);
        assert_int_equal(got.result, COUNT_UNKNOWN);
        assert_int_equal(got.used, 0);
        assert_int_equal(counters_peek(counters, &the_request, 0, &got), COUNTERS_DOWN);
        counters_condition(counters, &condition);
        assert_true(condition.text[0] != '\0');
        set_feed(GOOD, strlen(GOOD), REDIS_ANSWERED); /* and it is forgotten when all is well again */
        assert_int_equal(reserve(counters, &got), COUNTERS_OK);
        condition = (struct error){0};
        counters_condition(counters, &condition);
        assert_string_equal(condition.text, "");
    }
    counters_free(counters);
}

static enum counters_status lease(struct counters *counters, struct lease_grant *out)
{
    static const struct lease_rest rest;
    return counters->ops->lease(counters, &the_ask, 5, &rest, 0, 0, out);
}

#define GOOD_LEASE "*6\r\n:0\r\n:5\r\n:2\r\n:7\r\n:8\r\n:90\r\n"

static void test_leases(void **state)
{
    (void)state;
    static const char *const rows[] = {
        GOOD_PLAIN,
        GOOD,
        "*1\r\n:0\r\n",
        "*6\r\n:0\r\n:6\r\n:2\r\n:7\r\n:8\r\n:90\r\n", /* more than was asked for */
        "*6\r\n:0\r\n:-1\r\n:2\r\n:7\r\n:8\r\n:90\r\n",
        "*6\r\n:0\r\n:5\r\n:-2\r\n:7\r\n:8\r\n:90\r\n",
        "*6\r\n:0\r\n:5\r\n:9000000000000000000\r\n:7\r\n:8\r\n:90\r\n",
        "*6\r\n:0\r\n:5\r\n:2\r\n:-7\r\n:8\r\n:90\r\n",
    };
    struct counters *counters = new_counters();
    struct lease_grant got = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        set_feed(rows[i], strlen(rows[i]), REDIS_ANSWERED);
        assert_int_equal(lease(counters, &got), COUNTERS_UNSURE);
        assert_int_equal(got.units, 0);
    }
    set_feed(GOOD_LEASE, strlen(GOOD_LEASE), REDIS_ANSWERED);
    assert_int_equal(lease(counters, &got), COUNTERS_OK);
    assert_int_equal(got.units, 5);
    assert_int_equal(got.used, 2);
    assert_int_equal(got.slot, 7);
    assert_int_equal(got.created, 8);
    assert_int_equal(got.left_ms, 90);
    counters_free(counters);
}

static void see(void *arg, const struct count_view *view)
{
    (void)arg;
    assert_true(strlen(view->key) > 0 && strlen(view->limit) < 1000 && view->used >= 0);
}

/* Every call, whatever it is answered. */
static void call_all(struct counters *counters)
{
    static const char *const keys[] = {"k", "*", "k*"};
    const struct count_change change = {
        .key = "k", .limit = "l", .window_ms = 1000, .slot = 5, .created = 5, .amount = -1};
    struct count_answer got;
    struct lease_grant grant;
    size_t n = 0;
    enum counters_status status = reserve(counters, &got);
    assert_true(status == COUNTERS_OK || got.result == COUNT_UNKNOWN);
    assert_true(counters_charge(counters, &the_request, 0) <= COUNTERS_UNSURE);
    assert_true(counters_change(counters, (struct count_change[]){change}, 1, 0) <= COUNTERS_UNSURE);
    assert_true(counters_settle(counters, &change, 1, 0, 0, &got) <= COUNTERS_UNSURE);
    assert_true(counters_deferred(counters, &(struct count_deferral){.pair.id = "00", .n = 1}, 1, 0) <=
                COUNTERS_UNSURE);
    status = lease(counters, &grant);
    assert_true(status != COUNTERS_OK || (grant.units >= 0 && grant.units <= 5));
    remote_follow_caller_clock(counters); /* else the clock would be asked, and that be all */
    assert_true(counters_show(counters, keys, 3, 0, see, NULL) <= COUNTERS_UNSURE);
    assert_true(counters_reset(counters, keys, 3, NULL, &n) <= COUNTERS_UNSURE);
}

/* Good answers of all kinds with a few bytes changed. */
static void test_mutations(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        GOOD,
        GOOD_PLAIN,
        GOOD_LEASE,
        "*1\r\n:0\r\n",
        "*5\r\n:0\r\n:2\r\n:5\r\n:100\r\n:5\r\n",
        "*2\r\n$1\r\n0\r\n*2\r\n$6\r\ntest:k\r\n$7\r\ntest:kk\r\n",
        "*2\r\n$1\r\nl\r\n$36\r\n1/3 window=60000 born=1 slot=5 2:1,2\r\n",
        "*2\r\n$1\r\nl\r\n$53\r\n1/3 window=60000 born=1 slot=5 1,2 refused=1 held=345\r\n",
        "*2\r\n*2\r\n$1\r\nl\r\n$34\r\n1/3 window=60000 born=1 slot=5 1,2\r\n-WRONGTYPE no hash\r\n",
        "*2\r\n$10\r\n1732320000\r\n$3\r\n123\r\n",
        "-WRONGTYPE Operation against a key\r\n",
    };
    static const char bytes[] = "0123456789*$:+-\r\n,=/ k\0\xff";
    struct counters *counters = new_counters();
    unsigned short seed[3] = {7, 8, 9};
    calls = 0;
    for (int i = 0; i < 30000; i++) {
        char text[256];
        const char *source = seeds[nrand48(seed) % (long)(sizeof seeds / sizeof seeds[0])];
        size_t n = strlen(source);
        memcpy(text, source, n);
        for (long m = nrand48(seed) % 4; m > 0; m--)
            text[(size_t)nrand48(seed) % n] = bytes[(size_t)nrand48(seed) % (sizeof bytes - 1)];
        set_feed(text, n, REDIS_ANSWERED);
        call_all(counters);
    }
    assert_true(calls > 100000);
    counters_free(counters);
}

static void test_down_and_lost(void **state)
{
    (void)state;
    struct counters *counters = new_counters();
    struct count_answer got;
    set_feed("", 0, REDIS_DOWN);
    assert_int_equal(reserve(counters, &got), COUNTERS_DOWN);
    set_feed("", 0, REDIS_LOST);
    assert_int_equal(reserve(counters, &got), COUNTERS_UNSURE);
    assert_int_equal(got.result, COUNT_UNKNOWN);
    assert_int_equal(counters_peek(counters, &the_request, 0, &got),
                     COUNTERS_DOWN); /* a look charges nothing */
    assert_int_equal(counters_deferred(counters, &(struct count_deferral){.pair.id = "00", .n = 1}, 1, 0),
                     COUNTERS_UNSURE);
    counters_free(counters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),          cmocka_unit_test(test_good_plain),
        cmocka_unit_test(test_garbage),       cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_down_and_lost), cmocka_unit_test(test_leases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
