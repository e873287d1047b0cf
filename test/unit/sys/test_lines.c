/* lines: of plain and of compressed files, with and without a last newline, long ones, and files that cannot be read. */
#include "sys/lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

static char path[] = "/tmp/test_lines.XXXXXX";

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static void put(const char *bytes, size_t n, bool compressed)
{
    gzFile out = gzopen(path, compressed ? "wb" : "wbT");
    assert_non_null(out);
    assert_int_equal(gzwrite(out, bytes, (unsigned)n), (int)n);
    assert_int_equal(gzclose(out), Z_OK);
}

/* The lines, each in [], or the lengths of long ones. */
static enum lines_status get(char *out, size_t room)
{
    struct error err = {0};
    struct lines *lines = lines_open(path, &err);
    const char *at;
    size_t n, used = 0;
    enum lines_status status;
    assert_non_null(lines);
    out[0] = '\0';
    while ((status = lines_next(lines, &at, &n, &err)) == LINES_LINE)
        used += (size_t)(n < 40 ? snprintf(out + used, room - used, "[%.*s]", (int)n, at)
                                : snprintf(out + used, room - used, "[%zu bytes]", n));
    assert_int_equal(status == LINES_FAILED, err.text[0] != '\0');
    assert_true(lines_modified_s(lines) > 1600000000);
    if (status == LINES_END && used > 0)
        assert_true(lines_percent(lines) == 100 || lines_percent(lines) >= 0);
    lines_close(lines);
    return status;
}

static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *want;
    } files[] = {{"", ""},       {"\n", "[]"},           {"a", "[a]"},
                 {"a\n", "[a]"}, {"a\n\nb", "[a][][b]"}, {"a\r\nb\n", "[a\r][b]"}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        for (int compressed = 0; compressed < 2; compressed++) {
            char got[64];
            put(files[i].bytes, strlen(files[i].bytes), compressed == 1);
            assert_int_equal(get(got, sizeof got), LINES_END);
            assert_string_equal(got, files[i].want);
        }
    }
}

static void test_long_lines(void **state)
{
    (void)state;
    static const size_t lengths[] = {LINES_MAX - 1, LINES_MAX, LINES_MAX + 1, 4 * LINES_MAX - 1};
    char *bytes = malloc(20 * LINES_MAX), got[128], want[128];
    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        memset(bytes, 'x', lengths[i]);
        memcpy(bytes + lengths[i], "\nend\n", 5);
        put(bytes, lengths[i] + 5, false);
        assert_int_equal(get(got, sizeof got), LINES_END);
        snprintf(want, sizeof want, "[%zu bytes][end]",
                 lengths[i] < LINES_MAX ? lengths[i] : (size_t)LINES_MAX);
        assert_string_equal(got, want);
    }
    memset(bytes, 'x', 18 * LINES_MAX); /* no line of a log: skipped, and reading goes on behind it */
    memcpy(bytes + 18 * LINES_MAX, "\nend\n", 5);
    put(bytes, 18 * LINES_MAX + 5, true);
    assert_int_equal(get(got, sizeof got), LINES_END);
    assert_string_equal(got, "[end]");
    free(bytes);
}

static void test_condition(void **state)
{
    (void)state;
    char bytes[5000];
    struct error err = {0};
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)rand();
    put(bytes, sizeof bytes, true);
    assert_int_equal(truncate(path, 3000), 0);
    char *all = malloc(100000);
    assert_non_null(all);
    assert_int_equal(get(all, 100000), LINES_FAILED);
    free(all);
    assert_null(lines_open("/nonexistent/mail.log", &err));
    assert_non_null(strstr(err.text, "No such file"));
    struct error directory = {0};
    assert_null(lines_open("/", &directory));
    assert_non_null(strstr(directory.text, "directory"));
    lines_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_condition),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
