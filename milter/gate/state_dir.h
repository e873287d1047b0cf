/* state_dir: what lies below `state` and under which name; others add a suffix (.new, .accept), nothing else.
 *
 * aliases.copy.db (with .new and .accept beside it, see aliases.h), blocks, holds, last-policy.json,
 * control.sock and lock. A policy takes no `state` that is too long for them (POLICY_STATE_MAX). */
#ifndef RCPTGATE_GATE_STATE_DIR_H
#define RCPTGATE_GATE_STATE_DIR_H

#include "base/error.h"
#include "policy/policy.h"
#include "sys/ids.h"

#define STATE_DIR_DEFAULT "/var/lib/rcptgate"

enum { STATE_DIR_PATH = POLICY_STATE_MAX + 32 };

enum state_dir_file {                         /* and who writes it */
                      STATE_DIR_ALIASES_COPY, /* the last good copy of the alias rules: aliases/monitor */
                      STATE_DIR_BLOCKS, /* blocks/blocks; a `block` command while no gate runs (cmd/ask) */
                      STATE_DIR_HOLDS,  /* gate/holds, from the main thread; with counters in memory alone */
                      STATE_DIR_LAST_GOOD, /* gate/policy_reload, through gate/last_good */
                      STATE_DIR_CONTROL,   /* the control socket: cmd/run */
                      STATE_DIR_LOCK,      /* held by the gate that runs, or a `block` command */
};

/* Returns path. It is "", never a part of it, for a state beyond POLICY_STATE_MAX, which no policy has. */
const char *state_dir_path(const char *state, enum state_dir_file file, char path[STATE_DIR_PATH]);

/* Whose rights a gate with this policy has that root starts: those of `user`, else of whom the state directory belongs to;
 * root's only where both are root. -1: `user` does not exist. */
int state_dir_ids(const struct policy *policy, struct ids *out, struct error *err);

/* Root takes these rights for good, with the groups of that user and n `also`, before it opens anything in the state
 * directory, which is made where it is missing. -1: it would have to go on as root in a directory that others can change. */
int state_dir_take_ids(const struct policy *policy, const gid_t *also, size_t n, struct error *err);

enum state_dir_lock {
    STATE_DIR_LOCKED,   /* *fd is the caller's to close when all is done */
    STATE_DIR_TAKEN,    /* another gate has it */
    STATE_DIR_UNUSABLE, /* err says why */
};

/* Makes the directory where there is none, and keeps every other gate out of it; waits up to wait_ms for one
 * that is about to leave. */
enum state_dir_lock state_dir_lock(const char *state, int wait_ms, int *fd, struct error *err);

#endif
