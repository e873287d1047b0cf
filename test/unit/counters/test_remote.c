/* What is Redis's own in the counter store: the text in its fields, times to live, junk under our keys, answers that make
 * no sense, its own clock, and what is said of a server that is away. */
#include "counter.h"
#include "remote.h"
#include "remote_call.h"
#include "remote_script.h"
#include "counters/stores.h"

#include "redis_server.h"
#include "redis_together.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define START INT64_C(1732320000000)

static struct redis_server server;
static redisContext *cli;
static struct counters *counters;

/* What a command answers, as text. */
static const char *ask_redis(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *ask_redis(const char *format, ...)
{
    static char text[1024];
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(cli, format, args);
    va_end(args);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(text, sizeof text, "%lld", reply->integer);
    else
        snprintf(text, sizeof text, "%s", reply->type == REDIS_REPLY_NIL ? "(nil)" : reply->str);
    freeReplyObject(reply);
    return text;
}

static int64_t ttl_of(const char *key)
{
    return strtoll(ask_redis("PTTL %s", key), NULL, 10);
}

static struct count_ask ask_for(const char *key, const char *limit, int64_t max)
{
    return (struct count_ask){.key = key,
                              .limit = limit,
                              .max = max,
                              .window_ms = 60000,
                              .amount = 1,
                              .need = 1,
                              .ttl_ms = 100000,
                              .share_of = -1};
}

static struct count_answer reserve_one(const struct count_ask *ask, int64_t now)
{
    struct count_answer answer;
    assert_int_equal(counters_reserve(counters, &(struct count_request){.asks = ask, .n = 1}, now, &answer),
                     COUNTERS_OK);
    return answer;
}

static struct counters *connect_to(const struct redis_server *to)
{
    struct error err = {0};
    struct redis_client *redis = redis_client_new(
        &(struct redis_config){.path = to->socket, .prefix = "test", .timeout_ms = 10000}, NULL, NULL, &err);
    assert_non_null(redis);
    struct counters *out = counters_remote_new(redis, &err);
    assert_non_null(out);
    assert_true(redis_client_wait(redis, 60000));
    return out;
}

static void disconnect(struct counters *store)
{
    struct redis_client *redis = ((struct remote *)store)->redis;
    counters_free(store);
    redis_client_free(redis);
}

static int setup(void **state)
{
    (void)state;
    server_do(&server, "FLUSHALL");
    counters = connect_to(&server);
    remote_follow_caller_clock(counters);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    disconnect(counters);
    return 0;
}

static const char *get_text(void)
{
    return ask_redis("HGET test:recipient:{a@example.com} alias-minute");
}

static void test_text(void **state)
{
    (void)state;
    struct count_ask ask = ask_for("recipient:{a@example.com}", "alias-minute", 3);
    reserve_one(&ask, START);
    assert_string_equal(get_text(), "1/3 window=60000 born=1732320000000 slot=288720000 1");
    assert_true(strlen(get_text()) <= 64);
    assert_string_equal(ask_redis("OBJECT ENCODING test:recipient:{a@example.com}"), "listpack");
    reserve_one(&ask, START + 12000);
    reserve_one(&ask, START + 12500);
    assert_string_equal(get_text(), "3/3 window=60000 born=1732320000000 slot=288720002 2,0,1");
    ask.hold_ms = 600000;
    reserve_one(&ask, START + 60000);
    assert_string_equal(
        get_text(), "3/3 window=60000 born=1732320000000 slot=288720002 2,0,1 refused=1 held=1732320660000");
    ask.hold_ms = 0;
    reserve_one(&ask, START + 700000);
    assert_string_equal(get_text(), "1/3 window=60000 born=1732320000000 slot=288720116 1 refused=1");
}

/* Of slots that are ahead, by ten seconds at most, the newest with something in it is the current one: somebody looked at the clock a little
 * later, and may have given back what was charged last. */
static void test_slots_ahead(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"1/3 window=1000 born=1 slot=17323200005 0,0,1", "3/3 window=1000 born=1 slot=17323200003 3"},
        {"0/3 window=1000 born=1 slot=17323200005 0,0", "2/3 window=1000 born=1 slot=17323200000 2"},
        {"1/3 window=1000 born=1 slot=17323200100 1", "3/3 window=1000 born=1 slot=17323200100 3"},
        {"1/3 window=1000 born=1 slot=17323200101 1", "3/3 window=1000 born=1 slot=17323200000 3:1"},
        {"1/3 window=10 born=1 slot=1732320010001 1", "3/3 window=10 born=1 slot=1732320000000 3:1"},
        {"1/3 window=240000 born=1 slot=72180001 1", "3/3 window=240000 born=1 slot=72180000 3:1"},
    };
    struct count_ask ask = ask_for("k", "l", 3);
    ask.amount = 2;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ask.window_ms = strtoll(strchr(rows[i][0], '=') + 1, NULL, 10);
        ask_redis("HSET test:k l %s", rows[i][0]);
        reserve_one(&ask, START);
        assert_string_equal(ask_redis("HGET test:k l"), rows[i][1]);
    }
}

/* A share is refused for good until its limit has less taken than that part: what is open does not make it longer. */
static void test_share_hard_until(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("k", "l", 9), ask_for("s", "l", 1)};
    struct count_answer answers[2];
    asks[0].flags = asks[1].flags = COUNT_HARD;
    asks[1].window_ms = 3600000;
    asks[1].share_of = 0;
    asks[1].share_above = 1;
    const struct count_request request = {.asks = asks, .n = 2};
    assert_int_equal(counters_reserve(counters, &request, START, answers), COUNTERS_OK);
    for (int i = 0; i < 2; i++) {
        struct count_change change = {.key = asks[i].key,
                                      .limit = "l",
                                      .window_ms = asks[i].window_ms,
                                      .slot = answers[i].slot,
                                      .created = START,
                                      .open = -1};
        assert_int_equal(counters_change(counters, &change, 1, START), COUNTERS_OK);
    }
    reserve_one(&asks[0], START + 6000);
    assert_int_equal(counters_reserve(counters, &request, START + 6000, answers), COUNTERS_OK);
    assert_int_equal(answers[1].result, COUNT_OVER);
    assert_int_equal(answers[1].wait_ms, 66000);
    assert_int_equal(answers[1].hard_ms, 60000);
}

