/* last_good: the last good version of what is bad, on the level of JSON: the patched text is loaded like any other,
 * so that nothing here knows what a key means. Fails only for want of memory. */
#include "config/config.h"

#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_MAX = 16 };

static const char last_good[] = "its last good version";

struct version { /* a policy file, read */
    json_t *root;
    const struct policy *policy;
    struct problems problems;
};

struct pointer { /* RFC 6901, taken apart */
    char text[sizeof((struct problem *)NULL)->pointer];
    const char *token[TOKENS_MAX];
    size_t n;
};

static void version_done(struct version *version)
{
    json_decref(version->root);
    policy_unref(version->policy);
    problems_done(&version->problems);
}

/* -1 where the text is no policy, or memory ran out. */
static int version_read(struct version *version, const char *json, size_t n)
{
    struct problems ignored = {0};
    struct loader loader = {.problems = &ignored};
    version->policy = config_load(json, n, &version->problems);
    version->root = version->policy != NULL ? config_json_read(json, n, &loader) : NULL;
    problems_done(&ignored);
    return version->root != NULL ? 0 : -1;
}

/* "~1" is '/', "~0" is '~'. False for the file as a whole, and for what is deeper than any key. */
static bool pointer_split(const char *text, struct pointer *pointer)
{
    char *out = pointer->text;
    pointer->n = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '/') {
            if (pointer->n == TOKENS_MAX)
                return false;
            *out++ = '\0';
            pointer->token[pointer->n++] = out;
        } else if (*c == '~' && (c[1] == '0' || c[1] == '1')) {
            *out++ = *++c == '0' ? '~' : '/';
        } else {
            *out++ = *c;
        }
    }
    *out = '\0';
    return pointer->n > 0;
}

static json_t *child(const json_t *value, const char *token)
{
    return json_is_array(value) ? json_array_get(value, strtoul(token, NULL, 10))
                                : json_object_get(value, token);
}

static json_t *walk(json_t *value, const struct pointer *pointer, size_t n)
{
    for (size_t i = 0; i < n && value != NULL; i++)
        value = child(value, pointer->token[i]);
    return value;
}

static bool is_bad(const struct problems *problems, const char *pointer)
{
    for (size_t i = 0; i < problems->n; i++)
        if (problems->at[i].kind == PROBLEM_SKIPPED && strcmp(problems->at[i].pointer, pointer) == 0)
            return true;
    return false;
}

static bool has_limit(const struct policy *policy, const char *name)
{
    for (size_t i = 0; i < policy->n_limits; i++)
        if (strcmp(policy->limits[i].name, name) == 0)
            return true;
    return false;
}

static const char *limit_name(const json_t *limit)
{
    const char *name = json_string_value(json_object_get(limit, "name"));
    return name != NULL ? name : "";
}

static size_t limit_find(const json_t *limits, const char *name)
{
    size_t i = 0;
    while (i < json_array_size(limits) && strcmp(limit_name(json_array_get(limits, i)), name) != 0)
        i++;
    return i;
}

/* Puts value, or null where there is none, in the place of what is bad: null is bad in every place, so that what was
 * skipped stays skipped, also where the bad entry was two equal keys. */
static int put(json_t *parent, const char *token, const json_t *value, bool *found)
{
    json_t *copy = value != NULL ? json_deep_copy(value) : json_null();
    *found = value != NULL;
    if (json_is_array(parent))
        return json_array_set_new(parent, strtoul(token, NULL, 10), copy);
    return json_object_set_new(parent, token, copy);
}

/* The last list serves where it differs in this element alone: in any other list the number means nothing. */
static bool same_but(const json_t *list, const json_t *last, size_t index)
{
    bool same = json_is_array(last) && json_array_size(list) == json_array_size(last);
    for (size_t i = 0; same && i < json_array_size(list); i++)
        same = i == index || json_equal(json_array_get(list, i), json_array_get(last, i));
    return same;
}

/* A name that the pointer spells otherwise (cut, or with a control in it) is not found, and stays: it says nothing. */
static int drop(json_t *object, const char *name)
{
    return json_object_get(object, name) != NULL ? json_object_del(object, name) : 0;
}

/* Where a key is misspelt: its last good value, under its name, or under the wrong one, where that was read; none where
 * none was in force. */
static int put_meant(json_t *object, const json_t *old, const char *wrong, const char *meant)
{
    const char *name = strrchr(meant, '/') + 1;
    const json_t *value = json_object_get(old, name), *read = json_object_get(old, wrong);
    if (value == NULL && read != NULL)
        return json_object_set_new(object, wrong, json_deep_copy(read));
    if (drop(object, wrong) < 0)
        return -1;
    return value != NULL ? json_object_set_new(object, name, json_deep_copy(value)) : 0;
}

