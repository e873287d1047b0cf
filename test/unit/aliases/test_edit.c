/* Creating and editing the rule database. */
#include "aliases/edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool disk_fails;

/* In the place of the C library's. */
int fsync(int fd)
{
    if (!disk_fails)
        return fdatasync(fd);
    errno = EIO;
    return -1;
}

struct place {
    char top[64], dir[80], path[96];
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    strcpy(place->top, "/tmp/test_ruledb_edit.XXXXXX");
    assert_non_null(mkdtemp(place->top));
    snprintf(place->dir, sizeof place->dir, "%s/aliases", place->top);
    snprintf(place->path, sizeof place->path, "%s/aliases.db", place->dir);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < 4; i++) {
        char file[128];
        snprintf(file, sizeof file, "%s%s", place->path, suffixes[i]);
        unlink(file);
    }
    int rc = rmdir(place->dir) | rmdir(place->top); /* fails where a draft was left behind */
    free(place);
    return rc;
}

static unsigned mode_of(const char *dir_or_file, const char *suffix)
{
    char file[128];
    struct stat st;
    snprintf(file, sizeof file, "%s%s", dir_or_file, suffix);
    assert_int_equal(stat(file, &st), 0);
    return st.st_mode & 07777;
}

static void expect(enum edit_status got, enum edit_status want, struct error *err, const char *text)
{
    if (got != want || strstr(err->text, text) == NULL)
        fail_msg("status %d, wanted %d: \"%s\" should say \"%s\"", (int)got, (int)want, err->text, text);
    *err = (struct error){0};
}

static struct aliases_edit *edit_of(const struct place *place, bool writes)
{
    struct aliases_edit *edit = NULL;
    struct error err = {0};
    expect(aliases_edit_open(place->path, writes, &edit, &err), EDIT_DONE, &err, "");
    assert_non_null(edit);
    return edit;
}

static void creates_with_modes_and_never_twice(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    mode_t before = umask(077);
    expect(aliases_edit_create(place->path, NULL, &err), EDIT_DONE, &err, "");
    assert_int_equal(mode_of(place->dir, ""), geteuid() == 0 ? 0700 : 02770); /* root shares with nobody */
    assert_int_equal(mode_of(place->path, ""), 0660);
    struct aliases_edit *edit = edit_of(place, true);
    struct edit_record row = {.at = {{.kind = EDIT_TEXT, .text = "example.com"}}};
    expect(aliases_edit_add(edit, ALIASES_DOMAINS, &row, &err), EDIT_DONE, &err, "");
    expect(aliases_edit_commit(edit, &err), EDIT_DONE, &err, "");
    assert_int_equal(mode_of(place->path, "-wal"), 0660);
    assert_int_equal(mode_of(place->path, "-shm"), 0660);
    aliases_edit_close(edit);
    umask(before);
    struct stat first, second;
    assert_int_equal(stat(place->path, &first), 0);
    expect(aliases_edit_create(place->path, NULL, &err), EDIT_EXISTS, &err, "exists already");
    assert_int_equal(stat(place->path, &second), 0);
    assert_true(first.st_ino == second.st_ino && first.st_size == second.st_size);
}

static void creates_nothing_that_is_not_on_the_disk(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    disk_fails = true;
    enum edit_status status = aliases_edit_create(place->path, NULL, &err);
    disk_fails = false;
    expect(status, EDIT_CREATE, &err, strerror(EIO));
    assert_int_equal(access(place->path, F_OK), -1);
}

static void creates_nothing_beside_leftovers(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", place->path);
    assert_int_equal(mkdir(place->dir, 0700), 0);
    FILE *out = fopen(wal, "w");
    assert_non_null(out);
    assert_int_equal(fclose(out), 0);
    expect(aliases_edit_create(place->path, NULL, &err), EDIT_EXISTS, &err, "move it away");
    assert_int_equal(access(place->path, F_OK), -1);
    assert_int_equal(unlink(wal), 0);
    expect(aliases_edit_create(place->path, "no-such-group-here", &err), EDIT_CREATE, &err, "no group");
    assert_int_equal(access(place->path, F_OK), -1);
    expect(aliases_edit_create(place->path, NULL, &err), EDIT_DONE, &err, "");
    assert_int_equal(mode_of(place->dir, ""), 0700); /* a directory that was there is left as it is */
    expect(aliases_edit_create("/proc/no/such/place/aliases.db", NULL, &err), EDIT_CREATE, &err,
           "cannot be created");
}

struct seen {
    size_t n;
    char all[256];
};

static bool note(enum aliases_table table, const struct edit_record *record, void *context)
{
    struct seen *seen = context;
    seen->n++;
    for (size_t i = 0; i < aliases_schema_columns[table].n; i++) {
        const struct edit_value *value = &record->at[i];
        size_t len = strlen(seen->all);
        if (value->kind == EDIT_TEXT)
            snprintf(seen->all + len, sizeof seen->all - len, "%s|", value->text);
        else if (value->kind == EDIT_NUMBER)
            snprintf(seen->all + len, sizeof seen->all - len, "%lld|", (long long)value->number);
        else
            strncat(seen->all, "|", sizeof seen->all - len - 1);
    }
    return true;
}

