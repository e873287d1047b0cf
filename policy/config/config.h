/* config: a policy file, read: JSON in, a policy and what is wrong with the file out.
 *
 * A bad entry costs itself and no more: it is skipped, or replaced by its default, or, over a policy that was in force
 * before, by its last good version: a limit by the limit of the same name, any other key by what stood at the same
 * place, an element of a list only where nothing else in the list has changed. Pure: no file is opened here. */
#ifndef RCPTGATE_CONFIG_H
#define RCPTGATE_CONFIG_H

#include "policy/policy.h"

/* A problem of a policy file. */
enum problem_kind {
    PROBLEM_WARNING, /* in force as written, but dangerous */
    PROBLEM_NOT_YET, /* understood and valid, but its function does not exist yet: skipped */
    PROBLEM_SKIPPED, /* bad entry: skipped or replaced by a default */
    PROBLEM_FATAL,   /* no JSON object: nothing can be used */
};

struct problem {
    enum problem_kind kind;
    char pointer[256]; /* RFC 6901, "" for the file as a whole; cut at the end when longer */
    int line;          /* 0: unknown */
    char text[512];    /* what it means and what to do */
    char instead[128]; /* what is used instead; "" where nothing is */
};

struct problems {
    struct problem *at;
    size_t n;
};

void problems_done(struct problems *problems); /* frees the list */

/* A zeroed one at the end of the list, to be filled in. NULL: out of memory. */
struct problem *problems_append(struct problems *problems);

/* The exit status of `check`: 0 no entry skipped, 1 usable with entries skipped, 78 unusable. */
int problems_status(const struct problems *problems);

/* A policy from the bytes of a file. Problems are appended to *problems in the order of the file (zeroed: empty).
 * NULL where a problem is PROBLEM_FATAL or memory ran out; otherwise a policy with one reference. */
const struct policy *config_load(const char *json, size_t n, struct problems *problems);

/* As config_load(), over the text of the policy that was in force before (last_n bytes; NULL: there was none).
 * Problems are those of the new file; `instead` says where the last good version is used. *effective is the text that
 * stands for what is in force now, to be given as `last` the next time; the caller frees it. Outputs other
 * than the problems are untouched where NULL is returned. */
const struct policy *config_last_good_patch(const char *json, size_t n, const char *last, size_t last_n,
                                            struct problems *problems, char **effective);

/* What is right in the new policy, but so different from the old one that somebody should look: limits that are gone,
 * the mode, the alias rules. Appends warnings. Memory that runs out costs a warning, nothing else. */
void config_compare(const struct policy *old, const struct policy *new, struct problems *problems);

/* The names of all keys that the parser knows, as JSON pointers with '*' for a member of a list
 * ("/limits/ * /share/of" without the spaces), NULL-terminated. For the test that holds schema, manual and parser together. */
const char *const *config_keys_names(void);

#endif
