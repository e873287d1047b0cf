/* snapshot: copies a database page by page (see snapshot.h). Owns the file that it writes until it is complete; after a failure
 * nothing is left of it, and whose fault it was is told apart: the source or the target. */
#include "snapshot.h"

#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* --- the sum --- */

/* SQLite file format 1.3 and 1.5. Pages count from 1; nothing is on page 0. */
enum {
    HEADER_BYTES = 100, /* the writes of the file are counted there */
    HEADER_PAGE_SIZE = 16,
    HEADER_TRUNK = 32, /* the first of the pages that list the free ones */
    PAGE_LEAST = 512,
    PAGE_MOST = 65536,
};

struct pages {
    int fd;
    bool failed; /* some could not be read */
    uint32_t size, n;
    unsigned char *free; /* a bit for each: nothing is on it */
    unsigned char bytes[PAGE_MOST];
};

static uint32_t number_at(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* How many bytes of it there are. */
static size_t read_page(struct pages *pages, uint32_t page)
{
    if (page < 1 || page > pages->n)
        return 0;
    ssize_t got = pread(pages->fd, pages->bytes, pages->size, (off_t)(page - 1) * pages->size);
    pages->failed = pages->failed || got < 0;
    return got > 0 ? (size_t)got : 0;
}

/* Those that a trunk lists; the next trunk, 0 at the end. What is no list marks nothing that anybody misses. */
static uint32_t mark_leaves(struct pages *pages, uint32_t trunk)
{
    if (read_page(pages, trunk) != pages->size)
        return 0;
    uint32_t listed = number_at(pages->bytes + 4);
    for (uint32_t i = 0; i < listed && 4 * (i + 3) <= pages->size; i++) {
        uint32_t leaf = number_at(pages->bytes + 8 + 4 * (size_t)i);
        if (leaf > 1 && leaf <= pages->n)
            pages->free[leaf / 8] |= (unsigned char)(1U << leaf % 8);
    }
    return number_at(pages->bytes);
}

/* A file that says nothing that can be true has pages of the greatest size. */
static int look_at_pages(struct pages *pages)
{
    unsigned char head[HEADER_BYTES] = {0};
    struct stat st;
    ssize_t got = pread(pages->fd, head, sizeof head, 0);
    if (got < 0 || fstat(pages->fd, &st) < 0)
        return -1;
    uint32_t size = (uint32_t)head[HEADER_PAGE_SIZE] << 8 | head[HEADER_PAGE_SIZE + 1];
    pages->size = size >= PAGE_LEAST && (size & (size - 1)) == 0 ? size : PAGE_MOST;
    off_t n = (st.st_size + pages->size - 1) / pages->size;
    pages->n = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX - 1;
    pages->free = calloc(pages->n / 8 + 1, 1);
    if (pages->free == NULL)
        return -1;
    uint32_t trunk = number_at(head + HEADER_TRUNK);
    for (uint32_t i = 0; i < pages->n && trunk != 0; i++) /* in a circle nobody runs for ever */
        trunk = mark_leaves(pages, trunk);
    return 0;
}

/* A chain of hashes, each with what came before as its key. Free pages are left out: who takes back what he wrote to them, or is
 * killed before he is done, leaves it there, since SQLite keeps no journal of what is of no use. */
static int sum_pages(struct pages *pages, uint64_t *out)
{
    uint64_t chain[2] = {0};
    if (look_at_pages(pages) < 0)
        return -1;
    for (uint32_t page = 1; page <= pages->n && !pages->failed; page++) {
        if ((pages->free[page / 8] >> page % 8 & 1) != 0)
            continue;
        size_t from = page == 1 ? HEADER_BYTES : 0, got = read_page(pages, page);
        chain[0] = hash_bytes(chain, pages->bytes + from, got > from ? got - from : 0);
        chain[1] = page;
    }
    *out = chain[0];
    return pages->failed ? -1 : 0;
}

int aliases_snapshot_sum(const char *path, uint64_t *out)
{
    struct pages *pages = calloc(1, sizeof *pages);
    if (pages == NULL)
        return -1;
    pages->fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = pages->fd >= 0 ? sum_pages(pages, out) : -1;
    if (pages->fd >= 0)
        close(pages->fd);
    free(pages->free);
    free(pages);
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
