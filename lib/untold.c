/* Two tables of open addressing: one is filled while the other is being told. */
#include "untold.h"

#include "hash.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLACES = 4096, /* 180 KB each, once used */
    MOST = 3072,   /* of them, so that a search is short */
};

struct untold_book {
    uint64_t seed[2]; /* strangers choose the identifiers */
    pthread_mutex_t lock;
    size_t n; /* in the one that is filled */
    struct untold *filling, *told;
    struct untold tables[2][PLACES];
};

struct untold_book *untold_new(void)
{
    struct untold_book *book = calloc(1, sizeof *book); /* untouched pages cost nothing */
    if (book == NULL)
        return NULL;
    hash_seed(book->seed);
    pthread_mutex_init(&book->lock, NULL);
    book->filling = book->tables[0];
    book->told = book->tables[1];
    return book;
}

void untold_free(struct untold_book *book)
{
    if (book == NULL)
        return;
    pthread_mutex_destroy(&book->lock);
    free(book);
}

/* Its place in the table, or an empty one. */
static struct untold *find(struct untold_book *book, uint16_t who, const char *retry)
{
    size_t at = hash_string(book->seed, retry) + who;
    for (;; at++) {
        struct untold *untold = &book->filling[at % PLACES];
        if (untold->n == 0 || (untold->who == who && strcmp(untold->retry, retry) == 0))
            return untold;
    }
}

bool untold_add(struct untold_book *book, uint16_t who, const char *retry)
{
    if (strlen(retry) >= sizeof book->filling->retry)
        return false;
    pthread_mutex_lock(&book->lock);
    struct untold *untold = find(book, who, retry);
    bool fits = untold->n > 0 ? untold->n < UINT32_MAX : book->n < MOST;
    if (fits && untold->n == 0) {
        snprintf(untold->retry, sizeof untold->retry, "%s", retry);
        untold->who = who;
        untold->counts = true;
        book->n++;
    }
    untold->n += fits;
    pthread_mutex_unlock(&book->lock);
    return fits;
}

static int by_who(const void *a, const void *b)
{
    return (int)((const struct untold *)a)->who - (int)((const struct untold *)b)->who;
}

size_t untold_take(struct untold_book *book, struct untold **out)
{
    pthread_mutex_lock(&book->lock);
    struct untold *taken = book->filling;
    size_t n = book->n, to = 0;
    if (n > 0) {
        book->filling = book->told;
        book->told = taken;
        book->n = 0;
        memset(book->filling, 0, sizeof book->tables[0]);
    }
    pthread_mutex_unlock(&book->lock);
    for (size_t i = 0; to < n; i++)
        if (taken[i].n > 0)
            taken[to++] = taken[i];
    qsort(taken, n, sizeof *taken, by_who);
    *out = taken;
    return n;
}
