/* rule_transfer: `rcptgate alias snapshot`, `install` and `rollback`: alias data from one writer to many gates.
 *
 * Root opens the operator's file with its own rights, and everything in the directory of the database with those of its owner. */
#ifndef RCPTGATE_CMD_RULE_TRANSFER_H
#define RCPTGATE_CMD_RULE_TRANSFER_H

#include "base/error.h"
#include "policy/policy.h"

#include <stdbool.h>

struct rule_transfer {
    const char *database;
    const struct policy *policy; /* NULL: none is known, and so no gate */
    bool json, force, dry_run;
};

/* Each prints what came of it and returns the exit status, with err set unless that is 0. */
int rule_transfer_snapshot(const struct rule_transfer *of, const char *file, struct error *err);
int rule_transfer_install(const struct rule_transfer *of, const char *file, int fd, struct error *err);
int rule_transfer_rollback(const struct rule_transfer *of, struct error *err);

/* Opens a snapshot to install, "-" is standard input. -1 with err set. */
int rule_transfer_open(const char *file, struct error *err);

#endif
