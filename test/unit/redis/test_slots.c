/* Hash slots: keys, the answer to CLUSTER SLOTS, redirections. The slots of keys are those that a Redis 7.0 gives. */
#include "slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *key;
    unsigned slot;
} keys[] = {
    {"123456789", 0x31c3 % REDIS_SLOTS}, /* the test vector of the specification, 0x31c3 */
    {"", 0},
    {"foo", 12182},
    {"bar", 5061},
    {"{foo}.bar", 12182},
    {"x{foo}{bar}", 12182},
    {"foo{}", 5542}, /* nothing between the braces: all of it counts, as in the four after it */
    {"foo{}{bar}", 8363},
    {"foo{", 7673},
    {"foo}{", 8134},
    {"{{foo}}", 13308}, /* "{foo" */
    {"rcptgate:recipient+client:{a@example.com}|192.0.2.1", 3595},
    {"rcptgate:recipient:{a@example.com}", 3595},
};

static void test_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        unsigned slot = redis_slots_of(keys[i].key, strlen(keys[i].key));
        if (slot != keys[i].slot)
            fail_msg("%s: %u", keys[i].key, slot);
    }
}

static void test_tags(void **state)
{
    (void)state;
    for (unsigned slot = 0; slot < REDIS_SLOTS; slot++) {
        char key[32];
        int n = snprintf(key, sizeof key, "p:x:{%u}", redis_slots_tag(slot));
        assert_int_equal(redis_slots_of(key, (size_t)n), slot);
    }
}

/* What a peer says; the caller frees. */
static redisReply *reply_of(const char *bytes)
{
    void *reply = NULL;
    redisReader *reader = redisReaderCreate();
    assert_int_equal(redisReaderFeed(reader, bytes, strlen(bytes)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    redisReaderFree(reader);
    assert_non_null(reply);
    return reply;
}

#define NODE(host, port, id) "*4\r\n" host ":" port "\r\n" id "*0\r\n"
#define RANGE(n, first, last) "*" n "\r\n:" first "\r\n:" last "\r\n"
#define A "$1\r\na\r\n"
#define B "$1\r\nb\r\n"
#define C "$1\r\nc\r\n"
#define HOST "$9\r\n192.0.2.1\r\n"

static const struct {
    const char *name, *bytes;
    bool good;
    const char *masters; /* host:port/id(replicas) slots, ... */
} maps[] = {
    {"none", "*0\r\n", true, ""},
    {"one", "*1\r\n" RANGE("3", "0", "16383") NODE(HOST, "7000", A), true, "192.0.2.1:7000/a() 16384 "},
    {"two, with a replica and a gap",
     "*3\r\n" RANGE("4", "0", "99") NODE(HOST, "7000", A) NODE(HOST, "7001", B) RANGE("3", "200", "299")
         NODE(HOST, "7002", C) RANGE("3", "300", "300") NODE(HOST, "7000", A),
     true, "192.0.2.1:7000/a(b) 101 192.0.2.1:7002/c() 100 "},
    {"three words for a node, as Redis 6 says it", "*1\r\n" RANGE("3", "0", "0") "*3\r\n" HOST ":7000\r\n" A,
     true, "192.0.2.1:7000/a() 1 "},
    {"an empty host is the one that was asked", "*1\r\n" RANGE("3", "0", "0") NODE("$0\r\n\r\n", "7000", A),
     true, "asked:7000/a() 1 "},
    {"and so is none", "*1\r\n" RANGE("3", "0", "0") NODE("$-1\r\n", "7000", A), true, "asked:7000/a() 1 "},
    {"a host that the cluster does not know", "*1\r\n" RANGE("3", "0", "0") NODE("$1\r\n?\r\n", "7000", A),
     true, ""},
    {"an error", "-ERR This instance has cluster support disabled\r\n", false, ""},
    {"no such slot", "*1\r\n" RANGE("3", "0", "16384") NODE(HOST, "7000", A), false, ""},
    {"a range that ends before it begins", "*1\r\n" RANGE("3", "9", "3") NODE(HOST, "7000", A), false, ""},
    {"a slot in two ranges",
     "*2\r\n" RANGE("3", "5", "6") NODE(HOST, "7000", A) RANGE("3", "0", "16383") NODE(HOST, "7001", B),
     false, ""},
    {"no such port", "*1\r\n" RANGE("3", "0", "1") NODE(HOST, "70000", A), false, ""},
    {"a range without a node", "*1\r\n*2\r\n:0\r\n:1\r\n", false, ""},
    {"a node without an id", "*1\r\n" RANGE("3", "0", "1") "*2\r\n" HOST ":7000\r\n", false, ""},
    {"a host that is none", "*1\r\n" RANGE("3", "0", "1") NODE("$3\r\na b\r\n", "7000", A), false, ""},
    {"a number for a host", "*1\r\n" RANGE("3", "0", "1") NODE(":3\r\n", "7000", A), false, ""},
};

static void describe(const struct redis_slots *slots, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < slots->n; i++) {
        const struct redis_slots_master *master = &slots->masters[i];
        int n = 0;
        for (size_t slot = 0; slot < REDIS_SLOTS; slot++)
            n += slots->owner[slot] == i;
        used += (size_t)snprintf(out + used, size - used, "%s:%d/%s(%s) %d ", master->node.host,
                                 master->node.port, master->node.id,
                                 master->n_replicas > 0 ? master->replicas[0].id : "", n);
    }
}

static void test_maps(void **state)
{
    (void)state;
    static struct redis_slots slots;
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        struct error err = {0};
        char text[512];
        redisReply *reply = reply_of(maps[i].bytes);
        bool good = redis_slots_read(reply, "asked", &slots, &err);
        freeReplyObject(reply);
        if (good != maps[i].good || good != (err.text[0] == '\0'))
            fail_msg("%s: %s", maps[i].name, err.text);
        describe(&slots, text, sizeof text);
        if (good && strcmp(text, maps[i].masters) != 0)
            fail_msg("%s: %s", maps[i].name, text);
    }
}

