/* edit: writes alias rules through a connection of its own (see edit.h). Owns it, the one transaction in it, and the statements that
 * it keeps; whatever fails leaves the database as it was. */
#include "aliases/edit.h"

#include "aliases/check.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern const char aliases_schema_sql[]; /* policy/aliases.sql */

/* What a statement does. One of each kind is kept prepared: an import runs the same one a million times. */
enum statement { STATEMENT_ADD, STATEMENT_SET, STATEMENT_REMOVE, STATEMENT_FIND, STATEMENTS };

struct kept {
    sqlite3_stmt *stmt; /* NULL: none yet */
    enum aliases_table table;
    unsigned shape; /* bit i: column i has a parameter */
};

struct aliases_edit {
    sqlite3 *db;
    int64_t until_ms; /* of the step that runs now */
    char *path;
    struct kept kept[STATEMENTS];
};

/* --- creating --- */

struct owners {
    uid_t uid;
    gid_t gid;
    bool chown; /* only root can, and only root has to: for all others the directory's setgid bit does it */
};

static int find_group(const char *name, gid_t *gid, struct error *err)
{
    errno = 0;
    const struct group *group = getgrnam(name); /* a command has one thread */
    if (group == NULL) {
        error_set(err, "there is no group \"%s\"", name);
        return -1;
    }
    *gid = group->gr_gid;
    return 0;
}

/* By its descriptor: who shares the directory could put a link in place of the name, for root to give away
 * what it leads to. */
static int give(int fd, const char *path, const struct owners *owners, mode_t mode, struct error *err)
{
    if ((owners->chown && fchown(fd, owners->uid, owners->gid) < 0) || fchmod(fd, mode) < 0) {
        error_set(err, "%s: owner, group or mode cannot be set: %s", path, strerror(errno));
        return -1;
    }
    return 0;
}

static int give_directory(const char *dir, const struct owners *owners, struct error *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        error_set(err, "%s: %s", dir, strerror(errno));
        return -1;
    }
    int rc = give(fd, dir, owners, owners->uid == 0 ? 0700 : 02770, err); /* root shares with nobody */
    close(fd);
    return rc;
}

/* Sees to it that the directory is there, and says whose its files are to be. Parents are plain directories. */
static int make_directory(const char *dir, const char *group, struct owners *owners, struct error *err)
{
    struct stat st;
    bool made = false;
    if (stat(dir, &st) < 0) {
        char up[PATH_MAX];
        if (errno != ENOENT || snprintf(up, sizeof up, "%s", dir) >= (int)sizeof up) {
            error_set(err, "%s: %s", dir, strerror(errno));
            return -1;
        }
        const char *parent = dirname(up);
        if (stat(parent, &st) < 0 && mkdir(parent, 0755) < 0) {
            error_set(err, "directory %s cannot be created: %s", parent, strerror(errno));
            return -1;
        }
        if (stat(parent, &st) < 0 || mkdir(dir, 0770) < 0) {
            error_set(err, "directory %s cannot be created: %s", dir, strerror(errno));
            return -1;
        }
        made = true;
    }
    *owners = (struct owners){.uid = st.st_uid, .gid = st.st_gid, .chown = geteuid() == 0};
    if (group != NULL) {
        if (find_group(group, &owners->gid, err) < 0)
            return -1;
        if (!owners->chown)
            *owners = (struct owners){.uid = (uid_t)-1, .gid = owners->gid, .chown = true};
    }
    return made ? give_directory(dir, owners, err) : 0;
}

/* True where something stands in the way; err says what. */
static bool is_taken(const char *path, struct error *err)
{
    static const char *const suffixes[] = {"", "-wal", "-journal"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char file[PATH_MAX];
        struct stat st;
        if (snprintf(file, sizeof file, "%s%s", path, suffixes[i]) < (int)sizeof file && lstat(file, &st) < 0)
            continue;
        if (i == 0)
            error_set(err, "%s exists already; it was left as it is", path);
        else
            error_set(
                err,
                "%s was left by an earlier database and would be taken for part of the new one; move it away",
                file);
        return true;
    }
    return false;
}

