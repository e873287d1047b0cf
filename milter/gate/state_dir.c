/* state_dir: see state_dir.h. */
#include "gate/state_dir.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL "control.sock"

static_assert(POLICY_STATE_MAX + sizeof "/" CONTROL <= sizeof((struct sockaddr_un *)0)->sun_path,
              "the control socket of the longest state has an address");

const char *state_dir_path(const char *state, enum state_dir_file file, char path[STATE_DIR_PATH])
{
    static const char *const names[] = {
        [STATE_DIR_ALIASES_COPY] = "aliases.copy.db",
        [STATE_DIR_BLOCKS] = "blocks",
        [STATE_DIR_HOLDS] = "holds",
        [STATE_DIR_LAST_GOOD] = "last-policy.json",
        [STATE_DIR_CONTROL] = CONTROL,
        [STATE_DIR_LOCK] = "lock",
    };
    path[0] = '\0';
    if (strlen(state) <= POLICY_STATE_MAX)
        snprintf(path, STATE_DIR_PATH, "%s/%s", state, names[file]);
    return path;
}

/* A command that root runs must not leave a lock that the gate cannot open: it belongs to whom the directory belongs. */
static int lock_open(const char *state, const char *path, struct error *err)
{
    struct stat st;
    if (mkdir(state, 0750) < 0 && errno != EEXIST) {
        error_set(err, "cannot make the directory %s: %s", state, strerror(errno));
        return -1;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        error_set(err, "cannot open %s: %s", path, strerror(errno));
        return -1;
    }
    if (geteuid() == 0 && stat(state, &st) == 0 && fchown(fd, st.st_uid, st.st_gid) < 0) {
        error_set(err, "cannot give %s to the owner of %s: %s", path, state, strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

enum state_dir_lock state_dir_lock(const char *state, int wait_ms, int *fd, struct error *err)
{
    enum { PAUSE_MS = 20 };
    char path[STATE_DIR_PATH];
    int lock = lock_open(state, state_dir_path(state, STATE_DIR_LOCK, path), err);
    if (lock < 0)
        return STATE_DIR_UNUSABLE;
    int rc = flock(lock, LOCK_EX | LOCK_NB);
    for (int waited = 0; waited < wait_ms && rc < 0; waited += PAUSE_MS) {
        usleep(PAUSE_MS * 1000);
        rc = flock(lock, LOCK_EX | LOCK_NB);
    }
    if (rc == 0) {
        *fd = lock;
        return STATE_DIR_LOCKED;
    }
    close(lock);
    return STATE_DIR_TAKEN;
}
