/* Which of the addresses that Sentinels name is the master: each row is what they say one after the other. Epoch, port, and
 * '!' where a failover is under way; a ',' between what they say at once, a ' ' between one question and the next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "sentinels.h"

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *said, *want; /* port, '!' where it is to be left, '?' where nobody names it any more */
} rows[] = {
    {"5:1", "1"},
    {"5:1,5:1,5:1", "1"},
    {"5:1,6:2", "2"},
    {"6:2,5:1", "2"},
    /* never back to a lower epoch, whoever says it */
    {"6:2 5:1", "2?"},
    {"6:2 5:1,5:1,5:1", "2?"},
    {"6:2 0:3", "2?"},
    {"6:2 5:1,6:2", "2"},
    {"6:2 5:1 6:2", "2"},
    {"6:2 5:2", "2"},
    {"6:2 0:3 ", "2"},
    /* a failover, and the next one back */
    {"5:1 6:2 7:1", "1"},
    {"5:1 6:2 7:1 6:2", "1?"},
    /* the leader's new epoch beside the old port, then the new one; the others follow */
    {"5:1 6:1,5:1 6:2,5:1 6:2,6:2", "2"},
    {"5:1 6:2,6:1", "2"},
    {"5:1 6:1,6:2", "2"},
    {"5:1 6:2,6:1 6:1 6:1,6:2", "2"},
    {"5:1 6:1 6:2 6:1", "2"},
    {"5:1 6:1 6:2 6:1 7:2 7:1", "1"},
    /* the first answers disagree under one epoch: the first, until one of them changes */
    {"6:1,6:2", "1"},
    /* none answers */
    {"", "0"},
    {"5:1 ", "1"},
    /* a failover under way */
    {"5:1!", "1!"},
    {"5:1,5:1!,5:1", "1!"},
    {"5:1! 5:1", "1"},
    {"5:1! 6:2", "2"},
    {"5:1! 6:2,5:1!", "2"},
    {"6:2 5:1!", "2?"},
};

/* What is said at once, up to a space; returns what is behind it. */
static const char *read_answers(const char *at, struct redis_master *said, size_t *n)
{
    *n = 0;
    while (*at != '\0' && *at != ' ') {
        char *end;
        struct redis_master *master = &said[(*n)++];
        *master = (struct redis_master){.host = "192.0.2.1"};
        master->epoch = strtol(at, &end, 10);
        master->port = (int)strtol(end + 1, &end, 10);
        master->leaving = *end == '!';
        at = end + master->leaving;
        at += *at == ',';
    }
    return *at == ' ' ? at + 1 : NULL;
}

static void test_choice(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct redis_sentinels_choice choice = {0};
        char got[20];
        for (const char *at = rows[i].said; at != NULL;) {
            struct redis_master said[8];
            size_t n;
            at = read_answers(at, said, &n);
            redis_sentinels_choose(&choice, said, n);
        }
        snprintf(got, sizeof got, "%d%s%s", choice.now.port, choice.now.leaving ? "!" : "",
                 choice.now.disputed ? "?" : "");
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("\"%s\": %s instead of %s", rows[i].said, got, rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
