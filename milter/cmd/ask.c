/* ask: a command's way to the running gate, and what it does without one (see ask.h). Owns a gate that serves
 * nobody, for as long as one request takes. What fails is said on standard error, with the exit status. */
#include "ask.h"

#include "admin/block_requests.h"
#include "command.h"
#include "sys/control.h"
#include "gate/gate.h"
#include "config/json_get.h"
#include "base/utf8.h"
#include "admin/requests.h"
#include "gate/state_dir.h"
#include "sys/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ASK_MS = 30000, CONNECT_MS = 1000 };

/* Blocks go into the state directory, and to Redis where that answers. */
static json_t *answer_blocks(struct gate *gate, const struct policy *policy, const json_t *request,
                             struct error *err)
{
    int lock = block_requests_open(gate, policy->state, err);
    if (lock < 0)
        return NULL;
    (void)blocks_sync(gate->blocks); /* what others did; without Redis the state directory must do */
    json_t *report = requests_answer(gate, request);
    bool shared = blocks_sync(gate->blocks);
    if (json_get_number(report, "done") > 0 && *json_get_text(report, "trouble") == '\0')
        json_object_set_new(
            report, "trouble",
            json_string(shared ? "no gate runs here: on this host it holds from the next start on"
                               : "no gate runs here, and Redis does not answer: it holds from the "
                                 "next start on, and the other hosts will learn of it then"));
    if (!shared && json_object_get(report, "blocks") != NULL)
        json_object_set_new(
            report, "missing",
            json_string(
                "Redis does not answer: what other hosts blocked since this one last asked is not listed"));
    close(lock);
    return report;
}

/* Nobody runs: answer with a gate of our own, which serves nobody. */
static json_t *answer_alone(const struct policy *policy, const json_t *request, struct error *err)
{
    struct gate gate;
    json_t *report = NULL;
    log_set_level(LOG_AT_ERROR); /* what a gate would tell its log is in the answer */
    if (state_dir_take_ids(policy, NULL, 0, err) < 0)
        return NULL;
    if (gate_init(&gate, policy_ref(policy), NULL, err) == 0) {
        bool connected = policy->counters.kind == COUNTERS_MEMORY ||
                         (gate.context.redis != NULL && redis_client_wait(gate.context.redis, CONNECT_MS));
        if (requests_alone(request) == REQUESTS_ALONE_BLOCKS) {
            report = answer_blocks(&gate, policy, request, err);
        } else if (!connected) {
            counters_condition(gate.counters, err);
            error_set(err, "Redis does not answer");
        } else {
            char path[STATE_DIR_PATH];
            state_dir_path(policy->state, STATE_DIR_BLOCKS, path);
            (void)blocks_load(gate.blocks, path, NULL); /* as far as this user may read them */
            report = requests_answer(&gate, request);
        }
    }
    gate_done(&gate);
    return report;
}

json_t *ask_running(const struct policy *policy, const json_t *request, bool *absent, struct error *err)
{
    char path[STATE_DIR_PATH];
    state_dir_path(policy->state, STATE_DIR_CONTROL, path);
    char *line = json_dumps(request, JSON_COMPACT);
    char *answer = line != NULL ? control_ask(path, line, ASK_MS, absent, err) : NULL;
    json_t *report = answer != NULL ? json_loads(answer, 0, NULL) : NULL;
    free(answer);
    free(line);
    if (answer != NULL && report == NULL)
        error_set(err, "the gate's answer makes no sense");
    return report;
}

bool ask_allowed(const struct policy *policy, struct error *err)
{
    char path[STATE_DIR_PATH];
    if (access(state_dir_path(policy->state, STATE_DIR_CONTROL, path), R_OK | W_OK) == 0 || errno != EACCES)
        return true;
    error_set(err,
              "you may not ask the gate (no access to %s): do it as root, or as a member of the gate's group",
              path);
    return false;
}

/* What an answer without a running gate reads must be readable, or every recipient would seem to get 451. */
static bool may_read(const struct policy *policy, struct error *err)
{
    const struct redis_config *redis = &policy->counters.redis;
    const char *const files[] = {
        policy->aliases.database, redis->password_file, redis->sentinel_password_file, redis->tls_ca,
        redis->tls_cert,          redis->tls_key};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (files[i] == NULL || access(files[i], R_OK) == 0 || errno != EACCES)
            continue;
        error_set(err, "no gate runs, and you may not read %s: do it as root, or as a member of its group",
                  files[i]);
        return false;
    }
    return true;
}

json_t *ask_gate(const struct policy *policy, json_t *request, int *status)
{
    struct error err = {0}, running = {0};
    bool absent = false;
    if (request == NULL) {
        fputs("rcptgate: an argument is not UTF-8, or memory ran out\n", stderr);
        *status = EXIT_USAGE;
        return NULL;
    }
    enum requests_alone alone = requests_alone(request);
    json_t *report = ask_running(policy, request, &absent, &running);
    if (report == NULL && (!ask_allowed(policy, &err) || (absent && !may_read(policy, &err)))) {
        fprintf(stderr, "rcptgate: %s\n", err.text);
        json_decref(request);
        *status = EXIT_NO_RIGHT;
        return NULL;
    }
    if (report == NULL && (alone == REQUESTS_ALONE_COUNTERS ? policy->counters.kind != COUNTERS_MEMORY
                           : alone == REQUESTS_ALONE_BLOCKS ? absent
                           : alone == REQUESTS_ALONE_NEVER  ? false
                                                            : true))
        report = answer_alone(policy, request, &err);
    json_decref(request);
    *status = EXIT_DONE;
    if (report == NULL) {
        fprintf(stderr, "rcptgate: %s%s%s\n", running.text, err.text[0] != '\0' ? "; " : "", err.text);
        *status = EXIT_UNAVAILABLE;
    } else if (*json_get_text(report, "error") != '\0') {
        fprintf(stderr, "rcptgate: %s\n", json_get_text(report, "error"));
        json_decref(report);
        report = NULL;
        *status = EXIT_REFUSED;
    }
    return report;
}

/* For a terminal, which would obey it: what stands in the database or in a key is not ours. */
static void clean(json_t *value)
{
    const char *name;
    json_t *part;
    size_t i;
    if (json_is_string(value)) {
        char *copy = strdup(json_string_value(value));
        if (copy != NULL)
            utf8_clean(copy);
        (void)json_string_set(value, copy != NULL ? copy : "?"); /* what was valid stays so */
        free(copy);
    }
    json_array_foreach(value, i, part)
    {
        clean(part);
    }
    json_object_foreach(value, name, part)
    {
        clean(part);
    }
}

int ask_print(json_t *report, bool json, void (*person)(FILE *, const json_t *))
{
    int status = EXIT_DONE;
    if (!json) {
        clean(report);
        person(stdout, report);
    } else if (json_dumpf(report, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF)
        status = EXIT_INTERNAL;
    json_decref(report);
    return status;
}
