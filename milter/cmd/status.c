/* status: asks the running gate whether it is well. Exit 0 healthy, 1 degraded, 2 down, also when no gate runs,
 * or where it cannot be known where one runs, 77 where this user may not ask. */
#include "command.h"

#include "ask.h"
#include "admin/health.h"
#include "admin/words.h"
#include "config/json_get.h"
#include "gate/policy_file.h"
#include "base/text.h"
#include "rule_inert.h"

#include <stdio.h>
#include <string.h>

enum {
    STATUS_DOWN = 2,
    ROWS_LOOKED_AT = 100000, /* of a table, for rows that can never act */
};

/* The policy's, or where the file cannot be used (the gate may run on its last good one) the default. NULL: no memory. */
static const struct policy *policy_of(const char *file, bool *guessed)
{
    struct problems problems = {0};
    const struct policy *policy = policy_file_load_or_complain(file);
    *guessed = policy == NULL;
    if (policy == NULL)
        policy = config_load("{}", 2, &problems);
    problems_done(&problems);
    return policy;
}

enum silence { ABSENT, BARRED, HANGING, LOST };

/* Why nobody answered, as a report of its own. */
static json_t *nobody(enum silence why, const char *text)
{
    const char *status = why == BARRED || why == LOST ? "unknown" : health_word(CONDITION_DOWN);
    static const struct {
        const char *title, *means;
    } silences[] = {
        [ABSENT] = {"DOWN: no gate answers",
                    "Postfix answers 451 until one runs: `systemctl start rcptgate`; "
                    "`journalctl -u rcptgate` says why it ended"},
        [BARRED] = {"UNKNOWN: you may not ask the gate", "Ask as root, or as a member of the gate's group"},
        [HANGING] = {"DOWN: the gate does not answer", "Where Postfix waits in vain, too, it answers 451: "
                                                       "`systemctl restart rcptgate`"},
        [LOST] = {"UNKNOWN: no gate answers at the default place, and no policy says where else one runs",
                  "Mend the policy, or name the right one with -c; a gate that runs goes on with its last "
                  "good one"},
    };
    return json_pack("{s:s, s:[{s:s, s:s, s:s, s:s, s:s}]}", "status", status, "reasons", "what", "gate",
                     "title", silences[why].title, "grade", status, "text", text, "means",
                     silences[why].means);
}

static void print_nobody(FILE *out, const json_t *report)
{
    json_t *reason = json_array_get(json_object_get(report, "reasons"), 0);
    const char *title, *text, *means;
    if (json_unpack(reason, "{s:s, s:s, s:s}", "title", &title, "text", &text, "means", &means) == 0)
        fprintf(out, "%s\n\n  %s\n  %s\n", title, text, means);
}

/* ---- for a person ---- */

static double real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

/* aliases_mode_name() in words. */
static const char *who_answers(const char *mode)
{
    static const char *const words[][2] = {{"live", "in force"},
                                           {"unverified", "in force, being checked"},
                                           {"copy", "the last good copy answers for it"},
                                           {"nothing", "nothing answers for it"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i][0], mode) == 0)
            return words[i][1];
    return mode;
}

static const char *duration(json_int_t seconds, char buffer[32])
{
    struct text text;
    text_init(&text, buffer, 32);
    text_add_duration(&text, (int64_t)seconds * 1000);
    return buffer;
}

static void print_reasons(FILE *out, const json_t *list)
{
    size_t i;
    json_t *r;
    char buffer[32];
    json_array_foreach(list, i, r)
    {
        fprintf(out, "\n  %s: %s for %s, since %s\n      %s\n", json_get_text(r, "title"),
                json_get_text(r, "grade"), duration(json_get_number(r, "for_s"), buffer),
                json_get_text(r, "since"), json_get_text(r, "text"));
        if (*json_get_text(r, "means") != '\0')
            fprintf(out, "      %s\n", json_get_text(r, "means"));
    }
}

static void print_past(FILE *out, const json_t *list)
{
    size_t i;
    json_t *r;
    char buffer[32];
    json_array_foreach(list, i, r)
    {
        fprintf(out, "%s\n  %s: for %s, until %s\n      %s\n", i == 0 ? "\nwell again; it was" : "",
                json_get_text(r, "title"), duration(json_get_number(r, "lasted_s"), buffer),
                json_get_text(r, "until"), json_get_text(r, "text"));
    }
}

