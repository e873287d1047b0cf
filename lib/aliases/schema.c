/* schema: the tables as data, and whether a file has them (see schema.h). Owns nothing; says in words what is wrong and what
 * to do. */
#include "aliases/schema.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const struct aliases_schema_columns aliases_schema_columns[ALIASES_TABLES] = {
    {"domains", {"domain", "action", "catch_all", "owner", "class", "reply"}, 6, 1},
    {"aliases", {"address", "mailbox", "owner", "class", "action", "reply", "expires_at"}, 7, 1},
    {"alias_globs", {"domain", "glob", "mailbox", "owner", "class", "action", "reply"}, 7, 2},
    {"sender_rules", {"scope", "pattern", "action", "reply"}, 4, 2},
    {"client_rules", {"network", "action", "reply", "expires_at"}, 4, 1},
};

int aliases_schema_column(enum aliases_table table, const char *name)
{
    for (size_t i = 0; i < aliases_schema_columns[table].n; i++)
        if (strcmp(aliases_schema_columns[table].names[i], name) == 0)
            return (int)i;
    return -1;
}

bool aliases_schema_column_is_number(const char *name)
{
    return strcmp(name, "expires_at") == 0;
}

static void explain_unopened(const char *path, const char *detail, struct error *err)
{
    if (access(path, F_OK) < 0 && errno == ENOENT)
        error_set(
            err, "alias database %s does not exist; put it back, or `rcptgate alias init` makes an empty one",
            path);
    else
        error_set(err,
                  "alias database %s cannot be opened (%s); the gate's group needs to read and write it, its "
                  "-wal and -shm and their directory",
                  path, detail);
}

static void explain_readonly(int rc, const char *path, const char *detail, struct error *err)
{
    if (rc == SQLITE_READONLY_ROLLBACK)
        error_set(err,
                  "alias database %s was left in the middle of a change by a program that was killed, and "
                  "cannot be read until one that may write takes that back: start that program again, or "
                  "run: rcptgate alias list",
                  path);
    else
        error_set(err,
                  "alias database %s cannot be read: its -wal or -shm file may not be written (%s); give the "
                  "gate's group write access to them and their directory",
                  path, detail);
}

void aliases_schema_explain(int rc, sqlite3 *db, const char *path, struct error *err)
{
    const char *detail = db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        explain_unopened(path, detail, err);
        break;
    case SQLITE_NOTADB:
        error_set(
            err,
            "%s is not an SQLite database; move it away and restore a copy, or let `rcptgate alias init` "
            "create a new one",
            path);
        break;
    case SQLITE_CORRUPT:
        error_set(err,
                  "alias database %s is damaged (%s); move it away with its -wal and -shm and restore a "
                  "copy, or let "
                  "`rcptgate alias init` create a new one",
                  path, detail);
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        error_set(err, "alias database %s is locked by another process", path);
        break;
    case SQLITE_READONLY:
        explain_readonly(rc, path, detail, err);
        break;
    case SQLITE_TOOBIG:
        error_set(err, "alias database %s has a row of more than %d bytes; mend or remove it", path,
                  ALIASES_ROW_MAX);
        break;
    default:
        error_set(err, "alias database %s cannot be read: %s", path, detail);
    }
}

bool aliases_schema_may_open(const char *path, struct error *err)
{
    struct stat st;
    if (stat(path, &st) != 0 || S_ISREG(st.st_mode))
        return true;
    error_set(err, "alias database %s is no regular file; move it away and restore a copy", path);
    return false;
}

int aliases_schema_defend(sqlite3 *db)
{
    static const struct {
        int option, on;
    } options[] = {{SQLITE_DBCONFIG_DEFENSIVE, 1},
                   {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
                   {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
                   {SQLITE_DBCONFIG_ENABLE_VIEW, 0}};
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof options / sizeof options[0]; i++)
        rc = sqlite3_db_config(db, options[i].option, options[i].on, NULL);
    (void)sqlite3_limit(db, SQLITE_LIMIT_LENGTH, ALIASES_ROW_MAX);
    return rc;
}

/* One integer from the database. */
static int read_int(sqlite3 *db, const char *sql, int *out)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int(stmt, 0);
    int done = sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? SQLITE_OK : rc == SQLITE_DONE ? SQLITE_CORRUPT : done;
}

/* A view or a virtual table runs whatever its maker wrote. SQLITE_OK also where it is no table: then *is_table is false. */
static int probe_table(sqlite3 *db, const char *table, bool *is_table)
{
    int n = 0;
    char *sql =
        sqlite3_mprintf("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND "
                        "name = %Q COLLATE NOCASE",
                        table);
    int rc = sql != NULL ? read_int(db, sql, &n) : SQLITE_NOMEM;
    sqlite3_free(sql);
    *is_table = n == 1;
    return rc;
}

/* SQLITE_OK also where the column is missing: then *missing is the query that failed. */
static int probe_columns(sqlite3 *db, const struct aliases_schema_columns *columns, const char **missing)
{
    for (size_t i = 0; i < columns->n; i++) {
        char *sql = sqlite3_mprintf("SELECT \"%w\".%s FROM \"%w\" LIMIT 0", columns->table, columns->names[i],
                                    columns->table);
        if (sql == NULL)
            return SQLITE_NOMEM;
        sqlite3_stmt *stmt = NULL;
        int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
        sqlite3_free(sql);
        sqlite3_finalize(stmt); /* tells only what step told, and there was none */
        if (rc == SQLITE_ERROR)
            *missing = columns->names[i];
        if (rc != SQLITE_OK)
            return rc == SQLITE_ERROR ? SQLITE_OK : rc;
    }
    return SQLITE_OK;
}

int aliases_schema_validate(sqlite3 *db, const char *path, struct error *err)
{
    int version = -1;
    int rc = read_int(db, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK && version != ALIASES_VERSION) {
        error_set(err, "alias database %s has PRAGMA user_version %d, this gate reads %d; %s", path, version,
                  ALIASES_VERSION,
                  version == 0 ? "it was not made by `rcptgate alias init`"
                               : "install the rcptgate that wrote it");
        return SQLITE_MISMATCH;
    }
    for (size_t i = 0; rc == SQLITE_OK && i < ALIASES_TABLES; i++) {
        const char *missing = NULL;
        bool is_table = true;
        rc = probe_table(db, aliases_schema_columns[i].table, &is_table);
        if (rc == SQLITE_OK && !is_table) {
            error_set(err,
                      "alias database %s has no table %s (a view is none); compare it with what `rcptgate "
                      "alias init` creates",
                      path, aliases_schema_columns[i].table);
            return SQLITE_MISMATCH;
        }
        if (rc == SQLITE_OK)
            rc = probe_columns(db, &aliases_schema_columns[i], &missing);
        if (missing != NULL) {
            error_set(
                err,
                "alias database %s has no column %s.%s; compare it with what `rcptgate alias init` creates",
                path, aliases_schema_columns[i].table, missing);
            return SQLITE_MISMATCH;
        }
    }
    if (rc != SQLITE_OK)
        aliases_schema_explain(rc, db, path, err);
    return rc;
}