static const struct {
    const char *text, *host; /* NULL: it is none */
    int port;
    bool ask;
} redirections[] = {
    {"MOVED 3999 192.0.2.1:6381", "192.0.2.1", 6381, false},
    {"ASK 3999 192.0.2.1:6381", "192.0.2.1", 6381, true},
    {"MOVED 3999 :6381", "", 6381, false},
    {"MOVED 3999 2001:db8::1:6381", "2001:db8::1", 6381, false},
    {"MOVED 3999 redis1.example.com:6381", "redis1.example.com", 6381, false},
    {"MOVED 3999 ?:6381", NULL, 0, false},
    {"MOVED 3999 a\"b:6381", NULL, 0, false},
    {"MOVED 3999 192.0.2.1:", NULL, 0, false},
    {"MOVED 3999 192.0.2.1:0", NULL, 0, false},
    {"MOVED 3999 192.0.2.1:6381x", NULL, 0, false},
    {"MOVED 3999", NULL, 0, false},
    {"MOVED ", NULL, 0, false},
    {"TRYAGAIN Multiple keys request during rehashing of slot", NULL, 0, false},
    {"CLUSTERDOWN Hash slot not served", NULL, 0, false},
};

static void test_redirections(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof redirections / sizeof redirections[0]; i++) {
        struct redis_slots_redirection to;
        bool good = redis_slots_read_redirection(redirections[i].text, &to);
        if (good != (redirections[i].host != NULL) ||
            (good && (strcmp(to.host, redirections[i].host) != 0 || to.port != redirections[i].port ||
                      to.ask != redirections[i].ask)))
            fail_msg("%s", redirections[i].text);
    }
}