/* Every table: added, listed, changed, cleared, removed. */
static void edits_every_table(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    expect(aliases_edit_create(place->path, NULL, &err), EDIT_DONE, &err, "");
    for (enum aliases_table table = 0; table < ALIASES_TABLES; table++) {
        const struct aliases_schema_columns *columns = &aliases_schema_columns[table];
        struct edit_record row = {0};
        for (size_t i = 0; i < columns->n; i++)
            row.at[i] = aliases_schema_column_is_number(columns->names[i])
                            ? (struct edit_value){.kind = EDIT_NUMBER, .number = 99}
                            : (struct edit_value){.kind = EDIT_TEXT, .text = "reject"};
        for (size_t i = 0; i < columns->n_keys && table == ALIASES_SENDERS; i++)
            row.at[i].text = "@reject"; /* a scope and a pattern have their forms */
        struct aliases_edit *edit = edit_of(place, true);
        expect(aliases_edit_add(edit, table, &row, &err), EDIT_DONE, &err, "");
        expect(aliases_edit_add(edit, table, &row, &err), EDIT_EXISTS, &err, "exists already");
        struct edit_record change = row;
        int reply = aliases_schema_column(table, "reply"), action = aliases_schema_column(table, "action");
        for (size_t i = columns->n_keys; i < columns->n; i++)
            change.at[i] = (struct edit_value){0};
        expect(aliases_edit_set(edit, table, &change, &err), EDIT_INVALID, &err, "nothing to set");
        change.at[reply] = (struct edit_value){.kind = EDIT_NULL};
        expect(aliases_edit_set(edit, table, &change, &err), EDIT_DONE, &err, "");
        change.at[action] = (struct edit_value){.kind = EDIT_TEXT, .text = "allow"};
        expect(aliases_edit_set(edit, table, &change, &err), EDIT_INVALID, &err, "refuses");
        expect(aliases_edit_commit(edit, &err), EDIT_DONE, &err, "");
        aliases_edit_close(edit);

        edit = edit_of(place, false);
        struct seen seen = {0};
        expect(aliases_edit_list(edit, table, NULL, note, &seen, &err), EDIT_DONE, &err, "");
        assert_int_equal(seen.n, 1);
        assert_non_null(strstr(seen.all, "reject|"));
        if (aliases_schema_column(table, "expires_at") >= 0)
            assert_non_null(strstr(seen.all, "99|"));
        aliases_edit_close(edit);

        edit = edit_of(place, true);
        struct edit_record other = row;
        other.at[0].text = "nobody";
        expect(aliases_edit_remove(edit, table, &other, &err), EDIT_NOT_FOUND, &err, "nobody");
        expect(aliases_edit_set(edit, table, &other, &err), EDIT_NOT_FOUND, &err, "no such row");
        expect(aliases_edit_list(edit, table, &other, note, &seen, &err), EDIT_NOT_FOUND, &err,
               "no such row");
        expect(aliases_edit_remove(edit, table, &row, &err), EDIT_DONE, &err, "");
        expect(aliases_edit_remove(edit, table, &row, &err), EDIT_NOT_FOUND, &err, "no such row");
        aliases_edit_close(edit); /* not committed: the row stays */
        edit = edit_of(place, false);
        seen = (struct seen){0};
        expect(aliases_edit_list(edit, table, &row, note, &seen, &err), EDIT_DONE, &err, "");
        assert_int_equal(seen.n, 1);
        aliases_edit_close(edit);
    }
}

static void says_what_is_wrong_with_the_file(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    struct aliases_edit *edit = NULL;
    expect(aliases_edit_open(place->path, true, &edit, &err), EDIT_MISSING, &err, "alias init");
    expect(aliases_edit_open(place->path, false, &edit, &err), EDIT_MISSING, &err, "alias init");
    assert_int_equal(access(place->path, F_OK), -1);
    assert_null(edit);
    expect(aliases_edit_create(place->path, NULL, &err), EDIT_DONE, &err, "");
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    expect(aliases_edit_open(place->path, true, &edit, &err), EDIT_BUSY, &err, "busy");
    aliases_edit_close(edit_of(place, false)); /* who only reads does not wait */
    assert_int_equal(sqlite3_exec(db, "COMMIT; PRAGMA user_version = 9", NULL, NULL, NULL), SQLITE_OK);
    expect(aliases_edit_open(place->path, true, &edit, &err), EDIT_FAILED, &err, "user_version 9");
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 1; PRAGMA page_count", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_null(edit);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(creates_with_modes_and_never_twice), TEST(creates_nothing_that_is_not_on_the_disk),
        TEST(creates_nothing_beside_leftovers),   TEST(edits_every_table),
        TEST(says_what_is_wrong_with_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
