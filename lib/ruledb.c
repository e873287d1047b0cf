/* Owns the pool of handles and the judgement whether the file can be used. The mutex guards everything but `generation`;
 * files are opened, looked at and read outside of it, so that a slow disk delays only who needs it. */
#include "ruledb.h"

#include "ruledb_handle.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
    HANDLES_MAX = 32,    /* a snapshot takes some 20 microseconds: more would not be faster */
    WAIT_MS = 100,       /* for a handle, when all are out */
    WATCH_MS = 500,      /* between two looks at what stands under the path */
    RETRY_MS = 1000,     /* between two attempts at a file that cannot be used */
    RETRY_BUSY_MS = 100, /* the same for one that is locked: locks are short */
};

struct ruledb_snapshot {
    struct ruledb *db;            /* NULL: no rules are configured */
    struct handle *handle;        /* NULL: nothing can be read */
    struct ruledb_snapshot *next; /* in the list of idle ones */
    uint64_t generation;
    unsigned epoch;          /* of the file that the handle has open */
    enum handle_fault fault; /* BUSY or BROKEN: nothing more is asked in this snapshot */
};

struct watched { /* what stat() said of the path */
    bool exists;
    dev_t dev;
    ino_t ino;
    off_t size;
};

struct ruledb {
    pthread_mutex_t lock;
    pthread_cond_t returned; /* a handle came back */
    struct ruledb_snapshot *idle;
    size_t n_out, n_all; /* handles lent (or being opened), and all together */
    size_t n_stale;      /* of n_out: those of an earlier epoch */
    unsigned epoch; /* counts the files that stood under the path; handles of an earlier one are closed */
    struct watched watched;
    int64_t retry_at_ms; /* 0: well. Else: unusable, and not to be tried before then */
    bool probing;        /* one caller is trying */
    struct error trouble;
    struct error row_trouble;         /* a row that cannot be read, */
    uint64_t row_trouble_generation;  /* seen at this generation */
    atomic_int_least64_t watch_at_ms; /* when to look at the path again */
    atomic_uint_least64_t generation; /* even; see snapshot_start() */
    struct ruledb_snapshot *unknown;  /* lent to everybody while nothing can be read; never written to */
    char path[];
};

static struct ruledb_snapshot no_rules; /* never written to */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int init_locks(struct ruledb *db)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0)
        return -1;
    int rc = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    if (rc == 0)
        rc = pthread_cond_init(&db->returned, &monotonic);
    if (rc == 0)
        rc = pthread_mutex_init(&db->lock, NULL);
    pthread_condattr_destroy(&monotonic);
    return rc == 0 ? 0 : -1;
}

struct ruledb *ruledb_new(const char *path)
{
    struct ruledb *db = calloc(1, sizeof *db + strlen(path) + 1);
    struct ruledb_snapshot *unknown = calloc(1, sizeof *unknown);
    if (db == NULL || unknown == NULL || init_locks(db) < 0) {
        free(db);
        free(unknown);
        return NULL;
    }
    memcpy(db->path, path, strlen(path) + 1);
    atomic_init(&db->generation, 2);
    atomic_init(&db->watch_at_ms, 0);
    unknown->db = db;
    db->unknown = unknown;
    return db;
}

static void close_snapshot(struct ruledb_snapshot *snapshot)
{
    handle_close(snapshot->handle);
    free(snapshot);
}

/* The handles of the file that was there until now are of no more use: idle ones are closed here, lent ones when
 * they come back. New ones are opened only when the last of them is closed, since closing a file drops the locks that
 * this process holds on the same one (POSIX), and old and new can share their -shm. */
static void drain(struct ruledb *db)
{
    db->epoch++;
    db->n_stale = db->n_out;
    while (db->idle != NULL) {
        struct ruledb_snapshot *snapshot = db->idle;
        db->idle = snapshot->next;
        db->n_all--;
        close_snapshot(snapshot);
    }
}

void ruledb_free(struct ruledb *db)
{
    if (db == NULL)
        return;
    drain(db);
    pthread_cond_destroy(&db->returned);
    pthread_mutex_destroy(&db->lock);
    free(db->unknown);
    free(db);
}

static void note_trouble(struct ruledb *db, const struct error *err, int64_t retry_ms)
{
    db->trouble = *err;
    db->retry_at_ms = now_ms() + retry_ms;
    db->probing = false;
}

static bool ends_snapshot(enum handle_fault fault)
{
    return fault == FAULT_BUSY || fault == FAULT_BROKEN;
}

/* --- what stands under the path --- */

static struct watched look(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return (struct watched){0}; /* what is the matter is for open() to find out */
    return (struct watched){.exists = true, .dev = st.st_dev, .ino = st.st_ino, .size = st.st_size};
}