/* The new database as bytes, made in memory: a file that SQLite opened by name could be swapped before it does. In
 * memory there is no WAL mode, so the file says it by itself: versions 2 at bytes 18 and 19 (SQLite file format, 1.3). */
static unsigned char *make_image(sqlite3_int64 *size, struct error *err)
{
    sqlite3 *db = NULL;
    unsigned char *image = NULL;
    int rc = sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, aliases_schema_sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        image = sqlite3_serialize(db, "main", size, 0);
    if (image != NULL)
        image[18] = image[19] = 2;
    else
        error_set(err, "the schema cannot be made: %s", sqlite3_errmsg(db));
    sqlite3_close(db);
    return image;
}

static int write_image(int fd, const char *path, struct error *err)
{
    sqlite3_int64 size = 0;
    unsigned char *image = make_image(&size, err);
    if (image == NULL)
        return -1;
    ssize_t done = write(fd, image, (size_t)size); /* some pages: at once, or the disk is full */
    if (done >= 0)
        errno = ENOSPC;
    bool good = done == (ssize_t)size && fsync(fd) == 0;
    if (!good)
        error_set(err, "%s cannot be written: %s", path, strerror(errno));
    sqlite3_free(image);
    return good ? 0 : -1;
}

/* Under another name first: nobody sees half a database, and link() never replaces anything, nor follows a link. */
static enum edit_status make_file(const char *path, const struct owners *owners, struct error *err)
{
    char draft[PATH_MAX];
    if (snprintf(draft, sizeof draft, "%s.new.XXXXXX", path) >= (int)sizeof draft) {
        error_set(err, "%s: the name is too long", path);
        return EDIT_CREATE;
    }
    int fd = mkostemp(draft, O_CLOEXEC);
    if (fd < 0) {
        error_set(err, "%s cannot be created: %s", path, strerror(errno));
        return EDIT_CREATE;
    }
    enum edit_status status = EDIT_CREATE;
    int ready = give(fd, draft, owners, 0660, err) == 0 ? write_image(fd, path, err) : -1;
    if (close(fd) == 0 && ready == 0) {
        if (link(draft, path) == 0)
            status = EDIT_DONE;
        else if (errno == EEXIST)
            status = EDIT_EXISTS;
        if (status != EDIT_DONE)
            error_set(err, "%s cannot be created: %s", path, strerror(errno));
    }
    if (unlink(draft) < 0 && status == EDIT_DONE) {
        error_set(err, "%s cannot be removed: %s", draft, strerror(errno));
        status = EDIT_FAILED;
    }
    return status;
}

enum edit_status aliases_edit_create(const char *path, const char *group, struct error *err)
{
    char copy[PATH_MAX];
    struct owners owners;
    if (is_taken(path, err))
        return EDIT_EXISTS;
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy) {
        error_set(err, "%s: the name is too long", path);
        return EDIT_CREATE;
    }
    if (make_directory(dirname(copy), group, &owners, err) < 0)
        return EDIT_CREATE;
    return make_file(path, &owners, err);
}

/* --- opening --- */

static enum edit_status failed(const struct aliases_edit *edit, int rc, struct error *err)
{
    const char *detail = edit->db != NULL ? sqlite3_errmsg(edit->db) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        error_set(err, "%s is busy: another program has been writing to it for %d s; try again", edit->path,
                  EDIT_BUSY_MS / 1000);
        return EDIT_BUSY;
    case SQLITE_FULL:
        error_set(err, "%s: the disk is full; nothing was changed", edit->path);
        return EDIT_FAILED;
    case SQLITE_READONLY:
        error_set(err, "%s cannot be written (%s); run this as a member of the group that shares it",
                  edit->path, detail);
        return EDIT_FAILED;
    case SQLITE_INTERRUPT:
        error_set(err, "%s: one step took more than %d s and was given up; nothing was changed", edit->path,
                  EDIT_STEP_MS / 1000);
        return EDIT_FAILED;
    case SQLITE_CONSTRAINT:
        error_set(err, "the database refuses it: %s", detail);
        return EDIT_INVALID;
    default:
        aliases_schema_explain(rc, edit->db, edit->path, err);
        return EDIT_FAILED;
    }
}

