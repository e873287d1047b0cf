/* schema: the tables of the alias rules, as data: for reading, for editing, and for checking that a file has them.
 *
 * policy/aliases.sql is the schema; this is what the programs know of it. */
#ifndef RCPTGATE_ALIASES_SCHEMA_H
#define RCPTGATE_ALIASES_SCHEMA_H

#include "base/error.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ALIASES_VERSION = 1 }; /* PRAGMA user_version */
enum { ALIASES_NAME = 128 };  /* of a row, as it is shown */

enum aliases_table { /* the order is that of the table in schema.c */
                     ALIASES_DOMAINS,
                     ALIASES_ALIASES,
                     ALIASES_GLOBS,
                     ALIASES_SENDERS,
                     ALIASES_CLIENTS,
                     ALIASES_TABLES
};

enum { ALIASES_COLUMNS = 7, ALIASES_KEYS = 2 }; /* the most that a table has */

struct aliases_sizes {
    int64_t rows[ALIASES_TABLES];
    int64_t accepts[ALIASES_TABLES]; /* with action accept, of the rules about senders and clients */
    int64_t homeless; /* aliases, globs and catch-alls that accept mail and have no mailbox for it */
    char homeless_name[ALIASES_NAME]; /* one of them, cut where it is long */
};

struct aliases_schema_columns {
    const char *table;                  /* "aliases" */
    const char *names[ALIASES_COLUMNS]; /* in the order of the schema; the keys come first */
    size_t n, n_keys;
};

extern const struct aliases_schema_columns aliases_schema_columns[ALIASES_TABLES];

/* The place of a column, -1 where the table has none of that name. "expires_at" is the one column that holds a number. */
int aliases_schema_column(enum aliases_table table, const char *name);
bool aliases_schema_column_is_number(const char *name);

enum {
    ALIASES_ROW_MAX = 1 << 20,    /* bytes that SQLite makes of one row or text; more is SQLITE_TOOBIG */
    ALIASES_MAILBOXES_MAX = 100,  /* of one row */
    ALIASES_MAILBOX_TEXT = 65536, /* bytes of them */
};

/* False with err set: what is there is no regular file, and to open a pipe would be to wait for who writes to it. */
bool aliases_schema_may_open(const char *path, struct error *err);

/* For a file that others write: nothing in it runs (triggers, views, functions in its schema), nothing is longer than
 * ALIASES_ROW_MAX. Before its first use. An SQLite result code. */
int aliases_schema_defend(sqlite3 *db);

/* May this open database be trusted? Looks at user_version, the tables and their columns. SQLITE_OK; another SQLite
 * result code with err saying what is wrong with `path` and what to do. */
int aliases_schema_validate(sqlite3 *db, const char *path, struct error *err);

/* Says in words what an SQLite result code means for the file at `path`, and what to do. */
void aliases_schema_explain(int rc, sqlite3 *db, const char *path, struct error *err);

#endif
