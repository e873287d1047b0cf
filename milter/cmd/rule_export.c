/* rule_export: see rule_export.h. Owns the draft of the file until it is renamed; where writing fails the old file stays. */
#include "rule_export.h"

#include "base/csv.h"
#include "base/utf8.h"
#include "command.h"
#include "progress.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct export
{
    FILE *out;
    const struct aliases_schema_columns *columns; /* of the file */
    enum rule_format format;
    bool terminal;       /* it would obey control characters */
    bool bad_text;       /* a row cannot be said in JSON */
    int64_t n, left_out; /* rows */
    struct progress progress;
};

/* An address whose local part holds a plain '*' or '?' is quoted, or it would come back as a glob. */
static const char *address_name(const char *address, char buffer[RULE_NAME])
{
    const char *at = strrchr(address, '@');
    if (at == NULL || address[0] == '"' || strcspn(address, "*?") >= (size_t)(at - address))
        return address;
    snprintf(buffer, RULE_NAME, "\"%.*s\"%s", (int)(at - address), address, at);
    return buffer;
}

/* The row under the columns of the file. */
static void cells_of(const struct export *export, enum aliases_table table, const struct edit_record *record,
                     char names[ALIASES_KEYS][RULE_NAME], struct edit_value cells[ALIASES_COLUMNS])
{
    const struct rule rule = {.table = table, .record = *record};
    for (size_t i = 0; i < export->columns->n; i++) {
        int at = aliases_schema_column(table, export->columns->names[i]);
        cells[i] = at >= 0 ? record->at[at] : (struct edit_value){.kind = EDIT_NULL};
    }
    if (table == ALIASES_GLOBS)
        cells[0] = (struct edit_value){.kind = EDIT_TEXT, .text = rule_args_name(&rule, names[0])};
    for (size_t i = 0; table != ALIASES_GLOBS && i < aliases_schema_columns[table].n_keys; i++)
        if (cells[i].kind == EDIT_TEXT)
            cells[i].text = address_name(cells[i].text, names[i]);
}

static void write_csv(const struct export *export, const struct edit_value *cells)
{
    for (size_t i = 0; i < export->columns->n; i++) {
        if (i > 0)
            putc(',', export->out);
        char *clean = cells[i].kind == EDIT_TEXT && export->terminal ? strdup(cells[i].text) : NULL;
        if (clean != NULL)
            utf8_clean(clean);
        if (cells[i].kind == EDIT_TEXT)
            csv_write(export->out, clean != NULL ? clean : cells[i].text);
        else if (cells[i].kind == EDIT_NUMBER)
            fprintf(export->out, "%" PRId64, cells[i].number);
        free(clean);
    }
    fputs("\r\n", export->out);
}

/* Columns that are NULL are left out. False: it cannot be said in JSON. */
static bool write_jsonl(const struct export *export, const struct edit_value *cells)
{
    json_t *object = json_object();
    int rc = object != NULL ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < export->columns->n; i++)
        if (cells[i].kind == EDIT_TEXT || cells[i].kind == EDIT_NUMBER)
            rc = json_object_set_new(object, export->columns->names[i],
                                     cells[i].kind == EDIT_TEXT ? json_string(cells[i].text)
                                                                : json_integer(cells[i].number));
    if (rc == 0)
        rc = json_dumpf(object, export->out, JSON_PRESERVE_ORDER | JSON_COMPACT);
    if (rc == 0)
        putc('\n', export->out);
    json_decref(object);
    return rc == 0;
}

/* A map says where mail goes, or that a domain is there, and nothing else. False: the row says something else. */
static bool write_map(const struct export *export, enum aliases_table table, const struct edit_record *record,
                      const struct edit_value *cells)
{
    const struct aliases_schema_columns *columns = export->columns;
    const char *value = "domain", *key = cells[0].text;
    for (size_t i = 1; i < columns->n; i++) {
        bool action = strcmp(columns->names[i], "action") == 0, there = cells[i].kind != EDIT_NULL;
        if (there &&
            (action ? strcmp(cells[i].text, "accept") != 0 : strcmp(columns->names[i], "expires_at") == 0))
            return false;
        if (strcmp(columns->names[i], "mailbox") == 0)
            value = there ? cells[i].text : NULL;
    }
    if (table == ALIASES_GLOBS)
        key = strcmp(record->at[1].text, "*") == 0 ? key + 1 : NULL; /* "@example.com" */
    if (value == NULL || key == NULL || key[0] == '.' || strstr(key, "@.") != NULL)
        return false;
    fprintf(export->out, "%s\t%s\n", key, value);
    return true;
}

