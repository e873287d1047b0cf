/* The alias database with its monitor: what is taken, what answers when the file cannot, and what happens when
 * every nth call of the system, or of malloc, fails. The rule of all tests: who exists is never called absent
 * by live rows. */
#include "aliases/aliases.h"

#include "check.h"
#include "base/clock.h"
#include "patience.h"
#include "snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern const char aliases_schema_sql[];

enum { STALL_MS = 100, ALIASES = 200 };

/* --- faults: the nth call fails, and all after it while `lasting` --- */

enum fault_call {
    CALL_OPEN,
    CALL_READ,
    CALL_WRITE,
    CALL_SYNC,
    CALL_LOCK,
    CALL_SIZE,
    CALL_MAP,
    CALL_ACCESS,
    CALL_PATH,
    CALL_MALLOC,
    CALLS
};

static struct {
    atomic_int countdown[CALLS]; /* 0: off. The call that brings it to 0 fails */
    atomic_bool lasting[CALLS];  /* fails until it is switched off */
    atomic_long failed;
} faults;

static bool fails(enum fault_call call)
{
    bool failing = atomic_load(&faults.lasting[call]);
    if (!failing && atomic_load(&faults.countdown[call]) > 0)
        failing = atomic_fetch_sub(&faults.countdown[call], 1) == 1;
    if (failing)
        atomic_fetch_add(&faults.failed, 1);
    return failing;
}

static void no_faults(void)
{
    for (int i = 0; i < CALLS; i++) {
        atomic_store(&faults.countdown[i], 0);
        atomic_store(&faults.lasting[i], false);
    }
}

/* --- what happens in between: once, in this thread, when the file has been opened, or looked at --- */

static _Thread_local int reads_to_stall; /* the read that brings it to 0 takes STALL_MS */

static _Thread_local struct between {
    const char *path; /* NULL: nothing happens */
    void (*happens)(const char *path);
} while_opening, while_looking;

static void happen(struct between *between, const char *path)
{
    struct between now = *between;
    if (now.path == NULL || path == NULL || strcmp(now.path, path) != 0)
        return;
    *between = (struct between){0};
    now.happens(path);
}

int stat(const char *path, struct stat *out) /* instead of libc's */
{
    int rc = fstatat(AT_FDCWD, path, out, 0);
    happen(&while_looking, path);
    return rc;
}

struct shim_file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_vfs *real_vfs;
static sqlite3_io_methods shim_methods;

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct shim_file *)file)->real;
}

static int shim_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int shim_read(sqlite3_file *file, void *to, int n, sqlite3_int64 at)
{
    if (reads_to_stall > 0 && --reads_to_stall == 0)
        nap(STALL_MS);
    return fails(CALL_READ) ? SQLITE_IOERR_READ : real_of(file)->pMethods->xRead(real_of(file), to, n, at);
}

static atomic_int write_nap_ms; /* how long each write to a copy takes */

static int shim_write(sqlite3_file *file, const void *from, int n, sqlite3_int64 at)
{
    nap(atomic_load(&write_nap_ms));
    return fails(CALL_WRITE) ? SQLITE_FULL : real_of(file)->pMethods->xWrite(real_of(file), from, n, at);
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int shim_sync(sqlite3_file *file, int flags)
{
    return fails(CALL_SYNC) ? SQLITE_IOERR_FSYNC : real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int shim_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return fails(CALL_SIZE) ? SQLITE_IOERR_FSTAT : real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int shim_lock(sqlite3_file *file, int level)
{
    return fails(CALL_LOCK) ? SQLITE_IOERR_LOCK : real_of(file)->pMethods->xLock(real_of(file), level);
}

static int shim_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int shim_reserved(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int shim_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int shim_sector(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int shim_device(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int shim_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    if (fails(CALL_MAP)) {
        *out = NULL;
        return SQLITE_IOERR_SHMMAP;
    }
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}

static atomic_long shm_locks; /* taken in the whole */

static int shim_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    if ((flags & SQLITE_SHM_LOCK) != 0)
        atomic_fetch_add(&shm_locks, 1);
    if ((flags & SQLITE_SHM_LOCK) != 0 && fails(CALL_LOCK))
        return SQLITE_IOERR_SHMLOCK;
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}

static void shim_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int shim_shm_unmap(sqlite3_file *file, int delete)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), delete);
}

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct shim_file *shim = (struct shim_file *)file;
    (void)vfs;
    shim->real = (sqlite3_file *)(shim + 1);
    shim->base.pMethods = NULL;
    if (fails(CALL_OPEN))
        return SQLITE_CANTOPEN;
    int rc = real_vfs->xOpen(real_vfs, name, shim->real, flags, out);
    if (rc == SQLITE_OK)
        shim->base.pMethods = &shim_methods;
    happen(&while_opening, name);
    return rc;
}

static int shim_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    (void)vfs;
    return fails(CALL_ACCESS) ? SQLITE_IOERR_ACCESS : real_vfs->xAccess(real_vfs, name, flags, out);
}

static int shim_full_path(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
    (void)vfs;
    return fails(CALL_PATH) ? SQLITE_CANTOPEN : real_vfs->xFullPathname(real_vfs, name, size, out);
}

static sqlite3_mem_methods real_mem;

static void *shim_malloc(int n)
{
    return fails(CALL_MALLOC) ? NULL : real_mem.xMalloc(n);
}

