/* Programs that print, fail, hang, or print without end: the caller is back in time, with what was said. */
#include "sys/program.h"
#include "base/clock.h"
#include "patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct heard {
    size_t n, bytes, empty;
    char last[64];
};

static void hear(void *arg, char *line, size_t n)
{
    struct heard *heard = arg;
    assert_int_equal(strlen(line), n);
    heard->n++;
    heard->bytes += n;
    heard->empty += n == 0;
    snprintf(heard->last, sizeof heard->last, "%.60s", line);
}

static int run(const char *shell, int64_t timeout_ms, int stop_fd, struct heard *heard, struct error *err)
{
    const char *const argv[] = {"/bin/sh", "-c", shell, NULL};
    const struct program program = {
        .argv = argv, .timeout_ms = timeout_ms, .stop_fd = stop_fd, .line = hear, .arg = heard};
    *heard = (struct heard){0};
    *err = (struct error){{0}};
    return program_run(&program, err);
}

static void test_lines(void **state)
{
    static const struct {
        const char *shell;
        size_t n, bytes;
        const char *last;
    } rows[] = {
        {"exit 0", 0, 0, ""},
        {"echo one; echo; echo two", 2, 6, "two"},
        {"printf 'no newline'", 1, 10, "no newline"},
        {"printf a; sleep 0.1; printf 'b\\nc'; sleep 0.1; echo d", 2, 4, "cd"},
        {"seq 1 100000", 100000, 488895, "100000"},
        {"echo to stderr >&2; echo x", 1, 1, "x"},
        {"cat; echo end", 1, 3, "end"}, /* of an empty input */
        {"yes | head -c 300000 | tr -d '\\n'", 1, 150000, NULL},
    };
    struct heard heard;
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (run(rows[i].shell, PATIENCE_MS, -1, &heard, &err) != 0)
            fail_msg("%s: %s", rows[i].shell, err.text);
        assert_int_equal(heard.n, rows[i].n);
        assert_int_equal(heard.bytes, rows[i].bytes);
        if (rows[i].last != NULL)
            assert_string_equal(heard.last, rows[i].last);
    }
}

/* A line without end costs no memory without end. */
static void test_long_line(void **state)
{
    struct heard heard;
    struct error err;
    (void)state;
    assert_int_equal(
        run("head -c 30000000 /dev/zero | tr '\\0' x; echo; echo after", PATIENCE_MS, -1, &heard, &err), 0);
    assert_int_equal(heard.n, 2);
    assert_int_equal(heard.empty, 1);
    assert_string_equal(heard.last, "after");
}

static void test_failures(void **state)
{
    static const struct {
        const char *shell;
        int timeout_ms;
        const char *want;
    } rows[] = {{"exit 7", PATIENCE_MS, "status 7"},
                {"echo why not >&2; exit 1", PATIENCE_MS, "status 1: why not"},
                {"kill -9 $$", PATIENCE_MS, "signal 9"},
                {"exec /nonexistent", PATIENCE_MS, "status 127"},
                {"exec sleep 100", 1000, "within 1 s"},
                {"sleep 100 & sleep 100", 1000, "within 1 s"},
                {"while :; do echo x; done", 1000, "within 1 s"},
                {"exec >&- 2>&-; sleep 100", 1000, "did not end"},
                {"trap '' TERM INT; sleep 100", 1000, "within 1 s"}};
    struct heard heard;
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t began = clock_monotonic_ms();
        assert_int_equal(run(rows[i].shell, rows[i].timeout_ms, -1, &heard, &err), -1);
        assert_true(clock_monotonic_ms() - began < PATIENCE_MS);
        if (strstr(err.text, rows[i].want) == NULL)
            fail_msg("%s: %s", rows[i].shell, err.text);
    }
    err = (struct error){{0}};
    const char *const argv[] = {"/nonexistent", NULL};
    const struct program program = {
        .argv = argv, .timeout_ms = 1000, .stop_fd = -1, .line = hear, .arg = &heard};
    assert_int_equal(program_run(&program, &err), -1);
    assert_non_null(strstr(err.text, "cannot run /nonexistent"));
}

static void test_stop(void **state)
{
    struct heard heard;
    struct error err;
    (void)state;
    int fd = eventfd(1, EFD_CLOEXEC);
    int64_t began = clock_monotonic_ms();
    assert_int_equal(run("sleep 100", 60000, fd, &heard, &err), -1);
    assert_true(clock_monotonic_ms() - began < PATIENCE_MS);
    close(fd);
}

/* It gets none of our descriptors. */
static void test_descriptors(void **state)
{
    struct heard heard;
    struct error err;
    (void)state;
    int fd = dup(0);
    assert_int_equal(run("ls /proc/self/fd | wc -l", 5000, -1, &heard, &err), 0);
    assert_string_equal(heard.last, "4"); /* 0, 1, 2, and the directory */
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_long_line),
                                       cmocka_unit_test(test_failures), cmocka_unit_test(test_stop),
                                       cmocka_unit_test(test_descriptors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
