/* Who is refused: the last minutes, what most have in common, and heavy ones among many strangers. */
#include "gate/refusals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MINUTE = 60000 };

static const char *text_of(const json_t *list, size_t i, const char *name)
{
    return json_string_value(json_object_get(json_array_get(list, i), name));
}

static json_int_t refused(const json_t *list, size_t i)
{
    return json_integer_value(json_object_get(json_array_get(list, i), "refused"));
}

static void add(struct refusals *refusals, int64_t now_ms, const char *limit, const char *client,
                const char *sender)
{
    const struct refusal refusal = {.rule = "limit",
                                    .row = limit,
                                    .client = client,
                                    .sender = sender,
                                    .recipient = "a@example.com",
                                    .subject = "recipient:{a@example.com}"};
    refusals_add(refusals, now_ms, &refusal);
}

static void test_who(void **state)
{
    (void)state;
    struct refusals *refusals = refusals_new();
    struct refusals_who who;
    for (int i = 0; i < 30; i++)
        add(refusals, 0, "minute", "192.0.2.7", i % 3 == 0 ? "x@example.net" : "y@example.net");
    for (int i = 0; i < 5; i++)
        add(refusals, 0, "day", "192.0.2.8", "<>");
    json_t *list = refusals_report(refusals, REFUSALS_BY_CLIENT, NULL, 10, 0);
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(text_of(list, 0, "client"), "192.0.2.7");
    assert_string_equal(text_of(list, 0, "row"), "minute");
    assert_string_equal(text_of(list, 0, "sender"), ""); /* two thirds are not most */
    assert_string_equal(text_of(list, 0, "recipient"), "a@example.com");
    assert_int_equal(refused(list, 0), 30);
    assert_string_equal(text_of(list, 1, "sender"), "<>");
    json_decref(list);
    list = refusals_report(refusals, REFUSALS_BY_SENDER, "day", 10, 0);
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(text_of(list, 0, "client"), "192.0.2.8");
    json_decref(list);
    list = refusals_report(refusals, REFUSALS_BY_RULE, NULL, 1, 0);
    assert_int_equal(json_array_size(list), 1);
    assert_int_equal(refused(list, 0), 30);
    json_decref(list);
    refusals_find(refusals, "minute", "recipient:{a@example.com}", false, &who);
    assert_string_equal(who.client, "192.0.2.7");
    assert_string_equal(who.sender, "");
    refusals_find(refusals, "day", "recipient:{a@example.com}", true, &who);
    assert_string_equal(who.client, "");
    refusals_free(refusals);
}

static void test_minutes(void **state)
{
    (void)state;
    struct refusals *refusals = refusals_new();
    for (int minute = 100; minute < 120; minute++) {
        add(refusals, (int64_t)minute * MINUTE, "minute", "192.0.2.7", "x@example.net");
        add(refusals, (int64_t)minute * MINUTE, "minute", "192.0.2.7", "x@example.net");
    }
    json_t *list = refusals_report(refusals, REFUSALS_BY_CLIENT, NULL, 10, (int64_t)119 * MINUTE);
    assert_int_equal(refused(list, 0), 2 * (REFUSALS_MINUTES + 1));
    json_decref(list);
    list = refusals_report(refusals, REFUSALS_BY_CLIENT, NULL, 10, (int64_t)122 * MINUTE);
    assert_int_equal(refused(list, 0), 2 * (REFUSALS_MINUTES + 1 - 3));
    json_decref(list);
    list = refusals_report(refusals, REFUSALS_BY_CLIENT, NULL, 10, (int64_t)125 * MINUTE);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    add(refusals, (int64_t)200 * MINUTE, "minute", "192.0.2.7", "x@example.net");
    list = refusals_report(refusals, REFUSALS_BY_CLIENT, NULL, 10, (int64_t)200 * MINUTE);
    assert_int_equal(refused(list, 0), 1);
    json_decref(list);
    refusals_free(refusals);
}

/* Who flooded an hour ago is not taken for who does now, however few refusals there are yet. */
static void test_old_names(void **state)
{
    (void)state;
    struct refusals *refusals = refusals_new();
    struct refusals_who who;
    for (int i = 0; i < 500; i++)
        add(refusals, 0, "minute", "192.0.2.7", "x@example.net");
    for (int minute = 60; minute < 63; minute++)
        add(refusals, (int64_t)minute * MINUTE, "minute", "192.0.2.8", "y@example.net");
    refusals_find(refusals, "minute", "recipient:{a@example.com}", false, &who);
    assert_string_equal(who.client, "192.0.2.8");
    assert_string_equal(who.sender, "y@example.net");
    json_t *list = refusals_report(refusals, REFUSALS_BY_RULE, NULL, 10, (int64_t)62 * MINUTE);
    assert_int_equal(refused(list, 0), 3);
    assert_string_equal(text_of(list, 0, "client"), "192.0.2.8");
    json_decref(list);
    refusals_free(refusals);
}

/* 100,000 made-up senders, and one that is every hundredth. */
static void test_strangers(void **state)
{
    (void)state;
    struct refusals *refusals = refusals_new();
    for (int i = 0; i < 100000; i++) {
        char sender[32];
        snprintf(sender, sizeof sender, "s%d@example.net", i);
        add(refusals, 0, "minute", "192.0.2.7", i % 100 == 50 ? "heavy@example.org" : sender);
    }
    json_t *list = refusals_report(refusals, REFUSALS_BY_SENDER, NULL, SIZE_MAX, 0);
    assert_int_equal(json_array_size(list), REFUSALS_ROWS);
    assert_string_equal(text_of(list, 0, "sender"), "heavy@example.org");
    assert_in_range(refused(list, 0), 900, 1000);
    json_decref(list);
    list = refusals_report(refusals, REFUSALS_BY_CLIENT, NULL, 10, 0);
    assert_int_equal(refused(list, 0), 100000);
    assert_string_equal(text_of(list, 0, "sender"), "");
    json_decref(list);
    refusals_free(refusals);
}

static void test_hostile(void **state)
{
    (void)state;
    char longest[4000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    struct refusals *refusals = refusals_new();
    add(refusals, 0, "minute", "192.0.2.7", "a\nb\xff@example.net");
    add(refusals, 0, "minute", "192.0.2.7", longest);
    json_t *list = refusals_report(refusals, REFUSALS_BY_SENDER, "minute", 10, 0);
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(text_of(list, 0, "sender"), "a?b?@example.net");
    assert_in_range(strlen(text_of(list, 1, "sender")), 100, 300);
    json_decref(list);
    refusals_free(refusals);
    refusals_add(NULL, 0, &(const struct refusal){.rule = "limit"});
    refusals_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_who), cmocka_unit_test(test_minutes),
                                       cmocka_unit_test(test_old_names), cmocka_unit_test(test_strangers),
                                       cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
