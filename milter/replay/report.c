/* report: reads the numbers of one or two replays and owns nothing that lasts. NULL when out of memory; what cannot be
 * printed is the caller's to find out, by ferror(). */
#include "replay/report.h"

#include "config/json_get.h"
#include "replay/notes.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const enum action shown[] = {ACTION_ACCEPT, ACTION_DEFER, ACTION_REJECT, ACTION_DISCARD};
enum { SHOWN = sizeof shown / sizeof shown[0] };

static json_t *moment(int64_t ms)
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char text[64];
    if (ms == 0 || gmtime_r(&s, &tm) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return json_null();
    return json_string(text);
}

static json_int_t number(uint64_t n)
{
    return (json_int_t)n;
}

/* Takes the first word of *text. */
static json_t *word(const char **text)
{
    size_t n = strcspn(*text, " ");
    json_t *value = json_stringn_nocheck(*text, n);
    *text += n + strspn(*text + n, " ");
    return value;
}

/* names: what the first words of a row's `what` are; the rest is "what". */
static json_t *row_json(const struct replay_log *log, const struct totals_row *row, const char *const *names)
{
    json_t *object = json_object();
    const char *what = row->what;
    for (; *names != NULL; names++)
        json_object_set_new_nocheck(object, *names, word(&what));
    json_object_set_new_nocheck(object, "by", json_string_nocheck(what));
    if (row->subject[0] != '\0')
        json_object_set_new_nocheck(object, "subject", json_string(row->subject));
    json_object_set_new_nocheck(object, "count", json_integer(number(row->count)));
    json_object_set_new_nocheck(object, "first", moment(replay_log_shown(log, row->first_ms)));
    json_object_set_new_nocheck(object, "last", moment(replay_log_shown(log, row->last_ms)));
    return object;
}

/* The busiest rows; *left: how many there are beyond. */
static json_t *rows_json(const struct replay_log *log, const struct totals *totals, size_t most,
                         const char *const *names, size_t *left)
{
    size_t n = 0;
    void **rows = totals_sorted(totals, &n);
    size_t end = most > 0 && most < n ? most : n;
    json_t *array = json_array();
    for (size_t i = 0; i < end; i++)
        json_array_append_new(array, row_json(log, rows[i], names));
    free(rows);
    *left = n - end;
    return array;
}

static json_t *policy_json(const struct replay_report *report, const struct replay *replay)
{
    static const char *const names[] = {"action", NULL};
    size_t left = 0;
    json_t *object = json_pack("{s:s, s:s, s:s}", "file", replay->file, "mode",
                               replay->shadow ? "shadow" : "enforce", "assumed", replay->assumed);
    for (size_t i = 0; i < SHOWN; i++)
        json_object_set_new(object, action_name(shown[i]), json_integer(number(replay->actions[shown[i]])));
    json_object_set_new(object, "undecided", json_integer(number(replay->actions[ACTION_NONE])));
    json_object_set_new(object, "shadow_limits", json_integer(number(replay->shadowed)));
    json_object_set_new(object, "causes", rows_json(report->log, replay->causes, 0, names, &left));
    json_object_set_new(object, "subjects",
                        rows_json(report->log, replay->refused, report->most, names, &left));
    json_object_set_new(object, "more_subjects", json_integer(number(left)));
    json_object_set_new(object, "notes", notes_run(replay));
    return object;
}

static json_t *log_json(const struct replay_report *report)
{
    const struct replay_numbers *c = replay_log_numbers(report->log);
    json_t *files = json_array();
    for (int i = 0; i < report->n_files; i++)
        json_array_append_new(files, json_string(report->files[i]));
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "files", files, "lines", number(c->lines), "garbage", number(c->garbage), "rcpts",
                     number(c->decisions + c->deliveries + c->milter_refused), "from_decisions",
                     number(c->decisions), "from_deliveries", number(c->deliveries), "from_milter_refusals",
                     number(c->milter_refused), "refused_by_postfix", number(c->refused), "not_by_smtp",
                     number(c->unknown), "late", number(c->late), "out_of_order", c->backwards, "first",
                     moment(c->first_ms), "last", moment(c->last_ms), "frame", notes_frame(c), "clock",
                     notes_clock(c), "identity", notes_identity(c), "dropped", notes_dropped(c));
}

static json_t *moves_json(const struct replay_report *report)
{
    json_t *array = json_array();
    for (size_t from = 0; from < REPLAY_ACTIONS; from++)
        for (size_t to = 0; to < REPLAY_ACTIONS; to++)
            if (from != to && report->moved[from][to] > 0)
                json_array_append_new(
                    array, json_pack("{s:s, s:s, s:I}", "from", action_name((enum action)from), "to",
                                     action_name((enum action)to), "count", number(report->moved[from][to])));
    return array;
}

json_t *replay_report_make(const struct replay_report *report)
{
    static const char *const names[] = {"from", "to", NULL};
    size_t left = 0;
    json_t *json = json_object();
    int rc = json_object_set_new(json, "log", log_json(report));
    rc |= json_object_set_new(json, "policy", policy_json(report, report->policy));
    if (report->against != NULL) {
        rc |= json_object_set_new(json, "against", policy_json(report, report->against));
        rc |= json_object_set_new(json, "moved", moves_json(report));
        rc |= json_object_set_new(json, "changes",
                                  rows_json(report->log, report->changes, report->most, names, &left));
        rc |= json_object_set_new(json, "more_changes", json_integer(number(left)));
    }
    if (rc == 0)
        return json;
    json_decref(json);
    return NULL;
}

/* --- for a person --- */

