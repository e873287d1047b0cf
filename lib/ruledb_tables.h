/* ruledb_tables: the tables of the alias rules, as data: for reading, for editing, and for checking that a file has them.
 *
 * policy/aliases.sql is the schema; this is what the programs know of it. */
#ifndef RCPTGATE_RULEDB_TABLES_H
#define RCPTGATE_RULEDB_TABLES_H

#include "error.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

enum ruledb_table { /* the order is that of the table in ruledb_tables.c */
                    RULEDB_DOMAINS,
                    RULEDB_ALIASES,
                    RULEDB_GLOBS,
                    RULEDB_SENDERS,
                    RULEDB_CLIENTS,
                    RULEDB_TABLES
};

enum { RULEDB_COLUMNS = 7, RULEDB_KEYS = 2 }; /* the most that a table has */

struct ruledb_columns {
    const char *table;                 /* "aliases" */
    const char *names[RULEDB_COLUMNS]; /* in the order of the schema; the keys come first */
    size_t n, n_keys;
};

extern const struct ruledb_columns ruledb_columns[RULEDB_TABLES];

/* The place of a column, -1 where the table has none of that name. "expires_at" is the one column that holds a number. */
int ruledb_column(enum ruledb_table table, const char *name);
bool ruledb_column_is_number(const char *name);

/* May this open database be trusted? Looks at user_version, the tables and their columns. SQLITE_OK; another SQLite
 * result code with err saying what is wrong with `path` and what to do. */
int ruledb_validate(sqlite3 *db, const char *path, struct error *err);

/* Says in words what an SQLite result code means for the file at `path`, and what to do. */
void ruledb_explain(int rc, sqlite3 *db, const char *path, struct error *err);

#endif
