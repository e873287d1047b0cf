/* UTF-8: what is valid, and what becomes of what is not. */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static const struct {
    const char *in, *out;
} rows[] = {
    {"", ""},
    {"plain", "plain"},
    {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
    {"\xf0\x9f\x93\xa7", "\xf0\x9f\x93\xa7"},
    {"a\xff\xfe z", "a?? z"},
    {"cut \xc3", "cut ?"},
    {"cut \xe2\x82", "cut ??"},
    {"\xc0\xaf\xed\xa0\x80", "?????"}, /* overlong, a surrogate */
    {"\x1b[1m\x7f\n", "?[1m??"},
    {"\xc2\x9b"
     "1m\xc2\xa0",
     "??1m\xc2\xa0"}, /* CSI as one character */
    {"a\xe2\x80\xae"
     "b\xe2\x80\xa8",
     "a???b???"}, /* from right to left, a new line */
    {"\xd8\x9c\xe2\x81\xa6\xe2\x80\x8f", "????????"},
    {"\xe2\x80\x8d\xf0\x9f\x91\xa9", "\xe2\x80\x8d\xf0\x9f\x91\xa9"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[64];
        strcpy(text, rows[i].in);
        utf8_clean(text);
        assert_string_equal(text, rows[i].out);
        assert_true(utf8_valid(text));
    }
    assert_true(utf8_valid(rows[2].in) && !utf8_valid(rows[4].in) && !utf8_valid(rows[5].in));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
