/* table: buckets of chained rows. Each row is one piece of memory: the user's struct, then the key. There are
 * about as many buckets as rows; where there is no memory for more, chains become longer, and nothing fails. */
#include "base/table.h"

#include "base/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BUCKETS = 64 }; /* a power of two, and so are all that follow */

struct table {
    struct table_row **buckets;
    size_t n_buckets, n_rows, max_rows, row_size;
    uint64_t seed[2];
};

struct table *table_new(size_t row_size, size_t max_rows)
{
    assert(row_size >= sizeof(struct table_row));
    struct table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return NULL;
    table->buckets = calloc(FIRST_BUCKETS, sizeof(struct table_row *));
    if (table->buckets == NULL) {
        free(table);
        return NULL;
    }
    table->n_buckets = FIRST_BUCKETS;
    table->max_rows = max_rows;
    table->row_size = row_size;
    hash_seed(table->seed);
    return table;
}

void table_free(struct table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->n_buckets; i++) {
        struct table_row *row = table->buckets[i];
        while (row != NULL) {
            struct table_row *next = row->next;
            free(row);
            row = next;
        }
    }
    free(table->buckets);
    free(table);
}

static struct table_row **bucket_of(const struct table *table, uint64_t hash)
{
    return &table->buckets[hash & (table->n_buckets - 1)];
}

static struct table_row *find(const struct table *table, uint64_t hash, const void *key, size_t n)
{
    struct table_row *row = *bucket_of(table, hash);
    while (row != NULL && (row->hash != hash || row->n != n || memcmp(row->key, key, n) != 0))
        row = row->next;
    return row;
}

void *table_find(const struct table *table, const void *key, size_t n)
{
    return table != NULL ? find(table, hash_bytes(table->seed, key, n), key, n) : NULL;
}

static void bucket_put(struct table *table, struct table_row *row)
{
    struct table_row **bucket = bucket_of(table, row->hash);
    row->next = *bucket;
    *bucket = row;
}

static void grow(struct table *table)
{
    struct table_row **old = table->buckets,
                     **more = calloc(2 * table->n_buckets, sizeof(struct table_row *));
    size_t n_old = table->n_buckets;
    if (more == NULL)
        return;
    table->buckets = more;
    table->n_buckets *= 2;
    for (size_t i = 0; i < n_old; i++) {
        struct table_row *row = old[i];
        while (row != NULL) {
            struct table_row *next = row->next;
            bucket_put(table, row);
            row = next;
        }
    }
    free(old);
}

void *table_add(struct table *table, const void *key, size_t n)
{
    uint64_t hash = hash_bytes(table->seed, key, n);
    struct table_row *row = find(table, hash, key, n);
    if (row != NULL || table->n_rows >= table->max_rows)
        return row;
    row = calloc(1, table->row_size + n + 1);
    if (row == NULL)
        return NULL;
    char *copy = (char *)row + table->row_size;
    memcpy(copy, key, n);
    *row = (struct table_row){.key = copy, .n = n, .hash = hash};
    if (table->n_rows >= table->n_buckets)
        grow(table);
    bucket_put(table, row);
    table->n_rows++;
    return row;
}

void table_remove(struct table *table, void *gone)
{
    struct table_row *row = gone, **at = bucket_of(table, row->hash);
    while (*at != row)
        at = &(*at)->next;
    *at = row->next;
    table->n_rows--;
    free(row);
}

size_t table_rows(const struct table *table)
{
    return table != NULL ? table->n_rows : 0;
}

void *table_next(const struct table *table, const void *before)
{
    const struct table_row *row = before;
    if (table == NULL || (row != NULL && row->next != NULL))
        return table != NULL ? row->next : NULL;
    size_t i = row != NULL ? (row->hash & (table->n_buckets - 1)) + 1 : 0;
    while (i < table->n_buckets && table->buckets[i] == NULL)
        i++;
    return i < table->n_buckets ? table->buckets[i] : NULL;
}

void **table_sorted(const struct table *table, int (*compare)(const void *, const void *))
{
    size_t n = 0;
    void **rows = malloc((table_rows(table) + 1) * sizeof(void *));
    if (rows == NULL)
        return NULL;
    for (void *row = NULL; (row = table_next(table, row)) != NULL;)
        rows[n++] = row;
    if (n > 1)
        qsort(rows, n, sizeof(void *), compare);
    return rows;
}
