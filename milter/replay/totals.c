/* totals: a table by what and subject (see totals.h). Where memory runs out, what is new is not counted. */
#include "replay/totals.h"

#include "base/pool.h"

#include <stdlib.h>
#include <string.h>

static const char others[] = "(others)";

struct totals {
    struct table *rows;
    struct pool key; /* of the row that is looked for */
};

struct totals *totals_new(void)
{
    struct totals *totals = calloc(1, sizeof *totals);
    if (totals == NULL)
        return NULL;
    totals->rows = table_new(sizeof(struct totals_row), SIZE_MAX);
    if (totals->rows == NULL) {
        free(totals);
        return NULL;
    }
    return totals;
}

void totals_free(struct totals *totals)
{
    if (totals == NULL)
        return;
    table_free(totals->rows);
    pool_done(&totals->key);
    free(totals);
}

/* The key is both texts, with the NUL between them. NULL: out of memory. */
static struct totals_row *row_of(struct totals *totals, const char *what, const char *subject)
{
    size_t n_what = strlen(what) + 1, n = n_what + strlen(subject);
    pool_reset(&totals->key);
    char *key = pool_alloc(&totals->key, n + 1);
    if (key == NULL)
        return NULL;
    memcpy(key, what, n_what);
    memcpy(key + n_what, subject, n - n_what);
    struct totals_row *row = table_find(totals->rows, key, n);
    if (row != NULL)
        return row;
    if (table_rows(totals->rows) >= TOTALS_ROWS && strcmp(subject, others) != 0)
        return row_of(totals, what, others);
    row = table_add(totals->rows, key, n);
    if (row != NULL) {
        row->what = row->row.key;
        row->subject = row->row.key + n_what;
    }
    return row;
}

void totals_add(struct totals *totals, const char *what, const char *subject, int64_t time_ms)
{
    struct totals_row *row = row_of(totals, what, subject);
    if (row == NULL)
        return;
    if (row->count++ == 0)
        row->first_ms = row->last_ms = time_ms;
    row->first_ms = time_ms < row->first_ms ? time_ms : row->first_ms;
    row->last_ms = time_ms > row->last_ms ? time_ms : row->last_ms;
}

static int compare(const void *left, const void *right)
{
    const struct totals_row *a = *(void *const *)left, *b = *(void *const *)right;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    int order = strcmp(a->what, b->what);
    return order != 0 ? order : strcmp(a->subject, b->subject);
}

void **totals_sorted(const struct totals *totals, size_t *n)
{
    void **rows = table_sorted(totals->rows, compare);
    *n = rows != NULL ? table_rows(totals->rows) : 0;
    return rows;
}
