/* ids: see ids.h. Owns nothing. What fails, fails before anything is given up or opened. */
#include "sys/ids.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GROUPS_MAX = 256 };

bool ids_are_roots(void)
{
    return geteuid() == 0;
}

/* May others change what lies in this directory of root's? In one with a sticky bit not what is root's; but whoever may
 * write into the last of the path needs to swap nothing. */
static bool others_may_change(const struct stat *st, bool last)
{
    return st->st_uid != 0 || ((st->st_mode & 022) != 0 && (last || (st->st_mode & S_ISVTX) == 0));
}

static int check_one(const char *path, bool last, struct error *err)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && st.st_uid == 0)
        return 0; /* root's link: where it leads to is looked at, too */
    if (lstat(path, &st) < 0) {
        error_set(err, "%s: %s", path, strerror(errno));
        return -1;
    }
    if (!others_may_change(&st, last))
        return 0;
    error_set(
        err,
        "%s can be changed by others than root, who runs this; give it an owner other than root (chown), "
        "whose rights are used then, or take the right to write from others (chmod go-w)",
        path);
    return -1;
}

/* The directory and all above it. path is absolute; it is cut and mended on the way. */
static int check_chain(char *path, struct error *err)
{
    int rc = check_one("/", path[1] == '\0', err);
    for (char *slash = strchr(path + 1, '/'); rc == 0 && slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        rc = check_one(path, false, err);
        *slash = '/';
    }
    return rc == 0 ? check_one(path, true, err) : -1;
}

int ids_of_directory(const char *dir, struct ids *out, char real[PATH_MAX], struct error *err)
{
    char path[PATH_MAX];
    struct stat st;
    if (realpath(dir, path) == NULL || stat(path, &st) < 0) {
        error_set(err, "%s: %s", dir, strerror(errno));
        return -1;
    }
    if (st.st_uid == 0 && ids_are_roots()) {
        char given[PATH_MAX];
        snprintf(given, sizeof given, "%s", dir);
        if (check_chain(path, err) < 0 || (given[0] == '/' && check_chain(given, err) < 0))
            return -1;
    }
    *out = (struct ids){st.st_uid, st.st_gid};
    if (real != NULL)
        memcpy(real, path, strlen(path) + 1);
    return 0;
}

int ids_of_user(const char *name, struct ids *out, struct error *err)
{
    const struct passwd *user = getpwnam(name); /* one thread yet */
    if (user == NULL) {
        error_set(err, "there is no user \"%s\" on this host", name);
        return -1;
    }
    *out = (struct ids){user->pw_uid, user->pw_gid};
    return 0;
}

bool ids_is_member(uid_t uid, const char *group)
{
    gid_t groups[GROUPS_MAX];
    int n = GROUPS_MAX;
    const struct group *entry = getgrnam(group);
    const gid_t gid = entry != NULL ? entry->gr_gid : 0;
    const struct passwd *user = entry != NULL ? getpwuid(uid) : NULL;
    if (user == NULL || getgrouplist(user->pw_name, user->pw_gid, groups, &n) < 0)
        return false;
    for (int i = 0; i < n; i++)
        if (groups[i] == gid)
            return true;
    return false;
}

/* setresuid() and its like tell by a failure alone that a right was kept; so all is looked at again. */
static int take(const struct ids *ids, const gid_t *groups, size_t n, struct error *err)
{
    uid_t real, effective, saved;
    if (setgroups(n, groups) < 0 || setresgid(ids->gid, ids->gid, ids->gid) < 0 ||
        setresuid(ids->uid, ids->uid, ids->uid) < 0 || getresuid(&real, &effective, &saved) < 0 ||
        real != ids->uid || effective != ids->uid || saved != ids->uid) {
        error_set(err, "cannot give up root's rights for those of user %ld: %s", (long)ids->uid,
                  strerror(errno));
        return -1;
    }
    return 0;
}

int ids_take(const struct ids *ids, const gid_t *also, size_t n, struct error *err)
{
    return !ids_are_roots() || ids->uid == 0 ? 0 : take(ids, also, n, err);
}

int ids_borrow(const struct ids *ids, struct error *err)
{
    if (!ids_are_roots() || ids->uid == 0 ||
        (setgroups(0, NULL) == 0 && setegid(ids->gid) == 0 && seteuid(ids->uid) == 0))
        return 0;
    error_set(err, "cannot take the rights of user %ld: %s", (long)ids->uid, strerror(errno));
    return -1;
}

int ids_give_back(void)
{
    return seteuid(getuid()) == 0 && setegid(getgid()) == 0 ? 0 : -1;
}

int ids_take_as_user(const struct ids *ids, const gid_t *also, size_t n, struct error *err)
{
    gid_t groups[GROUPS_MAX];
    int got = GROUPS_MAX - (int)n;
    const struct passwd *user = getpwuid(ids->uid);
    if (user == NULL || getgrouplist(user->pw_name, user->pw_gid, groups, &got) < 0)
        return ids_take(ids, also, n, err);
    const struct ids own = {user->pw_uid, user->pw_gid};
    for (size_t i = 0; i < n; i++)
        groups[got++] = also[i];
    return ids_take(&own, groups, (size_t)got, err);
}

int ids_of_file(const char *file, struct ids *out, char safe[PATH_MAX], struct error *err)
{
    const char *slash = strrchr(file, '/');
    char dir[PATH_MAX], real[PATH_MAX];
    if (snprintf(dir, sizeof dir, "%.*s", slash != NULL ? (int)(slash - file) + 1 : 1,
                 slash != NULL ? file : ".") >= (int)sizeof dir) {
        error_set(err, "%s: the name is too long", file);
        return -1;
    }
    if (ids_of_directory(dir, out, real, err) < 0)
        return -1;
    int n = out->uid == 0 ? snprintf(safe, PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real,
                                     slash != NULL ? slash + 1 : file)
                          : snprintf(safe, PATH_MAX, "%s", file);
    if (n >= PATH_MAX)
        error_set(err, "%s: the name is too long", file);
    return n < PATH_MAX ? 0 : -1;
}

void ids_hide_memory(void)
{
#if !defined __SANITIZE_ADDRESS__ &&                                                                         \
    !defined __SANITIZE_THREAD__ /* the leak check looks at itself from outside */
    (void)prctl(PR_SET_DUMPABLE, 0);
#endif
    const struct rlimit none = {0};
    (void)setrlimit(RLIMIT_CORE, &none);
}
