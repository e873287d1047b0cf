/* snapshot: makes a copy of a database, page by page, as it is: what is damaged in it stays damaged, and
 * is found when the copy is checked.
 *
 * Done in small steps with pauses, written out as it goes, so that neither the disk nor other files' fsync()
 * have to wait for it. The copy is complete and on disk when aliases_snapshot_make() returns; it is in rollback mode, has
 * no file beside it, and is meant to be read with immutable=1 and replaced by rename. */
#ifndef RCPTGATE_ALIASES_SNAPSHOT_H
#define RCPTGATE_ALIASES_SNAPSHOT_H

#include "base/error.h"

#include <sqlite3.h>
#include <stdint.h>

enum copy_result {
    COPY_DONE = 0,
    COPY_CANCELLED,
    COPY_NO_SOURCE, /* the database cannot be read: *rc says why */
    COPY_NO_TARGET, /* the copy cannot be written: err says why */
};

/* from: within a read transaction, so that the copy is of one moment. Replaces path. cancelled() ends it
 * early. After a failure nothing is left under path. */
enum copy_result aliases_snapshot_make(sqlite3 *from, const char *path, int (*cancelled)(void *), void *arg,
                                       int *rc, struct error *err);

/* A sum of the pages of a copy that something is on: those of the same pages are the same, those of others, but by malice, are not.
 * -1: it cannot be read. */
int aliases_snapshot_sum(const char *path, uint64_t *out);

/* Renames the copy into its place, for good. -1 with err set. */
int aliases_snapshot_install(const char *path, const char *place, struct error *err);

#endif
