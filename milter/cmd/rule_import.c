/* rule_import: see rule_import.h. Owns the line at hand and no more; a bad row is reported and passed over, only a database
 * that fails ends it. */
#include "rule_import.h"

#include "base/csv.h"
#include "progress.h"
#include "rule_map.h"
#include "rule_write.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    COMPLAINTS = 20, /* lines of stderr for bad rows */
    LINE_MAX_BYTES = 65536,
};

struct import {
    struct aliases_edit *edit;
    const struct rule_args *args;
    const struct aliases_schema_columns *columns;
    const struct import_options *options;
    const char *name;
    FILE *in;
    struct import_result *result;
    int64_t line;
    size_t place[CSV_FIELDS]; /* CSV: the column of each field */
    size_t n_places;
    struct csv csv;
    char text[LINE_MAX_BYTES]; /* JSON Lines */
    struct rule_map map;
};

static volatile sig_atomic_t interrupted; /* by which signal */

static void interrupt(int signal)
{
    interrupted = signal;
}

/* A read that waits is interrupted, too. */
void rule_import_catch_signals(void)
{
    const struct sigaction action = {.sa_handler = interrupt};
    (void)sigaction(SIGINT, &action, NULL); /* neither can fail */
    (void)sigaction(SIGTERM, &action, NULL);
}

bool rule_import_interrupted(void)
{
    return interrupted != 0;
}

enum row_status { ROW_OK, ROW_END, ROW_BAD, ROW_FAILED };

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

enum rule_format rule_import_format(const char *name)
{
    if (strcmp(name, "csv") == 0 || ends_with(name, ".csv"))
        return RULE_FORMAT_CSV;
    if (strcmp(name, "jsonl") == 0 || ends_with(name, ".jsonl") || ends_with(name, ".ndjson") ||
        ends_with(name, ".json"))
        return RULE_FORMAT_JSONL;
    return strcmp(name, "postfix") == 0 ? RULE_FORMAT_POSTFIX : RULE_FORMAT_UNKNOWN;
}

