/* replay: mail logs through a policy, or through two: what would have been refused, and what would change? */
#include "command.h"

#include "sys/lines.h"
#include "gate/policy_file.h"
#include "sys/log.h"
#include "progress.h"
#include "replay/notes.h"
#include "replay/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct run {
    struct replay policy, against;
    bool two;
    struct replay_report report;
    struct progress progress;
    struct error err;
};

static bool play(void *arg, const struct replay_event *event)
{
    struct run *run = arg;
    struct replay_answer now, before;
    if (!replay_run_play(&run->policy, event, &now))
        return false;
    if (!run->two)
        return true;
    if (!replay_run_play(&run->against, event, &before))
        return false;
    if (event->what != REPLAY_RCPT)
        return true;
    run->report.moved[before.action][now.action]++;
    if (before.action != now.action) {
        const struct replay_answer *why =
            now.what[0] != '\0' ? &now : &before; /* whose refusal is new, or gone */
        char what[REPLAY_WHAT + 32];
        snprintf(what, sizeof what, "%s %s %s", action_name(before.action), action_name(now.action),
                 why->what);
        totals_add(run->report.changes, what, why->subject != NULL ? why->subject : "", event->time_ms);
    }
    return true;
}

/* --- reading --- */

static void show_progress(struct run *run, struct lines *lines, const char *file,
                          const struct replay_numbers *numbers)
{
    int percent = lines_percent(lines);
    if (percent >= 0)
        progress_show(&run->progress, "%s: %d %%, %" PRIu64 " lines", file, percent, numbers->lines);
    else
        progress_show(&run->progress, "%s: %" PRIu64 " lines", file, numbers->lines);
}

/* EXIT_DONE, or the status of a failure with run->err set. */
static int read_file(struct run *run, struct replay_log *log, const char *file)
{
    struct lines *lines = lines_open(file, &run->err);
    if (lines == NULL)
        return EXIT_NO_INPUT;
    const struct replay_numbers *numbers = replay_log_numbers(log);
    enum lines_status status;
    const char *line;
    size_t n;
    struct error why = {0};
    bool ok = true;
    replay_log_file(log, lines_modified_s(lines));
    while ((status = lines_next(lines, &line, &n, &why)) == LINES_LINE && ok) {
        ok = replay_log_line(log, line, n);
        if (numbers->lines % 1024 == 0 && progress_due(&run->progress))
            show_progress(run, lines, file, numbers);
    }
    replay_log_skipped(log, lines_skipped(lines));
    lines_close(lines);
    if (!ok)
        error_set(&run->err, "out of memory");
    else if (status == LINES_FAILED)
        error_set(&run->err, "%s cannot be read: %s", file, why.text);
    return !ok ? EXIT_INTERNAL : status == LINES_FAILED ? EXIT_NO_INPUT : EXIT_DONE;
}

/* A name that is wrong should not be found out after an hour. */
static int check_files(struct run *run, char **files, int n_files)
{
    for (int i = 0; i < n_files; i++) {
        struct lines *lines = strcmp(files[i], "-") != 0 ? lines_open(files[i], &run->err) : NULL;
        if (lines == NULL && strcmp(files[i], "-") != 0)
            return EXIT_NO_INPUT;
        lines_close(lines);
    }
    return EXIT_DONE;
}

static int read_files(struct run *run, struct replay_log *log, char **files, int n_files)
{
    int status = check_files(run, files, n_files);
    progress_begin(&run->progress);
    for (int i = 0; i < n_files && status == EXIT_DONE; i++)
        status = read_file(run, log, files[i]);
    if (status == EXIT_DONE && !replay_log_end(log)) {
        error_set(&run->err, "out of memory");
        status = EXIT_INTERNAL;
    }
    progress_wipe(&run->progress);
    return status;
}

/* --- the command --- */

struct options {
    const char *file, *policy, *against, *most;
    bool json, no_aliases;
};

