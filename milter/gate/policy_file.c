/* policy_file: owns nothing but the text while it is parsed. Fails with NULL and err; commands then go on with the last good
 * policy where there is one, and say so. */
#include "gate/policy_file.h"

#include "base/file.h"
#include "last_good.h"

#include <stdlib.h>
#include <string.h>

const struct policy *policy_file_load(const char *file, struct problems *problems, struct error *err)
{
    char *bytes = NULL;
    size_t n = 0;
    if (file_read(file, &bytes, &n, err) < 0)
        return NULL;
    const struct policy *policy = config_load(bytes, n, problems);
    free(bytes);
    if (policy == NULL) {
        for (size_t i = 0; i < problems->n; i++)
            if (problems->at[i].kind == PROBLEM_FATAL)
                error_set(err, "%s: %s", file, problems->at[i].text);
        error_set(err, "%s: out of memory", file);
    }
    return policy;
}

void policy_file_print(FILE *out, const char *file, const struct problems *problems, enum problem_kind least)
{
    for (size_t i = 0; i < problems->n; i++) {
        const struct problem *problem = &problems->at[i];
        if (problem->kind < least)
            continue;
        fputs(file, out);
        if (problem->line > 0)
            fprintf(out, ":%d", problem->line);
        fprintf(out, ": %s: ",
                problem->kind == PROBLEM_FAILED ? "does not work" : problems_kind_name(problem->kind));
        if (problem->pointer[0] != '\0')
            fprintf(out, "%s: ", problem->pointer);
        fputs(problem->text, out);
        if (problem->instead[0] != '\0')
            fprintf(out, "; used instead: %s", problem->instead);
        fputc('\n', out);
    }
}

/* A broken file must not keep anybody from asking the gate that runs with the last good policy. */
static const struct policy *load_last(const char *file, char from[STATE_DIR_PATH])
{
    char path[PATH_MAX], *bytes = NULL;
    size_t n = 0;
    struct problems ignored = {0};
    struct error err = {0};
    if (last_good_path(file, path) < 0)
        return NULL;
    (void)file_read(file, &bytes, &n, &err); /* else nothing is read in it */
    char *text = last_good_find(path, NULL, bytes, from);
    const struct policy *policy = text != NULL ? config_load(text, strlen(text), &ignored) : NULL;
    problems_done(&ignored);
    free(text);
    free(bytes);
    return policy;
}

/* With the last good version of what is bad in the file, as the gate has it in force; plain where this user may not read that. Takes
 * over plain. */
static const struct policy *patch(const char *file, const struct policy *plain)
{
    char path[PATH_MAX], from[STATE_DIR_PATH], *bytes = NULL, *effective = NULL;
    size_t n = 0;
    struct problems ignored = {0};
    struct error err = {0};
    const struct policy *patched = NULL;
    char *last = last_good_path(file, path) == 0 ? last_good_find(path, plain->state, NULL, from) : NULL;
    if (last != NULL && file_read(file, &bytes, &n, &err) == 0)
        patched = config_last_good_patch(bytes, n, last, strlen(last), &ignored, &effective);
    problems_done(&ignored);
    free(effective);
    free(bytes);
    free(last);
    if (patched == NULL)
        return plain;
    policy_unref(plain);
    return patched;
}

const struct policy *policy_file_load_or_complain(const char *file)
{
    struct problems problems = {0};
    struct error err = {0};
    char from[STATE_DIR_PATH];
    const struct policy *policy = policy_file_load(file, &problems, &err);
    policy_file_print(stderr, file, &problems, PROBLEM_FATAL);
    if (policy != NULL && problems_status(&problems) != 0) {
        fprintf(stderr, "rcptgate: %s has bad entries: `rcptgate check %s` names them\n", file, file);
        policy = patch(file, policy);
    }
    bool printed = false;
    for (size_t i = 0; i < problems.n; i++)
        printed = printed || problems.at[i].kind == PROBLEM_FATAL;
    if (policy == NULL && !printed)
        fprintf(stderr, "rcptgate: %s\n", err.text);
    problems_done(&problems);
    if (policy == NULL && (policy = load_last(file, from)) != NULL)
        fprintf(stderr, "rcptgate: going on with the last good policy, %s\n", from);
    return policy;
}