/* "4:1", and words of another version: kept by whoever writes. */
static void test_open_text(void **state)
{
    (void)state;
    struct count_ask ask = ask_for("k", "l", 9);
    struct count_change change = {.key = "k", .limit = "l", .window_ms = 60000, .here = -1, .open = -1};
    ask.flags = COUNT_HARD;
    struct count_answer answer = reserve_one(&ask, START);
    assert_string_equal(ask_redis("HGET test:k l"),
                        "1/9 window=60000 born=1732320000000 slot=288720000 1:1 h");
    assert_true(strlen(ask_redis("HGET test:k l")) < 64);
    reserve_one(&ask, START);
    assert_string_equal(ask_redis("HGET test:k l"),
                        "2/9 window=60000 born=1732320000000 slot=288720000 2:2 h");
    change.slot = answer.slot;
    change.created = answer.created;
    assert_int_equal(counters_change(counters, (struct count_change[]){change}, 1, START), COUNTERS_OK);
    assert_string_equal(ask_redis("HGET test:k l"),
                        "2/9 window=60000 born=1732320000000 slot=288720000 2:1 h");
    ask.amount = 2; /* the long way */
    reserve_one(&ask, START + 6000);
    assert_string_equal(ask_redis("HGET test:k l"),
                        "4/9 window=60000 born=1732320000000 slot=288720001 2:2,2:1 h");
    change.amount = -1;
    assert_int_equal(counters_change(counters, (struct count_change[]){change}, 1, START + 6000),
                     COUNTERS_OK);
    assert_string_equal(ask_redis("HGET test:k l"),
                        "3/9 window=60000 born=1732320000000 slot=288720001 2:2,1 h");
    ask_redis("HSET test:k l %s",
              "4/9 window=60000 born=1732320000000 slot=288720001 2:2,2:7 later=1:2 h refused=3 word");
    assert_int_equal(counters_change(counters, (struct count_change[]){change}, 1, START + 6000),
                     COUNTERS_OK);
    ask.amount = 1;
    reserve_one(&ask, START + 6000);
    assert_string_equal(
        ask_redis("HGET test:k l"),
        "4/9 window=60000 born=1732320000000 slot=288720001 3:3,1:1 refused=3 h later=1:2 word");
    assert_int_equal(counters_junk_resets(counters), 0);
}

/* "h", by which a counter says what is taken; what comes of it where one gate is hard and another one is soft. */
static void test_hard_text(void **state)
{
    (void)state;
    struct count_ask soft = ask_for("k", "l", 9), hard = soft;
    hard.flags = COUNT_HARD;
    reserve_one(&soft, START);
    assert_string_equal(ask_redis("HGET test:k l"), "1/9 window=60000 born=1732320000000 slot=288720000 1");
    reserve_one(&hard, START);
    assert_string_equal(ask_redis("HGET test:k l"),
                        "2/9 window=60000 born=1732320000000 slot=288720000 2:2 h");
    reserve_one(&soft, START); /* nothing is known to be taken */
    assert_string_equal(ask_redis("HGET test:k l"), "3/9 window=60000 born=1732320000000 slot=288720000 3");
    struct count_answer answer = reserve_one(&hard, START);
    struct count_change change = {.key = "k",
                                  .limit = "l",
                                  .window_ms = 60000,
                                  .slot = answer.slot,
                                  .created = answer.created,
                                  .open = -1,
                                  .here = -1};
    assert_int_equal(counters_change(counters, (struct count_change[]){change}, 1, START), COUNTERS_OK);
    reserve_one(&soft, START); /* one is */
    assert_string_equal(ask_redis("HGET test:k l"),
                        "5/9 window=60000 born=1732320000000 slot=288720000 5:4 h");
    struct lease_grant grant;
    assert_int_equal(counters->ops->lease(counters, &soft, 1000, &(struct lease_rest){0}, START, 0, &grant),
                     COUNTERS_OK);
    assert_int_equal(grant.units, 0); /* too few are left */
    soft.max = 1000;
    assert_int_equal(counters->ops->lease(counters, &soft, 10, &(struct lease_rest){0}, START, 0, &grant),
                     COUNTERS_OK);
    assert_int_equal(grant.units, 10);
    assert_string_equal(ask_redis("HGET test:k l"),
                        "15/1000 window=60000 born=1732320000000 slot=288720000 15:14 h");
    const struct lease_rest rest = {.units = 4, .slot = grant.slot, .created = grant.created};
    assert_int_equal(counters->ops->lease(counters, &soft, 2, &rest, START + 6000, 0, &grant), COUNTERS_OK);
    assert_string_equal(ask_redis("HGET test:k l"),
                        "13/1000 window=60000 born=1732320000000 slot=288720001 2:2,11:10 h");
    const struct lease_rest all = {.units = 2, .slot = grant.slot, .created = grant.created};
    assert_int_equal(counters->ops->lease(counters, &soft, 1000, &all, START + 6000, 0, &grant), COUNTERS_OK);
    assert_int_equal(grant.units, 247); /* of 989 that are free a quarter, so that there is room for others */
    assert_string_equal(ask_redis("HGET test:k l"),
                        "258/1000 window=60000 born=1732320000000 slot=288720001 247:247,11:10 h");
    assert_int_equal(counters_junk_resets(counters), 0);
}

static struct lease_grant lease(struct counters *store, int64_t most, struct lease_rest rest, int64_t now)
{
    const struct count_ask ask = ask_for("k", "l", 1000);
    struct lease_grant grant;
    assert_int_equal(store->ops->lease(store, &ask, most, &rest, now, 0, &grant), COUNTERS_OK);
    return grant;
}

/* Only what is taken refuses for good, in the oldest slot, too. */
static void test_hard_until(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"4/1 window=60000 born=1 slot=288720000 2,0,0,0,0,0,0,0,0,0,2:2 h", 66000},
        {"4/1 window=60000 born=1 slot=288720000 2:2,0,0,0,0,0,0,0,0,0,2 h", 6000},
    };
    struct count_ask ask = ask_for("k", "l", 1);
    ask.flags = COUNT_HARD;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ask_redis("HSET test:k l %s", rows[i].text);
        const struct count_answer answer = reserve_one(&ask, START);
        assert_int_equal(answer.result, COUNT_OVER);
        assert_int_equal(answer.hard_ms, rows[i].ms);
    }
}

/* What is left of a lease is given back while its slot is there. */
static void test_rest_of_a_lease(void **state)
{
    (void)state;
    ask_redis("HSET test:k l junk");
    struct lease_grant first = lease(counters, 1000, (struct lease_rest){0}, START);
    assert_int_equal(first.units, 250);
    assert_int_equal(first.left_ms, 5999);
    assert_in_range(ttl_of("test:k"), 90000, 100000);
    const struct lease_rest rest = {.units = 100, .slot = first.slot, .created = first.created},
                            other = {.units = 100, .slot = first.slot, .created = first.created + 1};
    assert_int_equal(lease(counters, 1, other, START + 60000).used, 250);
    struct lease_grant second = lease(counters, 10, rest, START + 60000);
    assert_int_equal(second.used, 150);
    assert_int_equal(lease(counters, 1,
                           (struct lease_rest){.units = 5, .slot = second.slot, .created = second.created},
                           START + 60000)
                         .units,
                     0);
    assert_int_equal(lease(counters, 10, rest, START + 66000).used, 5);
    assert_string_equal(ask_redis("HGET test:k l"),
                        "15/1000 window=60000 born=1732320000000 slot=288720011 10,5");
    assert_int_equal(counters_junk_resets(counters), 1);
}