static void *shim_realloc(void *old, int n)
{
    return fails(CALL_MALLOC) ? NULL : real_mem.xRealloc(old, n);
}

static void shim_install(void)
{
    static sqlite3_vfs vfs;
    sqlite3_mem_methods mem;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_mem), SQLITE_OK);
    mem = real_mem;
    mem.xMalloc = shim_malloc;
    mem.xRealloc = shim_realloc;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &mem), SQLITE_OK);
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK); /* else few calls get here */
    real_vfs = sqlite3_vfs_find(NULL);
    assert_non_null(real_vfs);
    vfs = *real_vfs;
    vfs.zName = "failing";
    vfs.szOsFile = (int)sizeof(struct shim_file) + real_vfs->szOsFile;
    vfs.xOpen = shim_open;
    vfs.xAccess = shim_access;
    vfs.xFullPathname = shim_full_path;
    vfs.pNext = NULL;
    shim_methods = (sqlite3_io_methods){
        .iVersion = 2,
        .xClose = shim_close,
        .xRead = shim_read,
        .xWrite = shim_write,
        .xTruncate = shim_truncate,
        .xSync = shim_sync,
        .xFileSize = shim_size,
        .xLock = shim_lock,
        .xUnlock = shim_unlock,
        .xCheckReservedLock = shim_reserved,
        .xFileControl = shim_control,
        .xSectorSize = shim_sector,
        .xDeviceCharacteristics = shim_device,
        .xShmMap = shim_shm_map,
        .xShmLock = shim_shm_lock,
        .xShmBarrier = shim_shm_barrier,
        .xShmUnmap = shim_shm_unmap,
    };
    assert_int_equal(sqlite3_vfs_register(&vfs, 1), SQLITE_OK);
}

/* --- the world --- */

struct place {
    char dir[64], path[96], copy[96];
    struct pool pool;
    struct aliases *db;
};

/* As another process would: through the real VFS. */
static void run_on(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    char *said = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, real_vfs->zName),
                     SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, PATIENCE_MS), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &said) != SQLITE_OK)
        fail_msg("%s: %s", sql, said);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void fill(const char *path)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "INSERT OR REPLACE INTO domains(domain) VALUES ('example.com');"
             "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT OR REPLACE INTO aliases(address) SELECT 'a' || i || '@example.com' FROM n;"
             "PRAGMA wal_checkpoint(TRUNCATE)",
             ALIASES - 1);
    run_on(path, sql);
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    strcpy(place->dir, "/tmp/test_ruledb_copy.XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->path, sizeof place->path, "%s/aliases.db", place->dir);
    snprintf(place->copy, sizeof place->copy, "%s/copy.db", place->dir);
    run_on(place->path, aliases_schema_sql);
    fill(place->path);
    *state = place;
    return 0;
}

static void clear(const char *base)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".new", ".new-journal", ".accept"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char file[128];
        snprintf(file, sizeof file, "%s%s", base, suffixes[i]);
        if (unlink(file) < 0)
            rmdir(file);
    }
}

static int tear_down(void **state)
{
    struct place *place = *state;
    no_faults();
    atomic_store(&write_nap_ms, 0);
    aliases_free(place->db);
    pool_done(&place->pool);
    clear(place->path);
    clear(place->copy);
    int rc = rmdir(place->dir);
    free(place);
    return rc;
}

static void open_db(struct place *place, int64_t max_stale_ms)
{
    struct error err = {0};
    const struct aliases_config config = {
        .path = place->path, .copy_path = place->copy, .max_stale_ms = max_stale_ms, .max_shrink = 50};
    place->db = aliases_new(&config);
    assert_non_null(place->db);
    assert_int_equal(aliases_start(place->db, PATIENCE_MS, PATIENCE_MS, &err), 0);
}

static void close_db(struct place *place)
{
    aliases_free(place->db);
    place->db = NULL;
}

static bool is_absent_in_copy(struct place *place, const struct alias_query *query)
{
    struct alias_rows rows;
    struct aliases_reading copy = aliases_begin_copy(place->db);
    aliases_alias(&copy, query, &place->pool, &rows);
    aliases_end(&copy);
    return rows.state == ROWS_LIVE && rows.full.key == NULL;
}

/* What is absent is asked a second time, as the gate does. */
static struct alias_rows ask(struct place *place, const char *local)
{
    struct alias_rows rows;
    const char *full = pool_printf(&place->pool, "%s@example.com", local);
    struct alias_query query = {.full = {full}, .domain = {"example.com"}, .local_full = local};
    struct aliases_reading reading = aliases_begin(place->db);
    aliases_alias(&reading, &query, &place->pool, &rows);
    if (rows.state == ROWS_LIVE && rows.full.key == NULL && !aliases_is_proof(&reading) &&
        !is_absent_in_copy(place, &query) &&
        !(aliases_recheck(place->db) && is_absent_in_copy(place, &query)))
        rows.state = ROWS_UNKNOWN;
    aliases_end(&reading);
    return rows;
}

static bool is(struct place *place, const char *local, enum rows_state state, bool there)
{
    struct alias_rows rows = ask(place, local);
    return rows.state == state && (rows.full.key != NULL) == there;
}

static void wait_until(struct place *place, const char *local, enum rows_state state, bool there)
{
    int64_t start = clock_monotonic_ms();
    while (!is(place, local, state, there)) {
        if (clock_monotonic_ms() - start > PATIENCE_MS)
            fail_msg("%s does not become %d/%d; it is %d", local, (int)state, (int)there,
                     (int)ask(place, local).state);
        nap(5);
    }
}

