/* Frames: what passes, what does not, in portions of any size. */
#include "frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define FRAME(text) text, sizeof text - 1

static const struct {
    const char *bytes;
    size_t n, pass;
} rows[] = {
    {FRAME("\0\0\0\1T"), 5},
    {FRAME("\0\0\0\1A\0\0\0\1Q"), 10},
    {FRAME("\0\0\0\2DR"), 6},
    {FRAME("\0\0\0\6DRi\0x\0"), 10},
    {FRAME("\0\0\0\7DRi\0\0a\0"), 10},    /* three strings */
    {FRAME("\0\0\0\10DRi\0\0a\0\0"), 12}, /* four */
    {FRAME("\0\0\0\4DRi\0"), 7},          /* one */
    {FRAME("\0\0\0\5DRi\0x"), 8},         /* no NUL at the end */
    {FRAME("\0\0\0\1D"), 4},              /* macros for nothing */
    {FRAME("\0\0\0\2D\0"), 5},
    {FRAME("\0\0\0\3R<\0"), 7},
    {FRAME("\0\0\0\3R<>"), 6},
    {FRAME("\0\0\0\1R"), 5},
    {FRAME("\0\0\0\3Bxx"), 7}, /* a body is no string */
    {FRAME("\0\0\0\0T"), 3},   /* no command */
    {FRAME("\0\1\0\1B"), 3},   /* 65,537 */
    {FRAME("\377\377\377\377B"), 3},
    {FRAME("\0\0\0\1T\0\0\0\4DRi\0\0\0\0\1T"), 12}, /* what follows is not looked at */
};

static void each_in_portions(void **state)
{
    (void)state;
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++)
        for (size_t portion = 1; portion <= rows[row].n; portion++) {
            struct frames frames = {0};
            const unsigned char *bytes = (const unsigned char *)rows[row].bytes;
            size_t passed = 0;
            for (size_t at = 0; at < rows[row].n; at += portion) {
                size_t n = rows[row].n - at < portion ? rows[row].n - at : portion;
                size_t got = frames_pass(&frames, bytes + at, n);
                passed += got;
                if (got < n)
                    break;
            }
            if (passed != rows[row].pass)
                fail_msg("row %zu in portions of %zu: %zu passed", row, portion, passed);
        }
}

static void the_longest(void **state)
{
    (void)state;
    unsigned char *bytes = calloc(1, FRAMES_LONGEST + 5);
    assert_non_null(bytes);
    memcpy(bytes, "\0\1\0\0B", 5);
    memcpy(bytes + FRAMES_LONGEST + 4, "\0", 1);
    struct frames frames = {0};
    assert_int_equal(frames_pass(&frames, bytes, FRAMES_LONGEST + 4), FRAMES_LONGEST + 4);
    assert_int_equal(frames_pass(&frames, (const unsigned char *)FRAME("\0\0\0\1T")), 5);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_in_portions), cmocka_unit_test(the_longest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