static int out_of_time(void *arg)
{
    const struct aliases_edit *edit = arg;
    return clock_monotonic_ms() > edit->until_ms;
}

static void step_begins(struct aliases_edit *edit)
{
    edit->until_ms = clock_monotonic_ms() + EDIT_STEP_MS;
}

static int start(struct aliases_edit *edit, bool writes, struct error *err)
{
    enum { PROGRESS_OPS = 10000 };
    step_begins(edit);
    sqlite3_progress_handler(edit->db, PROGRESS_OPS, out_of_time, edit);
    int rc = aliases_schema_defend(edit->db);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(edit->db, EDIT_BUSY_MS);
    if (rc == SQLITE_OK)
        rc = aliases_schema_validate(edit->db, edit->path, err);
    if (rc == SQLITE_OK && writes && sqlite3_db_readonly(edit->db, "main") == 1)
        rc = SQLITE_READONLY;
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(edit->db, writes ? "BEGIN IMMEDIATE" : "BEGIN; SELECT 1 FROM sqlite_schema", NULL,
                          NULL, NULL); /* who reads has its moment from here on */
    return rc;
}

static int open_once(struct aliases_edit *edit, bool writes, struct error *err)
{
    int flags =
        (writes ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(edit->path, &edit->db, flags, NULL);
    return rc == SQLITE_OK ? start(edit, writes, err) : rc;
}

/* Of a file that could not be opened or written: is it this user's rights? */
static bool is_barred(const char *path, int rc)
{
    const int code = rc & 0xff;
    return (code == SQLITE_CANTOPEN || code == SQLITE_PERM || code == SQLITE_READONLY) &&
           faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) < 0 && errno == EACCES;
}

/* Where another user's program makes -shm anew, it has that program's umask for a moment, before SQLite gives it the database's mode: who
 * opens it then may not write to it (SQLITE_READONLY), or not even read it (SQLITE_CANTOPEN). */
static bool is_for_a_moment(int rc)
{
    return (rc & 0xff) == SQLITE_READONLY || (rc & 0xff) == SQLITE_CANTOPEN;
}

static int open_file(struct aliases_edit *edit, bool writes, struct error *err)
{
    enum { TRIES = 30 };
    const struct timespec pause = {.tv_nsec = 10 * 1000000L};
    int rc = open_once(edit, writes, err);
    for (int i = 1; i < TRIES && is_for_a_moment(rc) && !is_barred(edit->path, rc); i++) {
        sqlite3_close_v2(edit->db);
        edit->db = NULL;
        *err = (struct error){0};
        (void)nanosleep(&pause, NULL);
        rc = open_once(edit, writes, err);
    }
    return rc;
}

enum edit_status aliases_edit_open(const char *path, bool writes, struct aliases_edit **out,
                                   struct error *err)
{
    struct stat st;
    if (stat(path, &st) < 0 && errno == ENOENT) {
        error_set(err, "%s does not exist; `rcptgate alias init` creates it", path);
        return EDIT_MISSING;
    }
    if (!aliases_schema_may_open(path, err))
        return EDIT_FAILED;
    struct aliases_edit *edit = calloc(1, sizeof *edit);
    if (edit == NULL || (edit->path = strdup(path)) == NULL) {
        free(edit);
        error_set(err, "out of memory");
        return EDIT_FAILED;
    }
    int rc = open_file(edit, writes, err);
    if (rc != SQLITE_OK) {
        enum edit_status status = failed(edit, rc, err);
        aliases_edit_close(edit);
        return status == EDIT_FAILED && is_barred(path, rc) ? EDIT_NO_RIGHT : status;
    }
    *out = edit;
    return EDIT_DONE;
}

