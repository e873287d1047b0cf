/* file: what is written is read again; whatever goes wrong leaves the file as it was, and no draft. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/test_file.XXXXXX", path[64], draft[64];

static int begin(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/a", dir);
    snprintf(draft, sizeof draft, "%s/a.new", dir);
    return 0;
}

static int end(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(dir); /* fails where a draft was left */
}

static void assert_holds(const char *text)
{
    char *bytes = NULL;
    size_t n = 0;
    struct error err = {0};
    assert_int_equal(file_read(path, &bytes, &n, &err), 0);
    assert_int_equal(n, strlen(text));
    assert_string_equal(bytes, text);
    free(bytes);
}

static void test_what_is_written_is_read(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(file_write(path, "one", 3, 0600), 0);
    assert_holds("one");
    assert_int_equal(file_write(path, "", 0, 0640), 0);
    assert_holds("");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void test_a_draft_that_was_left_is_no_hindrance(void **state)
{
    (void)state;
    assert_int_equal(symlink("/nowhere/else", draft), 0);
    assert_int_equal(file_write(path, "two", 3, 0600), 0);
    assert_holds("two");
}

static void test_a_failure_leaves_the_file(void **state)
{
    (void)state;
    assert_int_equal(file_write(path, "before", 6, 0600), 0);
    assert_int_equal(mkdir(draft, 0700), 0);
    assert_int_equal(file_write(path, "after", 5, 0600), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(rmdir(draft), 0);
    assert_holds("before");
    assert_int_equal(file_write("/nowhere/else", "x", 1, 0600), -1);
    assert_int_equal(errno, ENOENT);
}

static void test_a_name_that_is_too_long(void **state)
{
    (void)state;
    char *name = malloc(5000);
    memset(name, 'a', 4999);
    name[4999] = '\0';
    assert_int_equal(file_write(name, "x", 1, 0600), -1);
    assert_int_equal(errno, ENAMETOOLONG);
    free(name);
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    char *bytes = NULL;
    size_t n = 7;
    struct error err = {0};
    assert_int_equal(file_read(dir, &bytes, &n, &err), -1);
    assert_non_null(strstr(err.text, "Is a directory"));
    err = (struct error){0};
    assert_int_equal(file_write(path, "", 0, 0600), 0);
    assert_int_equal(truncate(path, FILE_READ_MAX + 1), 0);
    assert_int_equal(file_read(path, &bytes, &n, &err), -1);
    assert_non_null(strstr(err.text, "too large"));
    assert_null(bytes);
    assert_int_equal(n, 7);
}

/* What others could plant in our directory. */
static void test_only_a_plain_file_is_ours(void **state)
{
    (void)state;
    char other[128];
    snprintf(other, sizeof other, "%s/other", dir);
    assert_int_equal(file_write(path, "x", 1, 0600), 0);
    int fd = file_open_own(path, O_RDONLY, 0);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(link(path, other), 0);
    assert_int_equal(file_open_own(path, O_RDWR | O_CREAT, 0600), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(mkfifo(other, 0600), 0);
    assert_int_equal(file_open_own(other, O_RDONLY, 0), -1);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(symlink(path, other), 0);
    assert_int_equal(file_open_own(other, O_RDWR | O_CREAT, 0600), -1);
    assert_int_equal(errno, ELOOP);
    assert_int_equal(unlink(other), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_a_draft_that_was_left_is_no_hindrance),
        cmocka_unit_test(test_a_failure_leaves_the_file),
        cmocka_unit_test(test_a_name_that_is_too_long),
        cmocka_unit_test(test_what_cannot_be_read),
        cmocka_unit_test(test_only_a_plain_file_is_ours),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