static void test_lease_otherwise(void **state)
{
    (void)state;
    ask_redis("HSET test:k l %s", "2/1000 window=60000 born=1 slot=288720000 2:2 h");
    assert_int_equal(lease(counters, 10, (struct lease_rest){0}, START).units, 10);
    assert_string_equal(ask_redis("HGET test:k l"), "12/1000 window=60000 born=1 slot=288720000 12");
    ask_redis("DEL test:k"); /* of what is gone nothing can be given back */
    const struct lease_rest rest = {.units = 10, .slot = 288720000, .created = 1};
    assert_int_equal(lease(counters, 1, rest, START).units, 0);
    assert_string_equal(ask_redis("EXISTS test:k"), "0");
}

/* Who leases now, and did in the ten seconds before, shares what is free. */
static void test_lessees(void **state)
{
    (void)state;
    struct counters *all[] = {counters, connect_to(&server), connect_to(&server)};
    static const struct {
        int who;
        int64_t ms, units;
    } rows[] = {
        {0, 0, 1000 / 4},     {1, 0, 750 / 8},      {2, 0, 657 / 12},
        {0, 10000, 603 / 12}, {1, 10000, 553 / 12}, {0, 20000, 507 / 8},
        {1, 20000, 444 / 8},  {0, 30000, 389 / 8},  {0, 40000, 341 / 4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        remote_follow_caller_clock(all[rows[i].who]);
        assert_int_equal(lease(all[rows[i].who], 1000, (struct lease_rest){0}, START + rows[i].ms).units,
                         rows[i].units);
    }
    for (int i = 1; i < 3; i++)
        disconnect(all[i]);
}

/* What is counted stands in the text where it is not recipients, also on the short way through the script. */
static void test_text_of_units(void **state)
{
    (void)state;
    struct count_ask ask = ask_for("recipient:{a@example.com}", "alias-minute", 3);
    ask.unit = COUNT_UNIT_ATTEMPTS;
    ask.flags = COUNT_ATTEMPT;
    reserve_one(&ask, START);
    assert_string_equal(get_text(), "1/3 window=60000 born=1732320000000 slot=288720000 1 attempts");
    assert_true(strlen(get_text()) <= 64);
    for (int i = 0; i < 3; i++)
        reserve_one(&ask, START + 6000);
    assert_string_equal(get_text(),
                        "4/3 window=60000 born=1732320000000 slot=288720001 3,1 refused=1 attempts");
    reserve_one(&ask, START + 66000);
    assert_string_equal(
        get_text(),
        "4/3 window=60000 born=1732320000000 slot=288720011 1,0,0,0,0,0,0,0,0,0,3 refused=2 attempts");
    ask.unit = COUNT_UNIT_BYTES;
    ask.flags = 0;
    ask.amount = 5;
    reserve_one(&ask, START + 66000);
    assert_string_equal(get_text(), "5/3 window=60000 born=1732320066000 slot=288720011 5 bytes");
    ask.unit = COUNT_UNIT_RECIPIENTS;
    ask.amount = 1;
    reserve_one(&ask, START + 66001);
    assert_string_equal(get_text(), "1/3 window=60000 born=1732320066001 slot=288720011 1");
    assert_int_equal(counters_junk_resets(counters), 0);
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"1/3 window=60000 born=1 slot=5 1", true},
        {"1/3 window=60000 born=1 slot=5 1,2,3,4,5,6,7,8,9,10,11", true},
        {"1/3 window=60000 born=1 slot=5 1,2,3,4,5,6,7,8,9,10,11,12", false},
        {"1/3 window=60000 born=1 slot=5 1 refused=3", true},
        {"1/3 window=60000 born=1 slot=5 1 held=3", true},
        {"1/3 window=60000 born=1 slot=5 1 refused=3 held=4", true},
        {"1/3 window=60000 born=1 slot=5 1 bytes", true},
        {"1/3 window=60000 born=1 slot=5 1 refused=3 held=4 attempts", true},
        {"1/3 window=60000 born=1 slot=5 1 bytes refused=3", true},
        {"1/3 window=60000 born=1 slot=5 1 bites", true},
        {"1/3 window=60000 born=1 slot=5 1 refused=", false},
        {"1/3 window=60000 born=1 slot=5 1 held=4 refused=3", true},
        {"1/3 window=60000 born=1 slot=5 4:1,0,2:2", true},
        {"1/3 window=60000 born=1 slot=5 4:9", true},
        {"1/3 window=60000 born=1 slot=5 4:", false},
        {"1/3 window=60000 born=1 slot=5 4:1:1", false},
        {"1/3 window=60000 born=1 slot=5 :1", false},
        {"1/3 window=60000 born=1 slot=5 1 later=7 refused=3 word", true},
        {"1/3 window=60000 born=1 slot=5 1 later=7  word", false},
        {"1/3 window=60000 born=1 slot=5 1 later=7 ", false},
        {"1/3 window=60000 born=1 slot=5 1,", false},
        {"1/3 window=60000 born=1 slot=5 ", false},
        {"1/3 window=60000 born=1 slot=5", false},
        {"1/3 window=0 born=1 slot=5 1", false},
        {"1/3 window=60000 born=-1 slot=5 1", false},
        {"1/3 window=1000000000000000 born=1 slot=1000000000000000 1", false},
        {"1000000000000001/3 window=60000 born=1 slot=5 1", false},
        {"1/3 window=60000 born=1 slot=5 99999999999999999999999999999999999999", false},
        {" 1/3 window=60000 born=1 slot=5 1", false},
        {"", false},
        {"7", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct counter counter = {.max = 77};
        assert_int_equal(counter_parse(rows[i].text, strlen(rows[i].text), &counter), rows[i].good);
        assert_int_equal(counter.max, rows[i].good ? 3 : 77);
    }
}

/* Its last two digits name the hash. */
static const struct count_deferral deferral = {
    .pair.id = "00112233445566778899aabbccddeec0", .at_ms = START, .n = 1};

/* Changes of one call, each of its own amount; one of them, and what comes behind it, goes the long way, and none is made twice. */
static void test_changes_differ(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("a", "l", 9), ask_for("b", "l", 9), ask_for("c", "l", 9)};
    enum { N = sizeof asks / sizeof asks[0] };
    struct count_answer answers[N];
    struct count_change changes[N], again[N];
    for (int i = 0; i < N; i++)
        asks[i].amount = 4;
    assert_int_equal(
        counters_reserve(counters, &(struct count_request){.asks = asks, .n = N}, START, answers),
        COUNTERS_OK);
    for (int i = 0; i < N; i++)
        again[i] = changes[i] = (struct count_change){.key = asks[i].key,
                                                      .limit = "l",
                                                      .window_ms = 60000,
                                                      .slot = answers[i].slot,
                                                      .created = answers[i].created,
                                                      .amount = -1 - i % 2};
    ask_redis("HSET test:b l %s", "4/9 window=60000 born=1732320000000 slot=288720000 4 held=3");
    assert_int_equal(counters_change(counters, changes, N, START), COUNTERS_OK);
    assert_string_equal(ask_redis("HGET test:a l"), "3/9 window=60000 born=1732320000000 slot=288720000 3");
    assert_string_equal(ask_redis("HGET test:b l"), "2/9 window=60000 born=1732320000000 slot=288720000 2");
    assert_string_equal(ask_redis("HGET test:c l"), "3/9 window=60000 born=1732320000000 slot=288720000 3");
    ask_redis("HSET test:a l %s", "3/9 window=60000 born=1732320000000 slot=288720000 3:3 h");
    assert_int_equal(counters_change(counters, again, N, START), COUNTERS_OK); /* all the short way */
    assert_string_equal(
        ask_redis("HGET test:a l"),
        "2/9 window=60000 born=1732320000000 slot=288720000 2:2 h"); /* none that is not counted is open */
    assert_string_equal(ask_redis("HGET test:b l"), "0/9 window=60000 born=1732320000000 slot=288720000 0");
    assert_string_equal(ask_redis("HGET test:c l"), "2/9 window=60000 born=1732320000000 slot=288720000 2");
}

