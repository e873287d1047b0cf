/* status: asks the running gate whether it is well. Exit 0 healthy, 1 degraded, 2 down, also when no gate runs. */
#include "command.h"

#include "load.h"
#include "report.h"
#include "state_dir.h"
#include "status.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

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

/* Is there a gate that this user may not ask? */
static bool is_barred(const struct policy *policy)
{
    char path[STATE_DIR_PATH];
    return access(state_dir_path(policy->state, STATE_DIR_CONTROL, path), R_OK | W_OK) < 0 && errno == EACCES;
}

enum silence { ABSENT, BARRED, HANGING };

/* Why nobody answered, as a report of its own. */
static json_t *nobody(enum silence why, const char *text)
{
    static const struct {
        const char *title, *means;
    } silences[] = {
        [ABSENT] = {"DOWN: no gate answers",
                    "Postfix answers 451 until one runs: `systemctl start rcptgate`; "
                    "`journalctl -u rcptgate` says why it ended"},
        [BARRED] = {"UNKNOWN: you may not ask the gate", "Ask as root, or as a member of the gate's group"},
        [HANGING] = {"DOWN: the gate does not answer", "Where Postfix waits in vain, too, it answers 451: "
                                                       "`systemctl restart rcptgate`"},
    };
    return json_pack("{s:s, s:[{s:s, s:s, s:s, s:s, s:s}]}", "status", health_word(TROUBLE_DOWN), "reasons",
                     "what", "gate", "title", silences[why].title, "grade", "down", "text", text, "means",
                     silences[why].means);
}

static void print_nobody(FILE *out, const json_t *report)
{
    json_t *reason = json_array_get(json_object_get(report, "reasons"), 0);
    const char *title, *text, *means;
    if (json_unpack(reason, "{s:s, s:s, s:s}", "title", &title, "text", &text, "means", &means) == 0)
        fprintf(out, "%s\n\n  %s\n  %s\n", title, text, means);
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
    json_decref(request);
    error_set(&err, "out of memory");
    bool answered = json_is_string(json_object_get(report, "status"));
    if (!answered) {
        json_decref(report);
        report = nobody(absent ? ABSENT : policy != NULL && is_barred(policy) ? BARRED : HANGING, err.text);
    }
    policy_unref(policy);
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