static struct aliases_status status(struct place *place)
{
    struct aliases_status status;
    aliases_status(place->db, &status);
    return status;
}

/* Everything well: nothing is in doubt, and the copy is as the file. */
static void wait_well(struct place *place)
{
    int64_t start = clock_monotonic_ms();
    for (;;) {
        struct aliases_status now = status(place);
        if (now.mode == ALIASES_LIVE && now.condition.text[0] == '\0' && now.refused.text[0] == '\0' &&
            now.copy_condition.text[0] == '\0')
            break;
        if (clock_monotonic_ms() - start > PATIENCE_MS)
            fail_msg("still %s: %s%s%s", aliases_mode_name(now.mode), now.condition.text, now.refused.text,
                     now.copy_condition.text);
        nap(5);
    }
    assert_true(is(place, "a7", ROWS_LIVE, true));
    wait_until(place, "nobody", ROWS_LIVE, false);
}

static void wait_for_copy(struct place *place)
{
    for (int64_t start = clock_monotonic_ms(); access(place->copy, F_OK) < 0; nap(5))
        if (clock_monotonic_ms() - start > PATIENCE_MS)
            fail_msg("no copy; refused is \"%s\"", status(place).refused.text);
}

static void expect_refused(struct place *place, const char *what)
{
    int64_t start = clock_monotonic_ms();
    while (strstr(status(place).refused.text, what) == NULL) {
        if (clock_monotonic_ms() - start > PATIENCE_MS)
            fail_msg("refused is \"%s\"", status(place).refused.text);
        nap(5);
    }
    assert_int_equal(status(place).mode, ALIASES_COPY);
}

/* --- no needless doubt --- */

static void replace_by_its_like(const char *path)
{
    char sql[256], other[128];
    snprintf(other, sizeof other, "%s.other", path);
    snprintf(sql, sizeof sql, "VACUUM INTO '%s'", other);
    run_on(path, sql);
    assert_int_equal(rename(other, path), 0);
}

static void a_copy_that_is_replaced_while_it_is_opened(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    while_opening = (struct between){place->copy, replace_by_its_like};
    assert_true(is(place, "nobody", ROWS_LIVE, false));
    assert_null(while_opening.path); /* it has happened */
}

static void be_out_of_memory(const char *path)
{
    (void)path;
    atomic_store(&faults.countdown[CALL_MALLOC], 1);
}

static void memory_is_short_for_a_moment_only(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    while_opening = (struct between){place->copy, be_out_of_memory};
    assert_false(is(place, "nobody", ROWS_LIVE, false));
    assert_true(is(place, "nobody", ROWS_LIVE, false)); /* who comes next tries again */
}

/* As on a machine where it gets no CPU for a while. Where that while is longer than it should be, it is tried anew. */
static void who_cannot_run_is_not_slow(void **state)
{
    struct place *place = *state;
    bool live = false;
    run_on(
        place->path,
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
        " INSERT INTO alias_globs(domain, glob) SELECT 'example.com', 'long-and-never-' || i || '-*' FROM n;"
        "PRAGMA wal_checkpoint(TRUNCATE)");
    for (int i = 0; i < 10 && !live; i++) {
        open_db(place, 60000);
        reads_to_stall = 20; /* in the midst of the globs */
        live = is(place, "nobody", ROWS_LIVE, false);
        assert_true(reads_to_stall <= 0);
        close_db(place);
    }
    assert_true(live);
}

/* The keeper looks at the bigger file meanwhile. */
static void grow(const char *path)
{
    struct stat before, now;
    assert_int_equal(stat(path, &before), 0);
    run_on(path, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
                 " INSERT OR REPLACE INTO aliases(address) SELECT 'b' || i || '@example.com' FROM n;"
                 "PRAGMA wal_checkpoint(PASSIVE)");
    assert_int_equal(stat(path, &now), 0);
    assert_true(now.st_size > before.st_size);
    nap(500);
}

static void a_late_look_does_not_shrink_the_file(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    wait_well(place);
    nap(600); /* so that who asks next looks at the file */
    while_looking = (struct between){place->path, grow};
    assert_true(is(place, "nobody", ROWS_LIVE, false));
    assert_null(while_looking.path); /* it has happened */
}

/* --- what is taken --- */

static void a_start_is_ready(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    assert_true(is(place, "a1", ROWS_LIVE, true));
    assert_true(is(place, "nobody", ROWS_LIVE, false));
    struct aliases_status now = status(place);
    assert_int_equal(now.mode, ALIASES_LIVE);
    assert_int_equal(now.aliases, ALIASES);
    assert_int_equal(now.domains, 1);
    assert_true(now.copy_age_ms >= 0 && now.copy_age_ms < PATIENCE_MS);
    struct stat st;
    assert_int_equal(stat(place->copy, &st), 0);
    assert_int_equal(st.st_mode & 07, 0);
    char beside[128];
    snprintf(beside, sizeof beside, "%s-wal", place->copy);
    assert_int_not_equal(access(beside, F_OK), 0); /* the copy is one file */
}

static void the_copy_answers(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    clear(place->path);
    wait_until(place, "a1", ROWS_COPY, true);
    assert_true(is(place, "nobody", ROWS_COPY, false));
    assert_int_equal(status(place).mode, ALIASES_COPY);
    assert_non_null(strstr(status(place).condition.text, "does not exist"));
    close_db(place);
    open_db(place, 60000); /* also in another process */
    assert_true(is(place, "a1", ROWS_COPY, true));
    run_on(place->path, aliases_schema_sql);
    fill(place->path);
    wait_well(place);
}

