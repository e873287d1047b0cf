/* policy_patch: a policy file in which a bad entry does not cost more than itself.
 *
 * What is bad in a new file is replaced by its last good version: a limit by the limit of the same name, any other key
 * by what stood at the same place, an element of a list only where nothing else in the list has changed. What never
 * was good is skipped, as policy_load() does. Pure: the caller keeps the last good text. */
#ifndef RCPTGATE_POLICY_PATCH_H
#define RCPTGATE_POLICY_PATCH_H

#include "policy.h"

/* As policy_load(), over the text of the policy that was in force before (last_n bytes; NULL: there was none).
 * Problems are those of the new file; `instead` says where the last good version is used. *effective is the text that
 * stands for what is in force now, to be given as `last` the next time; the caller frees it. Outputs other
 * than the problems are untouched where NULL is returned. */
const struct policy *policy_load_over(const char *json, size_t n, const char *last, size_t last_n,
                                      struct problems *problems, char **effective);

/* What is right in the new policy, but so different from the old one that somebody should look: limits that are gone,
 * the mode, the alias rules. Appends warnings. Memory that runs out costs a warning, nothing else. */
void policy_compare(const struct policy *old, const struct policy *new, struct problems *problems);

#endif
