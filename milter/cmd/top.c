/* top: the subjects that are refused most, those nearest to their limits, and who floods them. The gate answers; here it is
 * asked, and printed for a person. */
#include "command.h"

#include "ask.h"
#include "base/clock.h"
#include "base/text.h"
#include "config/json_get.h"
#include "gate/policy_file.h"
#include "admin/top.h"
#include "admin/words.h"
#include "gate/refusals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WATCH_MS = 2000,
    WATCH_SHARE = 10, /* a look at all counters is no more than a tenth of the time */
};

/* ---- subjects ---- */

static void print_table(FILE *out, const char *title, const json_t *list)
{
    fprintf(out, "%-10s %21s  %-24s %s\n", title, "USED/MAX", "LIMIT", "SUBJECT");
    if (json_array_size(list) == 0)
        fputs("      none\n", out);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        char used[48];
        snprintf(used, sizeof used, "%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT,
                 json_get_number(c, "used"), json_get_number(c, "max"));
        fprintf(out, "%10" JSON_INTEGER_FORMAT " %21s  %-24s %s%s%s\n", json_get_number(c, "refused"), used,
                json_string_value(json_object_get(c, "limit")), json_string_value(json_object_get(c, "key")),
                json_get_number(c, "held_ms") > 0 ? " (held)" : "",
                json_is_true(json_object_get(c, "local")) ? " (as this gate counted)" : "");
    }
}

static void print_top(FILE *out, const json_t *report)
{
    const json_t *refused = json_object_get(report, "refused"), *busiest = json_object_get(report, "busiest");
    if (*json_get_text(report, "missing") != '\0')
        fprintf(out, "Some of Redis does not answer: %s\n", json_get_text(report, "missing"));
    if (json_object_get(report, "counts") != NULL)
        fputs("Redis does not answer: as this gate counted\n", out);
    if (json_array_size(busiest) == 0 && json_array_size(refused) == 0) {
        fputs("no counters\n", out);
        return;
    }
    fputs("Refused most:\n", out);
    print_table(out, "REFUSED", refused);
    fputs("\nNearest to their limits:\n", out);
    print_table(out, "REFUSED", busiest);
}

/* ---- who floods them ---- */

enum { COLUMNS = 4, CELL = 3 * REFUSALS_NAME, WIDTH_MOST = 40 };

/* In the order of the columns; the one that is asked for comes first. */
struct columns {
    const char *names[COLUMNS];
    int widths[COLUMNS];
};

static void cell_make(char cell[CELL], const json_t *row, const char *column)
{
    char raw[CELL];
    struct text text, safe;
    text_init(&text, raw, sizeof raw);
    if (strcmp(column, "rule") == 0)
        words_add_refusal(&text, row);
    else
        text_add(&text, json_get_text(row, column));
    if (text.len == 0)
        text_add(&text, json_object_get(row, column) != NULL ? "various" : "-");
    text_init(&safe, cell, CELL);
    text_add_printable(&safe, raw);
}

static void columns_measure(struct columns *columns, const char *by, const json_t *list)
{
    static const char *const others[] = {"rule", "client", "sender", "recipient"};
    char cell[CELL];
    size_t n = 0;
    columns->names[n++] = by;
    for (size_t i = 0; i < COLUMNS; i++)
        if (strcmp(others[i], by) != 0)
            columns->names[n++] = others[i];
    for (size_t c = 0; c < COLUMNS; c++) {
        columns->widths[c] = (int)strlen("MOSTLY SENDER");
        for (size_t i = 0; i < json_array_size(list); i++) {
            cell_make(cell, json_array_get(list, i), columns->names[c]);
            if ((int)strlen(cell) > columns->widths[c])
                columns->widths[c] = (int)strlen(cell);
        }
        if (columns->widths[c] > WIDTH_MOST)
            columns->widths[c] = WIDTH_MOST;
    }
}

static void print_heads(FILE *out, const struct columns *columns)
{
    static const char *const heads[][3] = {{"rule", "BY", "BY"},
                                           {"client", "CLIENT", "MOSTLY CLIENT"},
                                           {"sender", "SENDER", "MOSTLY SENDER"},
                                           {"recipient", "", "MOSTLY TO"}};
    fputs(" REFUSED", out);
    for (size_t c = 0; c < COLUMNS; c++)
        for (size_t i = 0; i < COLUMNS; i++)
            if (strcmp(columns->names[c], heads[i][0]) == 0)
                fprintf(out, "  %-*s", c + 1 < COLUMNS ? columns->widths[c] : 0, heads[i][c == 0 ? 1 : 2]);
    fputc('\n', out);
}

