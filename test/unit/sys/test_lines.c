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

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>

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

static const int filters[] = {ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_BZIP2,
                              ARCHIVE_FILTER_XZ,   ARCHIVE_FILTER_ZSTD, ARCHIVE_FILTER_LZ4};
enum { FILTERS = sizeof filters / sizeof filters[0] };

static void put(const char *bytes, size_t n, int filter)
{
    struct archive *out = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    assert_non_null(out);
    assert_non_null(entry);
    assert_int_equal(archive_write_add_filter(out, filter), ARCHIVE_OK);
    assert_int_equal(archive_write_set_format_raw(out), ARCHIVE_OK);
    assert_int_equal(archive_write_set_bytes_per_block(out, 0), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(out, path), ARCHIVE_OK);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_pathname(entry, "log");
    assert_int_equal(archive_write_header(out, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(out, bytes, n), (la_ssize_t)n);
    archive_entry_free(entry);
    assert_int_equal(archive_write_free(out), ARCHIVE_OK);
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
        assert_int_equal(lines_percent(lines), 100);
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
        for (int filter = 0; filter < FILTERS; filter++) {
            char got[64];
            if (filters[filter] == ARCHIVE_FILTER_LZ4 && files[i].bytes[0] == '\0')
                continue; /* libarchive 3.6 crashes as it writes that */
            put(files[i].bytes, strlen(files[i].bytes), filters[filter]);
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
        put(bytes, lengths[i] + 5, ARCHIVE_FILTER_NONE);
        assert_int_equal(get(got, sizeof got), LINES_END);
        snprintf(want, sizeof want, "[%zu bytes][end]",
                 lengths[i] < LINES_MAX ? lengths[i] : (size_t)LINES_MAX);
        assert_string_equal(got, want);
    }
    memset(bytes, 'x', 18 * LINES_MAX); /* no line of a log: skipped, and reading goes on behind it */
    memcpy(bytes + 18 * LINES_MAX, "\nend\n", 5);
    put(bytes, 18 * LINES_MAX + 5, ARCHIVE_FILTER_GZIP);
    assert_int_equal(get(got, sizeof got), LINES_END);
    assert_string_equal(got, "[end]");
    free(bytes);
}

/* What a rotation appends is read on. */
static void test_joined(void **state)
{
    (void)state;
    static const int joined[] = {ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_BZIP2, ARCHIVE_FILTER_XZ,
                                 ARCHIVE_FILTER_ZSTD};
    for (size_t i = 0; i < sizeof joined / sizeof joined[0]; i++) {
        char once[4096], got[64];
        put("a\nb\n", 4, joined[i]);
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        size_t n = fread(once, 1, sizeof once, file);
        assert_int_equal(fseek(file, 0, SEEK_END), 0);
        assert_int_equal(fwrite(once, 1, n, file), n);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(get(got, sizeof got), LINES_END);
        assert_string_equal(got, "[a][b][a][b]");
    }
}

static void test_condition(void **state)
{
    (void)state;
    char bytes[5000], *all = malloc(100000);
    struct error err = {0}, directory = {0};
    assert_non_null(all);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)rand();
    for (int filter = 1; filter < FILTERS; filter++) {
        put(bytes, sizeof bytes, filters[filter]);
        assert_int_equal(truncate(path, 3000), 0);
        assert_int_equal(get(all, 100000), LINES_FAILED);
    }
    free(all);
    assert_null(lines_open("/nonexistent/mail.log", &err));
    assert_non_null(strstr(err.text, "No such file"));
    assert_null(lines_open("/", &directory));
    assert_non_null(strstr(directory.text, "directory"));
    lines_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_joined),
        cmocka_unit_test(test_condition),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
