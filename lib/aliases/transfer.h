/* transfer: alias data on its way between hosts: a snapshot is made, installed, and rolled back.
 *
 * A snapshot is an SQLite database with the five tables of the rules and nothing else, and a seal (seal.h). It is installed row by
 * row, in one transaction of the live database, never by a rename: whoever reads has all of the old rows or all of the new
 * ones, also where the process is killed. What the database held before is kept (versions.h).
 *
 * One at a time for a database: the directory is locked (flock). What is being made or looked at lies there too, as
 * "aliases.db.draft"; one that was left by a process that was killed is removed by the next. */
#ifndef RCPTGATE_ALIASES_TRANSFER_H
#define RCPTGATE_ALIASES_TRANSFER_H

#include "aliases/edit.h"

#include <stdbool.h>
#include <stdint.h>

struct aliases_transfer;

/* EDIT_BUSY where another one is under way. */
enum edit_status aliases_transfer_begin(const char *database, struct aliases_transfer **out,
                                        struct error *err);
void aliases_transfer_end(struct aliases_transfer *transfer);

/* A snapshot of what the database holds now. *fd: the file, which has no name any more and is the caller's to copy and close. The
 * serial is greater than all that this database has seen. Nobody is kept from writing. */
enum edit_status aliases_transfer_make(struct aliases_transfer *transfer, int64_t now_s, int64_t *serial,
                                       struct aliases_sizes *sizes, int *fd, struct error *err);

/* Could it be a snapshot? Before anything of it is copied to where others may read it. For a regular file. */
enum edit_status aliases_transfer_look(int fd, const char *name, struct error *err);

/* Copies the snapshot that is read from fd, and checks it: its seal, and all that the daemon checks. name is what err calls it.
 * EDIT_INVALID: it must not be installed. */
enum edit_status aliases_transfer_receive(struct aliases_transfer *transfer, int fd, const char *name,
                                          struct error *err);

/* Instead: what the database held before the last install that was not rolled back. EDIT_NOT_FOUND: nothing is kept. */
enum edit_status aliases_transfer_recall(struct aliases_transfer *transfer, struct error *err);

struct transfer_report {
    int64_t serial; /* of what is to be installed; of a recalled version 0 where it was no snapshot */
    int64_t in_force, newest; /* as of now: serials.h */
    struct edit_difference tables[ALIASES_TABLES], all;
    struct aliases_sizes before, after;
};

/* What would change. writes: from here on nobody else writes to the database, until the end. */
enum edit_status aliases_transfer_compare(struct aliases_transfer *transfer, bool writes,
                                          struct transfer_report *out, struct error *err);

/* Keeps what is there, and does it. After EDIT_DONE it holds. */
enum edit_status aliases_transfer_commit(struct aliases_transfer *transfer, struct error *err);

#endif