static void print_traffic(FILE *out, const json_t *traffic)
{
    const json_t *rate = json_object_get(traffic, "rcpt_per_second"),
                 *total = json_object_get(traffic, "rcpt_total");
    fprintf(out,
            "recipients  %.1f/s accepted, %.1f/s deferred, %.1f/s rejected, %.1f/s dropped (last minute)\n",
            real(rate, "accept"), real(rate, "defer"), real(rate, "reject"), real(rate, "discard"));
    fprintf(out,
            "            %" JSON_INTEGER_FORMAT " accepted, %" JSON_INTEGER_FORMAT
            " deferred, %" JSON_INTEGER_FORMAT " rejected, %" JSON_INTEGER_FORMAT
            " dropped since the start\n",
            json_get_number(total, "accept"), json_get_number(total, "defer"),
            json_get_number(total, "reject"), json_get_number(total, "discard"));
    fprintf(out, "sessions    %" JSON_INTEGER_FORMAT " open; longest decision %.1f ms\n",
            json_get_number(traffic, "sessions_open"), real(traffic, "decision_max_ms"));
}

static void print_aliases(FILE *out, const json_t *aliases)
{
    char buffer[32];
    fprintf(out, "aliases     %s: ", json_get_text(aliases, "database"));
    if (json_get_number(aliases, "aliases") >= 0)
        fprintf(out, "%" JSON_INTEGER_FORMAT " alias%s of %" JSON_INTEGER_FORMAT " domain%s, ",
                json_get_number(aliases, "aliases"), json_get_number(aliases, "aliases") == 1 ? "" : "es",
                json_get_number(aliases, "domains"), json_get_number(aliases, "domains") == 1 ? "" : "s");
    if (*json_get_text(aliases, "changed") != '\0')
        fprintf(out, "changed %s ago, ", duration(json_get_number(aliases, "age_s"), buffer));
    fprintf(out, "%s", who_answers(json_get_text(aliases, "in_force")));
    if (json_get_number(aliases, "copy_age_s") >= 0)
        fprintf(out, "; its copy was good %s ago", duration(json_get_number(aliases, "copy_age_s"), buffer));
    if (json_get_number(aliases, "validation_ms") > 0)
        fprintf(out, "; a validation takes %" JSON_INTEGER_FORMAT " ms",
                json_get_number(aliases, "validation_ms"));
    fputc('\n', out);
}

static void print_queue(FILE *out, const json_t *queue)
{
    char buffer[32];
    if (!json_is_true(json_object_get(queue, "known"))) {
        fputs("queue       unknown: Postfix's queue could not be read yet, or not for too long\n", out);
        return;
    }
    fprintf(out, "queue       %" JSON_INTEGER_FORMAT " message%s", json_get_number(queue, "messages"),
            json_get_number(queue, "messages") == 1 ? "" : "s");
    if (json_get_number(queue, "messages") > 0)
        fprintf(out, ", the oldest for %s", duration(json_get_number(queue, "oldest_s"), buffer));
    fprintf(out, "; read %s ago", duration(json_get_number(queue, "age_s"), buffer));
    fprintf(out, ", which took %" JSON_INTEGER_FORMAT " ms\n", json_get_number(queue, "read_ms"));
}

static void print_shards(FILE *out, const json_t *counters)
{
    size_t i;
    json_t *shard;
    json_array_foreach(json_object_get(counters, "shards"), i, shard)
    {
        char says[1024];
        struct text text;
        text_init(&text, says, sizeof says);
        words_add_shard(&text, shard);
        if (says[0] != '\0')
            fprintf(out, "            %s\n", says);
    }
}