static bool is_other_file(const struct watched *old, const struct watched *now)
{
    return now->exists != old->exists || now->dev != old->dev || now->ino != old->ino ||
           now->size < old->size; /* VACUUM shrinks, and so does who cuts it: validate again */
}

static void watch(struct ruledb *db)
{
    int64_t now = now_ms(), due = atomic_load(&db->watch_at_ms);
    if (now < due || !atomic_compare_exchange_strong(&db->watch_at_ms, &due, now + WATCH_MS))
        return; /* not yet, or another thread is looking */
    struct watched seen = look(db->path);
    pthread_mutex_lock(&db->lock);
    if (is_other_file(&db->watched, &seen)) {
        drain(db);
        if (db->retry_at_ms != 0)
            db->retry_at_ms = now; /* it may be well now */
    }
    db->watched = seen;
    pthread_mutex_unlock(&db->lock);
}

/* --- lending handles --- */

/* A new handle, with the lock held on entry and on return, but not between. NULL: unusable, and noted. */
static struct ruledb_snapshot *open_another(struct ruledb *db)
{
    struct error err = {0};
    enum handle_fault fault = FAULT_MEMORY;
    unsigned epoch = db->epoch;
    db->n_all++;
    db->n_out++;
    pthread_mutex_unlock(&db->lock);
    struct ruledb_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot != NULL)
        snapshot->handle = handle_open(db->path, &err, &fault);
    else
        error_set(&err, "out of memory");
    pthread_mutex_lock(&db->lock);
    if (snapshot != NULL && snapshot->handle != NULL) {
        snapshot->db = db;
        snapshot->epoch = epoch;
        return snapshot;
    }
    free(snapshot);
    db->n_all--;
    db->n_out--;
    db->n_stale -= epoch != db->epoch;
    note_trouble(db, &err, fault == FAULT_BUSY ? RETRY_BUSY_MS : RETRY_MS);
    pthread_cond_broadcast(&db->returned);
    return NULL;
}

/* False when the wait was in vain. */
static bool wait_for_handle(struct ruledb *db, int64_t deadline_ms)
{
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    return pthread_cond_timedwait(&db->returned, &db->lock, &until) != ETIMEDOUT;
}

/* *probe: the file was unusable, and this caller is the one that tries. NULL: nothing can be read now. */
static struct ruledb_snapshot *borrow(struct ruledb *db, bool *probe)
{
    struct ruledb_snapshot *snapshot = NULL;
    int64_t now = now_ms(), deadline = now + WAIT_MS;
    bool patient = true;
    pthread_mutex_lock(&db->lock);
    while (snapshot == NULL) {
        if (!*probe && db->retry_at_ms != 0) {
            if (now < db->retry_at_ms || db->probing)
                break;
            db->probing = *probe = true;
        }
        if (db->idle != NULL) {
            snapshot = db->idle;
            db->idle = snapshot->next;
            db->n_out++;
        } else if (db->n_stale == 0 && db->n_all < HANDLES_MAX) {
            snapshot = open_another(db);
            break;
        } else if (!patient) {
            break;
        } else {
            patient = wait_for_handle(db, deadline);
        }
    }
    if (snapshot == NULL && *probe)
        db->probing = false;
    pthread_mutex_unlock(&db->lock);
    return snapshot;
}

static void give_back(struct ruledb_snapshot *snapshot, const struct error *err)
{
    struct ruledb *db = snapshot->db;
    enum handle_fault fault = snapshot->fault;
    pthread_mutex_lock(&db->lock);
    bool current = snapshot->epoch == db->epoch;
    if (current && fault == FAULT_BROKEN)
        drain(db);                       /* what one handle saw is wrong with the file, not with the handle */
    if (current && ends_snapshot(fault)) /* slow, or out of memory: this once, and no judgement of the file */
        note_trouble(db, err, fault == FAULT_BUSY ? RETRY_BUSY_MS : RETRY_MS);
    if (snapshot->epoch == db->epoch) {
        snapshot->next = db->idle;
        db->idle = snapshot;
    } else {
        pthread_mutex_unlock(&db->lock);
        close_snapshot(snapshot); /* before n_stale lets a new one be opened */
        pthread_mutex_lock(&db->lock);
        db->n_all--;
        db->n_stale--;
    }
    db->n_out--;
    pthread_cond_signal(&db->returned);
    pthread_mutex_unlock(&db->lock);
}

/* The generation of a snapshot is what the counter said before its first read, unless this handle sees other data than last
 * time. Then it moves the counter on by two, and takes the odd number between for itself alone: another writer may have
 * committed since, so that others who read the new value may see newer data than this one. */
static enum handle_fault snapshot_start(struct ruledb_snapshot *snapshot)
{
    struct ruledb *db = snapshot->db;
    bool changed = false;
    uint64_t before = atomic_load(&db->generation);
    enum handle_fault fault = handle_begin(snapshot->handle, &changed);
    snapshot->generation = changed || fault != FAULT_NONE ? atomic_fetch_add(&db->generation, 2) + 1 : before;
    return fault;
}