static bool write_row(enum aliases_table table, const struct edit_record *record, void *context)
{
    struct export *export = context;
    struct edit_value cells[ALIASES_COLUMNS] = {0};
    char names[ALIASES_KEYS][RULE_NAME];
    cells_of(export, table, record, names, cells);
    if (export->format == RULE_FORMAT_POSTFIX)
        export->left_out += !write_map(export, table, record, cells);
    else if (export->format != RULE_FORMAT_JSONL)
        write_csv(export, cells);
    else if (!write_jsonl(export, cells))
        export->bad_text = !ferror(export->out);
    export->n++;
    if (progress_due(&export->progress))
        progress_show(&export->progress, "%" PRId64 " rows", export->n);
    return !ferror(export->out) && !export->bad_text;
}

static enum edit_status write_all(struct aliases_edit *edit, const enum aliases_table *tables,
                                  size_t n_tables, FILE *out, const char *name, enum rule_format format,
                                  struct error *err)
{
    bool header = format != RULE_FORMAT_JSONL && format != RULE_FORMAT_POSTFIX;
    struct export export = {.out = out,
                            .columns = &aliases_schema_columns[tables[0]],
                            .format = format,
                            .terminal = isatty(fileno(out)) == 1};
    enum edit_status status = EDIT_DONE;
    progress_begin(&export.progress);
    for (size_t i = 0; header && i < export.columns->n; i++)
        fprintf(out, "%s%s", export.columns->names[i], i + 1 < export.columns->n ? "," : "\r\n");
    for (size_t i = 0; i < n_tables && status == EDIT_DONE && !export.bad_text && !ferror(out); i++)
        status = aliases_edit_list(edit, tables[i], NULL, write_row, &export, err);
    progress_wipe(&export.progress);
    if (export.left_out > 0)
        fprintf(stderr, "rcptgate: %" PRId64 " %s more than a Postfix map can, and %s left out\n",
                export.left_out, export.left_out == 1 ? "row says" : "rows say",
                export.left_out == 1 ? "was" : "were");
    if (status != EDIT_DONE || (out == stdout && command_reader_gone()))
        return status;
    if (export.bad_text) {
        error_set(err, "a row cannot be written as JSON: it is not UTF-8, or memory ran out; try csv");
        return EDIT_FAILED;
    }
    if (fflush(out) != 0 || ferror(out)) {
        error_set(err, "%s cannot be written: %s", name, strerror(errno));
        return EDIT_CREATE;
    }
    return EDIT_DONE;
}

/* Under another name first: a full disk leaves the last good export. */
static FILE *open_draft(const char *file, char draft[PATH_MAX], struct error *err)
{
    FILE *out = NULL;
    int fd = -1;
    mode_t mask = umask(0);
    umask(mask);
    if (snprintf(draft, PATH_MAX, "%s.XXXXXX", file) >= PATH_MAX)
        errno = ENAMETOOLONG;
    else
        fd = mkstemp(draft);
    if (fd >= 0 && (fchmod(fd, 0666 & ~mask) < 0 || (out = fdopen(fd, "w")) == NULL)) {
        int saved = errno;
        (void)close(fd);
        (void)unlink(draft);
        errno = saved;
    }
    if (out == NULL)
        error_set(err, "%s cannot be written: %s", file, strerror(errno));
    return out;
}

int rule_export_open(struct rule_export_file *file, const char *name, struct error *err)
{
    struct stat st;
    bool standard = strcmp(name, "-") == 0;
    *file = (struct rule_export_file){.name = standard ? "standard output" : name};
    file->special = standard || (stat(name, &st) == 0 && !S_ISREG(st.st_mode));
    file->out = standard ? stdout : file->special ? fopen(name, "we") : open_draft(name, file->draft, err);
    if (file->out == NULL)
        error_set(err, "%s cannot be written: %s", name, strerror(errno));
    return file->out != NULL ? 0 : -1;
}

enum edit_status rule_export(struct aliases_edit *edit, const enum aliases_table *tables, size_t n_tables,
                             struct rule_export_file *file, enum rule_format format, struct error *err)
{
    return write_all(edit, tables, n_tables, file->out, file->name, format, err);
}

enum edit_status rule_export_close(struct rule_export_file *file, enum edit_status status, struct error *err)
{
    bool closed = file->out == stdout || fclose(file->out) == 0;
    if (status == EDIT_DONE && (!closed || (!file->special && rename(file->draft, file->name) < 0))) {
        error_set(err, "%s cannot be written: %s", file->name, strerror(errno));
        status = EDIT_CREATE;
    }
    if (status != EDIT_DONE && !file->special)
        (void)unlink(file->draft); /* there is nothing more to say */
    return status;
}