static void test_every_key_has_a_ttl(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("a", "short", 3), ask_for("a", "long", 3), ask_for("b", "short", 0),
                               ask_for("c", "short", 5)};
    struct count_answer answers[4];
    asks[1].ttl_ms = 5000000;
    asks[2].flags = COUNT_SHADOW;
    asks[3].overflow = "d";
    asks[3].new_key = "new";
    asks[3].new_max = 1;
    const struct count_request request = {.asks = asks, .n = 4};
    assert_int_equal(counters_reserve(counters, &request, START, answers), COUNTERS_OK);
    assert_in_range(ttl_of("test:a"), 4990000, 5000000);
    assert_in_range(ttl_of("test:b"), 90000, 100000);
    assert_in_range(ttl_of("test:c"), 90000, 100000);
    assert_in_range(ttl_of("test:new"), 60000, 120000);
    assert_string_equal(ask_redis("HGET test:new subjects"),
                        "1/1 window=60000 born=1732320000000 slot=288720000 1");
    const struct count_ask another = ask_for("a", "another", 3);
    reserve_one(&asks[0], START); /* a shorter one does not cut the longer, */
    reserve_one(&asks[0], START + 6000);
    reserve_one(&another, START + 6000); /* nor one that is new */
    assert_in_range(ttl_of("test:a"), 4990000, 5000000);
    ask_redis("PERSIST test:a");
    reserve_one(&asks[0], START + 12000); /* looked after once a slot */
    assert_in_range(ttl_of("test:a"), 90000, 100000);
    ask_redis("PEXPIRE test:a 50000");
    reserve_one(&another, START + 12000);
    assert_in_range(ttl_of("test:a"), 90000, 100000);
    asks[1].limit = "new";
    reserve_one(&asks[1], START + 12000);
    assert_in_range(ttl_of("test:a"), 4990000, 5000000);
    asks[0].ttl_ms = 1; /* never gone before its count */
    asks[0].key = "e";
    reserve_one(&asks[0], START);
    assert_in_range(ttl_of("test:e"), 66000, 67000);
    const struct count_ask both[] = {ask_for("f", "short", 3), ask_for("f", "long", 3)};
    assert_int_equal(
        counters_reserve(counters, &(struct count_request){.asks = both, .n = 2}, START, answers),
        COUNTERS_OK);
    assert_in_range(ttl_of("test:f"), 90000, 100000);
    assert_int_equal(counters_deferred(counters, (struct count_deferral[]){deferral}, 1, START), COUNTERS_OK);
    assert_in_range(ttl_of("test:retries:{0}:40100"), 86390000, 86400000);
}

static void test_junk_is_replaced(void **state)
{
    (void)state;
    static const char *const junk[] = {
        "",
        "7",
        "x/y",
        "7/10",
        "1/3 window=0 born=1732310000000 slot=5 1",
        "1/3 window=60000 born=1732310000000 slot=5 1e300",
        "1/3 window=60000 born=1732310000000 slot=5 999999999999999999999999",
        "1/3 window=99999999999999999999999999999999999999999999999 born=1732310000000 slot=1 1",
        "1/3 window=60000 born=1732310000000 slot=5 1,1,1,1,1,1,1,1,1,1,1,1",
        "1/3 window=60000 born=1732310000000 slot=5 ,,,",
        "1/3 window=60000 born=1732310000000 slot=5 1 refused=x",
        "1/3 window=60000 born=1732310000000 slot=5 1nonsense",
        "1/3 window=60000 born=1732310000000 slot=5 1  two spaces",
        "1/3 window=60000 born=1732310000000 slot=5 4:1:1",
        "1/3 window=60000 born=1000000000000001 slot=5 1",
    };
    struct count_ask ask = ask_for("k", "l", 5);
    ask.amount = 2; /* not the plain case, which does not look at slots that have left the window */
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++) {
        ask_redis("HSET test:k l %s other kept", junk[i]);
        assert_int_equal(reserve_one(&ask, START).used, 0);
        assert_int_equal(reserve_one(&ask, START).used, 2);
        assert_int_equal(counters_junk_resets(counters), i + 1);
        assert_string_equal(ask_redis("HGET test:k other"), "kept");
    }
    ask.amount = 1;
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++) {
        ask_redis("HSET test:k l %s", junk[i]);
        assert_int_equal(reserve_one(&ask, START).used, 0);
        assert_int_equal(reserve_one(&ask, START).used, 1);
    }
    ask_redis("HSET test:k l %s",
              "1/3 window=60000 born=1732310000000 slot=288720000 999999999999999999999999");
    assert_int_equal(reserve_one(&ask, START).used, 0);
}

/* A text with numbers as large as they may be, and larger, at START in the slot 288720000: what is used; -1: it is none. */
static void test_numbers_of_a_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t used;
    } rows[] = {
        {"1/1000000000000000 window=60000 born=1000000000000000 slot=288720000 1 refused=1000000000000000",
         1},
        {"1/1 window=60000 born=1 slot=1000000000000000 1 held=1000000000000000", 1},
        {"1/1 window=1000000000000000 born=1 slot=0 1", 1},
        {"1/1 window=1 born=1 slot=17323200000000 1", 1},
        {"1/1 window=60000 born=1 slot=288720000 1000000000000000:1000000000000000 h", 1000000000000000},
        {"1/1000000000000001 window=60000 born=1 slot=288720000 1", -1},
        {"1/1 window=1000000000000001 born=1 slot=0 1", -1},
        {"1/1 window=60000 born=1000000000000001 slot=288720000 1", -1},
        {"1/1 window=60000 born=1 slot=1000000000000001 1", -1},
        {"1/1 window=60000 born=1 slot=288720000 1000000000000001", -1},
        {"1/1 window=60000 born=1 slot=288720000 1:1000000000000001 h", -1},
        {"1/1 window=60000 born=1 slot=288720000 1 refused=1000000000000001", -1},
        {"1/1 window=60000 born=1 slot=288720000 1 held=1000000000000001", -1},
    };
    const struct count_ask ask = ask_for("k", "l", 5);
    const struct count_request request = {.asks = &ask, .n = 1};
    uint64_t junk = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct count_answer answer;
        ask_redis("HSET test:k l %s", rows[i].text);
        assert_int_equal(counters_peek(counters, &request, START, &answer), COUNTERS_OK);
        assert_int_equal(answer.used, rows[i].used < 0 ? 0 : rows[i].used);
        junk += rows[i].used < 0;
        assert_int_equal(counters_junk_resets(counters), junk);
    }
}