static void note(FILE *out, long long n, const char *what)
{
    if (n > 0)
        fprintf(out, "  %lld %s\n", n, what);
}

static void print_notes(FILE *out, const char *title, const json_t *notes)
{
    size_t i;
    json_t *text;
    json_array_foreach(notes, i, text)
        fprintf(out, "  %s%s%s\n", title, title[0] != '\0' ? ": " : "", json_string_value(text));
}

static void print_log(FILE *out, const json_t *log)
{
    static const char *const layers[] = {"frame", "clock", "identity", "dropped"};
    fprintf(out, "%lld lines, %lld RCPTs", json_get_number(log, "lines"), json_get_number(log, "rcpts"));
    if (json_get_number(log, "rcpts") > 0)
        fprintf(out, " from %s to %s", json_get_text(log, "first"), json_get_text(log, "last"));
    fputs("\n", out);
    note(out, json_get_number(log, "from_decisions"), "of them from rcptgate's own decision lines");
    note(out, json_get_number(log, "from_deliveries"), "of them accepted, from Postfix's delivery lines");
    note(out, json_get_number(log, "from_milter_refusals"),
         "of them refused by a milter, from Postfix's lines");
    note(out, json_get_number(log, "refused_by_postfix"),
         "more were refused by Postfix itself: no milter sees them");
    note(out, json_get_number(log, "not_by_smtp"),
         "deliveries of mail that did not come by SMTP, or before the log begins");
    note(out, json_get_number(log, "late"), "RCPTs came too late in the log to be put in their place");
    note(out, json_get_number(log, "garbage"), "lines are no lines of a log");
    if (json_is_true(json_object_get(log, "out_of_order")))
        fputs("  a file begins before the one before it ended: give the oldest first\n", out);
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++)
        print_notes(out, layers[i], json_object_get(json_object_get(log, layers[i]), "notes"));
}

static void print_cause(FILE *out, const json_t *row)
{
    fprintf(out, "  %8lld  %-7s  %-30s  %s  %s\n", json_get_number(row, "count"),
            json_get_text(row, "action"), json_get_text(row, "by"), json_get_text(row, "first"),
            json_get_text(row, "last"));
}

static void print_subject(FILE *out, const json_t *row)
{
    fprintf(out, "  %8lld  %s  %s  %-7s  %s  %s\n", json_get_number(row, "count"),
            json_get_text(row, "first"), json_get_text(row, "last"), json_get_text(row, "action"),
            json_get_text(row, "by"), json_get_text(row, "subject"));
}

static void print_change(FILE *out, const json_t *row)
{
    fprintf(out, "  %8lld  %s  %s  %s -> %s  %s  %s\n", json_get_number(row, "count"),
            json_get_text(row, "first"), json_get_text(row, "last"), json_get_text(row, "from"),
            json_get_text(row, "to"), json_get_text(row, "by"), json_get_text(row, "subject"));
}

static void print_rows(FILE *out, const char *title, const json_t *rows, long long more,
                       void (*print)(FILE *, const json_t *))
{
    size_t i;
    json_t *row;
    if (json_array_size(rows) == 0)
        return;
    fprintf(out, "\n%s\n", title);
    json_array_foreach(rows, i, row) print(out, row);
    if (more > 0)
        fprintf(out, "  and %lld more (-n 0 shows all)\n", more);
}

static void print_policy(FILE *out, const json_t *policy)
{
    fprintf(out, "\n%s%s: accepted %lld, deferred %lld, rejected %lld, dropped %lld\n",
            json_get_text(policy, "file"),
            strcmp(json_get_text(policy, "mode"), "shadow") == 0 ? " (mode shadow, as if it were in force)"
                                                                 : "",
            json_get_number(policy, "accept"), json_get_number(policy, "defer"),
            json_get_number(policy, "reject"), json_get_number(policy, "discard"));
    note(out, json_get_number(policy, "undecided"), "could not be decided");
    note(out, json_get_number(policy, "shadow_limits"), "would have been refused by a limit in shadow, too");
    fprintf(out, "  with %s\n", json_get_text(policy, "assumed"));
    print_notes(out, "", json_object_get(policy, "notes"));
}

static void print_refused(FILE *out, const json_t *policy)
{
    print_rows(out, "     COUNT  ANSWER   BY                              FIRST                 LAST",
               json_object_get(policy, "causes"), 0, print_cause);
    print_rows(out, "     COUNT  FIRST                 LAST                  ANSWER   BY, SUBJECT",
               json_object_get(policy, "subjects"), json_get_number(policy, "more_subjects"), print_subject);
}

void replay_report_print(FILE *out, const json_t *report)
{
    const json_t *against = json_object_get(report, "against");
    const json_t *moved = json_object_get(report, "moved");
    size_t i;
    json_t *row;
    print_log(out, json_object_get(report, "log"));
    if (against != NULL)
        print_policy(out, against);
    print_policy(out, json_object_get(report, "policy"));
    if (against == NULL) {
        print_refused(out, json_object_get(report, "policy"));
        return;
    }
    if (json_array_size(moved) == 0)
        fputs("\nno RCPT would get another answer\n", out);
    else
        fputs("\nwhat changes\n", out);
    json_array_foreach(moved, i, row) fprintf(out, "  %8lld  %s -> %s\n", json_get_number(row, "count"),
                                              json_get_text(row, "from"), json_get_text(row, "to"));
    print_rows(out, "     COUNT  FIRST                 LAST                  CHANGE, BY, SUBJECT",
               json_object_get(report, "changes"), json_get_number(report, "more_changes"), print_change);
}
