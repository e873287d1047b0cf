/* Holds over a restart: what is saved is found again, however long its key is; what makes no sense is passed over. */
#include "counters/counters.h"
#include "counters/stores.h"
#include "gate/holds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START INT64_C(1732320000000)

static enum count_result look(struct counters *counters, const char *key, bool trip)
{
    const struct count_ask ask = {.key = key,
                                  .limit = "flood",
                                  .max = 0,
                                  .window_ms = 60000,
                                  .amount = 1,
                                  .need = 1,
                                  .hold_ms = 600000,
                                  .ttl_ms = 600000,
                                  .flags = trip ? 0 : COUNT_HOLD_ONLY,
                                  .share_of = -1};
    struct count_answer answer;
    assert_int_equal(
        counters_reserve(counters, &(struct count_request){.asks = &ask, .n = 1}, START, &answer),
        COUNTERS_OK);
    return answer.result;
}

static void note_max(void *arg, const struct count_view *view)
{
    *(int64_t *)arg = view->max;
}

static void test_long_keys(void **state)
{
    (void)state;
    char path[] = "/tmp/test_holds.XXXXXX", longest[6000];
    struct error err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    struct counters *before = counters_memory_new(100), *after = counters_memory_new(100);
    assert_int_equal(look(before, longest, true), COUNT_OVER);
    assert_int_equal(look(before, "short", true), COUNT_OVER);
    assert_int_equal(holds_save(before, path, START, &err), 0);
    assert_int_equal(holds_load(after, path, START, &err), 0);
    assert_int_equal(look(after, longest, false), COUNT_HELD);
    assert_int_equal(look(after, "short", false), COUNT_HELD);
    assert_int_equal(look(after, "other", false), COUNT_ADMITTED);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(
        "nonsense\n1732320600000 60000 flood \n1732320600000 0 flood k\n1732320600000 60000 flood two words\n"
        "1732320600000 60000 flood cut",
        out);
    fclose(out);
    assert_int_equal(holds_load(after, path, START, &err), -1);
    assert_memory_equal(err.text, "5 lines", 7);
    unlink(path);
    counters_free(before);
    counters_free(after);
}

/* When they have to be written: one began, or somebody was let go. The max comes back with them. */
static void test_changes(void **state)
{
    (void)state;
    char path[] = "/tmp/test_holds.XXXXXX";
    struct error err = {0};
    struct counters *before = counters_memory_new(100), *after = counters_memory_new(100);
    uint64_t began = counters_memory_holds(before);
    assert_int_equal(look(before, "a", false), COUNT_ADMITTED);
    assert_int_equal(counters_memory_holds(before), began);
    assert_int_equal(look(before, "a", true), COUNT_OVER);
    assert_int_not_equal(counters_memory_holds(before), began);
    began = counters_memory_holds(before);
    assert_int_equal(look(before, "a", true), COUNT_HELD); /* it goes on */
    assert_int_equal(counters_memory_holds(before), began);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(holds_save(before, path, START, &err), 0);
    assert_int_equal(holds_load(after, path, START, &err), 0);
    const char *const all[] = {"*"};
    int64_t max = -1;
    assert_int_equal(counters_show(after, all, 1, START, note_max, &max), COUNTERS_OK);
    assert_int_equal(max, 0);
    size_t n = 0;
    assert_int_equal(counters_reset(before, all, 1, NULL, &n), COUNTERS_OK);
    assert_int_equal(n, 1);
    assert_int_not_equal(counters_memory_holds(before), began);
    unlink(path);
    counters_free(before);
    counters_free(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_long_keys), cmocka_unit_test(test_changes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
