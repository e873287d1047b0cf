/* rule_write: a row of the rule database is written only where the reply that it will have fits its action. And how a
 * command that wrote tells it and exits. */
#ifndef RCPTGATE_CMD_RULE_WRITE_H
#define RCPTGATE_CMD_RULE_WRITE_H

#include "rule_args.h"

/* EDIT_INVALID with err set where a column cannot stand with what the row has already. */
enum edit_status rule_write_update(struct aliases_edit *edit, const struct rule *rule, struct error *err);

/* What became of a row that was written: one that is as it was wanted is left alone. */
enum rule_written { RULE_UNCHANGED, RULE_UPDATED, RULE_ADDED };

/* A new row; with `update` one that exists takes the columns of rule. *written holds where EDIT_DONE is returned. */
enum edit_status rule_write_insert(struct aliases_edit *edit, const struct rule *rule, bool update,
                                   enum rule_written *written, struct error *err);

/* What stands before the rows that many changes concern: nothing where they were written. */
const char *rule_write_how(bool dry_run, bool written);

/* How a command exits that ended so. */
int rule_write_exit_status(enum edit_status status);

#endif
