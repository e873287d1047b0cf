/* rule_list: prints rows of the rule database, as a table for a person or as one JSON array of objects for a program. */
#ifndef RCPTGATE_RULE_LIST_H
#define RCPTGATE_RULE_LIST_H

#include "error.h"
#include "ruledb_edit.h"

#include <stdbool.h>
#include <stdint.h>

/* The rows of the tables whose key matches the glob `pattern` (NULL: all), on standard output. */
enum edit_status rule_list(struct ruledb_edit *edit, const enum ruledb_table *tables, size_t n_tables,
                           const char *pattern, bool json, int64_t now_s, struct error *err);

#endif