enum edit_status aliases_edit_commit(struct aliases_edit *edit, struct error *err)
{
    step_begins(edit);
    int rc = sqlite3_exec(edit->db, "COMMIT", NULL, NULL, NULL);
    return rc == SQLITE_OK ? EDIT_DONE : failed(edit, rc, err);
}

void aliases_edit_close(struct aliases_edit *edit)
{
    if (edit == NULL)
        return;
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(edit->kept[i].stmt); /* repeats the error of step */
    sqlite3_close_v2(edit->db);               /* rolls back what was not committed */
    free(edit->path);
    free(edit);
}

sqlite3 *aliases_edit_lend(struct aliases_edit *edit)
{
    sqlite3_progress_handler(edit->db, 0, NULL, NULL);
    return edit->db;
}

enum edit_status aliases_edit_explain(const struct aliases_edit *edit, int rc, struct error *err)
{
    return failed(edit, rc, err);
}

/* --- statements --- */

/* What a parameter or a condition is needed for. */
enum part { PART_KEYS, PART_SET, PART_ALL };

static bool is_part(const struct aliases_schema_columns *columns, const struct edit_record *record, size_t i,
                    enum part part)
{
    if (record->at[i].kind == EDIT_UNSET)
        return false;
    return part == PART_ALL || (i < columns->n_keys) == (part == PART_KEYS);
}

/* "a = ?1 AND b = ?2": the column's name, its parameter, or both. */
static void add_columns(sqlite3_str *sql, enum aliases_table table, const struct edit_record *record,
                        enum part part, const char *separator, bool name, bool parameter)
{
    const struct aliases_schema_columns *columns = &aliases_schema_columns[table];
    int n = 0;
    for (size_t i = 0; i < columns->n; i++) {
        if (!is_part(columns, record, i, part))
            continue;
        sqlite3_str_appendf(sql, "%s%s%s", n++ > 0 ? separator : "", name ? columns->names[i] : "",
                            name && parameter ? " = " : "");
        if (parameter)
            sqlite3_str_appendf(sql, "?%d", (int)i + 1);
    }
}

static int bind_record(sqlite3_stmt *stmt, enum aliases_table table, const struct edit_record *record,
                       enum part part)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < aliases_schema_columns[table].n; i++) {
        const struct edit_value *value = &record->at[i];
        if (!is_part(&aliases_schema_columns[table], record, i, part) || value->kind == EDIT_NULL)
            continue;
        rc = value->kind == EDIT_NUMBER ? sqlite3_bind_int64(stmt, (int)i + 1, value->number)
                                        : sqlite3_bind_text(stmt, (int)i + 1, value->text, -1, SQLITE_STATIC);
    }
    return rc;
}

/* Prepares what was built and binds the record. Consumes sql. */
static int prepare(struct aliases_edit *edit, sqlite3_str *sql, enum aliases_table table,
                   const struct edit_record *record, enum part part, sqlite3_stmt **stmt)
{
    char *text = sqlite3_str_finish(sql);
    if (text == NULL)
        return SQLITE_NOMEM;
    int rc = sqlite3_prepare_v2(edit->db, text, -1, stmt, NULL);
    sqlite3_free(text);
    if (rc == SQLITE_OK && record != NULL)
        rc = bind_record(*stmt, table, record, part);
    return rc;
}

/* The key as a person writes it: "shop-*@example.com", "* @spam.example". */
static void set_key_error(enum aliases_table table, const struct edit_record *record, const char *format,
                          struct error *err)
{
    const char *first = record->at[0].text, *second = record->at[1].text;
    char key[400];
    if (table == ALIASES_GLOBS)
        snprintf(key, sizeof key, "%s@%s", second, first);
    else if (table == ALIASES_SENDERS)
        snprintf(key, sizeof key, "%s %s", first, second);
    else
        snprintf(key, sizeof key, "%s", first);
    if (strcmp(format, "exists") == 0)
        error_set(err, "%s exists already; change it with `set`", key);
    else
        error_set(err, "%s: there is no such row in %s", key, aliases_schema_columns[table].table);
}

