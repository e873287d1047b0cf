/* text: the bounded writer at and over its bounds, and the string helpers. */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 0x5a };

static void test_init_terminates(void **state)
{
    (void)state;
    char buffer[4] = "abc";
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    assert_string_equal(buffer, "");
    assert_int_equal(text.len, 0);
    assert_false(text.cut);
}

static void test_full_is_not_cut(void **state)
{
    (void)state;
    char buffer[6];
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    text_add(&text, "ab");
    text_add_bytes(&text, "cdX", 2);
    text_addf(&text, "%c", 'e');
    assert_string_equal(buffer, "abcde");
    assert_false(text.cut);
    text_add(&text, "");
    assert_false(text.cut);
}

static void add(struct text *text, const char *s)
{
    text_add(text, s);
}

static void addf(struct text *text, const char *s)
{
    text_addf(text, "%s", s);
}

/* Whatever the size, the text is a prefix, is terminated, and not a byte beyond is touched. */
static void test_every_size(void **state)
{
    (void)state;
    static void (*const adders[])(struct text *, const char *) = {add, addf, text_add_percent,
                                                                  text_add_printable};
    static const char word[] = "abcdefgh";
    for (size_t a = 0; a < sizeof adders / sizeof adders[0]; a++) {
        for (size_t size = 1; size <= 20; size++) {
            char buffer[21];
            struct text text;
            memset(buffer, GUARD, sizeof buffer);
            text_init(&text, buffer, size);
            adders[a](&text, word);
            const size_t want = size - 1 < 8 ? size - 1 : 8;
            assert_int_equal(text.len, want);
            assert_int_equal(strlen(buffer), want);
            assert_memory_equal(buffer, word, want);
            assert_int_equal(text.cut, size < 9);
            for (size_t i = size; i < sizeof buffer; i++)
                assert_int_equal(buffer[i], GUARD);
        }
    }
}

static void test_nothing_after_a_cut(void **state)
{
    (void)state;
    char buffer[8];
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    text_add(&text, "12345");
    text_add_percent(&text, " "); /* three bytes, two are left */
    assert_true(text.cut);
    text_add(&text, "x");
    text_addf(&text, "%d", 7);
    text_add_percent(&text, "x");
    text_add_printable(&text, "x");
    text_add_duration(&text, 1000);
    assert_string_equal(buffer, "12345");
}

static void test_number(void **state)
{
    (void)state;
    static const int64_t rows[] = {0, 7, 10, 99, 100, -1, -10, INT64_MAX, INT64_MIN, 1732320000000};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buffer[32], want[32];
        struct text text;
        text_init(&text, buffer, sizeof buffer);
        text_add_number(&text, rows[i]);
        snprintf(want, sizeof want, "%lld", (long long)rows[i]);
        assert_string_equal(buffer, want);
    }
}

/* Every byte at every place of strings around the length of a word. */
static void test_printable_bytes(void **state)
{
    (void)state;
    char string[40], want[40], buffer[40];
    struct text text;
    for (size_t n = 0; n < sizeof string; n++)
        for (size_t at = 0; at < n; at++)
            for (int c = 1; c < 256; c++) {
                memset(string, 'a', n);
                string[n] = '\0';
                string[at] = (char)c;
                memcpy(want, string, n + 1);
                want[at] = (char)(c >= ' ' && c < 0x7f ? c : '?');
                text_init(&text, buffer, sizeof buffer);
                text_add_printable(&text, string);
                assert_string_equal(buffer, want);
            }
}

static void test_percent(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"", ""},
        {"a b", "a%20b"},
        {"100%", "100%25"},
        {"{a|b}", "%7Ba%7Cb%7D"},
        {"\x01\t\r\n\x1f\x7f", "%01%09%0D%0A%1F%7F"},
        {"\xc3\xbc", "%C3%BC"},
        {"\x7e\x80\xff", "~%80%FF"},
        {"a+b=c!#$&'*/?^_`@[1.2.3.4]\"\\", "a+b=c!#$&'*/?^_`@[1.2.3.4]\"\\"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buffer[100];
        struct text text;
        text_init(&text, buffer, sizeof buffer);
        text_add_percent(&text, rows[i].in);
        assert_string_equal(buffer, rows[i].want);
    }
}

static void test_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want; /* NULL: it cannot be */
    } rows[] = {
        {"", ""},
        {"a%20b", "a b"},
        {"100%", "100%"},
        {"%7b%7D%2", "{}%2"},
        {"%zz%+1% 1", "%zz%+1% 1"},
        {"%2525", "%25"},
        {"%00", NULL},
        {"a%00b", NULL},
        {"%C3%BC", "\xc3\xbc"},
    };
    char buffer[256], all[256], encoded[4 * 256];
    struct text text;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        text_init(&text, buffer, sizeof buffer);
        assert_int_equal(text_add_decoded(&text, rows[i].in, strlen(rows[i].in)), rows[i].want != NULL);
        if (rows[i].want != NULL)
            assert_string_equal(buffer, rows[i].want);
    }
    for (int c = 1; c < 256; c++)
        all[c - 1] = (char)c;
    all[255] = '\0';
    text_init(&text, encoded, sizeof encoded);
    text_add_percent(&text, all);
    text_init(&text, buffer, sizeof buffer);
    assert_true(text_add_decoded(&text, encoded, strlen(encoded)));
    assert_string_equal(buffer, all);
    text_init(&text, buffer, sizeof buffer - 1);
    assert_false(text_add_decoded(&text, encoded, strlen(encoded)));
}

