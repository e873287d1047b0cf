/* rule_export: the rows of the rule database as a file that rule_import reads back to the same rows. */
#ifndef RCPTGATE_CMD_RULE_EXPORT_H
#define RCPTGATE_CMD_RULE_EXPORT_H

#include "rule_import.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

struct rule_export_file {
    FILE *out;
    const char *name;
    bool special; /* standard output, a pipe or a device: is written to as it is */
    char draft[PATH_MAX];
};

/* name: "-" for standard output; a file is replaced as a whole, or left as it is. -1: it cannot be written. */
int rule_export_open(struct rule_export_file *file, const char *name, struct error *err);

/* All rows of the tables, under the columns of the first; globs as addresses, as `alias add` takes them. RULE_FORMAT_UNKNOWN
 * writes CSV. EDIT_CREATE: the file cannot be written. */
enum edit_status rule_export(struct aliases_edit *edit, const enum aliases_table *tables, size_t n_tables,
                             struct rule_export_file *file, enum rule_format format, struct error *err);

/* Puts the file in its place where status is EDIT_DONE; what became of it. */
enum edit_status rule_export_close(struct rule_export_file *file, enum edit_status status, struct error *err);

#endif
