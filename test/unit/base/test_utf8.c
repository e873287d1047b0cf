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

static bool is_valid(const char *string)
{
    return utf8_valid(string, strlen(string));
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[64];
        strcpy(text, rows[i].in);
        utf8_clean(text);
        assert_string_equal(text, rows[i].out);
        assert_true(is_valid(text));
    }
    assert_true(is_valid(rows[2].in) && !is_valid(rows[4].in) && !is_valid(rows[5].in));
}

/* Wherever it stands, however long what is around it. */
static void test_one_among_many(void **state)
{
    (void)state;
    enum { MOST = 24 };
    for (size_t n = 1; n <= MOST; n++) {
        for (size_t at = 0; at < n; at++) {
            for (int byte = 0; byte < 256; byte++) {
                char text[MOST + 1] = "";
                memset(text, 'a', n);
                text[at] = (char)byte;
                assert_int_equal(utf8_valid(text, n), byte > 0 && byte < 0x80);
            }
            char text[MOST + 3] = "";
            memset(text, 'a', n);
            memcpy(text + at, "\xe2\x80\x8d", 3);
            const size_t len = at + 3 > n ? at + 3 : n;
            assert_true(utf8_valid(text, len));
            text[at + 2] = text[at + 1] = 0;
            assert_false(utf8_valid(text, at + 1)); /* cut */
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_one_among_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
