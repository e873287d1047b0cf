/* Owns the pool of handles and the judgement whether the file can be opened. The mutex guards everything but
 * what is atomic; the epoch changes under it. */
#include "ruledb_handles.h"

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
    HANDLES_MAX = 8,     /* a lease takes some 5 microseconds: more would only cost memory */
    WAIT_MS = 100,       /* for a handle, when all are out */
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

struct handles {
    pthread_mutex_t lock;
    pthread_cond_t returned; /* a handle came back */
    struct lease *idle;
    size_t n_out, n_all; /* handles lent (or being opened), and all together */
    size_t n_stale;      /* of n_out: those of an earlier epoch */
    atomic_uint epoch; /* counts the files that stood under the path; handles of an earlier one are closed */
    struct watched watched;
    struct watched owner; /* the last file that the WAL under the path was its own */
    bool orphan;          /* the WAL is of a file that was replaced: the new one is not opened beside it */
    ino_t held_wal, held_shm; /* those that the handles of this epoch have open; 0: not known yet */
    int64_t retry_at_ms;      /* 0: well. Else: unusable, and not to be tried before then */
    bool probing;             /* one caller is trying */
    struct error trouble;
    struct error row_trouble;         /* a row that cannot be read, */
    uint64_t row_trouble_generation;  /* seen at this generation */
    atomic_int_least64_t watch_at_ms; /* when to look at the path again */
    atomic_uint_least64_t turns;      /* looks that have begun */
    atomic_uint_least64_t generation; /* even; see lease_begin() */
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

struct handles *handles_new(const char *path, bool immutable)
{
    struct handles *handles = calloc(1, sizeof *handles + strlen(path) + 1);
    if (handles == NULL)
        return NULL;
    memcpy(handles->path, path, strlen(path) + 1);
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0) {
        free(handles);
        return NULL;
    }
    bool ok = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
              pthread_cond_init(&handles->returned, &monotonic) == 0;
    pthread_condattr_destroy(&monotonic);
    if (!ok || pthread_mutex_init(&handles->lock, NULL) != 0) {
        free(handles);
        return NULL;
    }
    atomic_init(&handles->generation, 2);
    atomic_init(&handles->watch_at_ms, 0);
    atomic_init(&handles->turns, 1);
    atomic_init(&handles->epoch, 1);
    handles->immutable = immutable;
    return handles;
}

static void close_lease(struct lease *lease)
{
    handle_close(lease->handle);
    free(lease);
}

/* The handles of the file that was there until now are of no more use: idle ones are closed here, lent ones when
 * they come back. New ones are opened only when the last of them is closed, since closing a file drops the locks that
 * this process holds on the same one (POSIX), and old and new can share their -shm. */
static void drain(struct handles *handles)
{
    handles->epoch++;
    handles->held_wal = handles->held_shm = 0;
    handles->n_stale = handles->n_out;
    while (handles->idle != NULL) {
        struct lease *lease = handles->idle;
        handles->idle = lease->next;
        handles->n_all--;
        close_lease(lease);
    }
}

void handles_free(struct handles *handles)
{
    if (handles == NULL)
        return;
    drain(handles);
    pthread_cond_destroy(&handles->returned);
    pthread_mutex_destroy(&handles->lock);
    free(handles);
}

/* Slow, or out of memory: this once, and no judgement of the file. */
static bool ends_lease(enum handle_fault fault)
{
    return fault == FAULT_BUSY || fault == FAULT_BROKEN;
}

static int64_t retry_ms(enum handle_fault fault)
{
    if (!ends_lease(fault))
        return 0; /* the next caller tries */
    return fault == FAULT_BUSY ? RETRY_BUSY_MS : RETRY_MS;
}

static void note_trouble(struct handles *handles, const struct error *err, enum handle_fault fault)
{
    handles->trouble = *err;
    handles->retry_at_ms = now_ms() + retry_ms(fault);
    handles->probing = false;
}

/* --- what stands under the path --- */

static bool read_wal_header(const char *path, unsigned char header[WAL_HEADER])
{
    char name[PATH_MAX];
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
    char name[PATH_MAX];
    struct stat st;
    return (size_t)snprintf(name, sizeof name, "%s%s", path, suffix) < sizeof name && stat(name, &st) == 0
               ? st.st_ino
               : 0;
}

static struct watched look(struct handles *handles)
{
    struct stat st;
    struct watched seen = {.turn = atomic_fetch_add(&handles->turns, 1)};
    if (stat(handles->path, &st) < 0 || !S_ISREG(st.st_mode))
        return seen; /* what is the matter is for open() to find out */
    seen.exists = true;
    seen.dev = st.st_dev;
    seen.ino = st.st_ino;
    seen.size = st.st_size;
    if (!handles->immutable) {
        seen.has_wal = read_wal_header(handles->path, seen.wal);
        seen.wal_ino = inode_beside(handles->path, "-wal");
        seen.shm_ino = inode_beside(handles->path, "-shm");
    }
    return seen;
}

