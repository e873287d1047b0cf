/* report: what the commands and the control socket say, as JSON, and as a person reads it.
 *
 * The running gate and a command without one make the same JSON with the same functions; only the command prints. */
#ifndef RCPTGATE_REPORT_H
#define RCPTGATE_REPORT_H

#include "decide.h"
#include "gate.h"

#include <jansson.h>
#include <stdio.h>

struct explain_query {
    const char *to, *from, *client, *user;
    int64_t size; /* -1: none */
};

/* The decision that this RCPT would get, step by step. NULL with err set. */
json_t *report_explain(struct gate *gate, const struct explain_query *query, struct error *err);

void report_print_explain(FILE *out, const json_t *report);

/* Answers a request of the control socket: {"do": "show", "subjects": [...]}, "reset" (also "limit"),
 * "explain" (the members of struct explain_query), "status", "alias-accept". Always an object; {"error":
 * text} when it could not be done. */
json_t *report_answer(struct gate *gate, const json_t *request);

/* Asks the running gate. NULL with err set; *absent is set where none runs. */
json_t *report_ask_running(const struct policy *policy, const json_t *request, bool *absent,
                           struct error *err);

/* What a command does: asks the running gate; where none runs and the counters are in Redis, answers by
 * itself. Takes over request. Prints errors to stderr. NULL: *status says how to exit. */
json_t *report_ask(const struct policy *policy, json_t *request, int *status);

#endif