/* Words that are not known are kept, up to 256 bytes of them. */
static void test_words_kept(void **state)
{
    (void)state;
    char text[400];
    struct count_ask ask = ask_for("k", "l", 5);
    ask.amount = 2;
    for (int most = 256, len = most; len <= most + 1; len++) {
        int head = snprintf(text, sizeof text, "1/5 window=60000 born=1 slot=288720000 1 ");
        memset(text + head, 'x', (size_t)len - 1);
        text[head + len - 1] = '\0';
        ask_redis("HSET test:k l %s", text);
        assert_int_equal(reserve_one(&ask, START).used, len <= most);
        assert_int_equal(strstr(ask_redis("HGET test:k l"), " xx") != NULL, len <= most);
    }
}

/* What one change makes of a text, at START. */
static void test_changes_of_a_text(void **state)
{
    (void)state;
#define HEAD(used) used "/9 window=60000 born=1732320000000 slot=288720000 "
    static const struct {
        const char *before, *after; /* NULL: the same */
        int64_t slots_ago, amount, open;
    } rows[] = {
        {HEAD("2") "2", HEAD("3") "2,1", 1, 1, 0},
        {HEAD("2") "2", NULL, 1, -1, 0},
        {HEAD("4") "2,0,0,0,0,0,0,0,0,0,2", HEAD("3") "2,0,0,0,0,0,0,0,0,0,1", 10, -1, 0},
        {HEAD("2") "2 held=1732320000001", NULL, 11, -1, 0},
        {HEAD("2") "1:1,1:1 held=1732320000001 h", HEAD("2") "1,1:1 held=1732320000001 h", 0, 0, -1},
        {HEAD("100000000000000") "50000000000000:1,50000000000000:1 h",
         HEAD("100000000000000") "50000000000000:1,50000000000000 h", 1, 0, -1},
        {"2/9 window=60000 born=1732320000000 slot=288720001 1,1",
         "1/9 window=60000 born=1732320000000 slot=288720001 1", 0, -1, 0},
        {"5/9 window=60000 born=1732320000000 slot=288719995 2,0,0,0,0,0,3",
         "1/9 window=60000 born=1732320000000 slot=288719995 1,0,0,0,0,0", 5, -1, 0},
        {HEAD("3") "2,1:1:1", NULL, 1, -1, 0},
    };
    enum { N = sizeof rows / sizeof rows[0] };
    for (size_t i = 0; i < N; i++) {
        struct count_change change = {.key = "k",
                                      .limit = "l",
                                      .window_ms = 60000,
                                      .slot = 288720000 - rows[i].slots_ago,
                                      .created = START,
                                      .amount = rows[i].amount,
                                      .open = rows[i].open};
        ask_redis("HSET test:k l %s", rows[i].before);
        assert_int_equal(counters_change(counters, &change, 1, START), COUNTERS_OK);
        assert_string_equal(ask_redis("HGET test:k l"),
                            rows[i].after != NULL ? rows[i].after : rows[i].before);
        assert_int_equal(counters_junk_resets(counters), i == N - 1);
    }
}

static void test_another_type_is_deleted(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("k", "l", 3), ask_for("j", "l", 3)};
    asks[0].flags = COUNT_ATTEMPT;
    struct count_answer answers[2];
    const struct count_request request = {.asks = asks, .n = 2, .pair = &deferral.pair};
    ask_redis("SET test:k junk");
    ask_redis("RPUSH test:j junk");
    ask_redis("SADD test:retries:{0}:40100 junk");
    ask_redis("SET test:retries:{0}:40099 junk");
    assert_int_equal(counters_peek(counters, &request, START, answers), COUNTERS_OK); /* looks only */
    assert_string_equal(ask_redis("TYPE test:k"), "string");
    assert_string_equal(ask_redis("TYPE test:retries:{0}:40100"), "set");
    const struct count_change change = {
        .key = "k", .limit = "l", .window_ms = 60000, .slot = 288720000, .created = START, .amount = -1};
    assert_int_equal(counters_change(counters, (struct count_change[]){change}, 1, START), COUNTERS_OK);
    assert_int_equal(counters_reserve(counters, &request, START, answers), COUNTERS_OK);
    assert_int_equal(answers[0].result, COUNT_ADMITTED);
    assert_string_equal(ask_redis("TYPE test:k"), "hash");
    assert_string_equal(ask_redis("TYPE test:j"), "hash");
    assert_int_equal(counters_junk_resets(counters), 4 + 1 + 4);
    ask_redis("SET test:retries:{0}:40100 junk");
    assert_int_equal(counters_deferred(counters, (struct count_deferral[]){deferral}, 1, START), COUNTERS_OK);
    assert_string_equal(ask_redis("TYPE test:retries:{0}:40100"), "hash");
    struct error condition = {0};
    counters_condition(counters, &condition);
    assert_string_equal(condition.text, "");
    ask_redis("SET test:k junk");
    asks[0].overflow = "o";
    asks[0].new_key = "new";
    assert_int_equal(counters_reserve(counters, &request, START, answers), COUNTERS_OK);
    assert_true(answers[0].overflowed); /* it is new */
    assert_string_equal(ask_redis("HGET test:o l"), "1/3 window=60000 born=1732320000000 slot=288720000 1");
}

static void defer(const char *id)
{
    struct count_deferral of = deferral;
    snprintf(of.pair.id, sizeof of.pair.id, "%s", id);
    of.pair.client = (struct network){
        .addr = {[10] = 255, [11] = 255, [12] = 192, [14] = 2, [15] = 7}, .bits = 128, .set = true};
    assert_int_equal(counters_deferred(counters, &of, 1, START), COUNTERS_OK);
}

