/* check: whether data may be taken (see check.h). Owns nothing: the connection is the caller's, whose progress handler can end what takes too long. */
#include "aliases/check.h"

#include "base/action.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SQL_MAX = 2048 };

static enum check_result result_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR:
        return CHECK_BAD;
    default:
        return CHECK_UNSURE;
    }
}

/* Runs a statement for its first row: SQLITE_ROW with the statement open, SQLITE_DONE, or an error. */
static int first_row(sqlite3 *db, const char *sql, sqlite3_stmt **out)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *out = stmt;
        return rc;
    }
    sqlite3_finalize(stmt); /* repeats the error of step */
    return rc;
}

/* about: a table, or for all of the database "1", the most that is to be said. *content: it is no page that is damaged; it is what
 * stands in some table, or nobody here can tell what may, or it is too long to be looked at. */
static enum check_result ask_integrity(sqlite3 *db, const char *schema, const char *about, const char *path,
                                       bool *content, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    char sql[96];
    snprintf(sql, sizeof sql, "PRAGMA %s.integrity_check(%s)", schema, about);
    int rc = first_row(db, sql, &stmt);
    if (rc != SQLITE_ROW) {
        *content = (rc & 0xff) == SQLITE_ERROR || (rc & 0xff) == SQLITE_TOOBIG;
        aliases_schema_explain(rc, db, path, err);
        return result_of(rc);
    }
    const char *said = (const char *)sqlite3_column_text(stmt, 0);
    bool ok = said != NULL && strcmp(said, "ok") == 0;
    *content = said != NULL && strncmp(said, "***", 3) != 0; /* that is how SQLite begins to speak of pages */
    if (!ok)
        error_set(err, "alias database %s is damaged (integrity_check: %s); restore a copy, or write it anew",
                  path, said != NULL ? said : "out of memory");
    enum check_result result = ok ? CHECK_GOOD : said != NULL ? CHECK_BAD : CHECK_UNSURE;
    sqlite3_finalize(stmt); /* only read, and read to the end of what is asked */
    return result;
}

/* Others may keep tables of their own in the file. Their pages have to be sound; whether their rows are as they want them, and what
 * functions and collations only their programs know, and how long they are, is nothing to us. */
enum check_result aliases_check_integrity(sqlite3 *db, const char *schema, const char *path,
                                          struct error *err)
{
    struct error why = {0};
    bool content = false;
    enum check_result result = ask_integrity(db, schema, "1", path, &content, &why);
    if (result != CHECK_GOOD && content) {
        why = (struct error){0};
        result = CHECK_GOOD;
        for (size_t i = 0; i < ALIASES_TABLES && result == CHECK_GOOD; i++)
            result = ask_integrity(db, schema, aliases_schema_columns[i].table, path, &content, &why);
    }
    if (result != CHECK_GOOD)
        error_set(err, "%s", why.text);
    return result;
}

/* The rows of a table that hold what no row may hold. */
static void odd_rows_sql(const struct aliases_schema_columns *columns, char sql[SQL_MAX])
{
    struct text text;
    text_init(&text, sql, SQL_MAX);
    text_addf(&text, "SELECT %s FROM %s WHERE 0", columns->names[0], columns->table);
    for (size_t i = 0; i < columns->n; i++) {
        const char *name = columns->names[i];
        if (i < columns->n_keys)
            text_addf(&text, " OR typeof(%s) <> 'text'", name);
        else if (strcmp(name, "action") == 0)
            text_add(
                &text,
                " OR typeof(action) <> 'text' OR action NOT IN ('accept', 'defer', 'reject', 'discard')");
        else
            text_addf(&text, " OR typeof(%s) NOT IN ('%s', 'null')", name,
                      aliases_schema_column_is_number(name) ? "integer" : "text");
    }
    text_add(&text, " LIMIT 1");
}

/* integrity_check has looked at the types of a STRICT table already. */
static int is_strict(sqlite3 *db, const char *table, bool *strict)
{
    sqlite3_stmt *stmt = NULL;
    char sql[160];
    sqlite3_snprintf(sizeof sql, sql,
                     "SELECT strict FROM pragma_table_list WHERE schema = 'main' AND name = '%q'", table);
    int rc = first_row(db, sql, &stmt);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_ERROR : rc;
    *strict = sqlite3_column_int(stmt, 0) != 0;
    sqlite3_finalize(stmt);
    return SQLITE_OK;
}

static enum check_result check_rows(sqlite3 *db, const struct aliases_schema_columns *columns,
                                    const char *path, struct error *err)
{
    bool strict = false;
    int rc = is_strict(db, columns->table, &strict);
    if (rc == SQLITE_OK && strict)
        return CHECK_GOOD;
    char sql[SQL_MAX];
    sqlite3_stmt *stmt = NULL;
    odd_rows_sql(columns, sql);
    if (rc == SQLITE_OK)
        rc = first_row(db, sql, &stmt);
    if (rc == SQLITE_DONE)
        return CHECK_GOOD;
    if (rc != SQLITE_ROW) {
        aliases_schema_explain(rc, db, path, err);
        return result_of(rc);
    }
    const char *key = (const char *)sqlite3_column_text(stmt, 0);
    error_set(
        err,
        "alias database %s: the row \"%s\" of %s holds a value of a wrong type, or no action; mend or remove "
        "it, and make the table STRICT",
        path, key != NULL ? key : "?", columns->table);
    sqlite3_finalize(stmt);
    return CHECK_BAD;
}

/* What is below '-' begins with what is trimmed, or is empty: to compare costs a fraction of trim().
 * Role addresses have a mailbox of the policy's; return paths that were signed are rewritten before anybody asks for one. */
