/* last_good: the last good policy on disk, so that a gate starts again although its policy file is broken.
 *
 * It is kept as STATE/last-policy.json: the policy as it was in force, and the path of the file that it came
 * from. Of a broken file nobody can tell where its state is for certain. So STATE is looked for, in this order:
 * where the file has a line of its own that still says so ("state": "/somewhere"), in $STATE_DIRECTORY, and in
 * /var/lib/rcptgate. A text that belongs to another policy file, or to a stranger, is never taken. */
#ifndef RCPTGATE_GATE_LAST_GOOD_H
#define RCPTGATE_GATE_LAST_GOOD_H

#include "base/error.h"
#include "gate/state_dir.h"

#include <limits.h>
#include <stddef.h>

/* The absolute path of file, which need not exist; its directory must. -1: that one does not. */
int last_good_path(const char *file, char path[PATH_MAX]);

/* The text of the last good policy of the file at path; NULL where there is none. The caller frees it. state:
 * where it is said to be, or NULL: then bytes (the broken file; may be NULL) are searched for it.
 * from gets the file's name. */
char *last_good_find(const char *path, const char *state, const char *bytes, char from[STATE_DIR_PATH]);

/* Writes text for the next start, whole or not at all, readable by nobody else (it can hold a password). 0, or -1
 * with err set. */
int last_good_save(const char *path, const char *state, const char *text, struct error *err);

#endif