static const struct {
    const char *text;
    int64_t epoch; /* -1: not well */
} infos[] = {
    {"cluster_state:ok\r\ncluster_current_epoch:7\r\nx:1\r\n", 7},
    {"cluster_state:fail\r\ncluster_current_epoch:7\r\nx:1\r\n", -1},
    {"cluster_state:ok\r\n", -1},
    {"cluster_state:ok\r\ncluster_current_epoch:-7\r\n", -1},
    {"xcluster_state:ok\r\ncluster_current_epoch:7\r\n", -1},
    {"", -1},
    {NULL, -1}, /* an error */
};

static void test_infos(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof infos / sizeof infos[0]; i++) {
        struct error err = {0};
        char bytes[256];
        int64_t epoch = -1;
        snprintf(bytes, sizeof bytes, "-ERR This instance has cluster support disabled\r\n");
        if (infos[i].text != NULL)
            snprintf(bytes, sizeof bytes, "$%zu\r\n%s\r\n", strlen(infos[i].text), infos[i].text);
        redisReply *reply = reply_of(bytes);
        assert_int_equal(redis_slots_read_info(reply, &epoch, &err), infos[i].epoch >= 0);
        assert_int_equal(epoch, infos[i].epoch);
        assert_int_equal(err.text[0] == '\0', infos[i].epoch >= 0);
        freeReplyObject(reply);
    }
}

/* A master and its replica, by ids of one letter and ports. */
static struct redis_slots_master master_of(const char *id, int port, const char *replica, int replica_port)
{
    struct redis_slots_master master = {.node.port = port, .n_replicas = replica != NULL};
    snprintf(master.node.id, sizeof master.node.id, "%s", id);
    snprintf(master.node.host, sizeof master.node.host, "192.0.2.1");
    if (replica != NULL) {
        master.replicas[0].port = replica_port;
        snprintf(master.replicas[0].id, sizeof master.replicas[0].id, "%s", replica);
        snprintf(master.replicas[0].host, sizeof master.replicas[0].host, "192.0.2.1");
    }
    return master;
}

/* A node that is cut off from its replicas does not name them any more. */
static void test_replicas(void **state)
{
    (void)state;
    static struct redis_slots map;
    const struct redis_slots_node b = {"b", "192.0.2.1", 7001}, moved = {"b", "192.0.2.9", 7009},
                                  named = {"", "192.0.2.1", 7001}, other = {"x", "192.0.2.1", 7005},
                                  nobody = {"", "", 0};
    struct redis_slots_master seen = {.n_replicas = 0}, with = master_of("a", 7000, "b", 7001),
                              without = master_of("a", 7000, NULL, 0), next = master_of("a", 7000, "c", 7002),
                              successor = master_of("b", 7001, NULL, 0);
    map = (struct redis_slots){.masters = {with}, .n = 1};
    redis_slots_see(&seen, &with, &map);
    assert_true(redis_slots_is_replica(&seen, &b));
    assert_true(redis_slots_is_replica(&seen, &moved));
    assert_true(redis_slots_is_replica(&seen, &named));
    assert_false(redis_slots_is_replica(&seen, &other));
    assert_false(redis_slots_is_replica(&seen, &nobody));
    for (int i = 0; i < 2 * REDIS_SLOTS_REPLICAS; i++)
        redis_slots_see(&seen, i % 2 == 0 ? &without : &next, &map);
    assert_int_equal(seen.n_replicas, 2);
    assert_true(redis_slots_is_replica(&seen, &b));
    map = (struct redis_slots){.masters = {without, successor}, .n = 2};
    redis_slots_see(&seen, &without, &map);
    assert_false(redis_slots_is_replica(&seen, &b));
    assert_int_equal(seen.n_replicas, 1);
    redis_slots_see(&seen, &successor, &map); /* another node at its address */
    assert_int_equal(seen.n_replicas, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),         cmocka_unit_test(test_tags),  cmocka_unit_test(test_maps),
        cmocka_unit_test(test_redirections), cmocka_unit_test(test_infos), cmocka_unit_test(test_replicas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
