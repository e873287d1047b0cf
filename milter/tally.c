#include "tally.h"

#include "hash.h"
#include "pool.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 16384 };

struct tally {
    uint64_t seed[2];
    struct tally_row *buckets[BUCKETS];
    struct tally_row **rows;
    size_t n, room;
    struct pool pool;
};

struct tally *tally_new(void)
{
    struct tally *tally = calloc(1, sizeof *tally);
    if (tally != NULL)
        hash_seed(tally->seed);
    return tally;
}

void tally_free(struct tally *tally)
{
    if (tally == NULL)
        return;
    pool_done(&tally->pool);
    free(tally->rows);
    free(tally);
}

static struct tally_row *row_new(struct tally *tally, struct tally_row **bucket, const char *what,
                                 const char *subject)
{
    if (tally->n == tally->room) {
        size_t room = tally->room > 0 ? tally->room * 2 : 64;
        struct tally_row **more = realloc(tally->rows, room * sizeof(struct tally_row *));
        if (more == NULL)
            return NULL;
        tally->rows = more;
        tally->room = room;
    }
    struct tally_row *row = pool_alloc(&tally->pool, sizeof *row);
    if (row == NULL || (row->what = pool_strdup(&tally->pool, what)) == NULL ||
        (row->subject = pool_strdup(&tally->pool, subject)) == NULL)
        return NULL;
    row->next = *bucket;
    *bucket = row;
    tally->rows[tally->n++] = row;
    return row;
}

void tally_add(struct tally *tally, const char *what, const char *subject, int64_t time_ms)
{
    static const char others[] = "(others)";
    struct tally_row **bucket =
        &tally->buckets[(hash_string(tally->seed, what) * 31 + hash_string(tally->seed, subject)) % BUCKETS];
    struct tally_row *row = *bucket;
    while (row != NULL && (strcmp(row->subject, subject) != 0 || strcmp(row->what, what) != 0))
        row = row->next;
    if (row == NULL && tally->n >= TALLY_ROWS && strcmp(subject, others) != 0) {
        tally_add(tally, what, others, time_ms);
        return;
    }
    if (row == NULL)
        row = row_new(tally, bucket, what, subject);
    if (row == NULL)
        return;
    if (row->count++ == 0)
        row->first_ms = row->last_ms = time_ms;
    row->first_ms = time_ms < row->first_ms ? time_ms : row->first_ms;
    row->last_ms = time_ms > row->last_ms ? time_ms : row->last_ms;
}

static int compare(const void *left, const void *right)
{
    const struct tally_row *const *pa = left, *const *pb = right;
    const struct tally_row *a = *pa, *b = *pb;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    int order = strcmp(a->what, b->what);
    return order != 0 ? order : strcmp(a->subject, b->subject);
}

struct tally_row *const *tally_sorted(struct tally *tally, size_t *n)
{
    if (tally->n > 1)
        qsort(tally->rows, tally->n, sizeof(struct tally_row *), compare);
    *n = tally->n;
    return tally->rows;
}
