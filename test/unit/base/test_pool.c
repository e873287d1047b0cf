/* pool: alignment, zeroes, growth, reset and what giants do to it. */
#include "base/pool.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_zero(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bytes[i], 0);
}

static void test_empty(void **state)
{
    (void)state;
    struct pool pool = {0};
    pool_reset(&pool);
    pool_done(&pool);
    pool_done(&pool);
    assert_null(pool.blocks);
}

/* Pieces are aligned, zero, and do not overlap: each keeps the pattern that was written into it. */
static void test_pieces(void **state)
{
    (void)state;
    enum { PIECES = 500 };
    struct pool pool = {0};
    unsigned char *at[PIECES];
    size_t size[PIECES];
    unsigned seed = 1;
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < PIECES; i++) {
            size[i] = (size_t)rand_r(&seed) % (i % 50 == 0 ? 30000 : 200);
            at[i] = pool_alloc(&pool, size[i]);
            assert_non_null(at[i]);
            assert_int_equal((uintptr_t)at[i] % alignof(max_align_t), 0);
            assert_zero(at[i], size[i]);
            memset(at[i], (int)(1 + i % 250), size[i]);
        }
        for (size_t i = 0; i < PIECES; i++)
            for (size_t k = 0; k < size[i]; k++)
                assert_int_equal(at[i][k], 1 + i % 250);
        pool_reset(&pool);
    }
    pool_done(&pool);
}

static void test_impossible(void **state)
{
    (void)state;
    struct pool pool = {0};
    assert_null(pool_alloc(&pool, SIZE_MAX));
    assert_null(pool_alloc(&pool, SIZE_MAX - 20));
    assert_null(pool.blocks);
    assert_non_null(pool_alloc(&pool, 10));
    pool_done(&pool);
}

/* After the first round the same work takes no memory from the system. */
static void test_reset_keeps_a_block(void **state)
{
    (void)state;
    struct pool pool = {0};
    void *first = pool_alloc(&pool, 100);
    assert_non_null(first);
    struct pool_block *block = pool.blocks;
    assert_non_null(pool_alloc(&pool, 20000));
    assert_ptr_not_equal(pool.blocks, block);
    pool_reset(&pool);
    assert_ptr_equal(pool.blocks, block);
    unsigned char *again = pool_alloc(&pool, 100);
    assert_ptr_equal(again, first);
    assert_zero(again, 100);
    pool_done(&pool);
}

static void test_strings(void **state)
{
    (void)state;
    struct pool pool = {0};
    char giant[20000];
    memset(giant, 'x', sizeof giant - 1);
    giant[sizeof giant - 1] = '\0';
    assert_null(pool_strdup(&pool, NULL));
    assert_null(pool_strndup(&pool, NULL, 3));
    assert_string_equal(pool_strdup(&pool, ""), "");
    assert_string_equal(pool_strdup(&pool, "abc"), "abc");
    assert_string_equal(pool_strndup(&pool, "abcdef", 3), "abc");
    assert_string_equal(pool_strndup(&pool, "abc", 0), "");
    assert_string_equal(pool_strdup(&pool, giant), giant);
    assert_string_equal(pool_join(&pool, "a", "@", "b"), "a@b");
    assert_string_equal(pool_join(&pool, "", "", ""), "");
    assert_string_equal(pool_join(&pool, "", giant, ""), giant);
    assert_string_equal(pool_printf(&pool, "%s-%d", "a", 42), "a-42");
    assert_string_equal(pool_printf(&pool, "%s", giant), giant);
    pool_done(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),      cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_impossible), cmocka_unit_test(test_reset_keeps_a_block),
        cmocka_unit_test(test_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