/* One hash of a half-day takes so many pairs; who is in it already may wait again, and what waits no more makes room. */
static void test_retries_are_bounded(void **state)
{
    (void)state;
    struct count_ask ask = ask_for("k", "l", 3);
    ask.flags = COUNT_ATTEMPT;
    struct count_pair pair = deferral.pair;
    struct count_request request = {.asks = &ask, .n = 1, .pair = &pair};
    struct count_answer answer;
    ask_redis("EVAL %s 1 test:retries:{0}:40100",
              "for i = 1, 3124 do redis.call('HSET', KEYS[1], i, '1732320000000 1 0 unknown') end");
    defer("00112233445566778899aabbccddee00");
    assert_string_equal(ask_redis("HGET test:retries:{0}:40100 00112233445566778899aabbccddee00"),
                        "1732320000000 1 0 192.0.2.7");
    defer("00112233445566778899aabbccddeec0");
    assert_string_equal(ask_redis("HLEN test:retries:{0}:40100"), "3125");
    defer("00112233445566778899aabbccddee00");
    assert_string_equal(ask_redis("HGET test:retries:{0}:40100 00112233445566778899aabbccddee00"),
                        "1732320000000 2 0 192.0.2.7");
    ask_redis("HDEL test:retries:{0}:40100 1");
    defer("00112233445566778899aabbccddeec0");
    assert_int_equal(counters_reserve(counters, &request, START, &answer),
                     COUNTERS_OK); /* from another client */
    assert_true(answer.retry);
    assert_string_equal(ask_redis("HLEN test:retries:{0}:40100"), "3124");
    assert_string_equal(ask_redis("DBSIZE"), "1");
    struct count_deferral two = deferral; /* one of which is this one */
    two.n = 2;
    request.deferred = &two;
    assert_int_equal(network_parse("192.0.2.8", &pair.client, NULL), 0);
    assert_int_equal(counters_reserve(counters, &request, START, &answer), COUNTERS_OK);
    assert_true(answer.retry);
    assert_string_equal(ask_redis("HGET test:retries:{0}:40100 00112233445566778899aabbccddeec0"),
                        "1732320000000 1 0 unknown");
}

/* What was deferred in the last moments is told with the request that may be its retry. */
static void test_deferrals_come_with_the_request(void **state)
{
    (void)state;
    struct count_ask ask = ask_for("k", "l", 3);
    ask.flags = COUNT_ATTEMPT;
    struct count_pair pair = deferral.pair;
    struct count_request request = {.asks = &ask, .n = 1, .pair = &pair, .deferred = &deferral};
    struct count_answer answer;
    assert_int_equal(counters_reserve(counters, &request, START, &answer), COUNTERS_OK);
    assert_false(answer.retry); /* from the same client: "unknown" both */
    assert_int_equal(network_parse("192.0.2.8", &pair.client, NULL), 0);
    request.deferred = NULL;
    assert_int_equal(counters_reserve(counters, &request, START, &answer), COUNTERS_OK);
    assert_true(answer.retry);
    request.deferred = &deferral;
    assert_int_equal(counters_peek(counters, &request, START, &answer), COUNTERS_OK); /* looks only */
    assert_false(answer.retry);
    assert_int_equal(counters_reserve(counters, &request, START, &answer), COUNTERS_OK);
    assert_true(answer.retry);
    assert_string_equal(ask_redis("DBSIZE"), "1");
}

static bool ask_retry(const char *client, bool look, const struct count_deferral *deferred)
{
    struct count_pair pair = deferral.pair;
    bool retry = !look;
    if (client != NULL)
        assert_int_equal(network_parse(client, &pair.client, NULL), 0);
    const struct count_request request = {.pair = &pair, .deferred = deferred};
    assert_int_equal(remote_script_retry(counters, &request, look, START, &retry), COUNTERS_OK);
    return retry;
}

/* Asked alone, as in a Cluster, where the counters are on other nodes. */
static void test_retries_asked_alone(void **state)
{
    (void)state;
    assert_false(ask_retry("192.0.2.8", true, NULL));
    assert_false(ask_retry("192.0.2.8", false, NULL));
    assert_false(ask_retry(NULL, false, &deferral)); /* its own client, a moment ago */
    assert_true(ask_retry("192.0.2.8", true, NULL));
    assert_true(ask_retry("192.0.2.8", true, NULL)); /* a look uses none up */
    assert_true(ask_retry("192.0.2.8", false, NULL));
    assert_false(ask_retry("192.0.2.8", true, NULL));
    assert_false(ask_retry("192.0.2.8", false, NULL));
    assert_string_equal(ask_redis("DBSIZE"), "0");
}

/* Several pairs are told of at once; what waits for one and makes no sense counts as nothing; what is known to be a retry is one. */
static void test_retries_otherwise(void **state)
{
    (void)state;
    struct count_deferral two[] = {deferral, deferral};
    struct count_ask ask = ask_for("k", "l", 3);
    struct count_answer answer;
    ask.flags = COUNT_ATTEMPT;
    struct count_request request = {.asks = &ask, .n = 1, .retry = true};
    two[0].pair.id[0] = '1';
    assert_int_equal(counters_deferred(counters, two, 2, START), COUNTERS_OK);
    assert_string_equal(ask_redis("HLEN test:retries:{0}:40100"), "2");
    two[0].n = 1;
    two[1].n = 16; /* 15 of them */
    assert_int_equal(counters_deferred(counters, two, 2, START), COUNTERS_OK);
    assert_string_equal(ask_redis("HGET test:retries:{0}:40100 %s", deferral.pair.id),
                        "1732320000000 16 0 unknown");
    assert_true(ask_retry("192.0.2.8", true, NULL));
    ask_redis("HSET test:retries:{0}:40100 %s junk", deferral.pair.id);
    assert_false(ask_retry("192.0.2.8", true, NULL));
    assert_int_equal(counters_junk_resets(counters), 1);
    assert_int_equal(counters_reserve(counters, &request, START, &answer), COUNTERS_OK);
    assert_true(answer.retry);
    assert_string_equal(ask_redis("EXISTS test:k"), "0");
}

/* Between nodes: what is only asked for where its key is, and is not, charges nothing at all. */
static void test_only_where_it_is(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("k", "l", 3), ask_for("there", "l", 3)};
    struct count_answer answers[2];
    asks[1].flags = COUNT_EXISTING;
    const struct count_request request = {.asks = asks, .n = 2};
    assert_int_equal(counters_reserve(counters, &request, START, answers), COUNTERS_OK);
    assert_int_equal(answers[0].result, COUNT_ADMITTED);
    assert_int_equal(answers[1].result, COUNT_ABSENT);
    assert_true(answers[0].used == 0 && !answers[0].overflowed);
    assert_string_equal(ask_redis("DBSIZE"), "0");
    ask_redis("HSET test:there other 1");
    assert_int_equal(counters_reserve(counters, &request, START, answers), COUNTERS_OK);
    assert_int_equal(answers[1].result, COUNT_ADMITTED);
    assert_string_equal(ask_redis("HLEN test:there"), "2");
    assert_string_equal(ask_redis("HLEN test:k"), "1");
}

/* What is told of refusals that were answered from memory; of a counter that is none, nothing is kept. */
static void test_refusals_counted(void **state)
{
    (void)state;
    const struct count_ask ask = ask_for("k", "l", 3);
    (void)reserve_one(&ask, START);
    for (int i = 0; i < 2; i++)
        assert_int_equal(remote_script_refused(counters, "k", "l", 2, START), COUNTERS_OK);
    assert_non_null(strstr(ask_redis("HGET test:k l"), " refused=4"));
    assert_int_equal(remote_script_refused(counters, "k", "m", 2, START), COUNTERS_OK);
    assert_int_equal(remote_script_refused(counters, "none", "l", 2, START), COUNTERS_OK);
    assert_string_equal(ask_redis("HLEN test:k"), "1");
    assert_string_equal(ask_redis("DBSIZE"), "1");
    ask_redis("HSET test:k l junk");
    assert_int_equal(remote_script_refused(counters, "k", "l", 2, START), COUNTERS_OK);
    assert_string_equal(ask_redis("HGET test:k l"), "junk");
}