static int column_place(const struct import *import, const char *name, size_t *place, struct error *err)
{
    const char *names[ALIASES_COLUMNS + 1] = {0};
    for (size_t i = 0; i < import->columns->n; i++) {
        names[i] = import->columns->names[i];
        if (strcmp(names[i], name) == 0) {
            *place = i;
            return 0;
        }
    }
    const char *nearest = text_nearest(name, names);
    error_set(err, "there is no column \"%.100s\"%s%s%s", name, nearest != NULL ? "; did you mean " : "",
              nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
    return -1;
}

static bool has_column(const struct import *import, const char *name)
{
    for (size_t i = 0; i < import->n_places; i++)
        if (strcmp(import->columns->names[import->place[i]], name) == 0)
            return true;
    return false;
}

/* --- CSV --- */

static int read_header(struct import *import, struct error *err)
{
    csv_init(&import->csv, import->in);
    struct csv *csv = &import->csv;
    struct error why = {0};
    enum csv_status status = csv_read(csv, &why);
    if (status == CSV_END)
        error_set(err, "%s is empty: the first line of a CSV file names the columns", import->name);
    else if (status != CSV_RECORD)
        error_set(err, "%s:%" PRId64 ": %s", import->name, csv->line, why.text);
    if (status != CSV_RECORD)
        return -1;
    for (size_t i = 0; i < csv->n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", csv->field[i]);
        text_lower(name);
        if (column_place(import, name, &import->place[i], &why) < 0) {
            error_set(err, "%s:%" PRId64 ": %s", import->name, csv->line, why.text);
            return -1;
        }
        for (size_t j = 0; j < i; j++)
            if (import->place[j] == import->place[i])
                error_set(err, "%s:%" PRId64 ": the column %s is there twice", import->name, csv->line, name);
    }
    import->n_places = csv->n;
    const char *key = import->columns->names[import->columns->n_keys - 1];
    if (!has_column(import, key))
        error_set(err, "%s:%" PRId64 ": the first line of a CSV file names the columns, and there is no %s",
                  import->name, csv->line, key);
    return err->text[0] != '\0' ? -1 : 0;
}

static enum row_status read_csv(struct import *import, const char *cells[ALIASES_COLUMNS], struct error *err)
{
    struct csv *csv = &import->csv;
    enum csv_status status = csv_read(csv, err);
    import->line = csv->line;
    if (status != CSV_RECORD)
        return status == CSV_END ? ROW_END : status == CSV_BAD ? ROW_BAD : ROW_FAILED;
    if (csv->n != import->n_places) {
        error_set(err, "it has %zu fields, the header has %zu", csv->n, import->n_places);
        return ROW_BAD;
    }
    for (size_t i = 0; i < csv->n; i++)
        cells[import->place[i]] = csv->field[i];
    return ROW_OK;
}

/* --- JSON Lines --- */

static int object_cells(const struct import *import, json_t *object, const char *cells[ALIASES_COLUMNS],
                        struct error *err)
{
    const char *key;
    json_t *value;
    size_t place = 0;
    json_object_foreach(object, key, value)
    {
        if (column_place(import, key, &place, err) < 0)
            return -1;
        const char *text = json_is_null(value) ? "" : json_string_value(value);
        if (json_is_integer(value))
            text = pool_printf(import->args->pool, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        else if (text != NULL)
            text = pool_strdup(import->args->pool, text);
        else
            error_set(err, "%s is neither text, a whole number nor null", key);
        if (text == NULL) {
            error_set(err, "out of memory");
            return -1;
        }
        cells[place] = text;
    }
    return 0;
}

static enum row_status parse_object(struct import *import, size_t n, const char *cells[ALIASES_COLUMNS],
                                    struct error *err)
{
    json_error_t error;
    json_t *object = json_loadb(import->text, n, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL)
        error_set(err, "it is no JSON: %s", error.text);
    else if (!json_is_object(object))
        error_set(err, "it is no JSON object");
    int rc = json_is_object(object) ? object_cells(import, object, cells, err) : -1;
    json_decref(object);
    return rc == 0 ? ROW_OK : ROW_BAD;
}

/* One line without its end. False at the end of the file. *n above the room: it was too long. */
static bool read_line(struct import *import, size_t *n)
{
    int c;
    for (*n = 0; (c = getc_unlocked(import->in)) != EOF && c != '\n'; ++*n)
        if (*n < LINE_MAX_BYTES)
            import->text[*n] = (char)c;
    import->line++;
    return c != EOF || *n > 0;
}

static enum row_status read_jsonl(struct import *import, const char *cells[ALIASES_COLUMNS],
                                  struct error *err)
{
    size_t n = 0;
    for (;;) {
        bool any = read_line(import, &n);
        if (ferror(import->in)) {
            error_set(err, "it cannot be read: %s", strerror(errno));
            return ROW_FAILED;
        }
        if (!any)
            return ROW_END;
        if (n > LINE_MAX_BYTES) {
            error_set(err, "it is too long");
            return ROW_BAD;
        }
        size_t blank = 0;
        while (blank < n && isspace((unsigned char)import->text[blank]))
            blank++;
        if (blank < n)
            return parse_object(import, n, cells, err);
    }
}

/* --- a Postfix map --- */

/* The domains of virtual(5) stand among its aliases, without an '@' and with whatever behind them. */
static bool is_domain(const char *key)
{
    return strchr(key, '@') == NULL && strchr(key, '.') != NULL;
}

static enum row_status alias_cells(const struct import *import, const char *key, const char *value,
                                   const char *cells[ALIASES_COLUMNS], struct error *err)
{
    const char *at = strrchr(key, '@');
    size_t address = 0, mailbox = 0;
    if (column_place(import, "address", &address, err) < 0 ||
        column_place(import, "mailbox", &mailbox, err) < 0)
        return ROW_BAD;
    if (at == NULL)
        error_set(err, "\"%.100s\" has no domain; Postfix adds its own ($myorigin), so write it with that",
                  key);
    else if (key[0] != '"' && strcspn(key, "*?") < (size_t)(at - key))
        error_set(err, "%.100s: * and ? mean themselves in Postfix, and are globs here", key);
    else if (value[0] == '@')
        error_set(
            err, "%.100s: a domain for a domain is nothing that the gate can do; leave it to a map behind it",
            key);
    cells[address] = at == key ? pool_printf(import->args->pool, "*%s", key) : key; /* a catch-all */
    cells[mailbox] = value;
    if (err->text[0] == '\0' && cells[address] == NULL)
        error_set(err, "out of memory");
    return err->text[0] == '\0' ? ROW_OK : ROW_BAD;
}

static enum row_status read_map(struct import *import, const char *cells[ALIASES_COLUMNS], struct error *err)
{
    bool domains = import->args->noun == NOUN_DOMAIN;
    char *key, *value;
    import->map.in = import->in;
    for (;;) {
        enum rule_map_status status = rule_map_read(&import->map, &key, &value, err);
        import->line = import->map.line;
        if (status != RULE_MAP_ENTRY)
            return status == RULE_MAP_END ? ROW_END : status == RULE_MAP_BAD ? ROW_BAD : ROW_FAILED;
        if (!domains && !is_domain(key))
            return alias_cells(import, key, value, cells, err);
        if (domains && is_domain(key)) {
            cells[0] = key;
            return ROW_OK;
        }
    }
}

/* --- rows --- */

static enum edit_status write_row(const struct import *import, const char *const cells[ALIASES_COLUMNS],
                                  struct error *err)
{
    struct rule rule;
    enum rule_written written = RULE_UNCHANGED;
    if (rule_args_row(import->args, cells, &rule, err) < 0)
        return EDIT_INVALID;
    struct error why = {0};
    enum edit_status status = rule_write_insert(import->edit, &rule, import->options->update, &written, &why);
    char name[RULE_NAME];
    if (status == EDIT_EXISTS)
        error_set(err, "%s exists already%s", rule_args_name(&rule, name),
                  import->options->replace ? " further up in the file"
                                           : "; --update gives it the file's columns");
    else if (status != EDIT_DONE)
        error_set(err, "%s", why.text);
    if (status == EDIT_DONE) {
        import->result->added += written == RULE_ADDED;
        import->result->updated += written == RULE_UPDATED;
    }
    return status;
}

static void complain(const struct import *import, struct progress *progress, const struct error *why)
{
    int64_t bad = ++import->result->bad;
    if (bad > COMPLAINTS)
        return;
    progress_wipe(progress);
    fprintf(stderr, "rcptgate %s: %s:%" PRId64 ": %s\n", import->options->noun, import->name, import->line,
            why->text);
}

/* EDIT_DONE at the end of the file, whatever the rows were. */
static enum edit_status read_rows(struct import *import, struct progress *progress, enum rule_format format,
                                  struct error *err)
{
    enum row_status (*read)(struct import *, const char **, struct error *) =
        format == RULE_FORMAT_JSONL     ? read_jsonl
        : format == RULE_FORMAT_POSTFIX ? read_map
                                        : read_csv;
    for (;;) {
        const char *cells[ALIASES_COLUMNS] = {0};
        struct error why = {0};
        enum row_status row = read(import, cells, &why);
        enum edit_status status = row == ROW_OK ? write_row(import, cells, &why) : EDIT_INVALID;
        if (interrupted != 0) {
            error_set(err, "interrupted at %s:%" PRId64 "; nothing was changed", import->name, import->line);
            return EDIT_FAILED;
        }
        if (row == ROW_END)
            return EDIT_DONE;
        if (row == ROW_FAILED || (status != EDIT_DONE && status != EDIT_EXISTS && status != EDIT_INVALID)) {
            error_set(err, "%s:%" PRId64 ": %s", import->name, import->line, why.text);
            return row == ROW_FAILED ? EDIT_FAILED : status;
        }
        if (status != EDIT_DONE)
            complain(import, progress, &why);
        pool_reset(import->args->pool);
        const struct import_result *result = import->result;
        if (progress_due(progress))
            progress_show(progress, "%" PRId64 " rows, %" PRId64 " bad", result->added + result->updated,
                          result->bad);
    }
}

static bool begins_with_brace(FILE *in)
{
    int c = getc(in);
    if (c != EOF)
        ungetc(c, in);
    return c == '{';
}

enum edit_status rule_import(struct aliases_edit *edit, const struct rule_args *args, FILE *in,
                             const char *name, const struct import_options *options,
                             struct import_result *result, struct error *err)
{
    struct import *import = calloc(1, sizeof *import);
    struct progress progress;
    if (import == NULL) {
        error_set(err, "out of memory");
        return EDIT_FAILED;
    }
    *result = (struct import_result){0};
    import->edit = edit;
    import->args = args;
    import->columns = &aliases_schema_columns[rule_args_table(args->noun)];
    import->options = options;
    import->name = name;
    import->in = in;
    import->result = result;
    enum rule_format format = options->format;
    if (format == RULE_FORMAT_UNKNOWN)
        format = begins_with_brace(in) ? RULE_FORMAT_JSONL : RULE_FORMAT_CSV;
    progress_begin(&progress);
    enum edit_status status = EDIT_INVALID;
    if (format != RULE_FORMAT_CSV || read_header(import, err) == 0)
        status = read_rows(import, &progress, format, err);
    progress_wipe(&progress);
    if (result->bad > COMPLAINTS)
        fprintf(stderr, "rcptgate %s: %s: and %" PRId64 " more bad rows\n", options->noun, name,
                result->bad - COMPLAINTS);
    free(import);
    return status;
}
