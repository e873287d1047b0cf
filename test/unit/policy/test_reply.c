/* reply: what may be a template, what it becomes. */
#include "policy/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *source;
    enum action action;
    const char *want; /* code|dsn|text, or a part of the error */
    bool ok;
} templates[] = {
    {"450 4.2.1 slow down", ACTION_DEFER, "450|4.2.1|slow down", true},
    {"450 slow down", ACTION_DEFER, "450|4.2.1|slow down", true},
    {"550 no", ACTION_REJECT, "550|5.7.1|no", true},
    {"550   5.1.1    no ", ACTION_REJECT, "550|5.1.1|no ", true},
    {"550", ACTION_REJECT, "550|5.7.1|Refused", true},
    {"451 4.3.0", ACTION_DEFER, "451|4.3.0|Try again later", true},
    {"450 4.123.45 x", ACTION_DEFER, "450|4.123.45|x", true},
    {"450 100% full, %{wait} %", ACTION_DEFER, "450|4.2.1|100% full, %{wait} %", true},
    {"450 %{recipient} %{max}", ACTION_DEFER, "450|4.2.1|%{recipient} %{max}",
     true}, /* a short name after a long one */
    {"450 12 days", ACTION_DEFER, "450|4.2.1|12 days", true},
    {"450 ~ x ~", ACTION_DEFER, "450|4.2.1|~ x ~", true},
    {"421 4.2.1 x", ACTION_DEFER, "hangs up on all recipients; use 450", false},
    {"521 5.2.1 x", ACTION_REJECT, "hangs up on all recipients; use 550", false},
    {"550 5.2.1 x", ACTION_DEFER, "a deferral needs 4yz", false},
    {"450 4.2.1 x", ACTION_REJECT, "a rejection needs 5yz", false},
    {"250 ok", ACTION_REJECT, "needs 5yz", false},
    {"460 x", ACTION_DEFER, "needs 4yz", false},
    {"450 5.2.1 x", ACTION_DEFER, "class 5 behind", false},
    {"550 4.2.1 x", ACTION_REJECT, "class 4 behind", false},
    {"550 5.2 x", ACTION_REJECT, "three numbers", false},
    {"550 5.2.1x", ACTION_REJECT, "three numbers", false},
    {"550 5.02.1 x", ACTION_REJECT, "three numbers", false},
    {"550 5.2.1.1 x", ACTION_REJECT, "three numbers", false},
    {"550 5.1234.1 x", ACTION_REJECT, "three numbers", false},
    {"550 5.2. x", ACTION_REJECT, "three numbers", false},
    {"550-5.2.1 x", ACTION_REJECT, "three-digit", false},
    {"5500 x", ACTION_REJECT, "three-digit", false},
    {"", ACTION_REJECT, "three-digit", false},
    {"no", ACTION_REJECT, "three-digit", false},
    {"550 5.7.1 a\r\n250 ok", ACTION_REJECT, "control", false},
    {"550 5.7.1 gr\xc3\xbc\xc3\x9f", ACTION_REJECT, "non-ASCII", false},
    {"550 5.7.1 %{recipent}", ACTION_REJECT, "did you mean recipient", false},
    {"550 5.7.1 \x7f", ACTION_REJECT, "control", false},
    {"550 5.7.1 %{xyzzyxyzzy}", ACTION_REJECT, "unknown %{...};", false},
    {"550 5.7.1 %{a_name_of_thirty_one_letters___}", ACTION_REJECT, "unknown %{...};", false},
    {"550 5.7.1 %{a_name_of_thirty_two_letters____}", ACTION_REJECT, "unknown %{...};", false},
    {"550 5.7.1 %{}", ACTION_REJECT, "unknown %{...};", false},
    {"550 5.7.1 %{recipient", ACTION_REJECT, "unknown %{...};", false},
    {"250 ok", ACTION_DISCARD, "only defer and reject", false},
    {"250 ok", ACTION_ACCEPT, "only defer and reject", false},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
        struct reply reply, before;
        struct error err = {0};
        memset(&reply, 'z', sizeof reply);
        before = reply;
        int rc = reply_parse(templates[i].source, templates[i].action, NULL, &reply, &err);
        if (!templates[i].ok) {
            assert_int_equal(rc, -1);
            assert_memory_equal(&reply, &before, sizeof reply);
            if (strstr(err.text, templates[i].want) == NULL)
                fail_msg("\"%s\": got error \"%s\", want \"%s\"", templates[i].source, err.text,
                         templates[i].want);
            continue;
        }
        char got[REPLY_TEXT_MAX + 32];
        if (rc != 0)
            fail_msg("\"%s\": %s", templates[i].source, err.text);
        snprintf(got, sizeof got, "%s|%s|%s", reply.code, reply.dsn, reply.text);
        assert_string_equal(got, templates[i].want);
    }
}

