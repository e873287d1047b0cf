/* rule_list: prints rows of the rule database, as a table for a person or as one JSON array of objects for a program. */
#ifndef RCPTGATE_CMD_RULE_LIST_H
#define RCPTGATE_CMD_RULE_LIST_H

#include "base/error.h"
#include "aliases/edit.h"
#include "rule_args.h"

#include <stdbool.h>
#include <stdint.h>

/* The rows of the tables whose key matches the glob `pattern` (NULL: all), on standard output; what can never act of them is
 * named on standard error. The pool of args is reset. */
enum edit_status rule_list(struct aliases_edit *edit, const struct rule_args *args,
                           const enum aliases_table *tables, size_t n_tables, const char *pattern, bool json,
                           struct error *err);

#endif
