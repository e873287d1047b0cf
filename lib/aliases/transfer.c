/* transfer: see transfer.h. Owns the lock of the directory, the draft, and the one transaction. Whatever fails leaves the database as
 * it was.
 *
 * SQLite's backup interface would be the other way to replace it all. It takes half the time, but its destination may not be in a
 * transaction: between the comparison and the copy somebody could write; and it would overwrite the tables of others. */
#include "aliases/transfer.h"

#include "aliases/check.h"
#include "seal.h"
#include "serials.h"
#include "versions.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

extern const char aliases_schema_sql[]; /* policy/aliases.sql */

enum { REWRITE_PERCENT = 30 }; /* of the rows of a table: where more changed, writing all is quicker */

struct aliases_transfer {
    char database[PATH_MAX], draft[PATH_MAX];
    const char *source; /* the draft, or */
    char version[PATH_MAX];
    int64_t recalled; /* the generation to go back to; -1: none */
    int lock;
    struct aliases_edit *edit; /* NULL: nothing was compared yet */
    struct serials serials;
    struct transfer_report report;
};

/* --- the directory --- */

static void remove_draft(const struct aliases_transfer *transfer)
{
    static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char file[PATH_MAX + 16];
        snprintf(file, sizeof file, "%s%s", transfer->draft, suffixes[i]);
        (void)unlink(file); /* mostly there is none */
    }
}

static enum edit_status lock_directory(struct aliases_transfer *transfer, struct error *err)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(transfer->database, '/');
    snprintf(dir, sizeof dir, "%.*s", slash != NULL ? (int)(slash - transfer->database) + 1 : 1,
             slash != NULL ? transfer->database : ".");
    transfer->lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (transfer->lock >= 0 && flock(transfer->lock, LOCK_EX | LOCK_NB) == 0)
        return EDIT_DONE;
    const bool busy = errno == EWOULDBLOCK, barred = errno == EACCES;
    if (busy)
        error_set(err, "%s: another snapshot, install or rollback is under way; try again", dir);
    else
        error_set(err, "%s cannot be opened: %s; run this as a member of the group that shares it", dir,
                  strerror(errno));
    return busy ? EDIT_BUSY : barred ? EDIT_NO_RIGHT : EDIT_FAILED;
}

enum edit_status aliases_transfer_begin(const char *database, struct aliases_transfer **out,
                                        struct error *err)
{
    if (access(database, F_OK) < 0 && errno == ENOENT) {
        error_set(err, "%s does not exist; `rcptgate alias init` creates it", database);
        return EDIT_MISSING;
    }
    struct aliases_transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL) {
        error_set(err, "out of memory");
        return EDIT_FAILED;
    }
    *transfer = (struct aliases_transfer){.recalled = -1, .lock = -1, .source = transfer->draft};
    snprintf(transfer->database, sizeof transfer->database, "%s", database);
    enum edit_status status = EDIT_DONE;
    if (snprintf(transfer->draft, sizeof transfer->draft, "%s.draft", database) >= PATH_MAX) {
        error_set(err, "%s: the name is too long", database);
        status = EDIT_FAILED;
    }
    if (status == EDIT_DONE)
        status = lock_directory(transfer, err);
    if (status == EDIT_DONE) {
        remove_draft(transfer);
        *out = transfer;
        return status;
    }
    if (transfer->lock >= 0)
        (void)close(transfer->lock); /* of somebody else */
    free(transfer);
    return status;
}

void aliases_transfer_end(struct aliases_transfer *transfer)
{
    if (transfer == NULL)
        return;
    aliases_edit_close(transfer->edit);
    remove_draft(transfer);
    (void)close(transfer->lock); /* gives it back */
    free(transfer);
}

