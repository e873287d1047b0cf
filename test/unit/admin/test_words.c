/* What people read: subjects by their keys, events whatever their fields, limits whole. */
#include "admin/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 600 };

static void test_subjects(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"recipient:{a@example.com}", "recipient a@example.com"},
        {"recipient+client:{a@example.com}|192.0.2.7", "recipient a@example.com, client 192.0.2.7"},
        {"client+sender+user:{2001:db8::/64}|b+c@example.net|bob",
         "client 2001:db8::/64, sender b+c@example.net, user bob"},
        {"recipient+client:{a@example.com}|*", "recipient a@example.com, client *"},
        {"all:{*}", "all *"},
        {"203.0.113.0/24", "203.0.113.0/24"},
        {"2001:db8::/32", "2001:db8::/32"},
        {"", ""},
        {"recipient:{", "recipient:{"},
        {"recipient:{}", "recipient "},
        {":{}", " "},
        {"a+b:{x}", "a x"},
        {"a+b:{x}y", "a x"},
        {"a+b+c:{x}|y", "a x, b y"},
        {"a:{x}|y|z", "a x"},
        {"+++:{x}|y|z", " x,  y,  z"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buffer[SIZE];
        struct text text;
        text_init(&text, buffer, sizeof buffer);
        words_add_subject(&text, rows[i][0]);
        if (strcmp(buffer, rows[i][1]) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", rows[i][0], buffer, rows[i][1]);
    }
}

static void test_events(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{\"event\":\"limit-tripped\",\"limit\":\"day\",\"subject\":\"recipient:{a@example.com}\",\"used\":"
         "\"5\",\"max\":\"5\","
         "\"action\":\"reject\",\"shadow\":\"no\",\"client\":\"192.0.2.7\",\"sender\":\"<>\"}",
         "Limit day is full for recipient a@example.com (5 of 5): what comes now is rejected. Mostly from "
         "client 192.0.2.7, "
         "sender <>"},
        {"{\"event\":\"limit-tripped\",\"limit\":\"day\",\"used\":\"5\",\"max\":\"5\",\"action\":\"defer\","
         "\"shadow\":\"yes\"}",
         "Limit day is full (5 of 5): what comes now is deferred, or would be: the limit is in shadow"},
        {"{\"event\":\"block\",\"by\":\"mx1\",\"reason\":\"\",\"action\":\"reject\"}",
         "A network is blocked by mx1"},
        {"{\"event\":\"block-ended\",\"subject\":\"192.0.2.0/24\"}", "The block of 192.0.2.0/24 has ended"},
        {"{\"event\":\"queue-old\",\"messages\":\"1\",\"oldest_s\":\"14400\"}",
         "Mail has waited for hours in Postfix's queue: 1 message, the oldest for 4h"},
        {"{\"event\":\"ramp-began\",\"because\":\"counters\"}",
         "Limits with a ramp grow back from a tenth: the counter store was away"},
        {"{\"event\":\"counters-trouble\",\"text\":\"refused\"}", "Counter store: refused"},
        {"{\"event\":\"nobody-trouble\",\"text\":\"x\"}", "text x"},
        {"{\"event\":\"of-tomorrow\",\"host\":\"mx1\",\"a\":\"b\",\"c\":1,\"d\":\"\",\"e\":\"f\"}",
         "a b, e f"},
        {"{}", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buffer[SIZE];
        struct text text;
        json_t *event = json_loads(rows[i][0], 0, NULL);
        assert_non_null(event);
        text_init(&text, buffer, sizeof buffer);
        words_add_event(&text, event);
        json_decref(event);
        if (strcmp(buffer, rows[i][1]) != 0)
            fail_msg("%s: \"%s\"", rows[i][0], buffer);
    }
}

static void test_shards(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{\"master\":\"192.0.2.1:6379\",\"up\":true,\"unsynced_slots\":0,\"refunds_waiting\":0}", ""},
        {"{\"master\":\"192.0.2.1:6379\",\"up\":false,\"unsynced_slots\":1,\"unsynced_s\":65,\"refunds_"
         "waiting\":2,"
         "\"refunds_s\":3}",
         "192.0.2.1:6379, down; this gate counts itself, or has yet to tell it something, for 65s; 2 "
         "refunds wait "
         "for 3s"},
        {"{\"master\":\"192.0.2.1:6379\",\"up\":true,\"since\":\"2026-11-23T02:01:11Z\",\"for_s\":7}",
         "192.0.2.1:6379, the master for 7s, since 2026-11-23T02:01:11Z"},
        {"{\"master\":null,\"up\":false}", "nobody, down"},
        {"{\"master\":null,\"up\":false,\"slots\":3,\"hanging_slots\":[]}", "nobody, 3 slots, down"},
        {"{\"master\":\"a:1\",\"up\":true,\"slots\":9,\"unsynced_slots\":2,\"unsynced_s\":1,"
         "\"refunds_waiting\":1,\"refunds_s\":2,\"hanging_slots\":[5,17]}",
         "a:1, 9 slots; this gate counts for 2 of them itself, or has yet to tell it something, for 1s; 1 "
         "refund waits "
         "for 2s; between two nodes hang slots 5, 17"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buffer[SIZE];
        struct text text;
        json_t *shard = json_loads(rows[i][0], 0, NULL);
        assert_non_null(shard);
        text_init(&text, buffer, sizeof buffer);
        words_add_shard(&text, shard);
        json_decref(shard);
        if (strcmp(buffer, rows[i][1]) != 0)
            fail_msg("%s: \"%s\"", rows[i][0], buffer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_subjects), cmocka_unit_test(test_events),
                                       cmocka_unit_test(test_shards)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
