/* config: a policy file, read: JSON in, a policy and what is wrong with the file out.
 *
 * A bad entry costs itself and no more: it is skipped, or replaced by its default, or, over a policy that was in force
 * before, by its last good version: a limit by the limit of the same name, any other key by what stood at the same
 * place, an element of a list only where nothing else in the list has changed. Pure: no file is opened here. */
#ifndef RCPTGATE_CONFIG_H
#define RCPTGATE_CONFIG_H

#include "config/problems.h"
#include "policy/policy.h"

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

#endif