static const char homeless_sql[] =
    "SELECT count(*), min(name) FROM ("
    " SELECT address AS name FROM aliases WHERE action = 'accept' AND coalesce(mailbox, '') < '-' AND "
    "  trim(coalesce(mailbox, ''), ', ') = ''"
    "  AND (expires_at IS NULL OR expires_at > unixepoch())"
    "  AND address NOT GLOB 'postmaster@*' AND address NOT GLOB 'abuse@*'"
    " UNION ALL SELECT glob || '@' || domain FROM alias_globs"
    "  WHERE action = 'accept' AND coalesce(mailbox, '') < '-' AND "
    "  trim(coalesce(mailbox, ''), ', ') = ''"
    "  AND glob NOT GLOB 'srs[01]*'"
    " UNION ALL SELECT '*@' || domain FROM domains WHERE action = 'accept' AND catch_all = 'accept'"
    "  AND domain NOT IN (SELECT domain FROM alias_globs WHERE glob = '*'))";

int aliases_check_homeless(sqlite3 *db, struct aliases_sizes *sizes)
{
    sqlite3_stmt *stmt = NULL;
    int rc = first_row(db, homeless_sql, &stmt);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
    const char *name = (const char *)sqlite3_column_text(stmt, 1);
    sizes->homeless = sqlite3_column_int64(stmt, 0);
    snprintf(sizes->homeless_name, sizeof sizes->homeless_name, "%s", name != NULL ? name : "");
    sqlite3_finalize(stmt);
    return SQLITE_OK;
}

static bool are_rules(size_t table)
{
    return table == ALIASES_SENDERS || table == ALIASES_CLIENTS;
}

/* Up to most of them. */
static int count_rows(sqlite3 *db, const char *table, const char *where, int64_t most, int64_t *out)
{
    char sql[160];
    sqlite3_stmt *stmt = NULL;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM (SELECT 1 FROM %s%s LIMIT %" PRId64 ")", table, where,
             most);
    int rc = first_row(db, sql, &stmt);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
    *out = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return SQLITE_OK;
}

int aliases_check_count(sqlite3 *db, int64_t most, struct aliases_sizes *sizes)
{
    struct aliases_sizes counted = {0};
    int rc = SQLITE_OK;
    for (size_t i = 0; i < ALIASES_TABLES && rc == SQLITE_OK; i++) {
        const char *table = aliases_schema_columns[i].table;
        rc = count_rows(db, table, "", most, &counted.rows[i]);
        if (rc == SQLITE_OK && are_rules(i))
            rc = count_rows(db, table, " WHERE action = 'accept'", most, &counted.accepts[i]);
    }
    if (rc == SQLITE_OK)
        rc = aliases_check_homeless(db, &counted);
    if (rc == SQLITE_OK)
        *sizes = counted;
    return rc;
}

int aliases_check_pages(sqlite3 *db, int64_t *used)
{
    sqlite3_stmt *stmt = NULL;
    int rc = first_row(db, "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count",
                       &stmt);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
    *used = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return SQLITE_OK;
}

enum check_result aliases_check(sqlite3 *db, const char *path, struct aliases_sizes *sizes, struct error *err)
{
    int rc = aliases_schema_validate(db, path, err);
    if (rc != SQLITE_OK)
        return result_of(rc);
    enum check_result result = aliases_check_integrity(db, "main", path, err);
    for (size_t i = 0; i < ALIASES_TABLES && result == CHECK_GOOD; i++)
        result = check_rows(db, &aliases_schema_columns[i], path, err);
    if (result != CHECK_GOOD)
        return result;
    rc = aliases_check_count(db, INT64_MAX, sizes);
    if (rc == SQLITE_OK)
        return CHECK_GOOD;
    aliases_schema_explain(rc, db, path, err);
    return result_of(rc);
}

/* Few rows come and go as they like, as long as some are left. */
static bool shrank(int64_t before, int64_t now, int max_shrink)
{
    if (before < CHECK_SHRINK_FROM)
        return before > 0 && now == 0 && max_shrink < 100;
    return now < before && (before - now) * 100 > before * max_shrink;
}

static int64_t total(const struct aliases_sizes *sizes)
{
    int64_t sum = 0;
    for (size_t i = 0; i < ALIASES_TABLES; i++)
        sum += sizes->rows[i];
    return sum;
}

/* The rows whose loss makes answers harder. Of rules about senders and clients those that accept: where others are gone,
 * more is let through. */
static int64_t needed(const struct aliases_sizes *sizes, size_t table)
{
    return are_rules(table) ? sizes->accepts[table] : sizes->rows[table];
}

enum check_result aliases_check_shrink(const struct aliases_sizes *before, const struct aliases_sizes *now,
                                       int max_shrink, struct error *left)
{
    bool bad = shrank(total(before), total(now), max_shrink);
    int64_t was = total(before), is = total(now);
    const char *of = "all tables";
    for (size_t i = 0; i < ALIASES_TABLES && !bad; i++) {
        of = aliases_schema_columns[i].table;
        was = needed(before, i);
        is = needed(now, i);
        bad = shrank(was, is, max_shrink);
    }
    if (!bad)
        return CHECK_GOOD;
    error_set(left, "%" PRId64 " of %" PRId64 " are left in %s", is, was, of);
    return CHECK_BAD;
}

void aliases_check_say_shrink(const char *path, int max_shrink, const struct error *left, struct error *err)
{
    error_set(
        err,
        "alias database %s lost more than max_shrink (%d%%) of its rows, or all of a few: %s; restore it, "
        "or, if that is right, run: rcptgate alias accept",
        path, max_shrink, left->text);
}
