/* rule_import: rows of a file, CSV, JSON Lines or a Postfix map, into the rule database, with the validation that `add` has.
 *
 * A row is what `add` takes: CSV has a header with the names of the columns, JSON Lines has one object a line
 * with them as keys, a map an alias and its mailboxes, or a domain (virtual(5); each noun takes its own entries). Read in one pass and in constant memory. What is wrong is printed to stderr with the
 * number of the line, all of it up to a bound; the caller owns the transaction and decides whether it is
 * kept. */
#ifndef RCPTGATE_CMD_RULE_IMPORT_H
#define RCPTGATE_CMD_RULE_IMPORT_H

#include "rule_args.h"

#include <stdio.h>

enum rule_format { RULE_FORMAT_UNKNOWN, RULE_FORMAT_CSV, RULE_FORMAT_JSONL, RULE_FORMAT_POSTFIX };

/* "csv", "jsonl", "postfix", or a file name that ends in one of the first two (also .ndjson, .json). UNKNOWN: none. */
enum rule_format rule_import_format(const char *name);

struct import_options {
    enum rule_format format; /* UNKNOWN: '{' begins JSON Lines, all else CSV */
    bool update;             /* a row that exists takes the file's columns; else it is an error */
    bool replace, dry_run, skip_bad, force;
    const char *noun; /* for messages: "alias" */
};

struct import_result {
    int64_t added, updated, removed, bad; /* rows */
};

/* From here on Ctrl-C and SIGTERM end an import before it is committed. */
void rule_import_catch_signals(void);
bool rule_import_interrupted(void);

/* EDIT_DONE also where rows were bad. name: what the file is called in messages. */
enum edit_status rule_import(struct aliases_edit *edit, const struct rule_args *args, FILE *in,
                             const char *name, const struct import_options *options,
                             struct import_result *result, struct error *err);

#endif
