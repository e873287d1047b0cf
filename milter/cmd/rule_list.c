/* rule_list: see rule_list.h. Owns nothing.
 *
 * A table needs the width of its columns first, so that it reads the rows twice, in one transaction; nothing is kept. */
#include "rule_list.h"

#include "base/utf8.h"

#include "base/glob.h"
#include "command.h"
#include "rule_inert.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    CELL = 512,
    WIDTH_MAX = 48,   /* bytes of a cell; columns wider than that are not aligned */
    INERT_NAMED = 20, /* lines about rows that can never act */
};

struct listing {
    const char *pattern;
    int64_t now_s;
    size_t n;                      /* rows so far */
    size_t width[ALIASES_COLUMNS]; /* 0: no row has this column */
    bool failed;                   /* a row cannot be said in JSON */
};

static bool wanted(enum aliases_table table, const struct edit_record *record, const char *pattern)
{
    if (pattern == NULL)
        return true;
    const char *first = record->at[0].text, *second = record->at[1].text;
    char whole[CELL];
    if (first == NULL || (aliases_schema_columns[table].n_keys > 1 && second == NULL))
        return false;
    if (table == ALIASES_GLOBS) {
        snprintf(whole, sizeof whole, "%s@%s", second, first);
        return glob_match(pattern, whole);
    }
    return glob_match(pattern, first) || (table == ALIASES_SENDERS && glob_match(pattern, second));
}

/* What stands in a column, safe for a terminal. */
static void format_cell(const struct edit_value *value, int64_t now_s, char out[CELL])
{
    out[0] = '\0';
    if (value->kind == EDIT_TEXT) {
        snprintf(out, CELL, "%s", value->text);
        for (char *c = out; *c != '\0'; c++)
            if ((unsigned char)*c < 0x20 || *c == 0x7f)
                *c = '?';
    } else if (value->kind == EDIT_NUMBER) {
        time_t at = (time_t)value->number;
        struct tm tm;
        char date[32];
        if (gmtime_r(&at, &tm) == NULL || strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
            snprintf(date, sizeof date, "%lld", (long long)value->number);
        snprintf(out, CELL, "%s%s", date, value->number <= now_s ? " (expired)" : "");
    }
}

static bool measure_row(enum aliases_table table, const struct edit_record *record, void *context)
{
    struct listing *listing = context;
    if (!wanted(table, record, listing->pattern))
        return true;
    listing->n++;
    for (size_t i = 0; i < aliases_schema_columns[table].n; i++) {
        char cell[CELL];
        format_cell(&record->at[i], listing->now_s, cell);
        size_t width = strlen(cell), title = strlen(aliases_schema_columns[table].names[i]);
        if (width == 0)
            continue;
        width = width < title ? title : width > WIDTH_MAX ? WIDTH_MAX : width;
        if (listing->width[i] < width)
            listing->width[i] = width;
    }
    return true;
}

static void print_cells(const struct listing *listing, size_t n, const char cells[ALIASES_COLUMNS][CELL])
{
    char line[ALIASES_COLUMNS * (CELL + 2) + 1] = "";
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        if (listing->width[i] > 0)
            len +=
                (size_t)snprintf(line + len, sizeof line - len, "%-*s  ", (int)listing->width[i], cells[i]);
    while (len > 0 && line[len - 1] == ' ')
        line[--len] = '\0';
    utf8_clean(line); /* for a terminal, which would obey it */
    puts(line);
}

static bool print_row(enum aliases_table table, const struct edit_record *record, void *context)
{
    const struct listing *listing = context;
    char cells[ALIASES_COLUMNS][CELL];
    if (!wanted(table, record, listing->pattern))
        return true;
    for (size_t i = 0; i < aliases_schema_columns[table].n; i++)
        format_cell(&record->at[i], listing->now_s, cells[i]);
    print_cells(listing, aliases_schema_columns[table].n, (const char(*)[CELL])cells);
    return !ferror(stdout);
}

static enum edit_status list_table(struct aliases_edit *edit, enum aliases_table table, const char *pattern,
                                   int64_t now_s, struct error *err)
{
    struct listing listing = {.pattern = pattern, .now_s = now_s};
    enum edit_status status = aliases_edit_list(edit, table, NULL, measure_row, &listing, err);
    if (status != EDIT_DONE || listing.n == 0)
        return status;
    char titles[ALIASES_COLUMNS][CELL];
    for (size_t i = 0; i < aliases_schema_columns[table].n; i++)
        snprintf(titles[i], CELL, "%s", aliases_schema_columns[table].names[i]);
    print_cells(&listing, aliases_schema_columns[table].n, (const char(*)[CELL])titles);
    return aliases_edit_list(edit, table, NULL, print_row, &listing, err);
}

static bool print_object(enum aliases_table table, const struct edit_record *record, void *context)
{
    struct listing *listing = context;
    if (!wanted(table, record, listing->pattern))
        return true;
    json_t *object = json_object();
    int rc = object != NULL ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < aliases_schema_columns[table].n; i++) {
        const struct edit_value *value = &record->at[i];
        json_t *member = value->kind == EDIT_TEXT     ? json_string(value->text)
                         : value->kind == EDIT_NUMBER ? json_integer(value->number)
                                                      : json_null();
        rc = json_object_set_new(object, aliases_schema_columns[table].names[i], member);
    }
    if (rc == 0) {
        fputs(listing->n++ > 0 ? ",\n  " : "\n  ", stdout);
        rc = json_dumpf(object, stdout, JSON_PRESERVE_ORDER);
    }
    json_decref(object);
    listing->failed = rc != 0;
    return rc == 0;
}

