/* totals: how often something happened, by what and to whom, with the first and the last time. Bounded: beyond TOTALS_ROWS
 * subjects, those that are new are counted together, under the subject "(others)". */
#ifndef RCPTGATE_REPLAY_TOTALS_H
#define RCPTGATE_REPLAY_TOTALS_H

#include "base/table.h"

enum { TOTALS_ROWS = 100000 };

struct totals_row {
    struct table_row row;
    const char *what, *subject; /* what: the caller's word for it */
    uint64_t count;
    int64_t first_ms, last_ms;
};

struct totals;

struct totals *totals_new(void); /* NULL: out of memory */
void totals_free(struct totals *totals);

/* Both texts are copied. Out of memory: counted as others, or not at all. */
void totals_add(struct totals *totals, const char *what, const char *subject, int64_t time_ms);

/* All rows (struct totals_row), the busiest first; the caller frees the array. NULL: out of memory. */
void **totals_sorted(const struct totals *totals, size_t *n);

#endif
