/* rule_export: the rows of the rule database as a file that rule_import reads back to the same rows. */
#ifndef RCPTGATE_CMD_RULE_EXPORT_H
#define RCPTGATE_CMD_RULE_EXPORT_H

#include "rule_import.h"

/* All rows of the tables, under the columns of the first; globs as addresses, as `alias add` takes them.
 * file: "-" for standard output; a file is replaced as a whole, or left as it is. RULE_FORMAT_UNKNOWN writes
 * CSV. EDIT_CREATE: the file cannot be written. */
enum edit_status rule_export(struct aliases_edit *edit, const enum aliases_table *tables, size_t n_tables,
                             const char *file, enum rule_format format, struct error *err);

#endif
