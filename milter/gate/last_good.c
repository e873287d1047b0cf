/* last_good: owns the one file STATE/last-policy.json, which is replaced as a whole. What is missing, of another policy file,
 * or a stranger's, is as if there were none; only writing fails with err. */
#include "last_good.h"

#include "base/file.h"
#include "sys/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int last_good_path(const char *file, char path[PATH_MAX])
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

/* Who can plant a file in a directory that everybody writes to (/tmp) must not give us a policy. */
static bool is_trusted(const char *state, const struct stat *st)
{
    struct stat up;
    return st->st_uid == geteuid() || st->st_uid == 0 ||
           (stat(state, &up) == 0 && (up.st_mode & S_IWOTH) == 0);
}

/* Whose it is, is asked of what is read, and not of what has its name a moment later. */
static char *read_trusted(const char *state, const char *name, size_t *n, struct stat *st)
{
    char *bytes = NULL;
    int fd = file_open_own(name, O_RDONLY, 0);
    if (fd < 0)
        return NULL;
    if (fstat(fd, st) == 0 && is_trusted(state, st))
        (void)file_read_open(fd, &bytes, n); /* else it is as if there were none */
    (void)close(fd);                         /* only read: nothing can be lost */
    return bytes;
}

/* ---- what the gate's own user may say to root ---- */

/* Nothing about whose rights root keeps: the state is where this was found, the user who wrote it there, or else the owner of
 * that directory; the group of the milter's socket one that he is in, or else the default. */
static int disarm(json_t *policy, const char *state, uid_t owner)
{
    struct ids ids;
    const json_t *user = json_object_get(policy, "user");
    json_t *milter = json_object_get(policy, "milter");
    const char *group = json_string_value(json_object_get(milter, "group"));
    if (user != NULL &&
        (!json_is_string(user) || ids_of_user(json_string_value(user), &ids, NULL) < 0 || ids.uid != owner))
        (void)json_object_del(policy, "user");
    if (group != NULL && (owner == 0 || !ids_is_member(owner, group)))
        (void)json_object_del(milter, "group");
    return json_object_set_new(policy, "state", json_string(state));
}

/* Of a last good policy that not only root can have written. -1: it cannot be had so. */
static int disarm_others(json_t *policy, const char *state, uid_t owner)
{
    struct ids ids;
    if (!ids_are_roots() || (owner == 0 && ids_of_directory(state, &ids, NULL, NULL) == 0 && ids.uid == 0))
        return 0;
    return disarm(policy, state, owner);
}

/* ---- where the state is ---- */

/* The first of the colon-separated list that systemd sets. */
static bool state_of_systemd(char state[POLICY_STATE_MAX + 1])
{
    const char *list = getenv("STATE_DIRECTORY");
    size_t n = list != NULL && list[0] == '/' ? strcspn(list, ":") : 0;
    if (n == 0 || n > POLICY_STATE_MAX)
        return false;
    snprintf(state, POLICY_STATE_MAX + 1, "%.*s", (int)n, list);
    return true;
}

static const char *blanks_passed(const char *at)
{
    return at + strspn(at, " \t\r");
}

/* Is that line `"state": "/somewhere",` and nothing else? */
static bool line_names_state(const char *line, char state[POLICY_STATE_MAX + 1])
{
    static const char key[] = "\"state\"";
    const char *at = blanks_passed(line);
    if (strncmp(at, key, sizeof key - 1) != 0 || *(at = blanks_passed(at + sizeof key - 1)) != ':')
        return false;
    at = blanks_passed(at + 1);
    if (at[0] != '"' || at[1] != '/')
        return false;
    size_t n = strcspn(++at, "\"\\\n");
    if (at[n] != '"' || n > POLICY_STATE_MAX)
        return false;
    const char *rest = blanks_passed(at + n + 1);
    rest = blanks_passed(rest + (*rest == ','));
    if (*rest != '\n' && *rest != '\0')
        return false;
    snprintf(state, POLICY_STATE_MAX + 1, "%.*s", (int)n, at);
    return true;
}

/* Where a broken file says that its state is, as far as it can be read. */
static bool file_names_state(const char *bytes, char state[POLICY_STATE_MAX + 1])
{
    for (const char *line = bytes; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (line_names_state(line, state))
            return true;
    }
    return false;
}

/* ---- reading ---- */

static char *read_from(const char *path, const char *state, char from[STATE_DIR_PATH])
{
    char name[STATE_DIR_PATH], *text = NULL;
    size_t n = 0;
    struct stat st;
    char *bytes = read_trusted(state, state_dir_path(state, STATE_DIR_LAST_GOOD, name), &n, &st);
    if (bytes == NULL)
        return NULL;
    json_t *root = json_loadb(bytes, n, 0, NULL);
    const char *file = json_string_value(json_object_get(root, "file"));
    json_t *policy = json_object_get(root, "policy");
    if (file != NULL && strcmp(file, path) == 0 && disarm_others(policy, state, st.st_uid) == 0)
        text = json_dumps(policy, JSON_INDENT(2));
    if (text != NULL)
        memcpy(from, name, strlen(name) + 1);
    json_decref(root);
    free(bytes);
    return text;
}

char *last_good_find(const char *path, const char *state, const char *bytes, char from[STATE_DIR_PATH])
{
    char named[POLICY_STATE_MAX + 1], systemd[POLICY_STATE_MAX + 1];
    if (state == NULL && file_names_state(bytes, named))
        state = named;
    char *text = state != NULL ? read_from(path, state, from) : NULL;
    if (text == NULL && state_of_systemd(systemd))
        text = read_from(path, systemd, from);
    return text != NULL ? text : read_from(path, STATE_DIR_DEFAULT, from);
}

/* ---- writing ---- */

static int write_file(const char *state, const char *text, struct error *err)
{
    char name[STATE_DIR_PATH];
    if (file_write(state_dir_path(state, STATE_DIR_LAST_GOOD, name), text, strlen(text), 0600) == 0)
        return 0;
    error_set(err, "cannot write %s: %s; make room, or give the gate write access", name, strerror(errno));
    return -1;
}

int last_good_save(const char *path, const char *state, const char *text, struct error *err)
{
    char from[STATE_DIR_PATH];
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
    return rc;
}
