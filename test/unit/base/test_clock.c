/* About so long: never more than a quarter off, and not the same for all. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void test_about(void **state)
{
    (void)state;
    static const int64_t lengths[] = {0, 1, 999, 100000000, 10000000000, 3600000000000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        int64_t ns = lengths[i], least = INT64_MAX, most = 0;
        for (int k = 0; k < 1000; k++) {
            int64_t about = clock_about(ns);
            least = about < least ? about : least;
            most = about > most ? about : most;
        }
        assert_true(least >= ns - ns / 4 && most <= ns - ns / 4 + ns / 2);
        if (ns >= 100000000) /* a thousand times within a tenth of where they may be: that does not happen */
            assert_true(most - least > ns / 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_about)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
