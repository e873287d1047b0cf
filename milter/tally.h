/* tally: how often something happened, by what and to whom, with the first and the last time. Bounded: beyond TALLY_ROWS
 * subjects, those that are new are counted together, under the subject "(others)". */
#ifndef RCPTGATE_TALLY_H
#define RCPTGATE_TALLY_H

#include "table.h"

enum { TALLY_ROWS = 100000 };

struct tally_row {
    struct table_row row;
    const char *what, *subject; /* what: the caller's word for it */
    uint64_t count;
    int64_t first_ms, last_ms;
};

struct tally;

struct tally *tally_new(void); /* NULL: out of memory */
void tally_free(struct tally *tally);

/* Both texts are copied. Out of memory: counted as others, or not at all. */
void tally_add(struct tally *tally, const char *what, const char *subject, int64_t time_ms);

/* All rows (struct tally_row), the busiest first; the caller frees the array. NULL: out of memory. */
void **tally_sorted(const struct tally *tally, size_t *n);

#endif