static int open_draft(const struct aliases_transfer *transfer, struct error *err)
{
    int fd = open(transfer->draft, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        error_set(err, "%s cannot be created: %s", transfer->draft, strerror(errno));
    return fd;
}

/* --- SQL over two databases: "old" and "new" are a table of each --- */

static void add_columns(sqlite3_str *sql, const struct aliases_schema_columns *columns, size_t from,
                        const char *prefix)
{
    for (size_t i = from; i < columns->n; i++)
        sqlite3_str_appendf(sql, "%s%s%s", i > from ? ", " : "", prefix, columns->names[i]);
}

static void add_pairs(sqlite3_str *sql, const struct aliases_schema_columns *columns, size_t from, size_t to,
                      const char *format, const char *join)
{
    for (size_t i = from; i < to; i++) {
        sqlite3_str_appendall(sql, i > from ? join : "");
        sqlite3_str_appendf(sql, format, columns->names[i], columns->names[i]);
    }
}

#define SAME_KEYS(sql, columns) add_pairs(sql, columns, 0, (columns)->n_keys, "old.%s = new.%s", " AND ")
#define DIFFER(sql, columns)                                                                                 \
    add_pairs(sql, columns, (columns)->n_keys, (columns)->n, "old.%s IS NOT new.%s", " OR ")

/* database: the one of the two that is no snapshot. */
static int attach(sqlite3 *db, const char *path, const char *database, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, "ATTACH ?1 AS other", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 1, path, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    sqlite3_finalize(stmt); /* repeats the error of step */
    /* Nothing else can be wrong: the name is no longer than others, and nothing else is attached. */
    if (rc == SQLITE_ERROR)
        error_set(
            err,
            "%s cannot be compared with a snapshot (%s): PRAGMA encoding is not UTF-8 there, and stays what "
            "it is; move the file away, make one with `rcptgate alias init`, and bring the rows over",
            database, sqlite3_errmsg(db));
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Consumes sql. */
static int run(sqlite3 *db, sqlite3_str *sql)
{
    char *text = sqlite3_str_finish(sql);
    int rc = text != NULL ? sqlite3_exec(db, text, NULL, NULL, NULL) : SQLITE_NOMEM;
    sqlite3_free(text);
    return rc;
}

/* Are both tables made by the same words? */
static int is_same(sqlite3 *db, const struct aliases_schema_columns *columns, bool *same)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(
        db,
        "SELECT 1 FROM main.sqlite_schema JOIN other.sqlite_schema USING (type, name, sql) "
        "WHERE type = 'table' AND name = ?1",
        -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 1, columns->table, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    *same = rc == SQLITE_ROW;
    sqlite3_finalize(stmt); /* repeats the error of step */
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Puts the rows of other's table into an empty one of ours. Between tables of the same words SQLite copies them as they are ("transfer
 * optimization"), three times as fast, but for "SELECT *" alone. */
static int copy_table(sqlite3 *db, const struct aliases_schema_columns *columns)
{
    bool same = false;
    int rc = is_same(db, columns, &same);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql, "INSERT INTO main.%s ", columns->table);
    if (same) {
        sqlite3_str_appendf(sql, "SELECT * FROM other.%s", columns->table);
        return run(db, sql);
    }
    sqlite3_str_appendall(sql, "(");
    add_columns(sql, columns, 0, "");
    sqlite3_str_appendall(sql, ") SELECT ");
    add_columns(sql, columns, 0, "");
    sqlite3_str_appendf(sql, " FROM other.%s ORDER BY 1%s", columns->table, columns->n_keys > 1 ? ", 2" : "");
    return run(db, sql);
}

/* --- making a snapshot --- */

static enum edit_status take_serial(const struct aliases_transfer *transfer, int64_t now_s, int64_t *serial,
                                    struct error *err)
{
    struct aliases_edit *edit = NULL;
    struct serials serials;
    enum edit_status status = aliases_edit_open(transfer->database, true, &edit, err);
    if (status == EDIT_DONE)
        status = aliases_serials_read(edit, &serials, err);
    if (status == EDIT_DONE) {
        serials.newest = *serial = aliases_serials_next(&serials, now_s);
        status = aliases_serials_write(edit, &serials, err);
    }
    if (status == EDIT_DONE)
        status = aliases_edit_commit(edit, err);
    aliases_edit_close(edit);
    return status;
}

/* An empty database with the tables of today, which is done as soon as it is closed: it needs no journal. */
static int make_tables(sqlite3 *db)
{
    int rc = sqlite3_exec(db, aliases_schema_sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(db, EDIT_BUSY_MS);
    return rc == SQLITE_OK ? aliases_schema_defend(db) : rc;
}

/* Copies all rows and checks where they come from, within one transaction: what is checked is what was copied. */
static int pack(const struct aliases_transfer *transfer, sqlite3 *db, struct aliases_sizes *sizes,
                struct error *err)
{
    int rc = make_tables(db);
    if (rc == SQLITE_OK)
        rc = attach(db, transfer->database, transfer->database, err);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
    for (size_t i = 0; i < ALIASES_TABLES && rc == SQLITE_OK; i++) {
        rc = copy_table(db, &aliases_schema_columns[i]);
        sizes->rows[i] = sqlite3_changes(db);
    }
    if ((rc & 0xff) == SQLITE_CONSTRAINT)
        error_set(
            err,
            "%s holds a row that cannot stand in a snapshot (%s), since it can never act; `rcptgate check` "
            "names such rows: mend or remove them",
            transfer->database, sqlite3_errmsg(db));
    if (rc == SQLITE_OK && aliases_check_integrity(db, "other", transfer->database, err) != CHECK_GOOD)
        return SQLITE_CORRUPT;
    return rc == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : rc;
}

static enum edit_status pack_draft(const struct aliases_transfer *transfer, struct aliases_sizes *sizes,
                                   struct error *err)
{
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(
        transfer->draft, &db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc == SQLITE_OK)
        rc = pack(transfer, db, sizes, err);
    if ((rc & 0xff) == SQLITE_FULL)
        error_set(err, "%s cannot be written: the disk is full", transfer->draft);
    if (rc != SQLITE_OK)
        aliases_schema_explain(rc, db, transfer->database, err); /* unless it was said better */
    int closed = sqlite3_close(db);
    if (rc == SQLITE_OK && closed != SQLITE_OK)
        error_set(err, "%s cannot be written", transfer->draft);
    return rc == SQLITE_OK && closed == SQLITE_OK ? EDIT_DONE : EDIT_FAILED;
}

enum edit_status aliases_transfer_make(struct aliases_transfer *transfer, int64_t now_s, int64_t *serial,
                                       struct aliases_sizes *sizes, int *fd, struct error *err)
{
    int64_t made = 0;
    enum edit_status status = take_serial(transfer, now_s, &made, err);
    int draft = status == EDIT_DONE ? open_draft(transfer, err) : -1;
    if (draft < 0)
        return status != EDIT_DONE ? status : EDIT_FAILED;
    status = pack_draft(transfer, sizes, err);
    if (status == EDIT_DONE && aliases_seal_put(draft, made, transfer->draft, err) < 0)
        status = EDIT_FAILED;
    remove_draft(transfer);
    if (status == EDIT_DONE) {
        *fd = draft;
        *serial = made;
    } else {
        (void)close(draft); /* has no name any more */
    }
    return status;
}

/* --- receiving one --- */

static enum edit_status status_of(enum seal_check check)
{
    return check == SEAL_WHOLE ? EDIT_DONE : check == SEAL_BROKEN ? EDIT_INVALID : EDIT_FAILED;
}

enum edit_status aliases_transfer_look(int fd, const char *name, struct error *err)
{
    int64_t serial;
    return status_of(aliases_seal_look(fd, name, &serial, err));
}

/* From where fd stands to its end. */
static enum edit_status copy_bytes(int fd, const char *name, int draft, const char *draft_name,
                                   struct error *err)
{
    char bytes[65536];
    for (;;) {
        ssize_t n = read(fd, bytes, sizeof bytes), done = 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            error_set(err, "%s cannot be read: %s", name, strerror(errno));
        if (n <= 0)
            return n == 0 ? EDIT_DONE : EDIT_FAILED;
        for (ssize_t some = 0; done < n && some >= 0; done += some)
            some = write(draft, bytes + done, (size_t)(n - done));
        if (done < n) {
            error_set(err, "%s cannot be written: %s; nothing was changed", draft_name, strerror(errno));
            return EDIT_FAILED;
        }
    }
}

/* What the daemon would check. */
static enum edit_status check_source(struct aliases_transfer *transfer, const char *name, struct error *err)
{
    sqlite3 *db = NULL;
    enum check_result result = CHECK_UNSURE;
    int rc = sqlite3_open_v2(
        transfer->source, &db,
        SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc == SQLITE_OK)
        rc = aliases_schema_defend(db);
    if (rc == SQLITE_OK)
        result = aliases_check(db, name, &transfer->report.after, err);
    else
        aliases_schema_explain(rc, db, name, err);
    (void)sqlite3_close(db); /* only read */
    return result == CHECK_GOOD ? EDIT_DONE : result == CHECK_BAD ? EDIT_INVALID : EDIT_FAILED;
}

enum edit_status aliases_transfer_receive(struct aliases_transfer *transfer, int fd, const char *name,
                                          struct error *err)
{
    int draft = open_draft(transfer, err);
    if (draft < 0)
        return EDIT_FAILED;
    enum edit_status status = copy_bytes(fd, name, draft, transfer->draft, err);
    if (status == EDIT_DONE)
        status = status_of(aliases_seal_check(draft, name, &transfer->report.serial, err));
    (void)close(draft); /* is read back by its name; what was not written is missed then */
    return status == EDIT_DONE ? check_source(transfer, name, err) : status;
}

static enum edit_status check_version(struct aliases_transfer *transfer, struct error *err)
{
    int fd = open(transfer->version, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        error_set(err, "%s cannot be read: %s", transfer->version, strerror(errno));
        return EDIT_FAILED;
    }
    enum edit_status status =
        status_of(aliases_seal_check(fd, transfer->version, &transfer->report.serial, err));
    (void)close(fd); /* only read */
    return status == EDIT_DONE ? check_source(transfer, transfer->version, err) : status;
}

enum edit_status aliases_transfer_recall(struct aliases_transfer *transfer, struct error *err)
{
    struct aliases_edit *edit = NULL;
    struct serials serials;
    enum edit_status status = aliases_edit_open(transfer->database, false, &edit, err);
    if (status == EDIT_DONE)
        status = aliases_serials_read(edit, &serials, err);
    aliases_edit_close(edit);
    if (status != EDIT_DONE)
        return status;
    transfer->recalled = aliases_versions_last(transfer->database, serials.generation);
    if (transfer->recalled < 0) {
        error_set(err,
                  "%s: no version from before an install is kept here (of the last %d installs one is kept "
                  "each, until it "
                  "is rolled back)",
                  transfer->database, VERSIONS_KEPT);
        return EDIT_NOT_FOUND;
    }
    transfer->source = aliases_versions_path(transfer->database, transfer->recalled, transfer->version);
    return check_version(transfer, err);
}

/* --- comparing --- */

static int count_difference(sqlite3 *db, const struct aliases_schema_columns *columns,
                            struct edit_difference *out)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql,
                        "SELECT count(*), (SELECT count(*) FROM main.%s), (SELECT count(*) FROM other.%s), "
                        "count(*) FILTER (WHERE ",
                        columns->table, columns->table);
    DIFFER(sql, columns);
    sqlite3_str_appendf(sql, ") FROM other.%s AS new JOIN main.%s AS old ON ", columns->table,
                        columns->table);
    SAME_KEYS(sql, columns);
    char *text = sqlite3_str_finish(sql);
    int rc = text != NULL ? sqlite3_prepare_v2(db, text, -1, &stmt, NULL) : SQLITE_NOMEM;
    sqlite3_free(text);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        int64_t both = sqlite3_column_int64(stmt, 0), old = sqlite3_column_int64(stmt, 1);
        *out = (struct edit_difference){.before = old,
                                        .added = sqlite3_column_int64(stmt, 2) - both,
                                        .changed = sqlite3_column_int64(stmt, 3),
                                        .removed = old - both};
    }
    sqlite3_finalize(stmt); /* repeats the error of step */
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int compare_tables(sqlite3 *db, struct transfer_report *report)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; i < ALIASES_TABLES && rc == SQLITE_OK; i++) {
        struct edit_difference *of = &report->tables[i], *all = &report->all;
        rc = count_difference(db, &aliases_schema_columns[i], of);
        all->before += of->before;
        all->added += of->added;
        all->changed += of->changed;
        all->removed += of->removed;
    }
    return rc;
}

