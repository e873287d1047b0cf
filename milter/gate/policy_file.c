/* policy_file: owns nothing but the text while it is parsed. Fails with NULL and err; commands then go on with the last good
 * policy where there is one, and say so. */
#include "gate/policy_file.h"

#include "base/file.h"
#include "last_good.h"

#include <stdlib.h>
#include <string.h>

/* "FILE:3: is not JSON: line 3 ..." */
static void say_unusable(const char *file, const struct problems *problems, struct error *err)
{
    for (size_t i = 0; i < problems->n; i++)
        if (problems->at[i].kind == PROBLEM_FATAL)
            error_set(err, "%s:%d: %s", file, problems->at[i].line, problems->at[i].text);
    error_set(err, "%s: out of memory", file);
}

const struct policy *policy_file_load(const char *file, struct problems *problems, struct error *err)
{
    char *bytes = NULL;
    size_t n = 0;
    if (file_read(file, &bytes, &n, err) < 0)
        return NULL;
    const struct policy *policy = config_load(bytes, n, problems);
    free(bytes);
    if (policy == NULL)
        say_unusable(file, problems, err);
    return policy;
}

const struct policy *policy_file_patch(const char *file, const char *bytes, size_t n, const char *last,
                                       struct problems *problems, char **text, struct error *err)
{
    const struct policy *policy =
        config_last_good_patch(bytes, n, last, last != NULL ? strlen(last) : 0, problems, text);
    if (policy == NULL)
        say_unusable(file, problems, err);
    return policy;
}

const struct policy *policy_file_mend(const char *file, const char *bytes, size_t n,
                                      struct problems *problems, char **text, struct error *err)
{
    struct problems ignored = {0};
    char path[PATH_MAX], from[STATE_DIR_PATH], *last = NULL;
    const struct policy *plain = config_load(bytes, n, &ignored);
    if (plain != NULL && problems_status(&ignored) != 0 && last_good_path(file, path) == 0)
        last = last_good_find(path, plain->state, NULL, from);
    problems_done(&ignored);
    policy_unref(plain);
    const struct policy *policy = policy_file_patch(file, bytes, n, last, problems, text, err);
    free(last);
    return policy;
}

const struct policy *policy_file_last(const char *file, const char *bytes, char from[STATE_DIR_PATH],
                                      char **text)
{
    char path[PATH_MAX];
    struct problems ignored = {0};
    char *last = last_good_path(file, path) == 0 ? last_good_find(path, NULL, bytes, from) : NULL;
    const struct policy *policy = last != NULL ? config_load(last, strlen(last), &ignored) : NULL;
    problems_done(&ignored);
    *text = policy != NULL ? last : NULL;
    if (policy == NULL)
        free(last);
    return policy;
}

const struct policy *policy_file_check(const char *file, struct problems *problems, struct error *err)
{
    char *bytes = NULL, *text = NULL;
    size_t n = 0;
    if (file_read(file, &bytes, &n, err) < 0)
        return NULL;
    const struct policy *policy = policy_file_mend(file, bytes, n, problems, &text, err);
    free(text);
    free(bytes);
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

/* False: nothing in the file is why it is of no use. */
static bool print_fatal(const char *file, const struct problems *problems)
{
    bool any = false;
    for (size_t i = 0; i < problems->n; i++)
        any = any || problems->at[i].kind == PROBLEM_FATAL;
    policy_file_print(stderr, file, problems, PROBLEM_FATAL);
    return any;
}

/* A broken file must not keep anybody from asking the gate that runs with the last good policy. */
const struct policy *policy_file_load_or_complain(const char *file)
{
    struct problems problems = {0};
    struct error err = {0};
    char from[STATE_DIR_PATH], *bytes = NULL, *text = NULL;
    size_t n = 0;
    const struct policy *policy = NULL;
    if (file_read(file, &bytes, &n, &err) == 0)
        policy = policy_file_mend(file, bytes, n, &problems, &text, &err);
    if (policy != NULL && problems_status(&problems) != 0)
        fprintf(stderr, "rcptgate: %s has bad entries: `rcptgate check %s` names them\n", file, file);
    if (policy == NULL && !print_fatal(file, &problems))
        fprintf(stderr, "rcptgate: %s\n", err.text);
    problems_done(&problems);
    if (policy == NULL && (policy = policy_file_last(file, bytes, from, &text)) != NULL)
        fprintf(stderr, "rcptgate: going on with the last good policy, %s\n", from);
    free(text);
    free(bytes);
    return policy;
}
