/* What `postqueue -j` prints, as numbers by subject. */
#include "queue_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void count_line(struct queue_parse *count, const char *text)
{
    char line[512];
    size_t n = strlen(text);
    assert_true(n < sizeof line);
    memcpy(line, text, n + 1);
    queue_parse_line(count, line, n);
}

static void test_once_a_message(void **state)
{
    (void)state;
    struct queue_parse count;
    const unsigned pers = 1U << SUBJECT_SENDER | 1U << SUBJECT_MAILBOX | 1U << SUBJECT_MAILBOX_DOMAIN |
                          1U << SUBJECT_ALL | 1U << SUBJECT_HOST;
    assert_int_equal(queue_parse_init(&count, pers, "mx1", "+", NULL), 0);
    count_line(&count, "{\"sender\": \"a@x.example\", \"arrival_time\": 70, \"recipients\": ["
                       "{\"address\": \"u@y.example\"}, {\"address\": \"U+tag@Y.example\"}, {\"address\": "
                       "\"v@y.example\"}]}");
    count_line(
        &count,
        "{\"queue_id\": \"4cX\", \"sender\": \"MAILER-DAEMON\", \"arrival_time\": 60, \"recipients\": ["
        "{\"address\": \"u@y.example\"}]}");
    count_line(
        &count,
        "{\"queue_id\": \"4cY\", \"sender\": \"b@x.example\", \"arrival_time\": 65, \"recipients\": []}");
    count_line(&count, "no message");
    assert_int_equal(queue_parse_of(count.of[SUBJECT_SENDER], "a@x.example"), 1);
    assert_int_equal(table_rows(count.of[SUBJECT_SENDER]), 2);
    assert_int_equal(queue_parse_of(count.of[SUBJECT_MAILBOX], "u@y.example"), 2);
    assert_int_equal(queue_parse_of(count.of[SUBJECT_MAILBOX], "v@y.example"), 1);
    assert_int_equal(queue_parse_of(count.of[SUBJECT_MAILBOX], "w@y.example"), 0);
    assert_int_equal(queue_parse_of(count.of[SUBJECT_MAILBOX_DOMAIN], "y.example"), 2);
    assert_int_equal(queue_parse_of(count.of[SUBJECT_ALL], "*"), 4);
    assert_int_equal(queue_parse_of(count.of[SUBJECT_HOST], "mx1"), 4);
    assert_null(count.of[SUBJECT_SENDER_DOMAIN]);
    assert_int_equal(queue_parse_of(NULL, "x.example"), 0);
    assert_int_equal(count.messages, 4);
    assert_int_equal(count.bad, 1);
    assert_int_equal(count.oldest_s, 60);
    assert_string_equal(count.oldest.id, "4cX");
    assert_string_equal(count.oldest.sender, "MAILER-DAEMON");
    assert_string_equal(count.oldest.recipient, "u@y.example");
    assert_string_equal(count.oldest.reason, "");
    queue_parse_done(&count);
}

/* What our own SRS made of a sender is not who sent it. */
static void test_srs(void **state)
{
    (void)state;
    struct queue_parse count;
    const unsigned pers = 1U << SUBJECT_SENDER | 1U << SUBJECT_SENDER_DOMAIN;
    assert_int_equal(queue_parse_init(&count, pers, "mx1", "+", NULL), 0);
    count_line(&count, "{\"sender\": \"a@x.example\", \"recipients\": []}");
    count_line(&count, "{\"sender\": \"SRS0=Ab1c=TT=X.example=A@us.example\", \"recipients\": []}");
    count_line(&count,
               "{\"sender\": \"SRS0+Xy2z=TU=x.example=prvs=1234abcdef=a@us.example\", \"recipients\": []}");
    assert_int_equal(queue_parse_of(count.of[SUBJECT_SENDER], "a@x.example"), 3);
    assert_int_equal(queue_parse_of(count.of[SUBJECT_SENDER_DOMAIN], "x.example"), 3);
    assert_int_equal(table_rows(count.of[SUBJECT_SENDER]), 1);
    queue_parse_done(&count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_once_a_message), cmocka_unit_test(test_srs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