enum edit_status aliases_transfer_compare(struct aliases_transfer *transfer, bool writes,
                                          struct transfer_report *out, struct error *err)
{
    struct transfer_report *report = &transfer->report;
    enum edit_status status = aliases_edit_open(transfer->database, writes, &transfer->edit, err);
    if (status == EDIT_DONE)
        status = aliases_serials_read(transfer->edit, &transfer->serials, err);
    if (status == EDIT_DONE)
        status = aliases_edit_count(transfer->edit, INT64_MAX, &report->before, err);
    if (status != EDIT_DONE)
        return status;
    sqlite3 *db = aliases_edit_lend(transfer->edit);
    int rc = attach(db, transfer->source, transfer->database, err);
    if (rc == SQLITE_OK)
        rc = compare_tables(db, report);
    if (rc != SQLITE_OK)
        return aliases_edit_explain(transfer->edit, rc, err);
    report->in_force = transfer->serials.in_force;
    report->newest = transfer->serials.newest;
    *out = *report;
    return EDIT_DONE;
}

/* --- doing it --- */

static int remove_rows(sqlite3 *db, const struct aliases_schema_columns *columns)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql,
                        "DELETE FROM main.%s AS old WHERE NOT EXISTS (SELECT 1 FROM other.%s AS new WHERE ",
                        columns->table, columns->table);
    SAME_KEYS(sql, columns);
    sqlite3_str_appendall(sql, ")");
    return run(db, sql);
}

