#include "base/glob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void matches(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool want;
    } rows[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"a", "a", true},
        {"a", "b", false},
        {"*", "", true},
        {"*", "anything", true},
        {"?", "", false},
        {"?", "a", true},
        {"?", "ab", false},
        {"a*", "a", true},
        {"a*", "abc", true},
        {"*a", "bca", true},
        {"*a", "ab", false},
        {"shop-*", "shop-", true},
        {"shop-*", "shop", false},
        {"a*c*e", "abcde", true},
        {"a*c*e", "abcd", false},
        {"**", "", true},
        {"a**b", "ab", true},
        {"*?", "", false},
        {"*?", "x", true},
        {"?*?", "x", false},
        {"?*?", "xy", true},
        {"a?c", "abc", true},
        {"*ab*ab", "abab", true},
        {"*ab*ab", "aab", false},
        {"[ab]", "a", false},
        {"[ab]", "[ab]", true},
        {"\\*", "\\x", true},
        {"\\*", "*", false},
        {"a*", "*", false},
        {"\xc3\xa9?", "\xc3\xa9\xc3\xa9", true},
        {"?", "\xe2\x82\xac", true},
        {"??", "\xe2\x82\xac", false},
        {"?", "\xff", true},
        {"*\xa9", "\xc3\xa9", false},
        {"*mid*", "amidst", true},
        {"*.x", ".x.x", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (glob_match(rows[i].pattern, rows[i].text) != rows[i].want)
            fail_msg("glob_match(\"%s\", \"%s\") should be %d", rows[i].pattern, rows[i].text, rows[i].want);
}

static void is_a_glob(void **state)
{
    (void)state;
    assert_true(glob_is("a*"));
    assert_true(glob_is("?"));
    assert_false(glob_is("a[b]"));
    assert_false(glob_is(""));
}

/* The obvious definition, exponential and right. */
static bool slow_match(const char *pattern, const char *text)
{
    if (*pattern == '\0')
        return *text == '\0';
    if (*pattern == '*')
        return slow_match(pattern + 1, text) || (*text != '\0' && slow_match(pattern, text + 1));
    return *text != '\0' && (*pattern == '?' || *pattern == *text) && slow_match(pattern + 1, text + 1);
}

static void agrees_with_its_definition(void **state)
{
    (void)state;
    unsigned seed = 7, matched = 0;
    for (int n = 0; n < 200000; n++) {
        char pattern[9] = "", text[11] = "";
        for (int i = rand_r(&seed) % 9; i > 0; i--)
            strncat(pattern, &"ab*?"[rand_r(&seed) % 4], 1);
        for (int i = rand_r(&seed) % 11; i > 0; i--)
            strncat(text, &"ab"[rand_r(&seed) % 2], 1);
        bool want = slow_match(pattern, text);
        matched += want;
        if (glob_match(pattern, text) != want)
            fail_msg("glob_match(\"%s\", \"%s\") should be %d", pattern, text, want);
    }
    assert_in_range(matched, 1000, 199000);
}

static void no_pattern_explodes(void **state)
{
    (void)state;
    char pattern[401], text[5001];
    for (size_t i = 0; i < 200; i++)
        memcpy(pattern + 2 * i, "*a", 2);
    strcpy(pattern + 399, "b");
    memset(text, 'a', 5000);
    text[5000] = '\0';
    clock_t start = clock();
    assert_false(glob_match(pattern, text));
    assert_true((clock() - start) / CLOCKS_PER_SEC < 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches),
        cmocka_unit_test(is_a_glob),
        cmocka_unit_test(agrees_with_its_definition),
        cmocka_unit_test(no_pattern_explodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
