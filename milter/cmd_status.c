/* status: asks the running gate whether it is well. Exit 0 healthy, 1 degraded, 2 down, also when no gate runs. */
#include "command.h"

#include "load.h"
#include "report.h"
#include "status.h"

#include <stdio.h>

enum { STATUS_DOWN = 2 };

/* The policy's, or where the file cannot be used (the gate may run on its last good one) the default. NULL: no memory. */
static const struct policy *policy_of(const char *file)
{
    struct problems problems = {0};
    const struct policy *policy = load_policy_or_complain(file);
    if (policy == NULL)
        policy = policy_load("{}", 2, &problems);
    problems_done(&problems);
    return policy;
}

static json_t *nobody(const char *text)
{
    return json_pack("{s:s, s:[{s:s, s:s, s:s, s:s}]}", "status", health_word(TROUBLE_DOWN), "reasons",
                     "what", "gate", "grade", "down", "text", text, "means",
                     "Postfix answers 451 until a gate runs: `systemctl start rcptgate`; `journalctl -u rcptgate` says why it ended");
}

static void print_nobody(FILE *out, const json_t *report)
{
    const json_t *reason = json_array_get(json_object_get(report, "reasons"), 0);
    fprintf(out, "DOWN: no gate answers\n\n  %s\n  %s\n", json_string_value(json_object_get(reason, "text")),
            json_string_value(json_object_get(reason, "means")));
}

int cmd_status(int argc, char **argv)
{
    const char *file = LOAD_DEFAULT_FILE;
    bool json = false, absent = false;
    const struct option_value options[] = {{"-c", &file, NULL}, {"--json", NULL, &json}, {NULL, NULL, NULL}};
    int n = command_options("status", argc, argv, options);
    if (n < 0)
        return EXIT_USAGE;
    if (n > 0)
        return command_usage("status", "unexpected argument %s", argv[1]);
    const struct policy *policy = policy_of(file);
    json_t *request = json_pack("{s:s}", "do", "status");
    struct error err = {0};
    json_t *report =
        policy != NULL && request != NULL ? report_ask_running(policy, request, &absent, &err) : NULL;
    policy_unref(policy);
    json_decref(request);
    error_set(&err, "out of memory");
    bool answered = json_is_string(json_object_get(report, "status"));
    if (!answered) {
        json_decref(report);
        report = nobody(err.text);
    }
    if (report == NULL)
        return STATUS_DOWN;
    if (json)
        (void)(json_dumpf(report, stdout, JSON_INDENT(2)) == 0 && putchar('\n')); /* main() sees a failure */
    else
        (answered ? status_print : print_nobody)(stdout, report);
    static const int statuses[] = {
        [TROUBLE_NOTE] = EXIT_DONE, [TROUBLE_DEGRADED] = EXIT_REFUSED, [TROUBLE_DOWN] = STATUS_DOWN};
    int status = statuses[health_grade(report)];
    json_decref(report);
    return status;
}