static void print_refused(FILE *out, const json_t *report)
{
    const json_t *list = json_object_get(report, "refused");
    struct columns columns;
    char cell[CELL];
    columns_measure(&columns, json_get_text(report, "by"), list);
    if (json_array_size(list) == 0)
        fputs("Nothing was refused", out);
    else
        fputs(strcmp(json_get_text(report, "mode"), "shadow") == 0 ? "In mode shadow, and so let through"
                                                                   : "Refused or dropped",
              out);
    fprintf(out, " here in the last %" JSON_INTEGER_FORMAT " minutes%s\n", json_get_number(report, "minutes"),
            json_array_size(list) > 0 ? ":" : "");
    if (json_array_size(list) > 0)
        print_heads(out, &columns);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        fprintf(out, "%8" JSON_INTEGER_FORMAT, json_get_number(row, "refused"));
        for (size_t c = 0; c < COLUMNS; c++) {
            cell_make(cell, row, columns.names[c]);
            fprintf(out, "  %-*s", c + 1 < COLUMNS ? columns.widths[c] : 0, cell);
        }
        fputc('\n', out);
    }
}

/* ---- the command ---- */

struct look {
    const struct policy *policy;
    const char *by, *limit;
    json_int_t n;
    bool json;
};

static int look_once(const struct look *look)
{
    bool subjects = strcmp(look->by, "subject") == 0;
    json_t *request = json_pack("{s:s, s:s, s:I, s:s*}", "do", subjects ? "top" : "refused", "by", look->by,
                                "n", look->n, "limit", look->limit);
    int status;
    json_t *report = ask_gate(look->policy, request, &status);
    return report != NULL ? ask_print(report, look->json, subjects ? print_top : print_refused) : status;
}

static int look_again_and_again(const struct look *look)
{
    bool screen = !look->json && isatty(STDOUT_FILENO);
    int status, wait;
    command_end_on_signals();
    do {
        int64_t began = clock_monotonic_ms();
        if (screen)
            fputs("\033[H\033[2J", stdout);
        status = look_once(look);
        if (!screen && !look->json)
            putchar('\n');
        (void)fflush(stdout);
        int64_t spent = (clock_monotonic_ms() - began) * WATCH_SHARE;
        wait = spent > WATCH_MS ? (int)spent : WATCH_MS;
    } while (status == EXIT_DONE && command_wait(wait));
    return status;
}

/* False: there is no such order, and which there are was said. */
static bool by_is_known(const char *by)
{
    static const char *const names[] = {"subject", "client", "sender", "rule", NULL};
    char hint[COMMAND_HINT];
    for (size_t i = 0; names[i] != NULL; i++)
        if (strcmp(by, names[i]) == 0)
            return true;
    command_usage("top", "--by takes subject, client, sender or rule, not \"%s\"%s", by,
                  command_hint(by, names, hint));
    return false;
}

int cmd_top(int argc, char **argv)
{
    const char *file = POLICY_FILE_DEFAULT, *number = "10";
    struct look look = {.by = "subject"};
    bool watch = false;
    const struct option_value options[] = {
        {"-c", &file, NULL},   {"--by", &look.by, NULL},  {"--limit", &look.limit, NULL},
        {"-n", &number, NULL}, {"--watch", NULL, &watch}, {"--json", NULL, &look.json},
        {NULL, NULL, NULL}};
    int n = command_options("top", argc, argv, options);
    char *end;
    if (n < 0)
        return EXIT_USAGE;
    look.n = strtol(number, &end, 10);
    if (n > 0)
        return command_usage("top", "unexpected argument %s", argv[1]);
    if (end == number || *end != '\0' || look.n < 1 || look.n > TOP_MOST)
        return command_usage("top", "-n takes a number from 1 to %d", TOP_MOST);
    if (!by_is_known(look.by))
        return EXIT_USAGE;
    look.policy = policy_file_load_or_complain(file);
    if (look.policy == NULL)
        return command_no_policy(file);
    int status = watch ? look_again_and_again(&look) : look_once(&look);
    policy_unref(look.policy);
    return status;
}
