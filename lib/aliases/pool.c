/* pool: connections to one file of alias rules (see pool.h). Owns them, and the judgement whether the file can be opened.
 * Cannot fail but into NULL: whoever finds the file unusable says so, and it is tried again. The mutex guards everything
 * but what is atomic; the epoch changes under it. */
#include "pool.h"

#include "base/unzeroed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    POOL_MAX = 8,        /* a checkout takes some 5 microseconds: more would only cost memory */
    WAIT_MS = 100,       /* for a connection, when all are out */
    WATCH_MS = 500,      /* between two looks at what stands under the path */
    RETRY_MS = 1000,     /* between two attempts at a file that cannot be used */
    RETRY_BUSY_MS = 100, /* the same for one that is locked: locks are short */
    OPENINGS = 2,        /* for one who asks: the file may be replaced meanwhile, but not time and again */
};

enum { WAL_HEADER = 32 }; /* with two random salts: a WAL that was begun anew has another */

struct watched {   /* what stat() said of the path */
    uint64_t turn; /* of this look among all */
    bool exists;
    dev_t dev;
    ino_t ino;
    off_t size;
    ino_t wal_ino, shm_ino; /* of what stands beside it; 0: nothing */
    bool has_wal;           /* one that is not empty, and can be read: */
    unsigned char wal[WAL_HEADER];
};

struct aliases_pool {
    pthread_mutex_t lock;
    pthread_cond_t returned; /* one came back */
    struct aliases_checkout *idle;
    size_t n_out, n_all; /* connections taken out (or being opened), and all together */
    size_t n_stale;      /* of n_out: those of an earlier epoch */
    atomic_uint
        epoch; /* counts the files that stood under the path; connections of an earlier one are closed */
    struct watched watched;
    struct watched owner; /* the last file that the WAL under the path was its own */
    bool orphan;          /* the WAL is of a file that was replaced: the new one is not opened beside it */
    ino_t held_wal, held_shm; /* those that the connections of this epoch have open; 0: not known yet */
    int64_t retry_at_ms;      /* 0: well. Else: unusable, and not to be tried before then */
    bool probing;             /* one caller is trying */
    struct error condition;
    struct error row_condition;        /* a row that cannot be read, */
    uint64_t row_condition_generation; /* seen at this generation */
    atomic_int_least64_t watch_at_ms;  /* when to look at the path again */
    atomic_uint_least64_t turns;       /* looks that have begun */
    atomic_uint_least64_t generation;  /* even; see aliases_pool_checkout_begin() */
    bool immutable;
    char path[];
};

/* Every RCPT asks for it, and a few milliseconds do not matter: the coarse clock is the one that costs nothing. */
static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct aliases_pool *aliases_pool_new(const char *path, bool immutable)
{
    struct aliases_pool *pool = calloc(1, sizeof *pool + strlen(path) + 1);
    if (pool == NULL)
        return NULL;
    memcpy(pool->path, path, strlen(path) + 1);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->returned, NULL);
    atomic_init(&pool->generation, 2);
    atomic_init(&pool->watch_at_ms, 0);
    atomic_init(&pool->turns, 1);
    atomic_init(&pool->epoch, 1);
    pool->immutable = immutable;
    return pool;
}

static void close_checkout(struct aliases_checkout *checkout)
{
    aliases_connection_close(checkout->connection);
    free(checkout);
}

/* The connections to the file that was there until now are of no more use: idle ones are closed here, others when
 * they come back. New ones are opened only when the last of them is closed, since closing a file drops the locks that
 * this process holds on the same one (POSIX), and old and new can share their -shm. */
static void drain(struct aliases_pool *pool)
{
    pool->epoch++;
    pool->held_wal = pool->held_shm = 0;
    pool->n_stale = pool->n_out;
    while (pool->idle != NULL) {
        struct aliases_checkout *checkout = pool->idle;
        pool->idle = checkout->next;
        pool->n_all--;
        close_checkout(checkout);
    }
}