static void write_add(sqlite3_str *sql, enum aliases_table table, const struct edit_record *record)
{
    sqlite3_str_appendf(sql, "INSERT INTO %s (", aliases_schema_columns[table].table);
    add_columns(sql, table, record, PART_ALL, ", ", true, false);
    sqlite3_str_appendf(sql, ") VALUES (");
    add_columns(sql, table, record, PART_ALL, ", ", false, true);
    sqlite3_str_appendf(sql, ")");
}

static void write_set(sqlite3_str *sql, enum aliases_table table, const struct edit_record *record)
{
    sqlite3_str_appendf(sql, "UPDATE %s SET ", aliases_schema_columns[table].table);
    add_columns(sql, table, record, PART_SET, ", ", true, true);
    sqlite3_str_appendf(sql, " WHERE ");
    add_columns(sql, table, record, PART_KEYS, " AND ", true, true);
}

static void write_remove(sqlite3_str *sql, enum aliases_table table, const struct edit_record *record)
{
    sqlite3_str_appendf(sql, "DELETE FROM %s WHERE ", aliases_schema_columns[table].table);
    add_columns(sql, table, record, PART_KEYS, " AND ", true, true);
}

/* keys NULL: all rows. */
static void write_list(sqlite3_str *sql, enum aliases_table table, const struct edit_record *keys)
{
    const struct aliases_schema_columns *columns = &aliases_schema_columns[table];
    for (size_t i = 0; i < columns->n; i++)
        sqlite3_str_appendf(sql, "%s%s", i == 0 ? "SELECT " : ", ", columns->names[i]);
    sqlite3_str_appendf(sql, " FROM %s", columns->table);
    if (keys != NULL) {
        sqlite3_str_appendf(sql, " WHERE ");
        add_columns(sql, table, keys, PART_KEYS, " AND ", true, true);
    }
    sqlite3_str_appendf(sql, " ORDER BY 1%s", columns->n_keys > 1 ? ", 2" : "");
}

static const struct {
    void (*write)(sqlite3_str *sql, enum aliases_table table, const struct edit_record *record);
    enum part part; /* what has parameters */
} statements[STATEMENTS] = {
    [STATEMENT_ADD] = {write_add, PART_ALL},
    [STATEMENT_SET] = {write_set, PART_ALL},
    [STATEMENT_REMOVE] = {write_remove, PART_KEYS},
    [STATEMENT_FIND] = {write_list, PART_KEYS},
};

static unsigned shape_of(enum aliases_table table, const struct edit_record *record, enum part part)
{
    unsigned shape = 0;
    for (size_t i = 0; i < aliases_schema_columns[table].n; i++)
        shape |= is_part(&aliases_schema_columns[table], record, i, part) ? 1U << i : 0;
    return shape;
}

/* The statement for this record, with its values: the one that is kept, where it fits. */
static int ready(struct aliases_edit *edit, enum statement statement, enum aliases_table table,
                 const struct edit_record *record)
{
    struct kept *kept = &edit->kept[statement];
    const enum part part = statements[statement].part;
    const unsigned shape = shape_of(table, record, part);
    if (kept->stmt != NULL && kept->table == table && kept->shape == shape) {
        int rc = sqlite3_clear_bindings(kept->stmt);
        return rc == SQLITE_OK ? bind_record(kept->stmt, table, record, part) : rc;
    }
    sqlite3_finalize(kept->stmt); /* repeats the error of step */
    *kept = (struct kept){.table = table, .shape = shape};
    sqlite3_str *sql = sqlite3_str_new(edit->db);
    statements[statement].write(sql, table, record);
    return prepare(edit, sql, table, record, part, &kept->stmt);
}