static int policy_start(struct replay *replay, const char *file, int index, bool aliases, struct error *err)
{
    const struct policy *policy = policy_file_load_or_complain(file); /* says what is wrong with it */
    if (policy == NULL)
        return EXIT_CONFIG;
    policy_unref(policy);
    return replay_run_init(replay, file, index, aliases, err) == 0 ? EXIT_DONE : EXIT_CONFIG;
}

/* What a log without RCPTs may be instead. */
static void explain_nothing(struct run *run, const struct replay_numbers *numbers)
{
    char buffer[256];
    const char *hint = notes_hint(numbers, buffer, sizeof buffer);
    error_set(&run->err, "no RCPT was found in the log; %s",
              hint[0] != '\0' ? hint : "is it a mail log of Postfix, or of rcptgate?");
}

static int notify(struct run *run, const struct replay_numbers *numbers, bool json)
{
    json_t *report = replay_report_make(&run->report);
    if (report == NULL) {
        error_set(&run->err, "out of memory");
        return EXIT_INTERNAL;
    }
    int status =
        numbers->decisions + numbers->deliveries + numbers->milter_refused > 0 ? EXIT_DONE : EXIT_REFUSED;
    if (!json)
        replay_report_print(stdout, report);
    else if (json_dumpf(report, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF)
        status = EXIT_INTERNAL;
    if (status == EXIT_REFUSED)
        explain_nothing(run, numbers);
    json_decref(report);
    return status;
}

static int replay_all(struct run *run, const struct options *options, char **files, int n_files)
{
    const char *file = options->policy != NULL ? options->policy : options->file;
    int status = policy_start(&run->policy, file, 0, !options->no_aliases, &run->err);
    run->two = options->against != NULL;
    if (status == EXIT_DONE && run->two)
        status = policy_start(&run->against, options->against, 1, !options->no_aliases, &run->err);
    if (status != EXIT_DONE)
        return status;
    run->report.changes = totals_new();
    struct replay_log *log = replay_log_new(play, run);
    if (log == NULL || run->report.changes == NULL) {
        replay_log_free(log);
        error_set(&run->err, "out of memory");
        return EXIT_INTERNAL;
    }
    run->report.files = files;
    run->report.n_files = n_files;
    run->report.log = log;
    run->report.policy = &run->policy;
    run->report.against = run->two ? &run->against : NULL;
    status = read_files(run, log, files, n_files);
    if (status == EXIT_DONE)
        status = notify(run, replay_log_numbers(log), options->json);
    replay_log_free(log);
    return status;
}

static int parse_most(const char *text, size_t *most)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0')
        return -1;
    *most = n;
    return 0;
}

int cmd_replay(int argc, char **argv)
{
    struct options o = {.file = POLICY_FILE_DEFAULT};
    const struct option_value options[] = {
        {"-c", &o.file, NULL}, {"--policy", &o.policy, NULL},         {"--against", &o.against, NULL},
        {"-n", &o.most, NULL}, {"--no-aliases", NULL, &o.no_aliases}, {"--json", NULL, &o.json},
        {NULL, NULL, NULL},
    };
    int n = command_options("replay", argc, argv, options);
    if (n < 0)
        return EXIT_USAGE;
    if (n == 0)
        return command_usage("replay", "which MAILLOG?");
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL)
        return EXIT_INTERNAL;
    run->report.most = 20;
    if (o.most != NULL && parse_most(o.most, &run->report.most) < 0) {
        free(run);
        return command_usage("replay", "-n takes a number, not \"%s\"", o.most);
    }
    log_set_level(LOG_AT_ERROR); /* what the gate would tell its log is in the report */
    int status = replay_all(run, &o, argv + 1, n);
    if (run->err.text[0] != '\0')
        fprintf(stderr, "rcptgate replay: %s\n", run->err.text);
    replay_run_done(&run->policy);
    replay_run_done(&run->against);
    totals_free(run->report.changes);
    free(run);
    return status;
}
