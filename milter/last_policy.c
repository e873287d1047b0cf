#include "last_policy.h"

#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "last-policy.json"
#define DEFAULT_STATE "/var/lib/rcptgate"

int last_policy_path(const char *file, char path[PATH_MAX])
{
    char dir[PATH_MAX], real[PATH_MAX];
    const char *slash = strrchr(file, '/'), *base = slash != NULL ? slash + 1 : file;
    snprintf(dir, sizeof dir, "%.*s",
             slash == NULL   ? 1
             : slash == file ? 1
                             : (int)(slash - file),
             slash == NULL ? "." : file);
    if (realpath(dir, real) == NULL)
        return -1;
    bool root = strcmp(real, "/") == 0;
    int n = snprintf(path, PATH_MAX, "%s/%s", root ? "" : real, base);
    if (n < 0 || n >= PATH_MAX) {
        path[0] = '\0';
        return -1;
    }
    return 0;
}

/* Who can plant a file or a link in a directory that everybody writes to (/tmp) must not give us a policy. */
static bool is_trusted(const char *name, mode_t type)
{
    char dir[PATH_MAX];
    struct stat st, up;
    const char *slash = strrchr(name, '/');
    if (slash == NULL || lstat(name, &st) < 0 || (st.st_mode & S_IFMT) != type)
        return false;
    snprintf(dir, sizeof dir, "%.*s", slash == name ? 1 : (int)(slash - name), name);
    return st.st_uid == geteuid() || st.st_uid == 0 || (stat(dir, &up) == 0 && (up.st_mode & S_IWOTH) == 0);
}

/* ---- where the state is ---- */

/* The directories that are there without any policy; NULL behind the last. */
static const char *well_known(size_t i)
{
    static char
        first[PATH_MAX]; /* of the colon-separated list that systemd sets; filled once, before any thread */
    const char *list = getenv("STATE_DIRECTORY");
    if (list == NULL || list[0] != '/')
        return i == 0 ? DEFAULT_STATE : NULL;
    if (first[0] == '\0')
        snprintf(first, sizeof first, "%.*s", (int)strcspn(list, ":"), list);
    return i == 0 ? first : i == 1 ? DEFAULT_STATE : NULL;
}

static bool is_well_known(const char *state)
{
    const char *dir;
    for (size_t i = 0; (dir = well_known(i)) != NULL; i++)
        if (strcmp(dir, state) == 0)
            return true;
    return false;
}

/* The link number i for the policy file at path: beside it, then in each well-known directory. False: there
 * is no such. */
static bool link_name(const char *path, size_t i, char link[PATH_MAX])
{
    const char *base = strrchr(path, '/') + 1, *dir;
    if (i == 0)
        return snprintf(link, PATH_MAX, "%.*s.%s.state", (int)(base - path), path, base) < PATH_MAX;
    if ((dir = well_known(i - 1)) == NULL)
        return false;
    int n = snprintf(link, PATH_MAX, "%s/%s.state", dir, path + 1);
    for (char *c = link + strlen(dir) + 1; n < PATH_MAX && *c != '\0'; c++)
        if (*c == '/')
            *c = '_'; /* two paths can meet here: the text says whose it is */
    return n < PATH_MAX;
}

static bool link_read(const char *link, char state[PATH_MAX])
{
    ssize_t n = is_trusted(link, S_IFLNK) ? readlink(link, state, PATH_MAX - 1) : -1;
    if (n <= 0 || state[0] != '/')
        return false;
    state[n] = '\0';
    return true;
}

/* "state": "/somewhere", wherever it stands in what is left of a file: whatever is found there must name the file. */
static bool salvage_state(const char *bytes, size_t n, char state[PATH_MAX])
{
    static const char key[] = "\"state\"";
    const char *end = bytes + n, *at = bytes != NULL ? memmem(bytes, n, key, sizeof key - 1) : NULL;
    if (at == NULL)
        return false;
    at += sizeof key - 1;
    while (at < end && strchr(" \t\r\n:", *at) != NULL && *at != '\0')
        at++;
    if (end - at < 3 || at[0] != '"' || at[1] != '/')
        return false;
    const char *close = memchr(at + 1, '"', (size_t)(end - at - 1));
    if (close == NULL || close - at > PATH_MAX - 1 || memchr(at, '\\', (size_t)(close - at)) != NULL)
        return false;
    snprintf(state, PATH_MAX, "%.*s", (int)(close - at - 1), at + 1);
    return true;
}

/* ---- reading ---- */

