/* explain: what a RCPT would be answered now, and why. Charges nothing. */
#include "command.h"

#include "load.h"
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int size_parse(const char *text, json_int_t *out)
{
    char *end;
    errno = 0;
    long long size = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || size < 0)
        return -1;
    *out = size;
    return 0;
}

int cmd_explain(int argc, char **argv)
{
    const char *file = LOAD_DEFAULT_FILE, *to = NULL, *from = NULL, *client = NULL, *user = NULL,
               *size = NULL;
    bool json = false;
    const struct option_value options[] = {{"-c", &file, NULL},     {"--to", &to, NULL},
                                           {"--from", &from, NULL}, {"--client", &client, NULL},
                                           {"--user", &user, NULL}, {"--size", &size, NULL},
                                           {"--json", NULL, &json}, {NULL, NULL, NULL}};
    int n = command_options("explain", argc, argv, options);
    if (n < 0)
        return EXIT_USAGE;
    json_int_t bytes = -1;
    if (n > 0 || to == NULL)
        return command_usage("explain", "--to ADDRESS is needed");
    if (size != NULL && size_parse(size, &bytes) < 0)
        return command_usage("explain", "--size takes a number of bytes, not \"%s\"", size);
    const struct policy *policy = load_policy_or_complain(file);
    if (policy == NULL)
        return EXIT_CONFIG;
    json_t *request = json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:I}", "do", "explain", "to", to, "from", from,
                                "client", client, "user", user, "size", bytes);
    int status;
    json_t *report = report_ask(policy, request, &status);
    policy_unref(policy);
    if (report == NULL)
        return status;
    if (!json)
        report_print_explain(stdout, report);
    else if (json_dumpf(report, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF)
        status = EXIT_INTERNAL;
    json_decref(report);
    return status;
}
