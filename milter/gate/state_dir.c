/* state_dir: see state_dir.h. */
#include "gate/state_dir.h"

#include "base/file.h"
#include "sys/ids.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
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

int state_dir_ids(const struct policy *policy, struct ids *out, struct error *err)
{
    struct stat st;
    struct ids ids = {0};
    if (policy->user != NULL && ids_of_user(policy->user, &ids, err) < 0)
        return -1;
    if (ids.uid == 0 && stat(policy->state, &st) == 0)
        ids = (struct ids){st.st_uid, st.st_gid};
    *out = ids;
    return 0;
}

/* In a directory of root's it belongs to the gate at once. Elsewhere the gate makes it by itself, if it may. */
static void make_for(const char *state, const struct ids *ids)
{
    char copy[STATE_DIR_PATH];
    struct ids above;
    snprintf(copy, sizeof copy, "%s", state);
    if (ids_of_directory(dirname(copy), &above, NULL, NULL) == 0 && above.uid == 0 && mkdir(state, 0750) == 0)
        (void)!chown(state, ids->uid, ids->gid); /* where it fails, opening does */
}

int state_dir_take_ids(const struct policy *policy, const gid_t *also, size_t n, struct error *err)
{
    struct ids ids, owner;
    if (!ids_are_roots())
        return 0;
    if (state_dir_ids(policy, &ids, err) < 0)
        return -1;
    if (access(policy->state, F_OK) < 0)
        make_for(policy->state, &ids);
    if (ids.uid == 0 && access(policy->state, F_OK) == 0 &&
        ids_of_directory(policy->state, &owner, NULL, err) < 0)
        return -1;
    return ids_take_as_user(&ids, also, n, err);
}

static int lock_open(const char *state, const char *path, struct error *err)
{
    if (mkdir(state, 0750) < 0 && errno != EEXIST) {
        error_set(err, "cannot make the directory %s: %s", state, strerror(errno));
        return -1;
    }
    int fd = file_open_own(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        error_set(err, "cannot open %s: %s", path, strerror(errno));
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