/* A file that is renamed over another one finds the other's WAL beside it, and SQLite would lay that over it: nobody
 * opens the two together. */
static bool is_orphan(const struct handles *handles, const struct watched *seen)
{
    const struct watched *owner = &handles->owner;
    return seen->exists && owner->exists && (seen->ino != owner->ino || seen->dev != owner->dev) &&
           seen->has_wal && owner->has_wal && seen->wal_ino == owner->wal_ino &&
           memcmp(seen->wal, owner->wal, WAL_HEADER) == 0;
}

static bool is_other_file(const struct watched *old, const struct watched *now)
{
    return now->exists != old->exists || now->dev != old->dev || now->ino != old->ino ||
           now->size < old->size; /* VACUUM shrinks, and so does who cuts it: validate again */
}

/* Somebody removed -wal or -shm: what is written from now on goes to new ones, and our handles would never see
 * it. SQLite itself removes neither as long as anybody has the file open. */
static bool is_parted(struct handles *handles, const struct watched *seen)
{
    if (handles->n_all == 0)
        return false;
    if (handles->held_wal == 0)
        handles->held_wal = seen->wal_ino;
    if (handles->held_shm == 0)
        handles->held_shm = seen->shm_ino;
    return handles->held_wal != seen->wal_ino || handles->held_shm != seen->shm_ino;
}

/* With the lock held, which may take long to get: who looked later knows better, and a file that has grown
 * since is not one that shrank. */
static void note_seen(struct handles *handles, const struct watched *seen)
{
    if (seen->turn < handles->watched.turn)
        return;
    bool orphan = is_orphan(handles, seen);
    if (seen->exists && !orphan)
        handles->owner = *seen;
    if (is_other_file(&handles->watched, seen) || orphan != handles->orphan || is_parted(handles, seen)) {
        handles->orphan = orphan;
        drain(handles);
        if (handles->retry_at_ms != 0)
            handles->retry_at_ms = now_ms(); /* it may be well now */
    }
    handles->watched = *seen;
}

void handles_look(struct handles *handles)
{
    struct watched seen = look(handles);
    pthread_mutex_lock(&handles->lock);
    note_seen(handles, &seen);
    pthread_mutex_unlock(&handles->lock);
}

unsigned handles_renew(struct handles *handles)
{
    pthread_mutex_lock(&handles->lock);
    drain(handles);
    unsigned epoch = handles->epoch;
    pthread_mutex_unlock(&handles->lock);
    return epoch;
}

static void watch(struct handles *handles)
{
    int64_t now = now_ms(), due = atomic_load(&handles->watch_at_ms);
    if (now >= due && atomic_compare_exchange_strong(&handles->watch_at_ms, &due, now + WATCH_MS))
        handles_look(handles); /* else not yet, or another thread is looking */
}

/* --- lending handles --- */

/* A new handle, with the lock held on entry and on return, but not between. NULL: unusable, and noted; or the
 * epoch is another one: whatever was opened is no more, or came just now, and has to be opened as what it is. */
static struct lease *open_another(struct handles *handles)
{
    struct error err = {0};
    enum handle_fault fault = FAULT_MEMORY;
    unsigned epoch = handles->epoch;
    handles->n_all++;
    handles->n_out++;
    pthread_mutex_unlock(&handles->lock);
    struct lease *lease = calloc(1, sizeof *lease);
    if (lease != NULL)
        lease->handle = handle_open(handles->path, handles->immutable, &err, &fault);
    else
        error_set(&err, "out of memory");
    struct watched seen = look(handles);
    pthread_mutex_lock(&handles->lock);
    note_seen(handles, &seen);
    if (lease != NULL && lease->handle != NULL && epoch == handles->epoch) {
        lease->handles = handles;
        lease->epoch = epoch;
        return lease;
    }
    if (lease != NULL)
        close_lease(lease);
    handles->n_all--;
    handles->n_out--;
    handles->n_stale -= epoch != handles->epoch;
    if (err.text[0] != '\0' && (epoch == handles->epoch || !handles->watched.exists))
        note_trouble(handles, &err, fault);
    pthread_cond_broadcast(&handles->returned);
    return NULL;
}

/* False when the wait was in vain. */
static bool wait_for_handle(struct handles *handles, int64_t deadline_ms)
{
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    return pthread_cond_timedwait(&handles->returned, &handles->lock, &until) != ETIMEDOUT;
}

