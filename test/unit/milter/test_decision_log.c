/* Decision lines: whatever others wrote is printable in them, and ends nothing early. */
#include "decision_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define NASTY "a\nb\x7f\xc3\xa4\x1b\t\xff"

static void assert_printable(const char *line)
{
    for (const char *c = line; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            fail_msg("\"%s\" has the byte %d", line, *c);
}

static const struct limit limit = {.name = NASTY};

/* Every text in it is somebody's. */
static void fill(struct session *session, struct outcome *outcome, const char *address)
{
    memset(session, 0, sizeof *session);
    memset(outcome, 0, sizeof *outcome);
    struct decision *d = &outcome->decision;
    address_parse(address, "+", &d->recipient, NULL);
    address_parse_sender(address, "+", &session->message.sender, NULL);
    session->message.sender_raw = d->envelope.recipient_raw = address;
    session->message.user = session->message.first = NASTY;
    d->verdict =
        (struct verdict){.action = ACTION_DEFER, .by = VERDICT_BY_LIMIT, .proof = NASTY, .limit = &limit};
    d->shadow = d->verdict;
    snprintf(outcome->line.code, sizeof outcome->line.code, "4\n0");
    snprintf(outcome->line.dsn, sizeof outcome->line.dsn, "4\n2\x7f");
}

static void test_printable(void **state)
{
    (void)state;
    static const char *const addresses[] = {NASTY, "<" NASTY "@example.com>", "<\"a\xc3\xa4 b\"@example.com>",
                                            "<a@example.com>", ""};
    static const char *const queues[] = {NASTY, "4cX", NULL};
    static struct session session;
    static struct outcome outcome;
    char line[2048];
    struct text text;
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++)
        for (size_t q = 0; q < sizeof queues / sizeof queues[0]; q++) {
            fill(&session, &outcome, addresses[i]);
            text_init(&text, line, sizeof line);
            decision_log_text(&session, &outcome, queues[q], &text);
            assert_printable(line);
            text_init(&text, line, sizeof line);
            decision_log_message(&session, queues[q], &text);
            assert_printable(line);
        }
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *address, *words;
    } rows[] = {
        {"<A-b_c.d@Example.COM>", " from=<a-b_c.d@example.com> to=<a-b_c.d@example.com> "},
        {"<a+tag@example.com>", " from=<a+tag@example.com> to=<a+tag@example.com> "},
        {"<\"a> b\"@example.com>", " from=<\"a%3E%20b\"@example.com> to=<\"a%3E%20b\"@example.com> "},
        {"<no one>", " from=<%3Cno%20one%3E> to=<%3Cno%20one%3E> "},
        {"<>", " from=<> to=<> "},
    };
    static struct session session;
    static struct outcome outcome;
    char line[2048];
    struct text text;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fill(&session, &outcome, rows[i].address);
        text_init(&text, line, sizeof line);
        decision_log_text(&session, &outcome, NULL, &text);
        if (strstr(line, rows[i].words) == NULL)
            fail_msg("%s", line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
