/* rule_args: the command line of alias, domain, sender and client, as rows of the rule database.
 *
 * Everything that a row holds passes through here: keys become canonical, values are checked as the daemon
 * would read them. */
#ifndef RCPTGATE_CMD_RULE_ARGS_H
#define RCPTGATE_CMD_RULE_ARGS_H

#include "base/error.h"
#include "base/pool.h"
#include "aliases/edit.h"

#include <stdbool.h>
#include <stdint.h>

enum rule_noun { NOUN_ALIAS, NOUN_DOMAIN, NOUN_SENDER, NOUN_CLIENT, NOUNS };

enum rule_field { /* what can be given as an option; the order is that of the table in rule_args.c */
                  FIELD_MAILBOX,
                  FIELD_OWNER,
                  FIELD_CLASS,
                  FIELD_ACTION,
                  FIELD_REPLY,
                  FIELD_EXPIRES,
                  FIELD_FOR,
                  FIELD_CATCH_ALL,
                  FIELD_SCOPE,
                  FIELDS
};

struct rule_args {
    enum rule_noun noun;
    const char *given[FIELDS]; /* as typed; NULL: not given */
    const char *subaddress;    /* the policy's separators */
    int64_t now_s;
    struct pool *pool; /* keeps the strings of the rows */
};

const char *rule_args_field_option(enum rule_field field);             /* "--catch-all" */
bool rule_args_field_fits(enum rule_field field, enum rule_noun noun); /* can it be given with this noun? */

struct rule { /* one row, or the keys of one */
    enum aliases_table table;
    struct edit_record record;
};

/* The key of a row from what was typed: an address or glob, a domain, a pattern (of args' scope), a network.
 * 0, or -1 with err set. */
int rule_args_key(const struct rule_args *args, const char *key, struct rule *out, struct error *err);

/* The other columns, as given. -1 with err set where a value cannot stand in the row. */
int rule_args_columns(const struct rule_args *args, struct rule *rule, struct error *err);

/* Does the reply that the row will have fit the action that it will have? existing: the row as it is, NULL
 * for a new one. */
int rule_args_check_reply(const struct rule *rule, const struct edit_record *existing, struct error *err);

/* Must a new row of this noun name its action? */
bool rule_args_needs_action(enum rule_noun noun);

/* The columns by which a file of this noun's rows names its cells: those of this table. An alias file holds
 * globs, too. */
enum aliases_table rule_args_table(enum rule_noun noun);

/* One row of a file. cells: the text of each column of rule_args_table(), "" for NULL; NULL: the file has no
 * such column. pool, now_s and subaddress are those of args. 0, or -1 with err set. */
int rule_args_row(const struct rule_args *args, const char *const cells[ALIASES_COLUMNS], struct rule *out,
                  struct error *err);

/* The key as a person writes it, "shop-*@example.com", "* @spam.example"; cut where it is longer. Returns buffer. */
enum { RULE_NAME = 700 };
const char *rule_args_name(const struct rule *rule, char buffer[RULE_NAME]);

/* The text of a column; NULL where it is NULL, unset or a number. */
const char *rule_args_text(enum aliases_table table, const struct edit_record *record, const char *column);

#endif
