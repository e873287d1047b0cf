/* tally: a table by what and subject (see tally.h). Where memory runs out, what is new is not counted. */
#include "tally.h"

#include "pool.h"

#include <stdlib.h>
#include <string.h>

static const char others[] = "(others)";

struct tally {
    struct table *rows;
    struct pool key; /* of the row that is looked for */
};

struct tally *tally_new(void)
{
    struct tally *tally = calloc(1, sizeof *tally);
    if (tally == NULL)
        return NULL;
    tally->rows = table_new(sizeof(struct tally_row), SIZE_MAX);
    if (tally->rows == NULL) {
        free(tally);
        return NULL;
    }
    return tally;
}

void tally_free(struct tally *tally)
{
    if (tally == NULL)
        return;
    table_free(tally->rows);
    pool_done(&tally->key);
    free(tally);
}

/* The key is both texts, with the NUL between them. NULL: out of memory. */
static struct tally_row *row_of(struct tally *tally, const char *what, const char *subject)
{
    size_t n_what = strlen(what) + 1, n = n_what + strlen(subject);
    pool_reset(&tally->key);
    char *key = pool_alloc(&tally->key, n + 1);
    if (key == NULL)
        return NULL;
    memcpy(key, what, n_what);
    memcpy(key + n_what, subject, n - n_what);
    struct tally_row *row = table_find(tally->rows, key, n);
    if (row != NULL)
        return row;
    if (table_rows(tally->rows) >= TALLY_ROWS && strcmp(subject, others) != 0)
        return row_of(tally, what, others);
    row = table_add(tally->rows, key, n);
    if (row != NULL) {
        row->what = row->row.key;
        row->subject = row->row.key + n_what;
    }
    return row;
}

void tally_add(struct tally *tally, const char *what, const char *subject, int64_t time_ms)
{
    struct tally_row *row = row_of(tally, what, subject);
    if (row == NULL)
        return;
    if (row->count++ == 0)
        row->first_ms = row->last_ms = time_ms;
    row->first_ms = time_ms < row->first_ms ? time_ms : row->first_ms;
    row->last_ms = time_ms > row->last_ms ? time_ms : row->last_ms;
}

static int compare(const void *left, const void *right)
{
    const struct tally_row *a = *(void *const *)left, *b = *(void *const *)right;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    int order = strcmp(a->what, b->what);
    return order != 0 ? order : strcmp(a->subject, b->subject);
}

void **tally_sorted(const struct tally *tally, size_t *n)
{
    void **rows = table_sorted(tally->rows, compare);
    *n = rows != NULL ? table_rows(tally->rows) : 0;
    return rows;
}