static enum edit_status list_json(struct aliases_edit *edit, const enum aliases_table *tables,
                                  size_t n_tables, const char *pattern, struct error *err)
{
    struct listing listing = {.pattern = pattern};
    enum edit_status status = EDIT_DONE;
    putchar('[');
    for (size_t i = 0; i < n_tables && status == EDIT_DONE && !listing.failed; i++)
        status = aliases_edit_list(edit, tables[i], NULL, print_object, &listing, err);
    fputs(listing.n > 0 ? "\n]\n" : "]\n", stdout);
    if (status == EDIT_DONE && listing.failed && !command_reader_gone()) {
        error_set(err, "a row cannot be printed as JSON: it is not UTF-8, or memory ran out");
        return EDIT_FAILED;
    }
    return status;
}

/* ---- what is listed and can never act ---- */

struct inert_rows {
    const struct rule_args *args;
    const char *pattern;
    size_t n;
};

static bool name_inert(enum aliases_table table, const struct edit_record *record, void *context)
{
    struct inert_rows *inert = context;
    struct error why = {0};
    if (wanted(table, record, inert->pattern) && rule_inert(inert->args, table, record, &why)) {
        if (inert->n++ == 0)
            fflush(stdout);
        fprintf(stderr, "rcptgate: %s\n", why.text);
    }
    pool_reset(inert->args->pool);
    return inert->n < INERT_NAMED;
}

enum edit_status rule_list(struct aliases_edit *edit, const struct rule_args *args,
                           const enum aliases_table *tables, size_t n_tables, const char *pattern, bool json,
                           struct error *err)
{
    struct inert_rows inert = {.args = args, .pattern = pattern};
    enum edit_status status = json ? list_json(edit, tables, n_tables, pattern, err) : EDIT_DONE;
    for (size_t i = 0; i < n_tables && status == EDIT_DONE && !json; i++)
        status = list_table(edit, tables[i], pattern, args->now_s, err);
    for (size_t i = 0; i < n_tables && status == EDIT_DONE && inert.n < INERT_NAMED; i++)
        status = aliases_edit_list(edit, tables[i], NULL, name_inert, &inert, err);
    return status;
}