/* Runs a statement that changes rows. */
static enum edit_status change(struct aliases_edit *edit, enum statement statement, enum aliases_table table,
                               const struct edit_record *record, struct error *err)
{
    step_begins(edit);
    int rc = ready(edit, statement, table, record);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(edit->kept[statement].stmt);
    int changes = sqlite3_changes(edit->db);
    enum edit_status status = EDIT_DONE;
    if (rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_UNIQUE) {
        set_key_error(table, record, "exists", err);
        status = EDIT_EXISTS;
    } else if (rc != SQLITE_DONE) {
        status = failed(edit, rc, err);
    } else if (changes == 0) {
        set_key_error(table, record, "missing", err);
        status = EDIT_NOT_FOUND;
    }
    sqlite3_reset(edit->kept[statement].stmt); /* repeats the error of step */
    return status;
}

enum edit_status aliases_edit_add(struct aliases_edit *edit, enum aliases_table table,
                                  const struct edit_record *record, struct error *err)
{
    return change(edit, STATEMENT_ADD, table, record, err);
}

enum edit_status aliases_edit_set(struct aliases_edit *edit, enum aliases_table table,
                                  const struct edit_record *record, struct error *err)
{
    if (shape_of(table, record, PART_SET) == 0) {
        error_set(err, "nothing to set was given");
        return EDIT_INVALID;
    }
    return change(edit, STATEMENT_SET, table, record, err);
}

enum edit_status aliases_edit_remove(struct aliases_edit *edit, enum aliases_table table,
                                     const struct edit_record *keys, struct error *err)
{
    return change(edit, STATEMENT_REMOVE, table, keys, err);
}

enum edit_status aliases_edit_clear(struct aliases_edit *edit, enum aliases_table table, struct error *err)
{
    char sql[256];
    const char *name = aliases_schema_columns[table].table;
    step_begins(edit);
    snprintf(sql, sizeof sql,
             "DROP TABLE IF EXISTS temp.was_%s; CREATE TEMP TABLE was_%s AS SELECT * FROM main.%s; DELETE "
             "FROM main.%s",
             name, name, name, name);
    int rc = sqlite3_exec(edit->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? EDIT_DONE : failed(edit, rc, err);
}

enum edit_status aliases_edit_count(struct aliases_edit *edit, int64_t most, struct aliases_sizes *out,
                                    struct error *err)
{
    int rc = aliases_check_count(edit->db, most, out);
    return rc == SQLITE_OK ? EDIT_DONE : failed(edit, rc, err);
}

/* "old.a = new.a AND old.b = new.b" for columns from..to, with what joins and compares them. */
static void add_compared(sqlite3_str *sql, const struct aliases_schema_columns *columns, size_t from,
                         size_t to, const char *compare, const char *join)
{
    for (size_t i = from; i < to; i++)
        sqlite3_str_appendf(sql, "%sold.%s %s new.%s", i > from ? join : "", columns->names[i], compare,
                            columns->names[i]);
}

enum edit_status aliases_edit_compare(struct aliases_edit *edit, enum aliases_table table,
                                      struct edit_difference *out, struct error *err)
{
    const struct aliases_schema_columns *columns = &aliases_schema_columns[table];
    sqlite3_str *sql = sqlite3_str_new(edit->db);
    sqlite3_str_appendf(
        sql, "SELECT count(*), count(*) - count(new.%s), count(*) FILTER (WHERE new.%s NOT NULL AND (",
        columns->names[0], columns->names[0]);
    add_compared(sql, columns, columns->n_keys, columns->n, "IS NOT", " OR ");
    sqlite3_str_appendf(
        sql, ")), (SELECT count(*) FROM main.%s) FROM temp.was_%s AS old LEFT JOIN main.%s AS new ON ",
        columns->table, columns->table, columns->table);
    add_compared(sql, columns, 0, columns->n_keys, "=", " AND ");
    sqlite3_stmt *stmt = NULL;
    int rc = prepare(edit, sql, table, NULL, PART_ALL, &stmt);
    if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        int64_t before = sqlite3_column_int64(stmt, 0), removed = sqlite3_column_int64(stmt, 1);
        out->before += before;
        out->removed += removed;
        out->changed += sqlite3_column_int64(stmt, 2);
        out->added += sqlite3_column_int64(stmt, 3) - (before - removed);
    }
    enum edit_status status = rc == SQLITE_ROW ? EDIT_DONE : failed(edit, rc, err);
    sqlite3_finalize(stmt); /* repeats the error of step */
    return status;
}

