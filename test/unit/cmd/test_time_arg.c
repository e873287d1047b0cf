#include "time_arg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NOW = 1000000, BAD = -1 };

static void moments(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t want;
    } rows[] = {
        {"never", 0},
        {"1893456000", 1893456000},
        {"30d", NOW + 30 * 86400},
        {"1h", NOW + 3600},
        {"2w", NOW + 14 * 86400},
        {"2027-01-31", 1801353600},
        {"2027-01-31T12:00:00Z", 1801396800},
        {"2027-01-31t12:00:00z", 1801396800},
        {"2027-01-31 12:00:00.5Z", 1801396800},
        {"2027-01-31T12:00:00+02:00", 1801396800 - 7200},
        {"2027-01-31T12:00:00-0530", 1801396800 + 5 * 3600 + 1800},
        {"2028-02-29", 1835395200},
        {"", BAD},
        {"0", BAD},
        {"-5", BAD},
        {"soon", BAD},
        {"0d", BAD},
        {"5x", BAD},
        {"5dd", BAD},
        {"9999999999999999", BAD},
        {"2027-02-29", BAD},
        {"2027-13-01", BAD},
        {"2027-1-31", BAD},
        {"2027-01-31x", BAD},
        {"2027-01-31T12:00:00", BAD},
        {"2027-01-31T25:00:00Z", BAD},
        {"2027-01-31T12:00:00+99:00", BAD},
        {"2027-01-31T12:00:00Zz", BAD},
        {"1969-01-01", BAD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t got = -7;
        struct error err = {0};
        int rc = time_arg_parse(rows[i].text, NOW, &got, &err);
        if (rows[i].want == BAD ? rc != -1 || got != -7 || err.text[0] == '\0'
                                : rc != 0 || got != rows[i].want)
            fail_msg("\"%s\": %d, %lld", rows[i].text, rc, (long long)got);
    }
}

static void durations(void **state)
{
    (void)state;
    int64_t got = -7;
    assert_int_equal(time_arg_duration("90s", &got, NULL), 0);
    assert_int_equal(got, 90);
    assert_int_equal(time_arg_duration("5m", &got, NULL), 0);
    assert_int_equal(got, 300);
    assert_int_equal(time_arg_duration("never", &got, NULL), -1);
    assert_int_equal(time_arg_duration("2027-01-31", &got, NULL), -1);
    assert_int_equal(got, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(moments), cmocka_unit_test(durations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
