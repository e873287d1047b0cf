/* show: and reset: the counters of subjects. The gate answers; here it is asked, and printed for a person. */
#include "command.h"

#include "ask.h"
#include "config/json_get.h"
#include "gate/policy_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* {"do": what, "subjects": [...], "limit": limit} from argv[1..n]; NULL: one of them is not UTF-8. */
static json_t *request_make(const char *what, int n, char **argv, const char *limit)
{
    json_t *subjects = json_array();
    int rc = 0;
    for (int i = 1; i <= n && rc == 0; i++)
        rc = json_array_append_new(subjects, json_string(argv[i]));
    json_t *request =
        rc == 0 ? json_pack("{s:s, s:O, s:s*}", "do", what, "subjects", subjects, "limit", limit) : NULL;
    json_decref(subjects);
    return request;
}

/* limit: where --limit is put; NULL: the command does not take it. */
static json_t *ask_subjects(const char *name, int argc, char **argv, const char **limit, bool *json,
                            int *status)
{
    const char *file = POLICY_FILE_DEFAULT;
    const struct option_value options[] = {{"-c", &file, NULL},
                                           {"--json", NULL, json},
                                           {limit != NULL ? "--limit" : NULL, limit, NULL},
                                           {NULL, NULL, NULL}};
    int n = command_options(name, argc, argv, options);
    *status = EXIT_USAGE;
    if (n < 0)
        return NULL;
    if (n == 0) {
        command_usage(name, "which subject?");
        return NULL;
    }
    const struct policy *policy = policy_file_load_or_complain(file);
    *status = command_no_policy(file);
    if (policy == NULL)
        return NULL;
    json_t *request = request_make(name, n, argv, limit != NULL ? *limit : NULL);
    json_t *report = ask_gate(policy, request, status);
    policy_unref(policy);
    return report;
}

static void print_counter(FILE *out, const json_t *c)
{
    fprintf(out, "    %-24s %" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT " in ", json_get_text(c, "limit"),
            json_get_number(c, "used"), json_get_number(c, "max"));
    json_get_print_ms(out, c, "window_ms");
    if (json_get_number(c, "refused") > 0)
        fprintf(out, ", refused %" JSON_INTEGER_FORMAT " time%s", json_get_number(c, "refused"),
                json_get_number(c, "refused") == 1 ? "" : "s");
    if (json_get_number(c, "held_ms") > 0) {
        fputs(", held for ", out);
        json_get_print_ms(out, c, "held_ms");
    }
    if (json_get_number(c, "reset_ms") > 0) {
        fputs(", whole again in ", out);
        json_get_print_ms(out, c, "reset_ms");
    }
    if (json_is_true(json_object_get(c, "local")))
        fputs(", as this gate counted", out);
    fputc('\n', out);
}

static void print_backlog(FILE *out, const json_t *b)
{
    fprintf(out,
            "    %-24s %" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT " waiting in Postfix's queue, read ",
            json_get_text(b, "limit"), json_get_number(b, "waiting"), json_get_number(b, "max"));
    json_get_print_ms(out, b, "age_ms");
    fputs(" ago\n", out);
}

/* Entries of one key stand below it. */
static void print_list(FILE *out, const json_t *list, void (*print)(FILE *, const json_t *))
{
    const char *previous = "";
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        if (strcmp(previous, json_get_text(entry, "key")) != 0)
            fprintf(out, "%s\n", json_get_text(entry, "key"));
        previous = json_get_text(entry, "key");
        print(out, entry);
    }
}

static void print_show(FILE *out, const json_t *report)
{
    const json_t *counters = json_object_get(report, "counters"),
                 *backlog = json_object_get(report, "backlog");
    const bool local = strcmp(json_get_text(report, "counts"), "local") == 0;
    if (*json_get_text(report, "missing") != '\0')
        fprintf(out, "Some of Redis does not answer%s: %s\n",
                local ? ", and this is as this gate counted" : "", json_get_text(report, "missing"));
    else if (local)
        fputs("Redis does not answer: as this gate counted\n", out);
    print_list(out, counters, print_counter);
    print_list(out, backlog, print_backlog);
    if (json_array_size(counters) == 0 && json_array_size(backlog) == 0)
        fputs("no counters\n", out);
}

int cmd_show(int argc, char **argv)
{
    bool json = false;
    int status;
    json_t *report = ask_subjects("show", argc, argv, NULL, &json, &status);
    return report != NULL ? ask_print(report, json, print_show) : status;
}

static void print_reset(FILE *out, const json_t *report)
{
    json_int_t n = json_integer_value(json_object_get(report, "reset"));
    fprintf(out, "%" JSON_INTEGER_FORMAT " counter%s cleared\n", n, n == 1 ? "" : "s");
    if (json_object_get(report, "counts") != NULL)
        fputs("Redis does not answer: its own counters stay; reset them again when it is back\n", out);
    else if (*json_get_text(report, "missing") != '\0')
        fprintf(
            out,
            "Some of Redis does not answer, and what it counts stays; reset it again when it is back: %s\n",
            json_get_text(report, "missing"));
}

int cmd_show_reset(int argc, char **argv)
{
    bool json = false;
    const char *limit = NULL;
    int status;
    json_t *report = ask_subjects("reset", argc, argv, &limit, &json, &status);
    return report != NULL ? ask_print(report, json, print_reset) : status;
}
