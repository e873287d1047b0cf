/* snapshot: copies a database page by page (see snapshot.h). Owns the file that it writes until it is complete; after a failure
 * nothing is left of it, and whose fault it was is told apart: the source or the target. */
#include "snapshot.h"

#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    STEP_PAGES = 1024, /* between two looks around: 4 MB with pages of 4 KB */
    STEPS_SYNC = 8,    /* steps after which what was written is brought to the disk */
    PAUSE_MS = 3,
};

struct job {
    sqlite3 *from, *to;
    const char *path;
    int fd; /* of the copy, for fdatasync() */
    int (*cancelled)(void *);
    void *arg;
};

static void pause_ms(long ms)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); /* a shorter pause is as good */
}

static int target_failed(const struct job *job, struct error *err)
{
    error_set(err, "cannot write %s: %s", job->path, errno != 0 ? strerror(errno) : sqlite3_errmsg(job->to));
    return -1;
}

/* The file alone: no journal, no lock that matters, and nothing is synced by SQLite itself. */
static int open_target(struct job *job, struct error *err)
{
    errno = 0;
    if (unlink(job->path) < 0 && errno != ENOENT)
        return target_failed(job, err);
    job->fd = open(job->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (job->fd < 0)
        return target_failed(job, err);
    int rc = sqlite3_open_v2(
        job->path, &job->to,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(
            job->to,
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "PRAGMA mmap_size = 0",
            NULL, NULL, NULL);
    errno = 0;
    return rc == SQLITE_OK ? 0 : target_failed(job, err);
}

/* Which of the two files an error of the backup is about. */
static bool is_about_target(int rc)
{
    switch (rc) {
    case SQLITE_IOERR_WRITE:
    case SQLITE_IOERR_FSYNC:
    case SQLITE_IOERR_DIR_FSYNC:
    case SQLITE_IOERR_TRUNCATE:
    case SQLITE_IOERR_FSTAT:
    case SQLITE_IOERR_DELETE:
    case SQLITE_IOERR_CLOSE:
        return true;
    default:
        return (rc & 0xff) == SQLITE_FULL || (rc & 0xff) == SQLITE_CANTOPEN ||
               (rc & 0xff) == SQLITE_READONLY || (rc & 0xff) == SQLITE_PERM;
    }
}

/* SQLITE_DONE, SQLITE_INTERRUPT, or what went wrong; *synced: it was the sync that did. */
static int copy_pages(const struct job *job, sqlite3_backup *backup, bool *synced)
{
    int rc = SQLITE_OK;
    for (int step = 1; rc == SQLITE_OK; step++) {
        if (job->cancelled(job->arg) != 0)
            return SQLITE_INTERRUPT;
        rc = sqlite3_backup_step(backup, STEP_PAGES);
        if (rc == SQLITE_OK && step % STEPS_SYNC == 0 && fdatasync(job->fd) < 0) {
            *synced = false;
            return SQLITE_IOERR_FSYNC;
        }
        if (rc == SQLITE_OK)
            pause_ms(PAUSE_MS);
    }
    return rc;
}

static enum copy_result copy_all(const struct job *job, int *out, struct error *err)
{
    bool synced = true;
    sqlite3_backup *backup = sqlite3_backup_init(job->to, "main", job->from, "main");
    if (backup == NULL) {
        *out = sqlite3_extended_errcode(job->to);
        error_set(err, "cannot copy: %s", sqlite3_errmsg(job->to));
        return COPY_NO_SOURCE;
    }
    errno = 0;
    int rc = copy_pages(job, backup, &synced), saved = errno;
    int finished = sqlite3_backup_finish(backup);
    if (rc == SQLITE_INTERRUPT)
        return COPY_CANCELLED;
    if (rc == SQLITE_DONE)
        rc = finished == SQLITE_OK ? SQLITE_DONE : finished;
    if (rc == SQLITE_DONE)
        return COPY_DONE;
    *out = rc;
    if (!is_about_target(rc))
        return COPY_NO_SOURCE;
    errno = synced ? 0 : saved;
    if ((rc & 0xff) == SQLITE_FULL)
        errno = ENOSPC;
    (void)target_failed(job, err);
    return COPY_NO_TARGET;
}

/* A database in WAL mode says so in its header (bytes 18 and 19, file format 1.3); its copy has no WAL, and
 * needs none. */
static int leave_wal_mode(const struct job *job)
{
    static const char legacy[2] = {1, 1};
    return pwrite(job->fd, legacy, sizeof legacy, 18) == (ssize_t)sizeof legacy && fsync(job->fd) == 0 ? 0
                                                                                                       : -1;
}

enum copy_result aliases_snapshot_make(sqlite3 *from, const char *path, int (*cancelled)(void *), void *arg,
                                       int *rc, struct error *err)
{
    struct job job = {.from = from, .path = path, .fd = -1, .cancelled = cancelled, .arg = arg};
    enum copy_result result = open_target(&job, err) == 0 ? copy_all(&job, rc, err) : COPY_NO_TARGET;
    if (sqlite3_close(job.to) != SQLITE_OK && result == COPY_DONE)
        result = COPY_NO_TARGET;
    job.to = NULL;
    errno = 0;
    if (result == COPY_DONE && leave_wal_mode(&job) < 0) {
        error_set(err, "cannot write %s: %s", path, strerror(errno));
        result = COPY_NO_TARGET;
    }
    if (job.fd >= 0)
        close(job.fd);
    if (result != COPY_DONE && job.fd >= 0)
        (void)unlink(path); /* the next copy replaces it anyway */
    return result;
}

/* A chain of hashes, each with what came before as its key. */
static int sum_pages(FILE *file, uint64_t *out)
{
    static const long header = 100; /* counts the writes of the file */
    unsigned char bytes[65536];
    uint64_t chain[2] = {0};
    if (fseek(file, header, SEEK_SET) < 0)
        return -1;
    size_t n;
    do {
        n = fread(bytes, 1, sizeof bytes, file);
        chain[0] = hash_bytes(chain, bytes, n);
        chain[1]++;
    } while (n == sizeof bytes);
    *out = chain[0];
    return ferror(file) ? -1 : 0;
}

int aliases_snapshot_sum(const char *path, uint64_t *out)
{
    FILE *file = fopen(path, "rbe");
    int rc = file != NULL ? sum_pages(file, out) : -1;
    if (file != NULL)
        (void)fclose(file); /* only read */
    return rc;
}

int aliases_snapshot_install(const char *path, const char *place, struct error *err)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(place, '/');
    snprintf(dir, sizeof dir, "%.*s",
             slash == NULL    ? 1
             : slash == place ? 1
                              : (int)(slash - place),
             slash == NULL ? "." : place);
    if (rename(path, place) < 0) {
        error_set(err, "cannot rename %s to %s: %s", path, place, strerror(errno));
        (void)unlink(path);
        return -1;
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0; /* it is in its place; only a crash of the machine could take it back */
    (void)fsync(fd);
    close(fd);
    return 0;
}
