/* aliases_check: may this data be taken? Reads it all: what takes longer than a session can wait.
 *
 * Integrity (PRAGMA integrity_check: quick_check does not see rows that are out of order, and a look-up misses them),
 * version and columns, in tables that are not STRICT the types of every row, and how many rows there are, so that
 * data that lost most of them can be told. A gigabyte takes some ten seconds. */
#ifndef RCPTGATE_ALIASES_CHECK_H
#define RCPTGATE_ALIASES_CHECK_H

#include "base/error.h"
#include "aliases/schema.h"

#include <stdint.h>

enum check_result {
    CHECK_UNSURE = 0, /* interrupted, locked, out of memory: says nothing about the data */
    CHECK_GOOD,
    CHECK_BAD,
};

struct aliases_sizes {
    int64_t rows[ALIASES_TABLES];
    int64_t accepts[ALIASES_TABLES]; /* of those, with action accept */
    int64_t homeless; /* aliases, globs and catch-alls that accept mail and have no mailbox for it */
    char homeless_name[ALIASES_NAME]; /* one of them, cut where it is long */
};

enum { CHECK_SHRINK_FROM = 100 }; /* rows: of fewer, all must be lost */

/* path is what err calls the file. *counts is set where the result is GOOD. */
enum check_result aliases_check(sqlite3 *db, const char *path, struct aliases_sizes *sizes,
                                struct error *err);

/* Only counts. SQLITE_OK or what went wrong. */
int aliases_check_count(sqlite3 *db, struct aliases_sizes *sizes);

/* GOOD, or BAD with err set where `now` lost more than max_shrink percent of what was there before, or all of what were few:
 * of a table, or of all together. Of sender and client rules those that accept count for their table. */
enum check_result aliases_check_shrink(const struct aliases_sizes *before, const struct aliases_sizes *now,
                                       int max_shrink, const char *path, struct error *err);

#endif
