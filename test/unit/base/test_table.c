/* Random operations against a naive list; bounds, order, keys of any bytes, and nothing at all. */
#include "base/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct number {
    struct table_row row;
    int64_t n;
};

static uint64_t random_next(void)
{
    static uint64_t state = 88172645463325252U;
    state ^= state << 13; /* xorshift64 */
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* ---- against a list ---- */

enum { KEYS = 400, ROOM = 300, STEPS = 200000 };

struct model { /* what the table has to say of each key */
    bool there[KEYS];
    int64_t n[KEYS];
    struct number *at[KEYS];
    size_t size;
};

/* Keys of many lengths, with NULs in them. */
static size_t key_make(size_t i, char key[64])
{
    size_t n = sizeof i + i % 50;
    memset(key, 0, 64);
    memcpy(key, &i, sizeof i);
    return n;
}

static void step_add(struct table *table, struct model *model, size_t i)
{
    char key[64];
    struct number *row = table_add(table, key, key_make(i, key));
    if (!model->there[i] && model->size == ROOM) {
        assert_null(row);
        return;
    }
    assert_non_null(row);
    if (!model->there[i]) {
        assert_int_equal(row->n, 0);
        model->there[i] = true;
        model->n[i] = 0;
        model->at[i] = row;
        model->size++;
    }
    model->n[i] += (int64_t)(random_next() % 100);
    row->n = model->n[i];
}

static void step_remove(struct table *table, struct model *model, size_t i)
{
    if (!model->there[i])
        return;
    table_remove(table, model->at[i]);
    model->there[i] = false;
    model->size--;
}

static void step_find(const struct table *table, const struct model *model, size_t i)
{
    char key[64];
    size_t n = key_make(i, key);
    const struct number *row = table_find(table, key, n);
    assert_int_equal(row != NULL, model->there[i]);
    if (row == NULL)
        return;
    assert_ptr_equal(row, model->at[i]); /* rows stay where they are */
    assert_int_equal(row->n, model->n[i]);
    assert_int_equal(row->row.n, n);
    assert_memory_equal(row->row.key, key, n + 1);
}

static void assert_all(const struct table *table, const struct model *model)
{
    bool seen[KEYS] = {false};
    size_t n = 0;
    assert_int_equal(table_rows(table), model->size);
    for (const struct number *row = NULL; (row = table_next(table, row)) != NULL; n++) {
        size_t i;
        memcpy(&i, row->row.key, sizeof i);
        assert_true(i < KEYS && model->there[i] && !seen[i] && row == model->at[i]);
        seen[i] = true;
    }
    assert_int_equal(n, model->size);
}

static void test_random(void **state)
{
    (void)state;
    static struct model model;
    struct table *table = table_new(sizeof(struct number), ROOM);
    assert_non_null(table);
    for (int step = 0; step < STEPS; step++) {
        size_t i = random_next() % KEYS;
        uint64_t what = random_next() % 10;
        bool filling = step / 2000 % 2 == 0;
        if (what < (filling ? 5U : 2U))
            step_add(table, &model, i);
        else if (what < 7)
            step_remove(table, &model, i);
        else
            step_find(table, &model, i);
        if (step % 500 == 0)
            assert_all(table, &model);
    }
    for (size_t i = 0; i < KEYS; i++)
        step_find(table, &model, i);
    table_free(table);
}

/* ---- many, in order ---- */

static int compare(const void *left, const void *right)
{
    const struct number *a = *(void *const *)left, *b = *(void *const *)right;
    return (a->n > b->n) - (a->n < b->n);
}

static void test_sorted(void **state)
{
    (void)state;
    enum { MANY = 50000 };
    struct table *table = table_new(sizeof(struct number), MANY);
    char key[32];
    assert_non_null(table);
    for (int64_t i = 0; i < MANY; i++) {
        struct number *row = table_add(table, key, (size_t)snprintf(key, sizeof key, "name%d", (int)i));
        assert_non_null(row);
        row->n = i * 7919 % MANY; /* each number once: 7919 is a prime that does not divide MANY */
    }
    assert_null(table_add(table, "one too many", 12));
    void **rows = table_sorted(table, compare);
    assert_non_null(rows);
    for (int64_t i = 0; i < MANY; i++)
        assert_int_equal(((struct number *)rows[i])->n, i);
    free(rows);
    table_free(table);
}

/* ---- nothing ---- */

static void test_nothing(void **state)
{
    (void)state;
    assert_null(table_find(NULL, "a", 1));
    assert_null(table_next(NULL, NULL));
    assert_int_equal(table_rows(NULL), 0);
    table_free(NULL);
    struct table *table = table_new(sizeof(struct table_row), 1);
    assert_null(table_next(table, NULL));
    void **rows = table_sorted(table, compare);
    assert_non_null(rows);
    free(rows);
    struct table_row *row = table_add(table, "", 0);
    assert_non_null(row);
    assert_string_equal(row->key, "");
    assert_null(table_add(table, "a", 1));
    table_remove(table, row);
    assert_null(table_find(table, "", 0));
    assert_non_null(table_add(table, "a", 1));
    table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_sorted),
                                       cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
