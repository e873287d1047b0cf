/* What errors of Redis mean, in the words of all its releases. */
#include "errors.h"

#include "redis/script.h"
#include "rights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum redis_error node_error;
    } rows[] = {
        {"BUSY Redis is busy running a script", REDIS_ERROR_NODE},
        {"BUSYGROUP Consumer Group name already exists", REDIS_ERROR_NONE},
        {"BUSYKEY Target key name already exists.", REDIS_ERROR_NONE},
        {"OOM", REDIS_ERROR_NODE},
        {"OOMPH", REDIS_ERROR_NONE},
        {"NOPERM this user has no permissions", REDIS_ERROR_COMMAND},
        {"ERR ACL failure in script: The user executing the script can't run this command or subcommand",
         REDIS_ERROR_COMMAND},
        {"ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -NOPERM this user has no "
         "permissions",
         REDIS_ERROR_COMMAND},
        {"ERR Error running script (call to f_1): @user_script:1: The user executing the script can't run "
         "this command or "
         "subcommand",
         REDIS_ERROR_COMMAND},
        {"NOSCRIPT No matching script.", REDIS_ERROR_NONE},
        {"WRONGTYPE Operation against a key", REDIS_ERROR_NONE},
        {"ERR max number of clients reached", REDIS_ERROR_NODE},
        {"ERR Error running script (call to f_1): @user_script:1: x", REDIS_ERROR_NONE},
        {"ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't",
         REDIS_ERROR_NODE},
        {"", REDIS_ERROR_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        assert_int_equal(redis_errors_find(rows[i].text, "here", &err), rows[i].node_error);
        assert_int_equal(err.text[0] != '\0', rows[i].node_error != REDIS_ERROR_NONE);
    }
}

/* In all wordings of Redis 6, 7.0, 7.2 and 8, outside and within a script, the command that is missing is named. */
static void test_rights(void **state)
{
    (void)state;
    static const char source[] = "local call = redis.call\nlocal now = call('TIME')\n"
                                 "if now then call('HSET', KEYS[1], 'a', 'b') end\nreturn 'call('";
    static const struct {
        const char *format; /* of the name of source */
        const char *right;  /* NULL: not told */
    } rows[] = {
        {"NOPERM this user has no permissions to run the 'evalsha' command or its subcommand", "evalsha"},
        {"NOPERM User x has no permissions to run the 'cluster|slots' command", "cluster|slots"},
        {"ERR ACL failure in script: User x has no permissions to run the 'time' command script: %s, on "
         "@user_script:9.",
         "time"}, /* Redis 8.0, Valkey 8.1 */
        {"NOPERM ACL failure in script: User x has no permissions to run the 'TIME' command", "time"},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:2.",
         "time"},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:3.",
         "hset"},
        {"ERR Error running script (call to f_%s): @user_script:3: @user_script: 3: The user executing the "
         "script can't run this command or subcommand",
         "hset"},
        {"ERR user_script:4: no permissions to run the 'HGET' command script: %s, on @user_script:1.",
         "hget"},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:4.",
         NULL},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:5.",
         NULL},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:",
         NULL},
        {"ERR The user executing the script can't run this command or subcommand script: 0%s, on "
         "@user_script:2.",
         NULL},
        {"ERR ACL failure in script: The user executing the script can't run this command or subcommand "
         "script: %s, on @user_script:3.",
         "hset"},
        {"ERR The user executing the script can't run this command or subcommand", NULL},
        {"NOPERM No permissions to access a key", NULL},
        {"NOPERM this user has no permissions to run the '' command", NULL},
        {"NOPERM this user has no permissions to run the 'a command that never ends and that nobody would "
         "have'",
         NULL},
    };
    struct redis_script script;
    redis_script_init(&script, source);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        char text[300], right[40] = "untouched", want[60];
        const char *s = strstr(rows[i].format, "%s");
        snprintf(text, sizeof text, "%.*s%s%s", s != NULL ? (int)(s - rows[i].format) : 300, rows[i].format,
                 s != NULL ? script.sha : "", s != NULL ? s + 2 : "");
        if (rights_find(text, right, sizeof right) != (rows[i].right != NULL))
            fail_msg("%s: %s", text, right);
        assert_string_equal(right, rows[i].right != NULL ? rows[i].right : "untouched");
        assert_int_equal(redis_errors_find(text, "here", &err), REDIS_ERROR_COMMAND);
        snprintf(want, sizeof want, "lacks +%s;", right);
        assert_int_equal(strstr(err.text, want) != NULL, rows[i].right != NULL);
        assert_non_null(strstr(err.text, "ACL SETUSER"));
    }
}

/* A right that is missing where the script may have written already: in what it did nobody can tell. */
static void test_midway(void **state)
{
    (void)state;
    static const char source[] =
        "local call = redis.call\ncall('HSET', KEYS[1], 'a', 'b')\ncall('PEXPIRE', KEYS[1], 1)\n";
    static const struct {
        const char *format; /* of the name of source */
        bool midway;
    } rows[] = {
        {"NOPERM this user has no permissions to run the 'evalsha' command or its subcommand", false},
        {"NOPERM No permissions to access a key", false},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:2.",
         false},
        {"ERR The user executing the script can't run this command or subcommand script: %s, on "
         "@user_script:3.",
         true},
        {"ERR Error running script (call to f_%s): @user_script:3: @user_script: 3: The user executing the "
         "script can't run this command or subcommand",
         true},
        {"ERR user_script:4: no permissions to run the 'HGET' command script: %s, on @user_script:1.", false},
        {"NOPERM ACL failure in script: User x has no permissions to run the 'hset' command", false},
        {"NOPERM ACL failure in script: User x has no permissions to run the 'hlen' command", false},
        {"NOPERM ACL failure in script: User x has no permissions to run the 'hdel' command", false},
        {"NOPERM ACL failure in script: User x has no permissions to run the 'pttl' command", true},
        {"ERR The user executing the script can't run this command or subcommand", true},
    };
    struct redis_script script;
    redis_script_init(&script, source);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[300];
        const char *s = strstr(rows[i].format, "%s");
        snprintf(text, sizeof text, "%.*s%s%s", s != NULL ? (int)(s - rows[i].format) : 300, rows[i].format,
                 s != NULL ? script.sha : "", s != NULL ? s + 2 : "");
        if (redis_errors_is_midway(text) != rows[i].midway)
            fail_msg("%s", text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_midway),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
