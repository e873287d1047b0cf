/* edit: writing the alias rules, for the commands.
 *
 * One transaction for a command: aliases_edit_open() begins it, aliases_edit_commit() ends it, and without that
 * aliases_edit_close() leaves everything as it was. Generic over aliases_schema_columns. Values arrive canonical; what
 * no row may hold is refused by the schema. Waits EDIT_BUSY_MS for a database that somebody else is writing
 * to. */
#ifndef RCPTGATE_ALIASES_EDIT_H
#define RCPTGATE_ALIASES_EDIT_H

#include "base/error.h"
#include "aliases/schema.h"

#include <stdbool.h>
#include <stdint.h>

enum { EDIT_BUSY_MS = 5000, EDIT_STEP_MS = 60000 };

enum edit_status {
    EDIT_DONE = 0,
    EDIT_EXISTS,
    EDIT_NOT_FOUND, /* no such row */
    EDIT_MISSING,   /* no such database */
    EDIT_INVALID,   /* the schema refused the values */
    EDIT_BUSY,      /* somebody else kept writing */
    EDIT_CREATE,    /* the file or its directory cannot be created */
    EDIT_NO_RIGHT,  /* this user may not read or write it */
    EDIT_FAILED,    /* all else: disk full, read-only, damaged, wrong version */
};

enum edit_kind { EDIT_UNSET = 0, EDIT_NULL, EDIT_TEXT, EDIT_NUMBER };

struct edit_value {
    enum edit_kind kind; /* UNSET: left as it is, or the column's default */
    const char *text;    /* borrowed */
    int64_t number;
};

struct edit_record { /* by the places of aliases_schema_columns */
    struct edit_value at[ALIASES_COLUMNS];
};

/* Makes the database, and its directory (2770) where that is missing; the files are 0660, whatever the umask.
 * group: who shares them, NULL: the group of the directory (of its parent for a new one). Run by root, owner
 * and group are those of the directory; a new one of root's own has mode 0700. Never touches what exists: EDIT_EXISTS, also for -wal and -journal
 * files left by an earlier database. */
enum edit_status aliases_edit_create(const char *path, const char *group, struct error *err);

struct aliases_edit;

/* EDIT_DONE with *out; otherwise *out is untouched. writes == false: only reads, and never waits for writers. */
enum edit_status aliases_edit_open(const char *path, bool writes, struct aliases_edit **out,
                                   struct error *err);
enum edit_status aliases_edit_commit(struct aliases_edit *edit, struct error *err);
void aliases_edit_close(struct aliases_edit *edit);

/* For other files of this room: its connection, within the transaction, from here on without a bound in time; and what an
 * SQLite result code of it means. */
sqlite3 *aliases_edit_lend(struct aliases_edit *edit);
enum edit_status aliases_edit_explain(const struct aliases_edit *edit, int rc, struct error *err);

/* record: the keys, and the other columns that are to be written. */
enum edit_status aliases_edit_add(struct aliases_edit *edit, enum aliases_table table,
                                  const struct edit_record *record, struct error *err);
enum edit_status aliases_edit_set(struct aliases_edit *edit, enum aliases_table table,
                                  const struct edit_record *record, struct error *err);
enum edit_status aliases_edit_remove(struct aliases_edit *edit, enum aliases_table table,
                                     const struct edit_record *keys, struct error *err);

/* Deletes all rows of the table. What it held is remembered until the edit is closed, or the next time. */
enum edit_status aliases_edit_clear(struct aliases_edit *edit, enum aliases_table table, struct error *err);

/* How many rows the tables have now, in this transaction; each is counted up to `most`. */
enum edit_status aliases_edit_count(struct aliases_edit *edit, int64_t most, struct aliases_sizes *out,
                                    struct error *err);

struct edit_difference { /* rows */
    int64_t before, added, changed, removed;
};

/* What a table that was cleared holds now, compared with then: is added to *out. */
enum edit_status aliases_edit_compare(struct aliases_edit *edit, enum aliases_table table,
                                      struct edit_difference *out, struct error *err);

/* Calls each() for every row, in the order of the keys, until it returns false. The record is valid during the call.
 * keys NULL: all rows; else the row with these keys, EDIT_NOT_FOUND where there is none. */
typedef bool aliases_each(enum aliases_table table, const struct edit_record *record, void *context);
enum edit_status aliases_edit_list(struct aliases_edit *edit, enum aliases_table table,
                                   const struct edit_record *keys, aliases_each *each, void *context,
                                   struct error *err);

/* Calls each() for what accepts mail and has a mailbox, of ALIASES_ALIASES or ALIASES_GLOBS, until it returns false: the keys as
 * aliases_schema_columns has them, and the mailbox as it stands there, valid during the call. A third of the cost of the list. */
typedef bool aliases_each_mailbox(enum aliases_table table, const char *const keys[ALIASES_KEYS],
                                  const char *mailbox, void *context);
enum edit_status aliases_edit_mailboxes(struct aliases_edit *edit, enum aliases_table table,
                                        aliases_each_mailbox *each, void *context, struct error *err);

#endif
