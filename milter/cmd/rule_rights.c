/* rule_rights: see rule_rights.h. Owns nothing; what fails leaves all as it was but for a directory made. */
#include "rule_rights.h"

#include "gate/state_dir.h"
#include "sys/ids.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void directory_of(const char *file, char dir[PATH_MAX])
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", file);
    snprintf(dir, PATH_MAX, "%s", dirname(copy));
}

int rule_rights_take(const char *database, bool for_good, char safe[PATH_MAX], struct error *err)
{
    char dir[PATH_MAX];
    struct ids ids;
    if (snprintf(safe, PATH_MAX, "%s", database) >= PATH_MAX) {
        error_set(err, "%s: the name is too long", database);
        return -1;
    }
    directory_of(database, dir);
    if (!ids_are_roots() || access(dir, F_OK) < 0)
        return 0;
    if (ids_of_file(database, &ids, safe, err) < 0)
        return -1;
    return for_good ? ids_take(&ids, NULL, 0, err) : ids_borrow(&ids, err);
}

/* A directory of root's own, as all above it: nobody else can change what the name means. */
static int make_for(const char *dir, const struct ids *owner, struct error *err)
{
    if (mkdir(dir, 0700) < 0 || chown(dir, owner->uid, owner->gid) < 0 || chmod(dir, 02770) < 0) {
        error_set(err, "directory %s cannot be created: %s", dir, strerror(errno));
        return -1;
    }
    return 0;
}

/* The directory is missing. owner: of the new one. */
static int make_directory(const char *dir, const char *group, const struct policy *policy, struct ids *owner,
                          struct error *err)
{
    char parent[PATH_MAX];
    struct ids above;
    directory_of(dir, parent);
    if (access(parent, F_OK) < 0)
        return 0; /* root's directories, as its umask says */
    if (ids_of_directory(parent, &above, NULL, err) < 0)
        return -1;
    gid_t gid = owner->gid;
    *owner = above;
    if (above.uid == 0 && policy != NULL && state_dir_ids(policy, owner, err) < 0)
        return -1;
    owner->gid = group != NULL ? gid : owner->gid;
    if (owner->uid == 0 && group != NULL) {
        error_set(err,
                  "the directory %s would be root's, and a group that writes to it could lead root "
                  "elsewhere; make it "
                  "first, with another owner: install -d -m 2770 -o OWNER -g %s %s",
                  dir, group, dir);
        return -1;
    }
    return above.uid == 0 && owner->uid != 0 ? make_for(dir, owner, err) : 0;
}

int rule_rights_take_to_create(const char *database, const char *group, const struct policy *policy,
                               char safe[PATH_MAX], struct error *err)
{
    char dir[PATH_MAX];
    struct ids owner = {0};
    snprintf(safe, PATH_MAX, "%s", database);
    if (!ids_are_roots())
        return 0;
    const struct group *entry = group != NULL ? getgrnam(group) : NULL; /* a command has one thread */
    if (group != NULL && entry == NULL) {
        error_set(err, "there is no group \"%s\"", group);
        return -1;
    }
    owner.gid = entry != NULL ? entry->gr_gid : 0;
    directory_of(database, dir);
    if (access(dir, F_OK) < 0 && make_directory(dir, group, policy, &owner, err) < 0)
        return -1;
    if (access(dir, F_OK) < 0)
        return ids_take(&owner, NULL, 0, err);
    gid_t gid = owner.gid;
    if (ids_of_file(database, &owner, safe, err) < 0)
        return -1;
    owner.gid = entry != NULL ? gid : owner.gid;
    return ids_take(&owner, NULL, 0, err);
}
