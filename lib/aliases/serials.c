/* serials: see serials.h. Owns nothing. What another program made of the table is an error, in words. */
#include "serials.h"

#include <stdbool.h>

#define SERIALS_END INT64_C(999999999999) /* of SERIALS_DIGITS, less one for the next */

static const char create_sql[] =
    "CREATE TABLE IF NOT EXISTS rcptgate_snapshots (in_force INTEGER NOT NULL, newest INTEGER NOT NULL,"
    " generation INTEGER NOT NULL) STRICT; DELETE FROM rcptgate_snapshots";

/* SQLITE_OK; *has: there is such a table. */
static int has_table(sqlite3 *db, bool *has)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(
        db, "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'rcptgate_snapshots'", -1,
        &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    *has = rc == SQLITE_ROW;
    sqlite3_finalize(stmt); /* repeats the error of step */
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int read_row(sqlite3 *db, struct serials *out)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT in_force, newest, generation FROM main.rcptgate_snapshots", -1,
                                &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *out = (struct serials){sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
                                sqlite3_column_int64(stmt, 2)};
    sqlite3_finalize(stmt); /* repeats the error of step */
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Somebody else may have written it. */
static bool is_plausible(int64_t n)
{
    return n >= 0 && n < SERIALS_END;
}

enum edit_status aliases_serials_read(struct aliases_edit *edit, struct serials *out, struct error *err)
{
    sqlite3 *db = aliases_edit_lend(edit);
    struct serials row = {0};
    bool has = false;
    int rc = has_table(db, &has);
    if (rc == SQLITE_OK && has)
        rc = read_row(db, &row);
    if (rc != SQLITE_OK)
        return aliases_edit_explain(edit, rc, err);
    *out = is_plausible(row.in_force) && is_plausible(row.newest) && is_plausible(row.generation)
               ? row
               : (struct serials){0};
    return EDIT_DONE;
}

enum edit_status aliases_serials_write(struct aliases_edit *edit, const struct serials *serials,
                                       struct error *err)
{
    sqlite3 *db = aliases_edit_lend(edit);
    sqlite3_stmt *stmt = NULL;
    const int64_t values[] = {serials->in_force, serials->newest, serials->generation};
    int rc = sqlite3_exec(db, create_sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db, "INSERT INTO main.rcptgate_snapshots VALUES (?1, ?2, ?3)", -1, &stmt,
                                NULL);
    for (int i = 0; rc == SQLITE_OK && i < 3; i++)
        rc = sqlite3_bind_int64(stmt, i + 1, values[i]);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    enum edit_status status = rc == SQLITE_DONE ? EDIT_DONE : aliases_edit_explain(edit, rc, err);
    sqlite3_finalize(stmt); /* repeats the error of step */
    return status;
}

int64_t aliases_serials_next(const struct serials *serials, int64_t now_s)
{
    int64_t least = serials->newest > serials->in_force ? serials->newest : serials->in_force;
    return now_s > least ? now_s : least + 1;
}
