/* block: and unblock, blocks: clients that are refused from now on, on every host.
 *
 * The running gate does it; where none runs, the state directory is written for its next start. Long lists go
 * in portions, so that neither the socket nor the gate has to hold all at once. */
#include "command.h"

#include "ask.h"
#include "config/json_get.h"
#include "gate/policy_file.h"
#include "time_arg.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORTION = 10000, PAGE = 5000, COMPLAINTS = 20 };

struct options {
    const char *file, *list, *duration, *reason, *action;
    bool force, json;
};

struct job {          /* one block or unblock */
    const char *what; /* "block" or "unblock" */
    const struct options *options;
    const struct policy *policy;
    json_int_t for_s;
    json_t *networks; /* those of the next portion */
    size_t done, refused, bad;
    int status; /* EXIT_DONE as long as nothing went wrong */
};

/* ---- what to do ---- */

static json_t *request_of(const struct job *job, bool more)
{
    const struct options *o = job->options;
    return json_pack("{s:s, s:O, s:s, s:I, s:s, s:b, s:b}", "do", job->what, "networks", job->networks,
                     "action", o->action != NULL ? o->action : "reject", "for_s", job->for_s, "reason",
                     o->reason != NULL ? o->reason : "", "force", o->force, "more", more);
}

static void complain(struct job *job, const json_t *refused)
{
    for (size_t i = 0; i < json_array_size(refused); i++) {
        const json_t *r = json_array_get(refused, i);
        if (job->refused++ < COMPLAINTS)
            fprintf(stderr, "rcptgate: %s: %s\n", json_string_value(json_object_get(r, "network")),
                    json_string_value(json_object_get(r, "text")));
        job->status = EXIT_REFUSED;
    }
}

/* Sends what was gathered. -1: nothing more can be done. */
static int portion_send(struct job *job, bool more)
{
    int status;
    json_t *report = ask_gate(job->policy, request_of(job, more), &status);
    if (report == NULL) {
        job->status = status;
        return -1;
    }
    job->done += (size_t)json_integer_value(json_object_get(report, "done"));
    complain(job, json_object_get(report, "refused"));
    const char *condition = json_string_value(json_object_get(report, "trouble"));
    json_int_t done = json_integer_value(json_object_get(report, "done"));
    bool failed =
        done == 0 && json_array_size(json_object_get(report, "refused")) < json_array_size(job->networks);
    if (condition != NULL && condition[0] != '\0' && (!more || failed))
        fprintf(stderr, "rcptgate: %s\n", condition);
    if (failed)
        job->status = EXIT_UNAVAILABLE;
    json_decref(report);
    json_array_clear(job->networks);
    return 0;
}

static int network_add(struct job *job, const char *text)
{
    if (json_array_size(job->networks) == PORTION && portion_send(job, true) < 0)
        return -1;
    if (json_array_append_new(job->networks, json_string(text)) < 0) {
        fprintf(stderr, "rcptgate: %s: is no network\n", text);
        job->refused++;
        job->status = EXIT_REFUSED;
    }
    return 0;
}

/* ---- published lists ---- */

/* The network at the beginning of a line, cut off from what follows it; "" where there is none. */
static char *line_network(char *line)
{
    char *at = line + strspn(line, " \t\r\n\xef\xbb\xbf"); /* and a byte order mark */
    at[strcspn(at, " \t\r\n;#,")] = '\0';
    return at;
}

static int list_read(struct job *job, FILE *in, const char *name)
{
    char *line = NULL;
    size_t size = 0, number = 0;
    int rc = 0;
    while (rc == 0 && getline(&line, &size, in) >= 0) {
        struct network network;
        struct error err = {0};
        const char *text = line_network(line);
        number++;
        if (text[0] == '\0')
            continue;
        if (network_parse(text, &network, &err) == 0) {
            rc = network_add(job, text);
            continue;
        }
        if (job->bad++ < COMPLAINTS)
            fprintf(stderr, "%s:%zu: %s; passed over\n", name, number, err.text);
        job->status = EXIT_REFUSED;
    }
    if (rc == 0 && ferror(in) != 0) {
        fprintf(stderr, "rcptgate: cannot read %s: %s\n", name, strerror(errno));
        job->status = EXIT_NO_INPUT;
        rc = -1;
    }
    free(line);
    return rc;
}

static int list_add(struct job *job, const char *name)
{
    bool standard = strcmp(name, "-") == 0;
    FILE *in = standard ? stdin : fopen(name, "re");
    if (in == NULL) {
        fprintf(stderr, "rcptgate: cannot read %s: %s\n", name, strerror(errno));
        job->status = EXIT_NO_INPUT;
        return -1;
    }
    int rc = list_read(job, in, standard ? "standard input" : name);
    if (!standard)
        (void)fclose(in); /* only read: nothing can be lost */
    return rc;
}

/* ---- block and unblock ---- */

static void print_done(const struct job *job)
{
    if (job->options->json) {
        printf("{\"done\": %zu, \"refused\": %zu, \"bad_lines\": %zu}\n", job->done, job->refused, job->bad);
        return;
    }
    printf("%zu network%s %sed", job->done, job->done == 1 ? "" : "s", job->what);
    if (job->options->duration != NULL && job->done > 0)
        printf(" for %s", job->options->duration);
    if (job->refused > 0)
        printf(", %zu refused", job->refused);
    if (job->bad > 0)
        printf(", %zu line%s passed over", job->bad, job->bad == 1 ? "" : "s");
    putchar('\n');
}