/* A limit is replaced as a whole, since half of one and half of another could refuse what neither does: only its reply is a thing
 * of its own. */
static int patch_limit(struct version *new, const struct version *last, const struct pointer *at, bool *found)
{
    json_t *limits = json_object_get(new->root, "limits"), *limit = child(limits, at->token[1]);
    const json_t *lasts = json_object_get(last->root, "limits");
    char name[65];
    snprintf(name, sizeof name, "%s", limit_name(limit));
    const json_t *old = has_limit(last->policy, name) ? json_array_get(lasts, limit_find(lasts, name)) : NULL;
    bool first = limit_find(limits, name) == strtoul(at->token[1], NULL, 10);
    if (!has_limit(new->policy, name) || !first || at->n < 3)
        return put(limits, at->token[1], first ? old : NULL, found);
    if (old == NULL)
        return put(limit, at->token[2], NULL, found);
    if (strcmp(at->token[2], "reply") != 0)
        return put(limits, at->token[1], old, found);
    const json_t *value = json_object_get(old, "reply");
    *found = true;
    return value != NULL ? put(limit, "reply", value, found) : drop(limit, "reply"); /* it had none */
}

static int patch_key(struct version *new, const struct version *last, const struct pointer *at,
                     const char *meant, bool was_bad, bool *found)
{
    const char *name = at->token[at->n - 1];
    json_t *parent = walk(new->root, at, at->n - 1), *old_parent = walk(last->root, at, at->n - 1);
    if (json_is_array(parent))
        return put(parent, name,
                   !was_bad && same_but(parent, old_parent, strtoul(name, NULL, 10)) ? child(old_parent, name)
                                                                                     : NULL,
                   found);
    if (!json_is_object(parent))
        return 0;
    if (meant != NULL) {
        *found = true;
        return put_meant(parent, old_parent, name, meant);
    }
    const json_t *value = json_is_object(old_parent) ? json_object_get(old_parent, name) : NULL;
    if (value != NULL || was_bad)
        return put(parent, name, was_bad ? NULL : value, found);
    *found = true; /* the default was in force */
    return drop(parent, name);
}

static int patch(struct version *new, const struct version *last, bool *found)
{
    struct pointer at;
    for (size_t i = 0; i < new->problems.n; i++) {
        const struct problem *problem = &new->problems.at[i];
        found[i] = false;
        if (problem->kind != PROBLEM_SKIPPED || !pointer_split(problem->pointer, &at))
            continue;
        int rc = at.n >= 2 && strcmp(at.token[0], "limits") == 0
                     ? patch_limit(new, last, &at, &found[i])
                     : patch_key(new, last, &at, problem->meant, is_bad(&last->problems, problem->pointer),
                                 &found[i]);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* The problems of the file, with what is really used instead. */
static int notify(const struct problems *found, const bool *patched, const struct problems *left,
                  struct problems *out)
{
    if (found->n == 0)
        return 0;
    struct problem *more = realloc(out->at, (out->n + found->n) * sizeof *more);
    if (more == NULL)
        return -1;
    out->at = more;
    for (size_t i = 0; i < found->n; i++) {
        struct problem *problem = &out->at[out->n++];
        *problem = found->at[i];
        if (patched != NULL && patched[i] && problem->instead[0] != '\0' && !is_bad(left, problem->pointer))
            memcpy(problem->instead, last_good, sizeof last_good);
    }
    return 0;
}

static const struct policy *patched_load(struct version *new, const struct version *last,
                                         struct problems *problems, char **effective)
{
    struct version done = {0};
    bool *found = calloc(new->problems.n + 1, sizeof *found);
    char *text = NULL;
    if (found != NULL && patch(new, last, found) == 0)
        text = json_dumps(new->root, JSON_INDENT(2));
    const struct policy *policy = NULL;
    if (text != NULL && version_read(&done, text, strlen(text)) == 0 &&
        notify(&new->problems, found, &done.problems, problems) == 0) {
        policy = policy_ref(done.policy);
        *effective = text;
        text = NULL;
    }
    version_done(&done);
    free(found);
    free(text);
    return policy;
}

const struct policy *config_last_good_patch(const char *json, size_t n, const char *last, size_t last_n,
                                            struct problems *problems, char **effective)
{
    struct version new = {0}, old = {0};
    const struct policy *policy = NULL;
    bool good = version_read(&new, json, n) == 0;
    if (good && problems_status(&new.problems) != 0 && last != NULL &&
        version_read(&old, last, last_n) == 0) {
        policy = patched_load(&new, &old, problems, effective);
    } else if (notify(&new.problems, NULL, NULL, problems) == 0 && good) {
        char *copy = strndup(json, n);
        policy = copy != NULL ? policy_ref(new.policy) : NULL;
        if (copy != NULL)
            *effective = copy;
    }
    version_done(&old);
    version_done(&new);
    return policy;
}
