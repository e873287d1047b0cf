/* state_dir: the longest `state` has all its files; a longer one has none. */
#include "gate/state_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

static void test_no_path_is_cut(void **state)
{
    (void)state;
    char longest[POLICY_STATE_MAX + 2], path[STATE_DIR_PATH];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[POLICY_STATE_MAX] = '\0';
    for (int file = STATE_DIR_ALIASES_COPY; file <= STATE_DIR_LOCK; file++) {
        assert_ptr_equal(state_dir_path(longest, (enum state_dir_file)file, path), path);
        assert_true(strlen(path) > POLICY_STATE_MAX + 4 && strncmp(path, longest, POLICY_STATE_MAX) == 0);
    }
    state_dir_path(longest, STATE_DIR_CONTROL, path);
    assert_true(strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path);
    longest[POLICY_STATE_MAX] = 'x';
    longest[POLICY_STATE_MAX + 1] = '\0';
    for (int file = STATE_DIR_ALIASES_COPY; file <= STATE_DIR_LOCK; file++)
        assert_string_equal(state_dir_path(longest, (enum state_dir_file)file, path), "");
}

static void test_names(void **state)
{
    (void)state;
    char path[STATE_DIR_PATH];
    assert_string_equal(state_dir_path("/s", STATE_DIR_ALIASES_COPY, path), "/s/aliases.copy.db");
    assert_string_equal(state_dir_path("/s", STATE_DIR_LAST_GOOD, path), "/s/last-policy.json");
    assert_string_equal(state_dir_path("/s", STATE_DIR_CONTROL, path), "/s/control.sock");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_path_is_cut),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