static int work(struct job *job, int n, char **argv)
{
    int rc = 0;
    job->networks = json_array();
    for (int i = 1; i <= n && rc == 0; i++)
        rc = network_add(job, argv[i]);
    if (rc == 0 && job->options->list != NULL)
        rc = list_add(job, job->options->list);
    bool notified = rc < 0 && json_array_size(job->networks) == 0;
    if (!notified && portion_send(job, false) == 0)
        print_done(job);
    json_decref(job->networks);
    return job->status;
}

static int change(const char *what, int argc, char **argv, const struct option_value *values,
                  const struct options *options)
{
    struct job job = {.what = what, .options = options};
    struct error err = {0};
    int64_t seconds = 0;
    int n = command_options(what, argc, argv, values);
    if (n < 0)
        return EXIT_USAGE;
    if (n == 0 && options->list == NULL)
        return command_usage(what, "which network?");
    if (options->duration != NULL && time_arg_duration(options->duration, &seconds, &err) < 0)
        return command_usage(what, "--for: %s", err.text);
    job.for_s = seconds;
    job.policy = policy_file_load_or_complain(options->file);
    if (job.policy == NULL)
        return command_no_policy(options->file);
    int status = work(&job, n, argv);
    policy_unref(job.policy);
    return status;
}

int cmd_block(int argc, char **argv)
{
    struct options o = {.file = POLICY_FILE_DEFAULT};
    const struct option_value values[] = {{"-c", &o.file, NULL},         {"--file", &o.list, NULL},
                                          {"--for", &o.duration, NULL},  {"--reason", &o.reason, NULL},
                                          {"--action", &o.action, NULL}, {"--force", NULL, &o.force},
                                          {"--json", NULL, &o.json},     {NULL, NULL, NULL}};
    return change("block", argc, argv, values, &o);
}

int cmd_block_undo(int argc, char **argv)
{
    struct options o = {.file = POLICY_FILE_DEFAULT};
    const struct option_value values[] = {
        {"-c", &o.file, NULL}, {"--file", &o.list, NULL}, {"--json", NULL, &o.json}, {NULL, NULL, NULL}};
    return change("unblock", argc, argv, values, &o);
}

/* ---- blocks ---- */

static void print_block(const json_t *block)
{
    printf("%-20s %-7s %-20s %-16s %s\n", json_get_text(block, "network"), json_get_text(block, "action"),
           json_get_text(block, "until"), json_get_text(block, "by"), json_get_text(block, "reason"));
}

/* One page; *after: where the next one begins, NULL where there is none. */
static int page_print(const struct policy *policy, bool json, size_t *n, json_t **after)
{
    int status;
    json_t *request = json_pack("{s:s, s:i, s:O*}", "do", "blocks", "most", PAGE, "after", *after);
    json_t *report = ask_gate(policy, request, &status);
    json_decref(*after);
    *after = NULL;
    if (report == NULL)
        return status;
    const char *missing = json_get_text(report, "missing");
    if (*n == 0 && *missing != '\0')
        fprintf(stderr, "rcptgate: %s\n", missing);
    const json_t *blocks = json_object_get(report, "blocks");
    size_t size = json_array_size(blocks);
    for (size_t i = 0; i < size; i++, ++*n) {
        if (json) {
            fputs(*n > 0 ? ",\n " : " ", stdout);
            if (json_dumpf(json_array_get(blocks, i), stdout, 0) < 0)
                status = EXIT_INTERNAL;
        } else {
            if (*n == 0)
                printf("%-20s %-7s %-20s %-16s %s\n", "NETWORK", "ACTION", "UNTIL", "BY", "REASON");
            print_block(json_array_get(blocks, i));
        }
    }
    if (size > 0 && json_is_true(json_object_get(report, "more")))
        *after = json_incref(json_object_get(json_array_get(blocks, size - 1), "network"));
    json_decref(report);
    return status;
}

int cmd_block_list(int argc, char **argv)
{
    const char *file = POLICY_FILE_DEFAULT;
    bool json = false;
    const struct option_value values[] = {{"-c", &file, NULL}, {"--json", NULL, &json}, {NULL, NULL, NULL}};
    int n = command_options("blocks", argc, argv, values);
    if (n < 0)
        return EXIT_USAGE;
    if (n > 0)
        return command_usage("blocks", "unexpected argument %s", argv[1]);
    const struct policy *policy = policy_file_load_or_complain(file);
    if (policy == NULL)
        return command_no_policy(file);
    size_t printed = 0;
    json_t *after = NULL;
    int status;
    if (json)
        puts("[");
    do
        status = page_print(policy, json, &printed, &after);
    while (status == EXIT_DONE && after != NULL);
    json_decref(after);
    if (json)
        puts(printed > 0 ? "\n]" : "]");
    else if (status == EXIT_DONE && printed == 0)
        puts("no networks are blocked");
    policy_unref(policy);
    return status;
}
