/* top: the subjects that are refused most, and those nearest to their limits. The gate answers; here it is asked, and
 * printed for a person. */
#include "command.h"

#include "ask.h"
#include "config/json_get.h"
#include "gate/policy_file.h"
#include "admin/top.h"

#include <stdio.h>
#include <stdlib.h>

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
        fprintf(out, "%10" JSON_INTEGER_FORMAT " %21s  %-24s %s%s\n", json_get_number(c, "refused"), used,
                json_string_value(json_object_get(c, "limit")), json_string_value(json_object_get(c, "key")),
                json_get_number(c, "held_ms") > 0 ? " (held)" : "");
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
    const struct policy *policy = policy_file_load_or_complain(file);
    if (policy == NULL)
        return command_no_policy(file);
    json_t *request = json_pack("{s:s, s:I, s:s*}", "do", "top", "n", (json_int_t)most, "limit", limit);
    int status;
    json_t *report = ask_gate(policy, request, &status);
    policy_unref(policy);
    return report != NULL ? ask_print(report, json, print_top) : status;
}
