/* table: rows by key, in memory, bounded. A secret seed (hash.h) keeps it quick whatever keys strangers choose.
 *
 * A row is a struct of the user's that begins with a struct table_row, and is zeroed but for that:
 *
 *     struct number { struct table_row row; int64_t n; };
 *
 * It stays where it is until it is removed. Not for sharing between threads while rows come and go. */
#ifndef RCPTGATE_BASE_TABLE_H
#define RCPTGATE_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table;

struct table_row {   /* not to be written to */
    const char *key; /* a copy: n bytes, then a NUL */
    size_t n;
    uint64_t hash;
    struct table_row *next; /* in its bucket */
};

/* row_size: of the user's struct. At most max_rows rows. NULL: out of memory. */
struct table *table_new(size_t row_size, size_t max_rows);
void table_free(struct table *table); /* with all rows; NULL is harmless */

/* The row of that key; NULL where there is none, or no table. */
void *table_find(const struct table *table, const void *key, size_t n);

/* The row of that key, made where there is none. NULL: there is no room for another one, or no memory. */
void *table_add(struct table *table, const void *key, size_t n);

/* row: of table_find() or table_add(); freed. */
void table_remove(struct table *table, void *row);

size_t table_rows(const struct table *table); /* of no table: 0 */

/* The row after that one, the first one after NULL; in no order. NULL: there is none, or no table. */
void *table_next(const struct table *table, const void *row);

/* All rows in an order: an array of table_rows() pointers, the caller's to free. compare: as for qsort(), each of its
 * arguments is a `void *const *` to a row. NULL: out of memory. */
void **table_sorted(const struct table *table, int (*compare)(const void *, const void *));

#endif