static void test_parse_length(void **state)
{
    (void)state;
    char source[REPLY_TEXT_MAX + 12] = "450 4.2.1 ";
    struct reply reply;
    memset(source + 10, 'a', REPLY_TEXT_MAX);
    assert_int_equal(reply_parse(source, ACTION_DEFER, NULL, &reply, NULL), 0);
    assert_int_equal(strlen(reply.text), REPLY_TEXT_MAX);
    source[10 + REPLY_TEXT_MAX] = 'a';
    assert_int_equal(reply_parse(source, ACTION_DEFER, NULL, &reply, NULL), -1);
}

/* Every default is a template that its own key would take, and tells nothing about limits. */
static void test_defaults(void **state)
{
    (void)state;
    for (int key = 0; key < REPLY_KEYS; key++) {
        const struct reply *reply = reply_default((enum reply_key)key);
        struct reply again;
        struct error err = {0};
        char source[REPLY_LINE_MAX];
        snprintf(source, sizeof source, "%s %s %s", reply->code, reply->dsn, reply->text);
        if (reply_parse(source, reply_key_action((enum reply_key)key), NULL, &again, &err) != 0)
            fail_msg("%s: %s", reply_key_name((enum reply_key)key), err.text);
        assert_string_equal(again.code, reply->code);
        assert_string_equal(again.dsn, reply->dsn);
        assert_string_equal(again.text, reply->text);
        assert_false(reply_tells_limit(reply));
    }
}

static void test_render(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
        struct reply_values values;
    } rows[] = {
        {"%{recipient} %{sender} %{client} %{limit} %{used} %{max} %{wait}",
         "a@b c@d 192.0.2.7 minute 10 12 23s",
         {"a@b", "c@d", "192.0.2.7", "minute", 10, 12, 22500}},
        {"%{recipient} %{sender} %{client} %{limit} %{used} %{max} %{wait}",
         "- - - - - - -",
         {.used = -1, .max = -1, .wait_ms = -1}},
        {"%{used} of %{max}", "0 of 0", {0}},
        {"<%{recipient}>", "<a??250 ok?>", {.recipient = "a\r\n250 ok\xc3"}},
        {"<%{recipient}>", "<%{sender}%s>", {.recipient = "%{sender}%s", .sender = "x"}},
        {"100% %%{wait}%{x", "100% %0s%{x", {0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply reply = {.code = "450", .dsn = "4.2.1"};
        struct reply_line line;
        strcpy(reply.text, rows[i].text);
        reply_render(&reply, &rows[i].values, &line);
        assert_string_equal(line.code, "450");
        assert_string_equal(line.dsn, "4.2.1");
        assert_string_equal(line.text, rows[i].want);
    }
}

/* Whatever comes from outside, a line never has more than 512 octets with its codes and CRLF. */
static void test_render_bounds(void **state)
{
    (void)state;
    char huge[5000];
    memset(huge, 'x', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    struct reply reply = {.code = "450", .dsn = "4.123.123"};
    struct reply_line line;
    const struct reply_values values = {.recipient = huge, .sender = huge};
    strcpy(reply.text, "<%{recipient}>: slow down");
    reply_render(&reply, &values, &line);
    assert_non_null(strstr(line.text, "...>: slow down"));
    strcpy(reply.text, "%{recipient}%{sender}%{recipient}%{sender}");
    reply_render(&reply, &values, &line);
    assert_int_equal(strlen(line.text) + strlen("450 4.123.123 \r\n"), 512);
}

static void test_tells_limit(void **state)
{
    (void)state;
    const struct reply tells[] = {
        {"450", "4.2.1", "x %{limit}"}, {"450", "4.2.1", "%{used}"}, {"450", "4.2.1", "%{max}."}};
    const struct reply silent = {"450", "4.2.1",
                                 "%{recipient} %{sender} %{client} %{wait} limit max %{ max}"};
    for (size_t i = 0; i < 3; i++)
        assert_true(reply_tells_limit(&tells[i]));
    assert_false(reply_tells_limit(&silent));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),         cmocka_unit_test(test_parse_length),
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_render),
        cmocka_unit_test(test_render_bounds), cmocka_unit_test(test_tells_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
