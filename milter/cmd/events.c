/* events: the last events of all hosts, and with --follow those that come. The gate answers; where none runs, Redis does. */
#include "command.h"

#include "admin/event_requests.h"
#include "admin/words.h"
#include "ask.h"
#include "config/json_get.h"
#include "gate/policy_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 4096, LOOK_MS = 500, WAIT_MS = 2000, REMEMBER = 4 * EVENT_REQUESTS_MOST };

struct watch {
    const struct policy *policy;
    json_t *cursor; /* NULL: the first look */
    json_t *seen,
        *older; /* keys of the events that were shown: an event of this gate comes by the stream, too */
    json_int_t n;
    bool json, follow, ran, said;
};

static void event_print(const json_t *event)
{
    char line[LINE_MAX_BYTES], quoted[LINE_MAX_BYTES];
    struct text text, safe;
    text_init(&text, line, sizeof line);
    words_add_event(&text, event);
    text_init(&safe, quoted, sizeof quoted);
    text_add_printable(&safe, line);
    printf("%s  %s  %s  %s\n", json_get_text(event, "at"), json_get_text(event, "host"),
           json_get_text(event, "event"), quoted);
}

/* In a --follow, one object a line. */
static void event_show(const struct watch *watch, const json_t *event)
{
    if (!watch->json)
        event_print(event);
    else if (json_dumpf(event, stdout, JSON_COMPACT) == 0)
        putchar('\n');
}

/* Was it shown before? */
static bool seen_before(struct watch *watch, const json_t *event)
{
    char *key = event_requests_key(event);
    bool before = key != NULL &&
                  (json_object_get(watch->seen, key) != NULL || json_object_get(watch->older, key) != NULL);
    if (key != NULL && !before)
        json_object_set_new(watch->seen, key, json_true());
    free(key);
    if (json_object_size(watch->seen) < REMEMBER)
        return before;
    json_decref(watch->older);
    watch->older = watch->seen;
    watch->seen = json_object();
    return before;
}

static json_t *request_make(const struct watch *watch)
{
    return json_pack("{s:s, s:I, s:O*}", "do", "events", "n",
                     watch->cursor == NULL ? watch->n : EVENT_REQUESTS_MOST, "cursor", watch->cursor);
}

/* A gate that ran when we began may restart meanwhile. */
static json_t *ask_again(struct watch *watch)
{
    struct error err = {0};
    bool absent;
    json_t *request = request_make(watch);
    json_t *report = ask_running(watch->policy, request, &absent, &err);
    json_decref(request);
    if (report == NULL && !watch->said)
        fprintf(stderr, "rcptgate: %s; waiting for it\n", err.text);
    watch->said = report == NULL;
    return report;
}

static json_t *ask_first(struct watch *watch, int *status)
{
    struct error err = {0};
    bool absent = false;
    json_t *request = request_make(watch);
    json_t *report = ask_running(watch->policy, request, &absent, &err);
    if (report != NULL && *json_get_text(report, "error") == '\0') {
        watch->ran = true;
        json_decref(request);
        return report;
    }
    json_decref(report);
    return ask_gate(watch->policy, request, status);
}

static void note_stream(const struct watch *watch, const json_t *report)
{
    const char *why = json_get_text(report, "stream");
    if (*why != '\0' && watch->policy->counters.kind != COUNTERS_MEMORY)
        fprintf(stderr, "rcptgate: %s: the events of this gate alone\n", why);
}

static void report_show(struct watch *watch, const json_t *report)
{
    const json_t *events = json_object_get(report, "events");
    for (size_t i = 0; i < json_array_size(events); i++)
        if (!seen_before(watch, json_array_get(events, i)))
            event_show(watch, json_array_get(events, i));
    json_decref(watch->cursor);
    watch->cursor = json_incref(json_object_get(report, "cursor"));
    (void)fflush(stdout);
}

static int watch_run(struct watch *watch)
{
    int status;
    json_t *report = ask_first(watch, &status);
    if (report == NULL)
        return status;
    note_stream(watch, report);
    if (watch->json && !watch->follow) {
        bool good = json_dumpf(json_object_get(report, "events"), stdout, JSON_INDENT(2)) == 0;
        json_decref(report);
        return good && putchar('\n') != EOF ? EXIT_DONE : EXIT_INTERNAL;
    }
    report_show(watch, report);
    if (!watch->follow && json_array_size(json_object_get(report, "events")) == 0)
        puts("no events");
    json_decref(report);
    while (watch->follow && command_wait(watch->said || !watch->ran ? WAIT_MS : LOOK_MS)) {
        report = watch->ran ? ask_again(watch) : ask_gate(watch->policy, request_make(watch), &status);
        if (report == NULL && !watch->ran)
            return status;
        if (report != NULL && *json_get_text(report, "error") == '\0')
            report_show(watch, report);
        json_decref(report);
    }
    return EXIT_DONE;
}

int cmd_events(int argc, char **argv)
{
    const char *file = POLICY_FILE_DEFAULT, *number = "20";
    struct watch watch = {0};
    const struct option_value options[] = {{"-c", &file, NULL},
                                           {"-n", &number, NULL},
                                           {"--follow", NULL, &watch.follow},
                                           {"--json", NULL, &watch.json},
                                           {NULL, NULL, NULL}};
    int n = command_options("events", argc, argv, options);
    char *end;
    if (n < 0)
        return EXIT_USAGE;
    if (n > 0)
        return command_usage("events", "unexpected argument %s", argv[1]);
    watch.n = strtol(number, &end, 10);
    if (end == number || *end != '\0' || watch.n < 1 || watch.n > EVENT_REQUESTS_MOST)
        return command_usage("events", "-n takes a number from 1 to %d", EVENT_REQUESTS_MOST);
    watch.policy = policy_file_load_or_complain(file);
    if (watch.policy == NULL)
        return command_no_policy(file);
    watch.seen = json_object();
    watch.older = json_object();
    if (watch.follow)
        command_end_on_signals();
    int status = watch_run(&watch);
    json_decref(watch.seen);
    json_decref(watch.older);
    json_decref(watch.cursor);
    policy_unref(watch.policy);
    return status;
}