/* *probe: the file was unusable, and this caller is the one that tries. NULL: nothing can be read now. */
static struct lease *borrow(struct handles *handles, bool *probe)
{
    struct lease *lease = NULL;
    int64_t deadline = now_ms() + WAIT_MS;
    bool patient = true;
    int openings = OPENINGS;
    pthread_mutex_lock(&handles->lock);
    while (lease == NULL && !handles->orphan) {
        if (!*probe && handles->retry_at_ms != 0) {
            if (now_ms() < handles->retry_at_ms || handles->probing)
                break;
            handles->probing = *probe = true;
        }
        if (handles->idle != NULL) {
            lease = handles->idle;
            handles->idle = lease->next;
            handles->n_out++;
        } else if (handles->n_stale == 0 && handles->n_all < HANDLES_MAX) {
            unsigned epoch = handles->epoch;
            lease = open_another(handles);
            if (epoch == handles->epoch || --openings == 0)
                break;
        } else if (!patient) {
            break;
        } else {
            patient = wait_for_handle(handles, deadline);
        }
    }
    if (lease == NULL && *probe)
        handles->probing = false;
    pthread_mutex_unlock(&handles->lock);
    return lease;
}

static void give_back(struct lease *lease, const struct error *err)
{
    struct handles *handles = lease->handles;
    enum handle_fault fault = lease->fault;
    pthread_mutex_lock(&handles->lock);
    bool current = lease->epoch == handles->epoch;
    if (current && fault == FAULT_BROKEN)
        drain(handles); /* what one handle saw is wrong with the file, not with the handle */
    if (current && ends_lease(fault))
        note_trouble(handles, err, fault);
    if (lease->epoch == handles->epoch) {
        lease->next = handles->idle;
        handles->idle = lease;
    } else {
        pthread_mutex_unlock(&handles->lock);
        close_lease(lease); /* before n_stale lets a new one be opened */
        pthread_mutex_lock(&handles->lock);
        handles->n_all--;
        handles->n_stale--;
    }
    handles->n_out--;
    pthread_cond_signal(&handles->returned);
    pthread_mutex_unlock(&handles->lock);
}

/* The generation of a lease is what the counter said before its first read, unless this handle sees other data than last
 * time. Then it moves the counter on by two, and takes the odd number between for itself alone: another writer may have
 * committed since, so that others who read the new value may see newer data than this one. */
enum handle_fault lease_begin(struct lease *lease, bool *changed)
{
    struct handles *handles = lease->handles;
    bool differs = false;
    uint64_t before = atomic_load(&handles->generation);
    lease->fault = handle_begin(lease->handle, &differs);
    bool moved = differs || lease->fault != FAULT_NONE;
    lease->generation = moved ? handles_generation(handles) : before;
    *changed = differs;
    return lease->fault;
}

enum handle_fault lease_end(struct lease *lease)
{
    if (handle_end(lease->handle) != FAULT_NONE)
        lease->fault = FAULT_BROKEN;
    return lease->fault;
}

unsigned handles_epoch(struct handles *handles)
{
    return atomic_load(&handles->epoch);
}

bool lease_is_current(const struct lease *lease)
{
    return lease->epoch == handles_epoch(lease->handles);
}

uint64_t handles_generation(struct handles *handles)
{
    return atomic_fetch_add(&handles->generation, 2) + 1;
}

static void probed(struct handles *handles, bool well)
{
    pthread_mutex_lock(&handles->lock);
    handles->probing = false;
    if (well) {
        handles->retry_at_ms = 0;
        handles->trouble = (struct error){0};
    }
    pthread_mutex_unlock(&handles->lock);
}

struct lease *handles_take(struct handles *handles)
{
    watch(handles);
    bool probe = false, changed;
    struct lease *lease = borrow(handles, &probe);
    if (lease == NULL)
        return NULL;
    enum handle_fault fault = lease_begin(lease, &changed);
    if (probe)
        probed(handles, fault == FAULT_NONE);
    if (fault == FAULT_NONE)
        return lease;
    struct error err = *handle_error(lease->handle);
    give_back(lease, &err);
    return NULL;
}

void handles_give(struct lease *lease)
{
    if (lease == NULL)
        return;
    (void)lease_end(lease); /* what is wrong is in lease->fault */
    struct error err = *handle_error(lease->handle);
    give_back(lease, &err);
}

bool lease_can_read(const struct lease *lease)
{
    return lease != NULL && !ends_lease(lease->fault);
}

bool lease_settle(struct lease *lease, enum handle_fault fault)
{
    if (ends_lease(fault)) {
        lease->fault = fault;
    } else if (fault == FAULT_ROW || fault == FAULT_SLOW) {
        struct handles *handles = lease->handles;
        pthread_mutex_lock(&handles->lock);
        handles->row_trouble = *handle_error(lease->handle);
        handles->row_trouble_generation = atomic_load(&handles->generation);
        pthread_mutex_unlock(&handles->lock);
    }
    return fault == FAULT_NONE;
}

void handles_trouble(struct handles *handles, struct error *out)
{
    pthread_mutex_lock(&handles->lock);
    *out = handles->trouble;
    if (out->text[0] == '\0' && handles->row_trouble_generation == atomic_load(&handles->generation))
        *out = handles->row_trouble;
    if (handles->orphan)
        error_set(
            out,
            "alias database %s was replaced while the -wal of the file before it stayed: it is not read, and "
            "who writes to it now damages it; remove %s-wal and %s-shm",
            handles->path, handles->path, handles->path);
    pthread_mutex_unlock(&handles->lock);
}
