/* rule_inert: rows that stand in the alias database and can never act, however right they look: a key that is not canonical, since
 * the gate asks for canonical ones, and an end in milliseconds. Rows that another program wrote; `add` writes none. */
#ifndef RCPTGATE_CMD_RULE_INERT_H
#define RCPTGATE_CMD_RULE_INERT_H

#include "rule_args.h"

/* args: subaddress and pool are used; the pool may be reset when it returns. True with err saying why, and what to write. */
bool rule_inert(const struct rule_args *args, enum aliases_table table, const struct edit_record *record,
                struct error *err);

/* Looks at up to rows_max rows of each table of the file, and calls each() with the reason for what can never act; how many
 * there are. A file that cannot be read has none: others say so. each may be NULL. */
typedef void rule_inert_each(const struct error *why, void *context);
int64_t rule_inert_scan(const char *database, const char *subaddress, int64_t rows_max, rule_inert_each *each,
                        void *context);

#endif