static void read_record(sqlite3_stmt *stmt, size_t n, struct edit_record *out)
{
    *out = (struct edit_record){0};
    for (size_t i = 0; i < n; i++) {
        int type = sqlite3_column_type(stmt, (int)i);
        struct edit_value *value = &out->at[i];
        if (type == SQLITE_INTEGER)
            *value = (struct edit_value){.kind = EDIT_NUMBER, .number = sqlite3_column_int64(stmt, (int)i)};
        else if (type != SQLITE_NULL)
            *value = (struct edit_value){.kind = EDIT_TEXT,
                                         .text = (const char *)sqlite3_column_text(stmt, (int)i)};
        if (value->kind == EDIT_UNSET || (value->kind == EDIT_TEXT && value->text == NULL))
            value->kind = EDIT_NULL;
    }
}

enum edit_status aliases_edit_list(struct aliases_edit *edit, enum aliases_table table,
                                   const struct edit_record *keys, aliases_each *each, void *context,
                                   struct error *err)
{
    sqlite3_stmt *all = NULL;
    step_begins(edit);
    int rc;
    if (keys != NULL) {
        rc = ready(edit, STATEMENT_FIND, table, keys);
    } else {
        sqlite3_str *sql = sqlite3_str_new(edit->db);
        write_list(sql, table, NULL);
        rc = prepare(edit, sql, table, NULL, PART_KEYS, &all);
    }
    sqlite3_stmt *stmt = keys != NULL ? edit->kept[STATEMENT_FIND].stmt : all;
    size_t n = 0;
    bool more = rc == SQLITE_OK;
    while (more && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct edit_record record;
        read_record(stmt, aliases_schema_columns[table].n, &record);
        n++;
        more = each(table, &record, context);
        step_begins(edit);
    }
    enum edit_status status = EDIT_DONE;
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
        status = failed(edit, rc, err);
    } else if (keys != NULL && n == 0) {
        set_key_error(table, keys, "missing", err);
        status = EDIT_NOT_FOUND;
    }
    sqlite3_reset(stmt); /* repeats the error of step */
    sqlite3_finalize(all);
    return status;
}

enum edit_status aliases_edit_mailboxes(struct aliases_edit *edit, enum aliases_table table,
                                        aliases_each_mailbox *each, void *context, struct error *err)
{
    static const char *const mailboxes_sql[ALIASES_TABLES] = {
        [ALIASES_ALIASES] =
            "SELECT mailbox, address, NULL FROM aliases WHERE action = 'accept' AND mailbox NOT NULL",
        [ALIASES_GLOBS] =
            "SELECT mailbox, domain, glob FROM alias_globs WHERE action = 'accept' AND mailbox NOT NULL",
    };
    sqlite3_stmt *stmt = NULL;
    step_begins(edit);
    int rc = sqlite3_prepare_v2(edit->db, mailboxes_sql[table], -1, &stmt, NULL);
    bool more = rc == SQLITE_OK;
    while (more && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *mailbox = (const char *)sqlite3_column_text(stmt, 0);
        const char *keys[ALIASES_KEYS] = {(const char *)sqlite3_column_text(stmt, 1),
                                          (const char *)sqlite3_column_text(stmt, 2)};
        if (mailbox != NULL && keys[0] != NULL && (table == ALIASES_ALIASES || keys[1] != NULL))
            more = each(table, keys, mailbox, context);
        step_begins(edit);
    }
    enum edit_status status = rc == SQLITE_DONE || rc == SQLITE_ROW ? EDIT_DONE : failed(edit, rc, err);
    sqlite3_finalize(stmt); /* repeats the error of step */
    return status;
}
