/* last_policy: the last good policy on disk, so that a gate starts again although its policy file is broken.
 *
 * It is kept as STATE/last-policy.json: the policy as it was in force, and the path of the file that it came
 * from. A broken file cannot be trusted to say where its state is. So STATE is looked for, in this order:
 * where the file's readable part says, behind the link ".NAME.state" beside the file, in $STATE_DIRECTORY and
 * in /var/lib/rcptgate, and behind a link there. A text that belongs to another policy file, or to a
 * stranger, is never taken. */
#ifndef RCPTGATE_LAST_POLICY_H
#define RCPTGATE_LAST_POLICY_H

#include "error.h"

#include <limits.h>
#include <stddef.h>

/* The absolute path of file, which need not exist; its directory must. -1: that one does not. */
int last_policy_path(const char *file, char path[PATH_MAX]);

/* The text of the last good policy of the file at path; NULL where there is none. The caller frees it. state:
 * where it is said to be, or NULL: then bytes (the broken file, n bytes; may be NULL) are searched for it.
 * from gets the file's name. */
char *last_policy_find(const char *path, const char *state, const char *bytes, size_t n, char from[PATH_MAX]);

/* Writes text for the next start, whole or not at all, readable by nobody else (it can hold a password). -1
 * with err set; 1 where it is written, but a start with a broken file would not find it (err says why). */
int last_policy_save(const char *path, const char *state, const char *text, struct error *err);

#endif
