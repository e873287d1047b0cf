/* policy_file: the policy file, from disk to struct policy.
 *
 * Shared by `run` and by every command that needs the policy. Reads, parses, and prints what is wrong with
 * the file in the form of a compiler; decides nothing. */
#ifndef RCPTGATE_GATE_POLICY_FILE_H
#define RCPTGATE_GATE_POLICY_FILE_H

#include "base/error.h"
#include "config/config.h"

#include <stdio.h>

#define POLICY_FILE_DEFAULT "/etc/rcptgate/policy.json"

/* A policy with one reference. NULL with err set where the file cannot be read or used; what config_load() found is in
 * *problems either way (zeroed before, problems_done() after). */
const struct policy *policy_file_load(const char *file, struct problems *problems, struct error *err);

/* One line for each problem that is at least as bad as `least`:
 * "/etc/rcptgate/policy.json:12: skipped: /limits/0/max: must be a number; used instead: nothing". */
void policy_file_print(FILE *out, const char *file, const struct problems *problems, enum problem_kind least);

/* For the commands: policy_file_load(), with a word on stderr where entries are bad, and the reason for NULL.
 * Where the file cannot be used: the last good policy, which a running gate has in force, too. */
const struct policy *policy_file_load_or_complain(const char *file);

#endif