void aliases_pool_free(struct aliases_pool *pool)
{
    if (pool == NULL)
        return;
    drain(pool);
    pthread_cond_destroy(&pool->returned);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* Slow, or out of memory: this once, and no judgement of the file. */
static bool ends_checkout(enum aliases_connection_fault fault)
{
    return fault == FAULT_BUSY || fault == FAULT_BROKEN;
}

static int64_t retry_ms(enum aliases_connection_fault fault)
{
    if (!ends_checkout(fault))
        return 0; /* the next caller tries */
    return fault == FAULT_BUSY ? RETRY_BUSY_MS : RETRY_MS;
}

static void note_condition(struct aliases_pool *pool, const struct error *err,
                           enum aliases_connection_fault fault)
{
    pool->condition = *err;
    pool->retry_at_ms = now_ms() + retry_ms(fault);
    pool->probing = false;
}

/* --- what stands under the path --- */

/* Where the file is itself: SQLite keeps -wal and -shm beside it, not beside a link to it. */
static const char *resolve(const char *path, char real[PATH_MAX])
{
    return realpath(path, real) != NULL ? real : path;
}

static bool read_wal_header(const char *path, unsigned char header[WAL_HEADER])
{
    char name[PATH_MAX] UNZEROED;
    if ((size_t)snprintf(name, sizeof name, "%s-wal", path) >= sizeof name)
        return false;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* SQLite's locks are on other files */
    if (fd < 0)
        return false;
    bool read_all = pread(fd, header, WAL_HEADER, 0) == WAL_HEADER;
    close(fd);
    return read_all;
}

/* 0: there is none. */
static ino_t inode_beside(const char *path, const char *suffix)
{
    char name[PATH_MAX] UNZEROED;
    struct stat st;
    return (size_t)snprintf(name, sizeof name, "%s%s", path, suffix) < sizeof name && stat(name, &st) == 0
               ? st.st_ino
               : 0;
}

static struct watched look(struct aliases_pool *pool)
{
    struct stat st;
    char buffer[PATH_MAX] UNZEROED;
    struct watched seen = {.turn = atomic_fetch_add(&pool->turns, 1)};
    if (stat(pool->path, &st) < 0 || !S_ISREG(st.st_mode))
        return seen; /* what is the matter is for open() to find out */
    seen.exists = true;
    seen.dev = st.st_dev;
    seen.ino = st.st_ino;
    seen.size = st.st_size;
    if (!pool->immutable) {
        const char *path = resolve(pool->path, buffer);
        seen.has_wal = read_wal_header(path, seen.wal);
        seen.wal_ino = inode_beside(path, "-wal");
        seen.shm_ino = inode_beside(path, "-shm");
    }
    return seen;
}

/* A file that is renamed over another one finds the other's WAL beside it, and SQLite would lay that over it: nobody
 * opens the two together. */
static bool is_orphan(const struct aliases_pool *pool, const struct watched *seen)
{
    const struct watched *owner = &pool->owner;
    return seen->exists && owner->exists && (seen->ino != owner->ino || seen->dev != owner->dev) &&
           seen->has_wal && owner->has_wal && seen->wal_ino == owner->wal_ino &&
           memcmp(seen->wal, owner->wal, WAL_HEADER) == 0;
}

static bool is_other_file(const struct watched *old, const struct watched *now)
{
    return now->exists != old->exists || now->dev != old->dev || now->ino != old->ino ||
           now->size < old->size; /* VACUUM shrinks, and so does who cuts it: validate again */
}

/* Somebody removed -wal or -shm: what is written from now on goes to new ones, and our connections would never see
 * it. SQLite itself removes neither as long as anybody has the file open. */
static bool is_parted(struct aliases_pool *pool, const struct watched *seen)
{
    if (pool->n_all == 0)
        return false;
    if (pool->held_wal == 0)
        pool->held_wal = seen->wal_ino;
    if (pool->held_shm == 0)
        pool->held_shm = seen->shm_ino;
    return pool->held_wal != seen->wal_ino || pool->held_shm != seen->shm_ino;
}

/* With the lock held, which may take long to get: who looked later knows better, and a file that has grown
 * since is not one that shrank. */
static void note_seen(struct aliases_pool *pool, const struct watched *seen)
{
    if (seen->turn < pool->watched.turn)
        return;
    bool orphan = is_orphan(pool, seen);
    if (seen->exists && !orphan)
        pool->owner = *seen;
    if (is_other_file(&pool->watched, seen) || orphan != pool->orphan || is_parted(pool, seen)) {
        pool->orphan = orphan;
        drain(pool);
        if (pool->retry_at_ms != 0)
            pool->retry_at_ms = now_ms(); /* it may be well now */
    }
    pool->watched = *seen;
}

/* Ends the transactions of those that rest. With the lock held: nothing is read. */
static void end_rest(struct aliases_pool *pool)
{
    bool ended = true;
    for (struct aliases_checkout *idle = pool->idle; idle != NULL; idle = idle->next)
        if (aliases_connection_rests(idle->connection))
            ended = aliases_connection_end(idle->connection) == FAULT_NONE && ended;
    if (!ended)
        drain(pool);
}

void aliases_pool_look(struct aliases_pool *pool)
{
    struct watched seen = look(pool);
    pthread_mutex_lock(&pool->lock);
    note_seen(pool, &seen);
    end_rest(pool);
    pthread_mutex_unlock(&pool->lock);
}

unsigned aliases_pool_renew(struct aliases_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    drain(pool);
    unsigned epoch = pool->epoch;
    pthread_mutex_unlock(&pool->lock);
    return epoch;
}

static void watch(struct aliases_pool *pool)
{
    int64_t now = now_ms(), due = atomic_load(&pool->watch_at_ms);
    if (now >= due && atomic_compare_exchange_strong(&pool->watch_at_ms, &due, now + WATCH_MS))
        aliases_pool_look(pool); /* else not yet, or another thread is looking */
}

/* --- taking out and giving back --- */

/* A new connection, with the lock held on entry and on return, but not between. NULL: unusable, and noted; or the
 * epoch is another one: whatever was opened is no more, or came just now, and has to be opened as what it is. */
static struct aliases_checkout *open_another(struct aliases_pool *pool)
{
    struct error err = {0};
    enum aliases_connection_fault fault = FAULT_MEMORY;
    unsigned epoch = pool->epoch;
    pool->n_all++;
    pool->n_out++;
    pthread_mutex_unlock(&pool->lock);
    struct aliases_checkout *checkout = calloc(1, sizeof *checkout);
    if (checkout != NULL)
        checkout->connection = aliases_connection_open(pool->path, pool->immutable, &err, &fault);
    else
        error_set(&err, "out of memory");
    struct watched seen = look(pool);
    pthread_mutex_lock(&pool->lock);
    note_seen(pool, &seen);
    if (checkout != NULL && checkout->connection != NULL && epoch == pool->epoch) {
        checkout->pool = pool;
        checkout->epoch = epoch;
        return checkout;
    }
    if (checkout != NULL)
        close_checkout(checkout);
    pool->n_all--;
    pool->n_out--;
    pool->n_stale -= epoch != pool->epoch;
    if (err.text[0] != '\0' && (epoch == pool->epoch || !pool->watched.exists))
        note_condition(pool, &err, fault);
    pthread_cond_broadcast(&pool->returned);
    return NULL;
}

/* False when the wait was in vain. */
static bool wait_for_return(struct aliases_pool *pool, int64_t deadline_ms)
{
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    return pthread_cond_clockwait(&pool->returned, &pool->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT;
}

/* *probe: the file was unusable, and this caller is the one that tries. NULL: nothing can be read now. */
static struct aliases_checkout *borrow(struct aliases_pool *pool, bool *probe)
{
    struct aliases_checkout *checkout = NULL;
    int64_t deadline = 0; /* of who has to wait */
    bool patient = true;
    int openings = OPENINGS;
    pthread_mutex_lock(&pool->lock);
    while (checkout == NULL && !pool->orphan) {
        if (!*probe && pool->retry_at_ms != 0) {
            if (now_ms() < pool->retry_at_ms || pool->probing)
                break;
            pool->probing = *probe = true;
        }
        if (pool->idle != NULL) {
            checkout = pool->idle;
            pool->idle = checkout->next;
            pool->n_out++;
        } else if (pool->n_stale == 0 && pool->n_all < POOL_MAX) {
            unsigned epoch = pool->epoch;
            checkout = open_another(pool);
            if (epoch == pool->epoch || --openings == 0)
                break;
        } else if (!patient) {
            break;
        } else {
            deadline = deadline != 0 ? deadline : now_ms() + WAIT_MS;
            patient = wait_for_return(pool, deadline);
        }
    }
    if (checkout == NULL && *probe)
        pool->probing = false;
    pthread_mutex_unlock(&pool->lock);
    return checkout;
}

static void give_back(struct aliases_checkout *checkout)
{
    struct aliases_pool *pool = checkout->pool;
    enum aliases_connection_fault fault = checkout->fault;
    pthread_mutex_lock(&pool->lock);
    bool current = checkout->epoch == pool->epoch;
    if (current && fault == FAULT_BROKEN)
        drain(pool); /* what one saw is wrong with the file, not with the connection */
    if (current && ends_checkout(fault))
        note_condition(pool, aliases_connection_error(checkout->connection), fault);
    if (checkout->epoch == pool->epoch) {
        checkout->next = pool->idle;
        pool->idle = checkout;
    } else {
        pthread_mutex_unlock(&pool->lock);
        close_checkout(checkout); /* before n_stale lets a new one be opened */
        pthread_mutex_lock(&pool->lock);
        pool->n_all--;
        pool->n_stale--;
    }
    pool->n_out--;
    pthread_cond_signal(&pool->returned);
    pthread_mutex_unlock(&pool->lock);
}

/* The generation of a checkout is what the counter said before its first read, unless this connection sees other data than last
 * time. Then it moves the counter on by two, and takes the odd number between for itself alone: another writer may have
 * committed since, so that others who read the new value may see newer data than this one. */
enum aliases_connection_fault aliases_pool_checkout_begin(struct aliases_checkout *checkout, bool *changed)
{
    struct aliases_pool *pool = checkout->pool;
    bool differs = false;
    uint64_t before = atomic_load(&pool->generation);
    checkout->fault = aliases_connection_begin(checkout->connection, &differs);
    bool moved = differs || checkout->fault != FAULT_NONE;
    checkout->generation = moved ? aliases_pool_generation(pool) : before;
    *changed = differs;
    return checkout->fault;
}

enum aliases_connection_fault aliases_pool_checkout_end(struct aliases_checkout *checkout)
{
    if (aliases_connection_end(checkout->connection) != FAULT_NONE)
        checkout->fault = FAULT_BROKEN;
    return checkout->fault;
}

unsigned aliases_pool_epoch(struct aliases_pool *pool)
{
    return atomic_load(&pool->epoch);
}

bool aliases_pool_checkout_is_current(const struct aliases_checkout *checkout)
{
    return checkout->epoch == aliases_pool_epoch(checkout->pool);
}

uint64_t aliases_pool_generation(struct aliases_pool *pool)
{
    return atomic_fetch_add(&pool->generation, 2) + 1;
}

static void probed(struct aliases_pool *pool, bool well)
{
    pthread_mutex_lock(&pool->lock);
    pool->probing = false;
    if (well) {
        pool->retry_at_ms = 0;
        pool->condition = (struct error){0};
    }
    pthread_mutex_unlock(&pool->lock);
}

struct aliases_checkout *aliases_pool_take(struct aliases_pool *pool)
{
    watch(pool);
    bool probe = false, changed;
    struct aliases_checkout *checkout = borrow(pool, &probe);
    if (checkout == NULL)
        return NULL;
    enum aliases_connection_fault fault = aliases_pool_checkout_begin(checkout, &changed);
    if (probe)
        probed(pool, fault == FAULT_NONE);
    if (fault == FAULT_NONE)
        return checkout;
    give_back(checkout);
    return NULL;
}

void aliases_pool_rest(struct aliases_checkout *checkout)
{
    if (checkout == NULL || checkout->fault != FAULT_NONE || !aliases_connection_rest(checkout->connection)) {
        aliases_pool_give(checkout);
        return;
    }
    give_back(checkout);
}

void aliases_pool_give(struct aliases_checkout *checkout)
{
    if (checkout == NULL)
        return;
    (void)aliases_pool_checkout_end(checkout); /* what is wrong is in checkout->fault */
    give_back(checkout);
}

bool aliases_pool_checkout_can_read(const struct aliases_checkout *checkout)
{
    return checkout != NULL && !ends_checkout(checkout->fault);
}

bool aliases_pool_checkout_settle(struct aliases_checkout *checkout, enum aliases_connection_fault fault)
{
    if (ends_checkout(fault)) {
        checkout->fault = fault;
    } else if (fault == FAULT_ROW || fault == FAULT_SLOW) {
        struct aliases_pool *pool = checkout->pool;
        pthread_mutex_lock(&pool->lock);
        pool->row_condition = *aliases_connection_error(checkout->connection);
        pool->row_condition_generation = atomic_load(&pool->generation);
        pthread_mutex_unlock(&pool->lock);
    }
    return fault == FAULT_NONE;
}

void aliases_pool_condition(struct aliases_pool *pool, struct error *out)
{
    char buffer[PATH_MAX] UNZEROED;
    const char *path = resolve(pool->path, buffer);
    pthread_mutex_lock(&pool->lock);
    *out = pool->condition;
    if (out->text[0] == '\0' && pool->row_condition_generation == atomic_load(&pool->generation))
        *out = pool->row_condition;
    if (pool->orphan)
        error_set(
            out,
            "alias database %s was replaced while the -wal of the file before it stayed: it is not read, and "
            "who writes to it now damages it; remove %s-wal and %s-shm",
            pool->path, path, path);
    pthread_mutex_unlock(&pool->lock);
}
