/* show, reset, top: the counters of subjects. */
#include "command.h"

#include "load.h"
#include "report.h"
#include "show.h"
#include "top.h"

#include <stdio.h>
#include <stdlib.h>

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
static json_t *ask(const char *name, int argc, char **argv, const char **limit, bool *json, int *status)
{
    const char *file = LOAD_DEFAULT_FILE;
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
    const struct policy *policy = load_policy_or_complain(file);
    *status = EXIT_CONFIG;
    if (policy == NULL)
        return NULL;
    json_t *request = request_make(name, n, argv, limit != NULL ? *limit : NULL);
    json_t *report = report_ask(policy, request, status);
    policy_unref(policy);
    return report;
}

static int print(json_t *report, bool json, void (*person)(FILE *, const json_t *))
{
    int status = EXIT_DONE;
    if (!json)
        person(stdout, report);
    else if (json_dumpf(report, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF)
        status = EXIT_INTERNAL;
    json_decref(report);
    return status;
}

int cmd_show(int argc, char **argv)
{
    bool json = false;
    int status;
    json_t *report = ask("show", argc, argv, NULL, &json, &status);
    return report != NULL ? print(report, json, show_print) : status;
}

static void print_reset(FILE *out, const json_t *report)
{
    json_int_t n = json_integer_value(json_object_get(report, "reset"));
    fprintf(out, "%" JSON_INTEGER_FORMAT " counter%s cleared\n", n, n == 1 ? "" : "s");
    if (json_object_get(report, "counts") != NULL)
        fputs("Redis does not answer: its own counters stay; reset them again when it is back\n", out);
}

int cmd_reset(int argc, char **argv)
{
    bool json = false;
    const char *limit = NULL;
    int status;
    json_t *report = ask("reset", argc, argv, &limit, &json, &status);
    return report != NULL ? print(report, json, print_reset) : status;
}

int cmd_top(int argc, char **argv)
{
    const char *file = LOAD_DEFAULT_FILE, *limit = NULL, *number = "10";
    bool json = false;
    const struct option_value options[] = {{"-c", &file, NULL},
                                           {"--limit", &limit, NULL},
                                           {"-n", &number, NULL},
                                           {"--json", NULL, &json},
                                           {NULL, NULL, NULL}};
    int n = command_options("top", argc, argv, options);
    if (n < 0)
        return EXIT_USAGE;
    char *end;
    long most = strtol(number, &end, 10);
    if (n > 0)
        return command_usage("top", "unexpected argument %s", argv[1]);
    if (end == number || *end != '\0' || most < 1 || most > TOP_MOST)
        return command_usage("top", "-n takes a number from 1 to %d", TOP_MOST);
    const struct policy *policy = load_policy_or_complain(file);
    if (policy == NULL)
        return EXIT_CONFIG;
    json_t *request = json_pack("{s:s, s:I, s:s*}", "do", "top", "n", (json_int_t)most, "limit", limit);
    int status;
    json_t *report = report_ask(policy, request, &status);
    policy_unref(policy);
    return report != NULL ? print(report, json, top_print) : status;
}