static void probed(struct ruledb *db, bool well)
{
    pthread_mutex_lock(&db->lock);
    db->probing = false;
    if (well) {
        db->retry_at_ms = 0;
        db->trouble = (struct error){0};
    }
    pthread_mutex_unlock(&db->lock);
}

struct ruledb_snapshot *ruledb_begin(struct ruledb *db)
{
    if (db == NULL)
        return &no_rules;
    watch(db);
    bool probe = false;
    struct ruledb_snapshot *snapshot = borrow(db, &probe);
    if (snapshot == NULL)
        return db->unknown;
    snapshot->fault = snapshot_start(snapshot);
    if (probe)
        probed(db, snapshot->fault == FAULT_NONE);
    if (snapshot->fault == FAULT_NONE)
        return snapshot;
    struct error err = *handle_error(snapshot->handle);
    give_back(snapshot, &err);
    return db->unknown;
}

void ruledb_end(struct ruledb_snapshot *snapshot)
{
    if (snapshot->handle == NULL)
        return;
    enum handle_fault fault = handle_end(snapshot->handle);
    if (fault != FAULT_NONE)
        snapshot->fault = FAULT_BROKEN;
    struct error err = *handle_error(snapshot->handle);
    give_back(snapshot, &err);
}

uint64_t ruledb_generation(struct ruledb_snapshot *snapshot)
{
    if (snapshot->db == NULL)
        return 0;
    if (snapshot->handle == NULL) /* nothing was read: never the same as another */
        return atomic_fetch_add(&snapshot->db->generation, 2) + 1;
    return snapshot->generation;
}

/* --- look-ups --- */

static bool can_read(const struct ruledb_snapshot *snapshot)
{
    return snapshot->db != NULL && snapshot->handle != NULL && !ends_snapshot(snapshot->fault);
}

/* What a look-up's fault means for the answer, and for those that follow. */
static enum rows_state settle(struct ruledb_snapshot *snapshot, enum handle_fault fault)
{
    if (fault == FAULT_NONE)
        return ROWS_LIVE;
    if (ends_snapshot(fault)) {
        snapshot->fault = fault;
    } else if (fault == FAULT_ROW || fault == FAULT_SLOW) {
        struct ruledb *db = snapshot->db;
        pthread_mutex_lock(&db->lock);
        db->row_trouble = *handle_error(snapshot->handle);
        db->row_trouble_generation = atomic_load(&db->generation);
        pthread_mutex_unlock(&db->lock);
    }
    return ROWS_UNKNOWN;
}

void ruledb_alias(struct ruledb_snapshot *snapshot, const struct alias_query *query, struct pool *pool,
                  struct alias_rows *out)
{
    *out = (struct alias_rows){.state = snapshot->db == NULL ? ROWS_LIVE : ROWS_UNKNOWN};
    if (!can_read(snapshot))
        return;
    struct alias_rows rows = {0};
    rows.state = settle(snapshot, handle_alias(snapshot->handle, query, pool, &rows));
    if (rows.state == ROWS_LIVE)
        *out = rows;
}

void ruledb_sender(struct ruledb_snapshot *snapshot, const struct sender_query *query, struct pool *pool,
                   struct sender_rows *out)
{
    *out = (struct sender_rows){.state = snapshot->db == NULL ? ROWS_LIVE : ROWS_UNKNOWN};
    if (!can_read(snapshot))
        return;
    struct sender_rows rows = {0};
    rows.state = settle(snapshot, handle_sender(snapshot->handle, query, pool, &rows));
    if (rows.state == ROWS_LIVE)
        *out = rows;
}

void ruledb_client(struct ruledb_snapshot *snapshot, const struct network *client, int64_t now_s,
                   struct pool *pool, struct client_row *out)
{
    *out = (struct client_row){.state = snapshot->db == NULL ? ROWS_LIVE : ROWS_UNKNOWN};
    if (!can_read(snapshot))
        return;
    struct client_row row = {0};
    row.state = settle(snapshot, handle_client(snapshot->handle, client, now_s, pool, &row));
    if (row.state == ROWS_LIVE)
        *out = row;
}

void ruledb_trouble(struct ruledb *db, struct error *out)
{
    if (db == NULL) {
        *out = (struct error){0};
        return;
    }
    ruledb_end(ruledb_begin(db)); /* what is said is of now, also where no mail has come yet */
    pthread_mutex_lock(&db->lock);
    *out = db->trouble;
    if (out->text[0] == '\0' && db->row_trouble_generation == atomic_load(&db->generation))
        *out = db->row_trouble;
    pthread_mutex_unlock(&db->lock);
}