static void test_printable(void **state)
{
    (void)state;
    char in[256], buffer[256];
    struct text text;
    for (int c = 1; c < 256; c++)
        in[c - 1] = (char)c;
    in[255] = '\0';
    text_init(&text, buffer, sizeof buffer);
    text_add_printable(&text, in);
    assert_int_equal(text.len, 255);
    for (int c = 1; c < 256; c++)
        assert_int_equal(buffer[c - 1], c >= 0x20 && c <= 0x7e ? c : '?');
}

static void test_quoted(void **state)
{
    (void)state;
    char out[64];
    struct text text;
    text_init(&text, out, sizeof out);
    text_add_quoted(&text, "must be \"a\" or \\b\n");
    assert_string_equal(out, "\"must be \\\"a\\\" or \\\\b?\"");
}

static void test_duration(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *want;
    } rows[] = {
        {INT64_MIN, "0s"},
        {-1, "0s"},
        {0, "0s"},
        {1, "1s"},
        {1000, "1s"},
        {1001, "2s"},
        {22001, "23s"},
        {60000, "60s"},
        {119000, "119s"},
        {119001, "2m"},
        {120000, "2m"},
        {120001, "3m"},
        {119 * 60000, "119m"},
        {119 * 60000 + 1, "2h"},
        {5 * 3600000, "5h"},
        {47 * 3600000, "47h"},
        {47 * 3600000 + 1, "2d"},
        {3 * 86400000, "3d"},
        {31LL * 86400000, "31d"},
        {31LL * 86400000 + 1, "32d"},
        {INT64_MAX, "106751991168d"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buffer[32];
        struct text text;
        text_init(&text, buffer, sizeof buffer);
        text_add_duration(&text, rows[i].ms);
        assert_string_equal(buffer, rows[i].want);
    }
}

static void test_lower(void **state)
{
    (void)state;
    char s[] = "@[`AZaz{\xc3\x84";
    text_lower(s);
    assert_string_equal(s, "@[`azaz{\xc3\x84");
    text_lower(s + strlen(s));
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = {"limits", "replies", "counters", "recipient_domain",
                                        "mode",   "mods",    NULL};
    static const char *const none[] = {NULL};
    static const struct {
        const char *word, *want;
    } rows[] = {
        {"limit", "limits"},
        {"limits", "limits"},
        {"limist", "limits"},
        {"conuters", "counters"},
        {"recipent-domian", "recipient_domain"}, /* four edits in fifteen bytes */
        {"r_domain", NULL},
        {"modx", "mode"}, /* as near as "mods", and first */
        {"mods", "mods"},
        {"md", "mode"}, /* two edits are always allowed */
        {"m", NULL},
        {"", NULL},
        {"something else", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *got = text_nearest(rows[i].word, names);
        if (rows[i].want == NULL)
            assert_null(got);
        else
            assert_string_equal(got == NULL ? "(none)" : got, rows[i].want);
    }
    assert_null(text_nearest("limit", none));
    char giant[1000];
    memset(giant, 'a', sizeof giant - 1);
    giant[sizeof giant - 1] = '\0';
    const char *const giants[] = {giant, "a", NULL};
    assert_null(text_nearest(giant, giants));
    assert_string_equal(text_nearest("b", giants), "a");
}

static void test_is_slip(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        bool slip;
    } rows[] = {
        {"hodl", true},  {"hol", true},   {"old", true},   {"hoold", true},
        {"holdx", true}, {"xhold", true}, {"holt", true},  {"dlho", false},
        {"hdlo", false}, {"ol", false},   {"role", false}, {"hoarder", false},
        {"", false},     {"Hold", true},  {"hoxy", false}, {"loxd", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (text_is_slip(rows[i].word, "hold") != rows[i].slip)
            fail_msg("%s", rows[i].word);
    assert_true(text_is_slip("", "a"));
    assert_true(text_is_slip("aa", "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_terminates), cmocka_unit_test(test_full_is_not_cut),
        cmocka_unit_test(test_every_size),      cmocka_unit_test(test_nothing_after_a_cut),
        cmocka_unit_test(test_number),          cmocka_unit_test(test_printable_bytes),
        cmocka_unit_test(test_percent),         cmocka_unit_test(test_decoded),
        cmocka_unit_test(test_printable),       cmocka_unit_test(test_quoted),
        cmocka_unit_test(test_duration),        cmocka_unit_test(test_lower),
        cmocka_unit_test(test_nearest),         cmocka_unit_test(test_is_slip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