static void an_old_copy_does_not(void **state)
{
    struct place *place = *state;
    open_db(place, 5000);
    clear(place->path);
    wait_until(place, "a1", ROWS_COPY, true);
    wait_until(place, "a1", ROWS_UNKNOWN, false);
    assert_int_equal(status(place).mode, ALIASES_NOTHING);
    close_db(place);
    open_db(place, 1000);
    assert_true(is(place, "a1", ROWS_UNKNOWN, false)); /* its age outlives the process */
}

static void changes_hold_at_once(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    for (int i = 0; i < 5; i++) {
        run_on(place->path, "INSERT INTO aliases(address) VALUES ('new@example.com')");
        assert_true(is(place, "new", ROWS_LIVE, true));
        wait_well(place);
        run_on(place->path, "DELETE FROM aliases WHERE address = 'new@example.com'");
        assert_int_not_equal(ask(place, "new").state, ROWS_COPY);
        wait_until(place, "new", ROWS_LIVE, false);
    }
}

/* --- a transaction that stays open for who comes next --- */

/* Of many looks in a row few take a lock: the others see that nobody has committed. */
static void who_comes_at_once_takes_no_lock(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    wait_well(place);
    int64_t start = clock_monotonic_ms();
    long most = 0;
    do { /* a busy machine, or the monitor, may come in between */
        long before = atomic_load(&shm_locks);
        for (int i = 0; i < 100; i++)
            assert_true(is(place, "a7", ROWS_LIVE, true));
        most = atomic_load(&shm_locks) - before;
    } while (most > 30 && clock_monotonic_ms() - start < PATIENCE_MS);
    assert_true(most <= 30);
}

static sqlite3 *outside(struct place *place)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(place->path, &db, SQLITE_OPEN_READWRITE, real_vfs->zName), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, PATIENCE_MS), SQLITE_OK);
    return db;
}

static void run_in(sqlite3 *db, const char *sql)
{
    char *said = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &said) != SQLITE_OK)
        fail_msg("%s: %s", sql, said);
}

