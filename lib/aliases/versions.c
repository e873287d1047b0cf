/* versions: see versions.h. Owns the copy that it makes until it is whole; a reading transaction is open meanwhile, which keeps
 * nobody from writing. */
#include "versions.h"

#include "aliases/edit.h"
#include "seal.h"
#include "snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *aliases_versions_path(const char *database, int64_t generation, char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s.version-%" PRId64, database, generation) >= PATH_MAX)
        path[0] = '\0';
    return path;
}

static int never(void *arg)
{
    (void)arg;
    return 0;
}

static int copy_to(const char *database, const char *path, struct error *err)
{
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(
        database, &db,
        SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(db, EDIT_BUSY_MS);
    if (rc == SQLITE_OK)
        rc = aliases_schema_defend(db);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "BEGIN; SELECT 1 FROM sqlite_schema", NULL, NULL, NULL);
    bool copied = rc == SQLITE_OK && aliases_snapshot_make(db, path, never, NULL, &rc, err) == COPY_DONE;
    if (!copied)
        aliases_schema_explain(rc, db, database, err); /* unless the copy has said it better */
    (void)sqlite3_close(db);                           /* only read */
    return copied ? 0 : -1;
}

static int seal(const char *path, int64_t serial, struct error *err)
{
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    int rc = fd < 0 || fchmod(fd, 0660) < 0 ? -1 : 0;
    if (rc < 0)
        error_set(err, "%s cannot be written: %s", path, strerror(errno));
    else
        rc = aliases_seal_put(fd, serial, path, err);
    if (rc == 0 && fsync(fd) < 0) {
        error_set(err, "%s cannot be written: %s", path, strerror(errno));
        rc = -1;
    }
    if (fd >= 0)
        (void)close(fd); /* it is on the disk, or of no use */
    return rc;
}

int aliases_versions_keep(const char *database, int64_t generation, int64_t serial, struct error *err)
{
    char path[PATH_MAX];
    struct error why = {0};
    if (aliases_versions_path(database, generation, path)[0] == '\0')
        error_set(&why, "the name is too long");
    else if (copy_to(database, path, &why) == 0 && seal(path, serial, &why) == 0)
        return 0;
    (void)unlink(path); /* there may be none */
    error_set(err, "what %s holds now cannot be kept for a rollback, so nothing was changed: %s", database,
              why.text);
    return -1;
}

int64_t aliases_versions_last(const char *database, int64_t generation)
{
    char path[PATH_MAX];
    for (int64_t i = generation - 1; i >= 0 && i >= generation - VERSIONS_KEPT; i--)
        if (access(aliases_versions_path(database, i, path), F_OK) == 0)
            return i;
    return -1;
}

void aliases_versions_remove(const char *database, int64_t from, int64_t to)
{
    char path[PATH_MAX];
    for (int64_t i = from < 0 ? 0 : from; i <= to; i++)
        (void)unlink(aliases_versions_path(database, i, path)); /* mostly there is none */
}
