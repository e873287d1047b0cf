/* policy_file: the policy file, from disk to struct policy.
 *
 * Shared by `run` and by every command that needs the policy. Reads, parses, puts the last good version in the place of what is
 * bad, and prints what is wrong with the file in the form of a compiler. */
#ifndef RCPTGATE_GATE_POLICY_FILE_H
#define RCPTGATE_GATE_POLICY_FILE_H

#include "base/error.h"
#include "config/config.h"
#include "gate/state_dir.h"

#include <stdio.h>

#define POLICY_FILE_DEFAULT "/etc/rcptgate/policy.json"

/* A policy with one reference. NULL with err set where the file cannot be read or used; what config_load() found is in
 * *problems either way (zeroed before, problems_done() after). */
const struct policy *policy_file_load(const char *file, struct problems *problems, struct error *err);

/* The policy of these bytes of the file, with the version in `last`, a policy's text or NULL, of what is bad in them. *text: of what is
 * then in force, to be freed. NULL with err set where they are of no use. */
const struct policy *policy_file_patch(const char *file, const char *bytes, size_t n, const char *last,
                                       struct problems *problems, char **text, struct error *err);

/* The same with the last good policy that is kept in the state directory, as far as this user may read it. */
const struct policy *policy_file_mend(const char *file, const char *bytes, size_t n,
                                      struct problems *problems, char **text, struct error *err);

/* The last good policy of a file that is of no use, whose bytes may tell where it is (NULL: cannot be read). from: where it was
 * found; *text is to be freed. NULL: there is none. */
const struct policy *policy_file_last(const char *file, const char *bytes, char from[STATE_DIR_PATH],
                                      char **text);

/* For `check`: policy_file_mend() of the file alone. */
const struct policy *policy_file_check(const char *file, struct problems *problems, struct error *err);

/* One line for each problem that is at least as bad as `least`:
 * "/etc/rcptgate/policy.json:12: skipped: /limits/0/max: must be a number; used instead: nothing". */
void policy_file_print(FILE *out, const char *file, const struct problems *problems, enum problem_kind least);

/* For the commands: policy_file_mend(), with a word on stderr where entries are bad, and the reason for NULL.
 * Where the file cannot be used: the last good policy, which a running gate has in force, too. */
const struct policy *policy_file_load_or_complain(const char *file);

#endif