/* Between commits somebody looks, often enough that a transaction rests each time. */
static void every_commit_holds_for_the_next_look(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    wait_well(place);
    sqlite3 *db = outside(place);
    for (int i = 0; i < 300; i++) {
        char sql[200], local[32];
        snprintf(local, sizeof local, "c%d", i);
        snprintf(sql, sizeof sql, "INSERT INTO aliases(address, owner) VALUES ('%s@example.com', 'a')",
                 local);
        run_in(db, sql);
        for (int look = 0; look < 3; look++)
            assert_string_equal(ask(place, local).full.owner, "a");
        snprintf(sql, sizeof sql, "UPDATE aliases SET owner = 'b' WHERE address = '%s@example.com'", local);
        run_in(db, sql);
        assert_string_equal(ask(place, local).full.owner, "b");
        if (i % 50 == 0)
            run_in(db, "PRAGMA wal_checkpoint(RESTART)"); /* a WAL that begins anew is another one, too */
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* Checkpoints get through, and the WAL begins anew, however often somebody looks. */
static void the_wal_stays_small(void **state)
{
    struct place *place = *state;
    char wal[128];
    struct stat st;
    off_t largest = 0;
    snprintf(wal, sizeof wal, "%s-wal", place->path);
    open_db(place, 60000);
    wait_well(place);
    sqlite3 *db = outside(place);
    for (int i = 0; i < 500; i++) {
        char sql[800];
        snprintf(sql, sizeof sql, "UPDATE aliases SET reply = '%0600d'", i); /* some 40 pages */
        run_in(db, sql);
        assert_int_equal(ask(place, "a7").state, ROWS_LIVE);
        if (fstatat(AT_FDCWD, wal, &st, 0) == 0 && st.st_size > largest)
            largest = st.st_size;
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    print_message("WAL: %ld kB\n", (long)largest / 1024);
    assert_true(largest < 24 << 20); /* 80 MB were written */
}

/* Who has no patience at all gets his checkpoint soon after the last look. */
static void nobody_waits_long_for_who_rests(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    wait_well(place);
    sqlite3 *db = outside(place);
    assert_int_equal(sqlite3_busy_timeout(db, 0), SQLITE_OK);
    run_in(db, "INSERT INTO aliases(address) VALUES ('new@example.com')");
    for (int look = 0; look < 3; look++)
        assert_true(is(place, "new", ROWS_LIVE, true));
    int64_t start = clock_monotonic_ms();
    int rc;
    do {
        rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        nap(5);
    } while (rc == SQLITE_BUSY && clock_monotonic_ms() - start < PATIENCE_MS);
    assert_int_equal(rc, SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void what_lost_much_is_refused(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    open_db(place, 60000);
    run_on(place->path, "DELETE FROM aliases WHERE address <> 'a7@example.com'");
    assert_int_not_equal(ask(place, "a1").state, ROWS_LIVE);
    expect_refused(place, "max_shrink");
    assert_true(is(place, "a1", ROWS_COPY, true));
    assert_int_equal(aliases_accept(place->db, PATIENCE_MS, &err), 0);
    assert_true(is(place, "a1", ROWS_LIVE, false));
    wait_well(place);
}

/* Since then no more time has passed than some rounds take, those before and the last one. Rounds that are not urgent come ten times as
 * late. */
static void expect_soon(struct place *place, int64_t start, int64_t round_ms)
{
    const int64_t took_ms = clock_monotonic_ms() - start, last_ms = status(place).round_ms;
    const int64_t soon_ms = 1000 + 5 * (last_ms > round_ms ? last_ms : round_ms);
    if (took_ms >= soon_ms)
        fail_msg("it took %" PRId64 " ms, not %" PRId64, took_ms, soon_ms);
}

/* However long a validation takes. */
static void what_is_lost_is_judged_soon(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    atomic_store(&write_nap_ms, 60);
    run_on(place->path, "INSERT INTO aliases (address) VALUES ('b@example.com')");
    int64_t start = clock_monotonic_ms();
    while (status(place).aliases != ALIASES + 1 && clock_monotonic_ms() - start < PATIENCE_MS)
        nap(5);
    const int64_t round_ms = status(place).round_ms;
    assert_true(round_ms > 333);
    run_on(place->path, "DELETE FROM aliases WHERE address NOT IN ('a7@example.com', 'a1@example.com')");
    start = clock_monotonic_ms();
    expect_refused(place, "max_shrink");
    expect_soon(place, start, round_ms);
    fill(place->path); /* what mends it, too */
    start = clock_monotonic_ms();
    while (status(place).refused.text[0] != '\0' && clock_monotonic_ms() - start < PATIENCE_MS)
        nap(5);
    assert_string_equal(status(place).refused.text, "");
    expect_soon(place, start, round_ms);
}

static void it_can_be_accepted_beforehand(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    open_db(place, 60000);
    close_db(place);
    run_on(place->path, "DELETE FROM aliases WHERE address <> 'a7@example.com'");
    assert_int_equal(aliases_accept_at_start(place->copy, &err), 0);
    open_db(place, 60000);
    assert_true(is(place, "a1", ROWS_LIVE, false));
    fill(place->path);
    int64_t start = clock_monotonic_ms();
    while (status(place).aliases != ALIASES && clock_monotonic_ms() - start < PATIENCE_MS)
        nap(5);
    assert_true(is(place, "a1", ROWS_LIVE, true));
    run_on(place->path, "DELETE FROM aliases WHERE address <> 'a7@example.com'");
    expect_refused(place, "max_shrink"); /* the mark was for once */
}

static void the_bound_is_exact(void **state)
{
    (void)state;
    static const struct {
        int64_t before, now;
        int max_shrink;
        enum check_result want;
    } rows[] = {
        {100, 50, 50, CHECK_GOOD},  {100, 49, 50, CHECK_BAD},    {99, 1, 50, CHECK_GOOD},
        {99, 0, 50, CHECK_BAD},     {1, 0, 99, CHECK_BAD},       {1, 0, 100, CHECK_GOOD},
        {0, 0, 0, CHECK_GOOD},      {100, 100, 0, CHECK_GOOD},   {100, 99, 0, CHECK_BAD},
        {100, 0, 100, CHECK_GOOD},  {1000, 900, 10, CHECK_GOOD}, {1000, 899, 10, CHECK_BAD},
        {100, 1000, 0, CHECK_GOOD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        const struct aliases_sizes before = {.rows = {[ALIASES_ALIASES] = rows[i].before}};
        const struct aliases_sizes now = {.rows = {[ALIASES_ALIASES] = rows[i].now}};
        if (aliases_check_shrink(&before, &now, rows[i].max_shrink, &err) != rows[i].want)
            fail_msg("row %zu: not %d", i, (int)rows[i].want);
        assert_true((err.text[0] != '\0') == (rows[i].want == CHECK_BAD));
    }
}

/* Each on its own, while all others stay. */
static void every_table_is_counted(void **state)
{
    (void)state;
    for (int i = 0; i < ALIASES_TABLES; i++) {
        bool rules = i == ALIASES_SENDERS || i == ALIASES_CLIENTS;
        struct aliases_sizes had = {.rows = {1000, 1000, 1000, 1000, 1000}}, has = had;
        struct error err = {0};
        had.rows[i] = 9;
        has.rows[i] = 0;
        assert_int_equal(aliases_check_shrink(&had, &has, 50, &err), rules ? CHECK_GOOD : CHECK_BAD);
        has.rows[i] = 1;
        assert_int_equal(aliases_check_shrink(&had, &has, 50, &err), CHECK_GOOD);
        if (!rules)
            continue;
        had.accepts[i] = 3; /* they are gone, and those that refuse are not */
        assert_int_equal(aliases_check_shrink(&had, &has, 50, &err), CHECK_BAD);
        has.accepts[i] = 1;
        assert_int_equal(aliases_check_shrink(&had, &has, 50, &err), CHECK_GOOD);
    }
}

static void a_small_table_is_not_emptied_unasked(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    run_on(place->path, "DELETE FROM aliases WHERE address NOT IN ('a7@example.com', 'a8@example.com')");
    open_db(place, 60000);
    run_on(place->path, "DELETE FROM aliases");
    assert_int_not_equal(ask(place, "a7").state, ROWS_LIVE);
    expect_refused(place, "0 of 2 are left in aliases");
    assert_true(is(place, "a7", ROWS_COPY, true));
    assert_int_equal(aliases_accept(place->db, PATIENCE_MS, &err), 0);
    assert_true(is(place, "a7", ROWS_LIVE, false));
}

/* --- damage --- */

/* Flips a bit of the first key on the interior page of the aliases: the one before its `at`th character. That key is a row,
 * and all look-ups go by it. Past SQLite, as a disk does it. */
static struct spot {
    off_t at;
    unsigned char was;
} damage(const char *path, size_t at, unsigned char bit)
{
    enum { PAGE = 4096, INTERIOR = 2, HEADER = 12 };
    unsigned char page[PAGE];
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (off_t from = 0;; from += PAGE) {
        assert_int_equal(pread(fd, page, PAGE, from), PAGE);
        size_t cell = (size_t)page[HEADER] << 8 | page[HEADER + 1];
        if (page[0] != INTERIOR)
            continue;
        while (page[cell] != 'a' || page[cell + 1] < '0' || page[cell + 1] > '9')
            cell++;
        const struct spot spot = {from + (off_t)(cell + at), page[cell + at]};
        page[cell + at] ^= bit;
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(pwrite(fd, page, PAGE, from), PAGE);
        assert_int_equal(futimens(fd, (struct timespec[]){st.st_atim, st.st_mtim}), 0); /* nobody wrote it */
        assert_int_equal(close(fd), 0);
        return spot;
    }
}

static void mend(const char *path, struct spot spot)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &spot.was, 1, spot.at), 1);
    assert_int_equal(close(fd), 0);
}

/* How many are not found; nobody is called absent. */
static int ask_all(struct place *place)
{
    int missed = 0;
    for (int i = 0; i < ALIASES; i++) {
        char local[16];
        snprintf(local, sizeof local, "a%d", i);
        struct alias_rows rows = ask(place, local);
        missed += rows.full.key == NULL;
        if (rows.state == ROWS_LIVE && rows.full.key == NULL)
            fail_msg("%s was called absent", local);
        pool_reset(&place->pool);
    }
    return missed;
}

static void rows_out_of_order_at_a_start(void **state)
{
    struct place *place = *state;
    (void)damage(place->path, 0, 0x08); /* 'i': beyond all others */
    open_db(place, 60000);
    assert_int_equal(ask_all(place), ALIASES);
    assert_non_null(strstr(status(place).refused.text, "integrity_check"));
}

static void rows_out_of_order_while_open(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    struct spot spot = damage(place->path, 0, 0x08);
    (void)ask_all(place);
    expect_refused(place, "integrity_check");
    assert_int_equal(ask_all(place), 0); /* the copy has them */
    mend(place->path, spot);             /* and nobody remembers the damage */
    wait_well(place);
    assert_int_equal(ask_all(place), 0);
    assert_int_equal(status(place).mode, ALIASES_LIVE);
}

/* The order is as it was: no check of the file sees it. */
static void a_row_that_nobody_removed(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    open_db(place, 60000);
    (void)damage(place->path, 12, 0x01); /* in "example.com" */
    assert_true(ask_all(place) <= 1);
    expect_refused(place, "differs from its last good copy");
    assert_int_equal(ask_all(place), 0);
    assert_int_equal(aliases_accept(place->db, PATIENCE_MS, &err), 0); /* who looked at it may say so */
    assert_int_equal(status(place).mode, ALIASES_LIVE);
}

/* As from a backup: who has the file open does not see it. */
static void write_past_the_gate(const char *path, const char *sql)
{
    char other[128], command[300];
    snprintf(other, sizeof other, "%s.other", path);
    snprintf(command, sizeof command, "cp '%s' '%s'", path, other);
    assert_int_equal(system(command), 0);
    run_on(other, sql);
    assert_int_equal(rename(other, path), 0);
}

/* Then it is the copy that is made anew, and the file goes on answering; which of the two it was is not told by how bad it looks. */
static void a_copy_that_is_damaged(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    for (int how = 0; how < 2; how++) {
        wait_well(place);
        if (how == 0)
            write_past_the_gate(place->copy, "INSERT INTO aliases (address) VALUES ('nobody@example.com')");
        else
            assert_int_equal(truncate(place->copy, 5000), 0);
        for (int64_t start = clock_monotonic_ms();
             strstr(status(place).copy_condition.text, "made anew") == NULL;) {
            struct alias_rows rows = ask(place, "nobody"); /* somebody needs the copy */
            assert_null(rows.full.key);
            if (clock_monotonic_ms() - start > PATIENCE_MS)
                fail_msg("refused is \"%s\"", status(place).refused.text);
            assert_int_equal(ask_all(place), 0); /* and known ones do not */
        }
        assert_true(status(place).mode >= ALIASES_UNVERIFIED);
        assert_string_equal(status(place).refused.text, "");
        wait_until(place, "nobody", ROWS_LIVE, false);
        run_on(place->path, "INSERT INTO aliases (address) VALUES ('new@example.com');"
                            "DELETE FROM aliases WHERE address = 'new@example.com'");
        for (int64_t start = clock_monotonic_ms(); status(place).copy_condition.text[0] != '\0'; nap(5))
            if (clock_monotonic_ms() - start > PATIENCE_MS)
                fail_msg("%s", status(place).copy_condition.text);
    }
}

/* A transaction that was taken back may leave what it wrote on pages that nothing is on: SQLite keeps no journal of those. */
static void what_was_rolled_back_is_no_damage(void **state)
{
    struct place *place = *state;
    static const char *const journals[] = {"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL"};
    for (size_t i = 0; i < sizeof journals / sizeof journals[0]; i++) {
        char sql[512];
        uint64_t before, after;
        snprintf(sql, sizeof sql,
                 "PRAGMA journal_mode = %s; CREATE TABLE ballast (a);"
                 "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
                 " INSERT INTO ballast SELECT randomblob(1000) FROM n; DROP TABLE ballast",
                 journals[i]);
        run_on(place->path, sql);
        open_db(place, 60000);
        wait_well(place);
        assert_int_equal(aliases_snapshot_sum(place->copy, &before), 0);
        run_on(place->path, "PRAGMA cache_size = 5; BEGIN; CREATE TABLE ballast (a);"
                            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 600)"
                            " INSERT INTO ballast SELECT randomblob(1000) FROM n; ROLLBACK");
        assert_int_equal(unlink(place->copy),
                         0); /* so that it is made anew, and compared with what was there */
        wait_for_copy(place);
        assert_string_equal(status(place).refused.text, "");
        wait_well(place);
        assert_int_equal(aliases_snapshot_sum(place->copy, &after), 0);
        assert_true(before == after);
        close_db(place);
    }
}

static void odd_rows_are_refused(void **state)
{
    struct place *place = *state;
    open_db(place, 60000);
    run_on(place->path, "BEGIN;"
                        "CREATE TABLE loose (address, mailbox, owner, class, action, reply, expires_at);"
                        "INSERT INTO loose SELECT * FROM aliases;"
                        "UPDATE loose SET expires_at = 'soon' WHERE address = 'a9@example.com';"
                        "DROP TABLE aliases; ALTER TABLE loose RENAME TO aliases; COMMIT");
    expect_refused(place, "a9@example.com");
    run_on(place->path, "UPDATE aliases SET expires_at = NULL");
    wait_well(place);
}

/* Nor are long rows, functions and collations that only their programs know, or rows that break their own rules. */
static void tables_of_others_are_not_ours(void **state)
{
    struct place *place = *state;
    static const char *const others[] = {
        "CREATE TABLE others (a); INSERT INTO others VALUES (hex(randomblob(1000000)));"
        "CREATE INDEX theirs ON others (a)",
        "CREATE TABLE others (a, b); INSERT INTO others VALUES (NULL, 'b'); PRAGMA writable_schema = 1;"
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE others (a NOT NULL, b)' WHERE name = 'others'",
        "PRAGMA writable_schema = 1; CREATE TABLE others (a CHECK (a > 0)); PRAGMA ignore_check_constraints "
        "= 1;"
        "INSERT INTO others VALUES (0)",
        "CREATE TABLE others (a, b); INSERT INTO others VALUES ('a', 'b'); CREATE INDEX theirs ON others (b);"
        "PRAGMA writable_schema = 1;"
        "UPDATE sqlite_schema SET sql = 'CREATE INDEX theirs ON others (theirs(b))' WHERE name = 'theirs'",
        "CREATE TABLE others (a, b); INSERT INTO others VALUES ('a', 'b'); CREATE INDEX theirs ON others (b);"
        "PRAGMA writable_schema = 1;"
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE others (a COLLATE theirs, b COLLATE theirs)' WHERE "
        "name = "
        "'others'",
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        run_on(place->path, others[i]);
        open_db(place, 60000);
        assert_string_equal(status(place).refused.text, "");
        assert_int_equal(status(place).mode, ALIASES_LIVE);
        wait_well(place);
        close_db(place);
        run_on(place->path, "PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE name IN ('others', "
                            "'theirs')");
        run_on(place->path, "VACUUM");
    }
    run_on(place->path,
           "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET"
           " sql = replace(sql, 'owner      TEXT', 'owner TEXT NOT NULL') WHERE name = 'aliases'");
    open_db(place, 60000);
    assert_non_null(strstr(status(place).refused.text, "NULL value in aliases.owner"));
}

/* --- without a copy --- */

static void without_room_for_a_copy(void **state)
{
    struct place *place = *state;
    char blocked[128];
    snprintf(blocked, sizeof blocked, "%s.new", place->copy);
    assert_int_equal(mkdir(blocked, 0700), 0);
    open_db(place, 60000);
    assert_true(is(place, "a1", ROWS_LIVE, true));
    wait_until(place, "nobody", ROWS_LIVE, false); /* the file itself was checked */
    assert_non_null(strstr(status(place).copy_condition.text, "no last good copy"));
    run_on(place->path, "DELETE FROM aliases WHERE address <> 'a7@example.com'");
    assert_int_not_equal(ask(place, "a1").state, ROWS_LIVE);
    nap(1000);
    assert_int_not_equal(ask(place, "a1").state, ROWS_LIVE); /* what was counted before still binds */
    fill(place->path);
    assert_int_equal(rmdir(blocked), 0);
    wait_well(place);
}

/* --- every nth call --- */

/* While it fails: live rows are right; else somebody says that he cannot tell. */
static void look_around(struct place *place)
{
    struct alias_rows known = ask(place, "a5"), unknown = ask(place, "nobody");
    if (known.state != ROWS_UNKNOWN && known.full.key == NULL)
        fail_msg("a5 was called absent, state %d", (int)known.state);
    if (unknown.full.key != NULL)
        fail_msg("nobody was found");
    pool_reset(&place->pool);
}

static void fail_nth(struct place *place, enum fault_call call, int n, bool lasting)
{
    run_on(place->path,
           "UPDATE aliases SET owner = 'o' || random() WHERE address < 'a15'"); /* nothing is cached */
    if (lasting)
        atomic_store(&faults.lasting[call], true);
    else
        atomic_store(&faults.countdown[call], n);
    for (int i = 0; i < 10; i++) {
        look_around(place);
        nap(i % 3);
    }
    atomic_store(&faults.countdown[call], 0);
}

static void every_nth_call_fails(void **state)
{
    struct place *place = *state;
    static const enum fault_call calls[] = {CALL_READ, CALL_WRITE, CALL_SYNC,
                                            CALL_LOCK, CALL_OPEN,  CALL_MALLOC};
    open_db(place, 600000);
    for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++) {
        for (int n = 1; n <= 16; n += n) {
            wait_until(place, "a7", ROWS_LIVE, true);
            fail_nth(place, calls[c], n, false);
        }
        fail_nth(place, calls[c], 0, true);
        nap(300);
        look_around(place);
        no_faults();
        wait_well(place);
    }
    assert_true(atomic_load(&faults.failed) > 20);
}

static void every_nth_call_of_a_start_fails(void **state)
{
    struct place *place = *state;
    static const enum fault_call calls[] = {CALL_READ, CALL_OPEN, CALL_WRITE, CALL_LOCK, CALL_MALLOC};
    for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++) {
        for (int n = 1; n <= 200; n += calls[c] == CALL_MALLOC ? 7 : 3) {
            atomic_store(&faults.countdown[calls[c]], n);
            open_db(place, 600000);
            look_around(place);
            close_db(place);
            if (n % 2 == 0)
                clear(place->copy); /* with a copy, and without */
        }
        no_faults();
    }
    open_db(place, 600000);
    wait_well(place);
}

