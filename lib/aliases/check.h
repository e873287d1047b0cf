/* check: may this data be taken? Reads it all: what takes longer than a session can wait. "Cannot tell" is an answer of its
 * own, and says nothing about the data.
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

enum { CHECK_SHRINK_FROM = 100 }; /* rows: of fewer, all must be lost */

/* path is what err calls the file. *sizes is set where the result is GOOD. */
enum check_result aliases_check(sqlite3 *db, const char *path, struct aliases_sizes *sizes,
                                struct error *err);

/* Integrity alone, of the database that the connection knows as `schema`. */
enum check_result aliases_check_integrity(sqlite3 *db, const char *schema, const char *path,
                                          struct error *err);

/* Only counts, and of each table `most` rows at most. SQLITE_OK or what went wrong. */
int aliases_check_count(sqlite3 *db, int64_t most, struct aliases_sizes *sizes);

/* Only homeless and homeless_name. SQLITE_OK or what went wrong. */
int aliases_check_homeless(sqlite3 *db, struct aliases_sizes *sizes);

/* How many pages hold anything; rows that are removed give theirs back. SQLITE_OK or what went wrong. */
int aliases_check_pages(sqlite3 *db, int64_t *used);

/* GOOD, or BAD with left set ("0 of 1 are left in aliases") where `now` lost more than max_shrink percent of what was there
 * before, or all of what were few: of a table, or of all together. Of sender and client rules those that accept count for their
 * table. */
enum check_result aliases_check_shrink(const struct aliases_sizes *before, const struct aliases_sizes *now,
                                       int max_shrink, struct error *left);

/* Of data that is there, and that a gate does not take for that: in which file, and what to do. */
void aliases_check_say_shrink(const char *path, int max_shrink, const struct error *left, struct error *err);

#endif