/* ---- RCPTs that come together ---- */

struct asking {
    struct count_ask asks[3];
    size_t n;
    struct count_answer answers[3];
    enum counters_status status;
};

static void asking_call(void *arg)
{
    struct asking *self = arg;
    const struct count_request request = {.asks = self->asks, .n = self->n};
    self->status = counters_reserve(counters, &request, START, self->answers);
}

/* How many calls of the script it took. */
static int asking_run(struct asking *all, size_t n, const char *also)
{
    struct together together;
    ask_redis("CONFIG RESETSTAT");
    together_begin(&together, ((struct remote *)counters)->redis, cli);
    for (size_t i = 0; i < n; i++)
        together_call(&together, asking_call, &all[i]);
    together.also = also;
    together_go(&together);
    redisReply *reply = redisCommand(cli, "INFO commandstats");
    const char *at = strstr(reply->str, "cmdstat_evalsha:calls=");
    int calls = at != NULL ? atoi(at + strlen("cmdstat_evalsha:calls=")) : 0;
    freeReplyObject(reply);
    return calls;
}

static void asking_expect(const struct asking *self, size_t i, enum count_result result, int64_t used)
{
    assert_int_equal(self->status, COUNTERS_OK);
    assert_int_equal(self->answers[i].result, result);
    assert_int_equal(self->answers[i].used, used);
}

/* Each sees what those before it charged; one that is full, held or not ours is refused, or made anew, by itself. */
static void test_together(void **state)
{
    (void)state;
    struct asking all[7];
    static const char *const keys[] = {"a", "b", "a", "list", "a", "b", "a"};
    for (size_t i = 0; i < 7; i++)
        all[i] = (struct asking){.asks = {ask_for(keys[i], "l", 2)}, .n = 1};
    reserve_one(&all[0].asks[0], START);
    ask_redis("RPUSH test:list x");
    assert_int_equal(asking_run(all, 7, NULL), 1);
    asking_expect(&all[0], 0, COUNT_ADMITTED, 1);
    asking_expect(&all[1], 0, COUNT_ADMITTED, 0);
    asking_expect(&all[2], 0, COUNT_OVER, 2);
    asking_expect(&all[3], 0, COUNT_ADMITTED, 0);
    asking_expect(&all[4], 0, COUNT_OVER, 2);
    asking_expect(&all[5], 0, COUNT_ADMITTED, 1);
    asking_expect(&all[6], 0, COUNT_OVER, 2);
    assert_int_equal(counters_junk_resets(counters), 1);
    assert_string_equal(ask_redis("HGET test:a l"),
                        "2/2 window=60000 born=1732320000000 slot=288720000 2 refused=3");
    assert_string_equal(ask_redis("HGET test:b l"), "2/2 window=60000 born=1732320000000 slot=288720000 2");
    assert_string_equal(ask_redis("HGET test:list l"),
                        "1/2 window=60000 born=1732320000000 slot=288720000 1");
    assert_in_range(atoi(ask_redis("PTTL test:b")), 1, 100000);
    assert_int_equal(asking_run(all, 1, NULL), 1);
    all[0].asks[0].key = "new";
    all[1].asks[0].key = "newer";
    assert_int_equal(asking_run(all, 2, NULL), 1);
    assert_in_range(ttl_of("test:new"), 90000, 100000);
    assert_in_range(ttl_of("test:newer"), 90000, 100000);
}

/* Several limits, of one key and of two: all or none of each RCPT. */
static void test_together_several_limits(void **state)
{
    (void)state;
    struct asking all[5];
    static const char *const keys[][2] = {{"a", "c"}, {"b", "c"}, {"a", "d"}, {"b", "c"}, {"c", "a"}};
    for (size_t i = 0; i < 5; i++)
        all[i] = (struct asking){.asks = {ask_for(keys[i][0], "one", 9), ask_for(keys[i][1], "three", 2),
                                          ask_for(keys[i][0], "two", 9)},
                                 .n = 3};
    assert_int_equal(asking_run(all, 5, NULL), 1);
    static const enum count_result results[] = {COUNT_ADMITTED, COUNT_ADMITTED, COUNT_ADMITTED, COUNT_OVER,
                                                COUNT_ADMITTED};
    static const int64_t used[][3] = {{0, 0, 0}, {0, 1, 0}, {1, 0, 1}, {1, 2, 1}, {0, 0, 0}};
    for (size_t i = 0; i < 5; i++) {
        asking_expect(&all[i], 0, COUNT_ADMITTED, used[i][0]);
        asking_expect(&all[i], 1, results[i], used[i][1]);
        asking_expect(&all[i], 2, COUNT_ADMITTED, used[i][2]);
    }
    assert_string_equal(ask_redis("HGET test:b one"),
                        "1/9 window=60000 born=1732320000000 slot=288720000 1"); /* the second was none */
    assert_string_equal(ask_redis("HGET test:c three"),
                        "2/2 window=60000 born=1732320000000 slot=288720000 2 refused=1");
    assert_string_equal(ask_redis("HGET test:c one"), "1/9 window=60000 born=1732320000000 slot=288720000 1");
}

/* What differs in more than its keys goes apart: another max, a need. */
static void test_not_together(void **state)
{
    (void)state;
    struct asking all[4];
    for (size_t i = 0; i < 4; i++)
        all[i] = (struct asking){.asks = {ask_for(i == 3 ? "b" : "a", "l", i == 1 ? 8 : 9)}, .n = 1};
    all[3].asks[0].need = 2;
    assert_int_equal(asking_run(all, 4, NULL), 3);
    static const int64_t used[] = {0, 2, 1, 0}; /* the third goes with the first */
    for (size_t i = 0; i < 4; i++)
        asking_expect(&all[i], 0, COUNT_ADMITTED, used[i]);
}

/* An error of one key (here no right to delete what is not ours) is no error of the others'; one of the node is everybody's. Redis 7.0 does
 * not say which right it was: the script may have got further. */
static void test_together_errors(void **state)
{
    (void)state;
    struct asking all[4];
    static const char *const keys[] = {"a", "list", "a", "b"};
    for (size_t i = 0; i < 4; i++)
        all[i] = (struct asking){.asks = {ask_for(keys[i], "l", 9)}, .n = 1};
    ask_redis("RPUSH test:list x");
    ask_redis("ACL SETUSER default -del");
    int calls = asking_run(all, 4, NULL);
    ask_redis("ACL SETUSER default +@all");
    assert_int_equal(calls, 1);
    asking_expect(&all[0], 0, COUNT_ADMITTED, 0);
    assert_true(all[1].status == COUNTERS_DOWN || all[1].status == COUNTERS_UNSURE);
    asking_expect(&all[2], 0, COUNT_ADMITTED, 1);
    asking_expect(&all[3], 0, COUNT_ADMITTED, 0);
    ask_redis("DEL test:list"); /* Redis lets a script that has deleted go on */
    (void)asking_run(all, 4, "CONFIG SET maxmemory 1");
    ask_redis("CONFIG SET maxmemory 0");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(all[i].status, COUNTERS_DOWN);
    assert_true(redis_client_wait(((struct remote *)counters)->redis, 60000));
    assert_int_equal(reserve_one(&all[0].asks[0], START).used, 2);
}