/* What is there is never absent, what is not is never there, and no rule of another action is found. */
static void look_at_all(struct place *place)
{
    const struct sender_query senders = {
        .scopes = {"*"}, .n_scopes = 1, .patterns = {"x@spam.example", "@spam.example"}, .n_patterns = 2};
    struct sender_rows found;
    struct client_row row;
    struct network client;
    look_around(place);
    assert_int_equal(network_parse("192.0.2.7", &client, NULL), 0);
    struct aliases_reading reading = aliases_begin(place->db);
    bool has_senders = aliases_has_senders(&reading), has_clients = aliases_has_clients(&reading);
    aliases_sender(&reading, &senders, &place->pool, &found);
    aliases_client(&reading, &client, 1, &place->pool, &row);
    aliases_end(&reading);
    assert_true(has_senders && has_clients); /* or nobody would ask */
    assert_true(found.state == ROWS_UNKNOWN || (found.n_rows == 1 && found.rows[0].action == ACTION_REJECT));
    assert_true(row.state == ROWS_UNKNOWN || (row.network != NULL && row.action == ACTION_ACCEPT));
    pool_reset(&place->pool);
}

/* Each call of each kind that a program makes which opens the file and looks, one after the other. */
static void every_call_of_a_look_fails(void **state)
{
    struct place *place = *state;
    const struct aliases_config config = {.path = place->path, .max_stale_ms = 60000, .max_shrink = 50};
    run_on(place->path,
           "INSERT INTO sender_rules(scope, pattern, action) VALUES ('*', '@spam.example', 'reject');"
           "INSERT INTO client_rules(network, action) VALUES ('192.0.2.0/24', 'reject'), ('192.0.2.7', "
           "'accept')");
    for (int call = 0; call < CALLS; call++) {
        int n = 0;
        long before;
        do {
            before = atomic_load(&faults.failed);
            atomic_store(&faults.countdown[call], ++n);
            place->db = aliases_new(&config);
            if (place->db != NULL) {
                look_at_all(place);
                look_at_all(place); /* on what is open now */
            }
            no_faults();
            close_db(place);
        } while (atomic_load(&faults.failed) > before);
        assert_true(n > 1 || call == CALL_WRITE || call == CALL_SYNC); /* a look writes nothing */
        print_message("call %d: %d\n", call, n - 1);
    }
}