static void print_in_force(FILE *out, const json_t *report)
{
    char buffer[32];
    const json_t *policy = json_object_get(report, "policy"), *aliases = json_object_get(report, "aliases"),
                 *counters = json_object_get(report, "counters");
    fprintf(out, "policy      %s, %" JSON_INTEGER_FORMAT " limit%s, in force for %s\n",
            json_get_text(policy, "file"), json_get_number(policy, "limits"),
            json_get_number(policy, "limits") == 1 ? "" : "s",
            duration(json_get_number(policy, "age_s"), buffer));
    if (json_is_null(aliases))
        fputs("aliases     none are configured\n", out);
    else
        print_aliases(out, aliases);
    fprintf(out, "counters    %s: %s; when it is down: %s\n", json_get_text(counters, "kind"),
            json_get_text(counters, "at"), json_get_text(counters, "when_down"));
    print_shards(out, counters);
    if (json_get_number(report, "rows_inert") > 0)
        fprintf(out, "            %" JSON_INTEGER_FORMAT " row%s can never act: `rcptgate check` says why\n",
                json_get_number(report, "rows_inert"), json_get_number(report, "rows_inert") == 1 ? "" : "s");
    if (json_is_object(json_object_get(report, "queue")))
        print_queue(out, json_object_get(report, "queue"));
    if (json_get_number(report, "blocks") > 0)
        fprintf(out, "blocks      %" JSON_INTEGER_FORMAT " network%s\n", json_get_number(report, "blocks"),
                json_get_number(report, "blocks") == 1 ? "" : "s");
}

static void print_status(FILE *out, const json_t *report)
{
    char buffer[32];
    static const char *const heads[] = {[CONDITION_NOTE] = "healthy",
                                        [CONDITION_DEGRADED] =
                                            "DEGRADED: mail goes on, with less than it should have",
                                        [CONDITION_DOWN] = "DOWN: recipients are answered 451"};
    bool shadow = strcmp(json_get_text(report, "mode"), "shadow") == 0;
    fprintf(out, "%s%s\n", heads[health_grade(report)],
            shadow ? "; mode shadow: nothing is refused or dropped, it is only counted and logged" : "");
    print_reasons(out, json_object_get(report, "reasons"));
    print_reasons(out, json_object_get(report, "notes"));
    fprintf(out, "%srcptgate %s on %s, process %" JSON_INTEGER_FORMAT ", up for %s\n",
            json_array_size(json_object_get(report, "reasons")) +
                        json_array_size(json_object_get(report, "notes")) >
                    0
                ? "\n"
                : "",
            json_get_text(report, "version"), json_get_text(report, "host"), json_get_number(report, "pid"),
            duration(json_get_number(report, "uptime_s"), buffer));
    print_in_force(out, report);
    print_traffic(out, json_object_get(report, "traffic"));
    print_past(out, json_object_get(report, "past"));
}

int cmd_status(int argc, char **argv)
{
    const char *file = POLICY_FILE_DEFAULT;
    bool json = false, absent = false;
    const struct option_value options[] = {{"-c", &file, NULL}, {"--json", NULL, &json}, {NULL, NULL, NULL}};
    int n = command_options("status", argc, argv, options);
    if (n < 0)
        return EXIT_USAGE;
    if (n > 0)
        return command_usage("status", "unexpected argument %s", argv[1]);
    bool guessed;
    const struct policy *policy = policy_of(file, &guessed);
    json_t *request = json_pack("{s:s}", "do", "status");
    struct error err = {0};
    json_t *report = policy != NULL && request != NULL ? ask_running(policy, request, &absent, &err) : NULL;
    json_decref(request);
    error_set(&err, "out of memory");
    bool answered = json_is_string(json_object_get(report, "status"));
    bool barred = !answered && (command_no_policy(file) == EXIT_NO_RIGHT ||
                                (policy != NULL && !ask_allowed(policy, &err)));
    if (!answered) {
        json_decref(report);
        report = nobody(barred ? BARRED : !absent ? HANGING : guessed ? LOST : ABSENT, err.text);
    }
    int64_t inert = policy != NULL && policy->aliases.database != NULL
                        ? rule_inert_scan(policy->aliases.database, policy->aliases.subaddress,
                                          ROWS_LOOKED_AT, NULL, NULL)
                        : 0;
    if (answered)
        json_object_set_new(report, "rows_inert", json_integer(inert));
    policy_unref(policy);
    if (report == NULL)
        return STATUS_DOWN;
    if (json)
        (void)(json_dumpf(report, stdout, JSON_INDENT(2)) == 0 && putchar('\n')); /* main() sees a failure */
    else
        (answered ? print_status : print_nobody)(stdout, report);
    static const int statuses[] = {
        [CONDITION_NOTE] = EXIT_DONE, [CONDITION_DEGRADED] = EXIT_REFUSED, [CONDITION_DOWN] = STATUS_DOWN};
    int status = barred ? EXIT_NO_RIGHT : answered ? statuses[health_grade(report)] : STATUS_DOWN;
    json_decref(report);
    return status;
}