static char *read_from(const char *path, const char *state, char from[PATH_MAX])
{
    char name[PATH_MAX], *bytes = NULL, *text = NULL;
    size_t n = 0;
    struct error err = {0};
    if (snprintf(name, sizeof name, "%s/" FILE_NAME, state) >= (int)sizeof name ||
        !is_trusted(name, S_IFREG) || load_bytes(name, &bytes, &n, &err) < 0)
        return NULL;
    json_t *root = json_loadb(bytes, n, 0, NULL);
    const char *file = json_string_value(json_object_get(root, "file"));
    if (file != NULL && strcmp(file, path) == 0)
        text = json_dumps(json_object_get(root, "policy"), JSON_INDENT(2));
    if (text != NULL)
        memcpy(from, name, strlen(name) + 1);
    json_decref(root);
    free(bytes);
    return text;
}

char *last_policy_find(const char *path, const char *state, const char *bytes, size_t n, char from[PATH_MAX])
{
    char found[PATH_MAX], link[PATH_MAX];
    const char *dir;
    char *text = NULL;
    if (state != NULL)
        text = read_from(path, state, from);
    else if (salvage_state(bytes, n, found))
        text = read_from(path, found, from);
    for (size_t i = 0; text == NULL && link_name(path, i, link); i++)
        if (link_read(link, found))
            text = read_from(path, found, from);
    for (size_t i = 0; text == NULL && (dir = well_known(i)) != NULL; i++)
        text = read_from(path, dir, from);
    return text;
}

/* ---- writing ---- */

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        bytes += done;
        n -= (size_t)done;
    }
    return 0;
}

static int write_file(const char *state, const char *text, struct error *err)
{
    char name[PATH_MAX], temporary[PATH_MAX + 8];
    if (snprintf(name, sizeof name, "%s/" FILE_NAME, state) >= (int)sizeof name) {
        error_set(err, "the path of the state directory is too long");
        return -1;
    }
    snprintf(temporary, sizeof temporary, "%s.new", name);
    (void)unlink(temporary); /* left by one that was killed */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd >= 0 && write_all(fd, text, strlen(text)) == 0 && fsync(fd) == 0 ? 0 : -1;
    int why = errno;
    if (fd >= 0 && close(fd) < 0 && rc == 0) {
        why = errno;
        rc = -1;
    }
    if (rc == 0 && rename(temporary, name) < 0) {
        why = errno;
        rc = -1;
    }
    if (rc < 0) {
        if (fd >= 0)
            (void)unlink(temporary);
        error_set(err, "cannot write %s: %s; make room, or give the gate write access", name, strerror(why));
    }
    return rc;
}

static bool link_make(const char *link, const char *state)
{
    char now[PATH_MAX], temporary[PATH_MAX + 8];
    if (link_read(link, now) && strcmp(now, state) == 0)
        return true;
    snprintf(temporary, sizeof temporary, "%s.new", link);
    (void)unlink(temporary);
    if (symlink(state, temporary) < 0)
        return false;
    if (rename(temporary, link) == 0)
        return true;
    (void)unlink(temporary);
    return false;
}

/* 0 where a start without a policy finds it. */
static int link_state(const char *path, const char *state, struct error *err)
{
    char link[PATH_MAX];
    if (is_well_known(state))
        return 0;
    for (size_t i = 0; link_name(path, i, link); i++)
        if (link_make(link, state))
            return 0;
    error_set(err,
              "a start with a broken policy file would not find the last good one in %s: neither the file's "
              "directory nor " DEFAULT_STATE " can be written",
              state);
    return 1;
}

int last_policy_save(const char *path, const char *state, const char *text, struct error *err)
{
    char from[PATH_MAX];
    char *old = read_from(path, state, from);
    json_t *policy = json_loads(text, 0, NULL);
    char *new = policy != NULL ? json_dumps(policy, JSON_INDENT(2)) : NULL;
    bool same = old != NULL && new != NULL &&strcmp(old, new) == 0;
    free(old);
    free(new);
    int rc = 0;
    if (!same) {
        json_t *root = policy != NULL ? json_pack("{s:s, s:O}", "file", path, "policy", policy) : NULL;
        char *bytes = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
        json_decref(root);
        if (bytes == NULL)
            error_set(err, "out of memory for the last good policy");
        rc = bytes != NULL ? write_file(state, bytes, err) : -1;
        free(bytes);
    }
    json_decref(policy);
    return rc < 0 ? -1 : link_state(path, state, err);
}