int main(void)
{
    shim_install();
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_start_is_ready),
        TEST(a_copy_that_is_replaced_while_it_is_opened),
        TEST(memory_is_short_for_a_moment_only),
        TEST(who_cannot_run_is_not_slow),
        TEST(a_late_look_does_not_shrink_the_file),
        TEST(the_copy_answers),
        TEST(an_old_copy_does_not),
        TEST(changes_hold_at_once),
        TEST(who_comes_at_once_takes_no_lock),
        TEST(every_commit_holds_for_the_next_look),
        TEST(the_wal_stays_small),
        TEST(nobody_waits_long_for_who_rests),
        TEST(what_lost_much_is_refused),
        TEST(what_is_lost_is_judged_soon),
        TEST(it_can_be_accepted_beforehand),
        cmocka_unit_test(the_bound_is_exact),
        cmocka_unit_test(every_table_is_counted),
        TEST(a_small_table_is_not_emptied_unasked),
        TEST(rows_out_of_order_at_a_start),
        TEST(rows_out_of_order_while_open),
        TEST(a_row_that_nobody_removed),
        TEST(a_copy_that_is_damaged),
        TEST(what_was_rolled_back_is_no_damage),
        TEST(odd_rows_are_refused),
        TEST(tables_of_others_are_not_ours),
        TEST(without_room_for_a_copy),
        TEST(every_call_of_a_look_fails),
        TEST(every_nth_call_fails),
        TEST(every_nth_call_of_a_start_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