static int change_rows(sqlite3 *db, const struct aliases_schema_columns *columns)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql, "UPDATE main.%s AS old SET ", columns->table);
    add_pairs(sql, columns, columns->n_keys, columns->n, "%s = new.%s", ", ");
    sqlite3_str_appendf(sql, " FROM other.%s AS new WHERE ", columns->table);
    SAME_KEYS(sql, columns);
    sqlite3_str_appendall(sql, " AND (");
    DIFFER(sql, columns);
    sqlite3_str_appendall(sql, ")");
    return run(db, sql);
}

static int add_rows(sqlite3 *db, const struct aliases_schema_columns *columns)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql, "INSERT INTO main.%s (", columns->table);
    add_columns(sql, columns, 0, "");
    sqlite3_str_appendall(sql, ") SELECT ");
    add_columns(sql, columns, 0, "new.");
    sqlite3_str_appendf(sql, " FROM other.%s AS new WHERE NOT EXISTS (SELECT 1 FROM main.%s AS old WHERE ",
                        columns->table, columns->table);
    SAME_KEYS(sql, columns);
    sqlite3_str_appendall(sql, ")");
    return run(db, sql);
}

static int rewrite(sqlite3 *db, const struct aliases_schema_columns *columns)
{
    sqlite3_str *sql = sqlite3_str_new(db);
    sqlite3_str_appendf(sql, "DELETE FROM main.%s", columns->table);
    int rc = run(db, sql);
    return rc == SQLITE_OK ? copy_table(db, columns) : rc;
}