static void see_count(void *arg, const struct count_view *view)
{
    (void)view;
    ++*(size_t *)arg;
}

static void test_reset_spares_what_is_no_counter(void **state)
{
    (void)state;
    static const char *const all[] = {"*", "k*", "k"};
    struct count_ask ask = ask_for("k", "l", 3);
    char key[16];
    ask.key = key;
    for (int i = 0; i < 2500; i++) {
        snprintf(key, sizeof key, "k%d", i);
        reserve_one(&ask, START);
    }
    ask_redis("HSET test:blocks 192.0.2.0/24 {}");
    ask_redis("XADD test:events * a b");
    ask_redis("HSET testing l %s", "1/3 window=60000 born=1 slot=5 1");
    size_t n = 0;
    assert_int_equal(counters_show(counters, all, 3, START, see_count, &n), COUNTERS_OK);
    assert_int_equal(n, 2500);
    assert_int_equal(counters_reset(counters, all, 3, NULL, &n), COUNTERS_OK);
    assert_int_equal(n, 2500);
    assert_string_equal(ask_redis("DBSIZE"), "3");
}

static void see_one(void *arg, const struct count_view *view)
{
    *(struct count_view *)arg = *view;
}

/* Without the caller's clock: the caller's time is of no interest. */
static void test_own_clock(void **state)
{
    (void)state;
    struct counters *own = connect_to(&server);
    struct count_ask ask = ask_for("k", "l", 3);
    struct count_answer first, second;
    struct count_view view = {0};
    static const char *const keys[] = {"k"};
    int64_t before = (int64_t)time(NULL) * 1000 - 1;
    const struct count_request request = {.asks = &ask, .n = 1};
    assert_int_equal(counters_reserve(own, &request, START, &first), COUNTERS_OK);
    assert_int_equal(counters_reserve(own, &request, START * 2, &second), COUNTERS_OK);
    assert_int_equal(first.used, 0);
    assert_int_equal(second.used, 1);
    assert_true(first.created >= before && first.created <= before + 60000);
    assert_int_equal(counters_show(own, keys, 1, 1, see_one, &view), COUNTERS_OK);
    assert_int_equal(view.used, 2);
    assert_in_range(view.reset_ms, 30000, 66000);
    disconnect(own);
}

/* A sync that comes twice, in whatever order, is made once; no command is needed for it that counters do not need. */
static void test_synced_once(void **state)
{
    (void)state;
    static const int64_t sequences[] = {1, 1, 2, 1, 2}, sums[] = {5, 5, 10, 10, 10};
    struct count_ask ask = ask_for("k", "l", 100);
    int64_t slot = reserve_one(&ask, START).slot;
    const struct count_change change = {.key = "k",
                                        .limit = "l",
                                        .window_ms = 60000,
                                        .slot = slot,
                                        .created = INT64_MAX,
                                        .amount = 6,
                                        .here = -1};
    struct count_change changes[] = {change, change};
    changes[0].amount = -1;
    ask_redis("ACL SETUSER default -get -set");
    for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
        assert_int_equal(counters->ops->sync(counters, changes, 2, START, sequences[i]), COUNTERS_OK);
        assert_int_equal(reserve_one(&ask, START).used, sums[i] + 1 + (int64_t)i);
    }
    ask_redis("ACL SETUSER default +@all");
    ask_redis("DEL test:k");
    char key[64];
    snprintf(key, sizeof key, "%s", ask_redis("RANDOMKEY"));
    assert_memory_equal(key, "test:paid:{", 11);
    assert_in_range(ttl_of(key), 3023990000, 3024000000);
    ask_redis("HSET %s turn junk", key);
    assert_int_equal(counters->ops->sync(counters, changes, 2, START, 1), COUNTERS_OK);
    assert_string_equal(ask_redis("HGET %s turn", key), "1");
}

/* Scripts flushed, the server replaced by an empty one, then away for good. */
static void test_server_goes(void **state)
{
    (void)state;
    struct redis_server other;
    server_start(&other);
    struct counters *to = connect_to(&other);
    struct count_ask ask = ask_for("k", "l", 3);
    struct count_answer answer;
    const struct count_request request = {.asks = &ask, .n = 1};
    assert_int_equal(counters_reserve(to, &request, START, &answer), COUNTERS_OK);
    server_do(&other, "SCRIPT FLUSH");
    assert_int_equal(counters_reserve(to, &request, START, &answer), COUNTERS_OK);
    assert_int_equal(answer.used, 1);
    server_do(&other, "CONFIG SET maxmemory 1");
    answer.used = 5;
    assert_int_equal(counters_reserve(to, &request, START, &answer), COUNTERS_DOWN);
    assert_int_equal(answer.used, 0);
    assert_int_equal(answer.result, COUNT_UNKNOWN);
    server_kill(&other);
    enum counters_status status = COUNTERS_OK;
    for (int i = 0; i < 100 && status != COUNTERS_DOWN; i++)
        status = counters_reserve(to, &request, START, &answer);
    assert_int_equal(status, COUNTERS_DOWN);
    assert_int_equal(answer.result, COUNT_UNKNOWN);
    assert_int_equal(counters_charge(to, &request, START), COUNTERS_DOWN);
    assert_int_equal(counters_deferred(to, (struct count_deferral[]){deferral}, 1, START), COUNTERS_DOWN);
    struct error condition = {0};
    counters_condition(to, &condition);
    assert_true(condition.text[0] != '\0');
    disconnect(to);
    server_remove(&other);
}

static int start(void **state)
{
    (void)state;
    server_start(&server);
    cli = server_connect(&server);
    return cli != NULL ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    redisFree(cli);
    server_remove(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open_text, setup, teardown),
        cmocka_unit_test(test_parse),
        cmocka_unit_test_setup_teardown(test_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slots_ahead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_share_hard_until, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hard_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hard_until, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rest_of_a_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_otherwise, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lessees, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_of_units, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_differ, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_key_has_a_ttl, setup, teardown),
        cmocka_unit_test_setup_teardown(test_junk_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_numbers_of_a_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_words_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_of_a_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_type_is_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retries_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deferrals_come_with_the_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retries_asked_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retries_otherwise, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_where_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_spares_what_is_no_counter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_together, setup, teardown),
        cmocka_unit_test_setup_teardown(test_together_several_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_together, setup, teardown),
        cmocka_unit_test_setup_teardown(test_together_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_clock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_synced_once, setup, teardown),
        cmocka_unit_test(test_server_goes),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