static int take_table(sqlite3 *db, const struct aliases_schema_columns *columns,
                      const struct edit_difference *of)
{
    int64_t changes = of->added + of->changed + of->removed, after = of->before + of->added - of->removed;
    int64_t rows = of->before > after ? of->before : after;
    if (changes > rows / 100 * REWRITE_PERCENT + rows % 100 * REWRITE_PERCENT / 100)
        return rewrite(db, columns);
    int rc = of->removed > 0 ? remove_rows(db, columns) : SQLITE_OK;
    if (rc == SQLITE_OK && of->changed > 0)
        rc = change_rows(db, columns);
    return rc == SQLITE_OK && of->added > 0 ? add_rows(db, columns) : rc;
}

static struct serials serials_after(const struct aliases_transfer *transfer, bool changes)
{
    struct serials after = transfer->serials;
    after.in_force = transfer->report.serial;
    if (after.newest < after.in_force)
        after.newest = after.in_force;
    if (transfer->recalled >= 0)
        after.generation = transfer->recalled;
    else
        after.generation += changes;
    return after;
}

/* Those that no rollback can reach. */
static void remove_old_versions(const struct aliases_transfer *transfer, const struct serials *after)
{
    const char *database = transfer->database;
    if (transfer->recalled >= 0)
        aliases_versions_remove(database, transfer->recalled, transfer->serials.generation);
    else
        aliases_versions_remove(database, after->generation - VERSIONS_KEPT - 1,
                                after->generation - VERSIONS_KEPT - 1);
}

/* Within the transaction. */
static enum edit_status take(const struct aliases_transfer *transfer, const struct serials *after,
                             struct error *err)
{
    sqlite3 *db = aliases_edit_lend(transfer->edit);
    int rc = SQLITE_OK;
    for (size_t i = 0; i < ALIASES_TABLES && rc == SQLITE_OK; i++)
        rc = take_table(db, &aliases_schema_columns[i], &transfer->report.tables[i]);
    if (rc != SQLITE_OK)
        return aliases_edit_explain(transfer->edit, rc, err);
    if (memcmp(after, &transfer->serials, sizeof *after) == 0)
        return EDIT_DONE; /* a repeated install of what is there writes nothing */
    enum edit_status status = aliases_serials_write(transfer->edit, after, err);
    return status == EDIT_DONE ? aliases_edit_commit(transfer->edit, err) : status;
}

enum edit_status aliases_transfer_commit(struct aliases_transfer *transfer, struct error *err)
{
    const struct edit_difference *all = &transfer->report.all;
    const int64_t generation = transfer->serials.generation;
    bool changes = all->added + all->changed + all->removed > 0, keep = changes && transfer->recalled < 0;
    struct serials after = serials_after(transfer, changes);
    if (keep && aliases_versions_keep(transfer->database, generation, transfer->report.in_force, err) < 0)
        return EDIT_FAILED;
    enum edit_status status = take(transfer, &after, err);
    if (status == EDIT_DONE)
        remove_old_versions(transfer, &after);
    else if (keep)
        aliases_versions_remove(transfer->database, generation, generation);
    return status;
}
