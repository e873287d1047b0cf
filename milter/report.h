/* report: what the commands and the control socket say, as JSON, and as a person reads it.
 *
 * The running gate and a command without one make the same JSON with the same functions; only the command prints. */
#ifndef RCPTGATE_REPORT_H
#define RCPTGATE_REPORT_H

#include "decide.h"
#include "gate.h"

#include <jansson.h>
#include <stdio.h>

/* Answers a request of the control socket: {"do": "show", "subjects": [...]}, "reset" (also "limit"),
 * "explain" ("to", "from", "client", "user", "size"), "status", "alias-accept". Always an object; {"error":
 * text} when it could not be done. */
json_t *report_answer(struct gate *gate, const json_t *request);

/* For a person: what "explain" was answered. */
void report_print_explain(FILE *out, const json_t *report);

/* Asks the running gate. NULL with err set; *absent is set where none runs. */
json_t *report_ask_running(const struct policy *policy, const json_t *request, bool *absent,
                           struct error *err);

/* What a command does: asks the running gate; where none runs and the counters are in Redis, answers by
 * itself. Takes over request; NULL stands for one that could not be made of the arguments. Prints errors to stderr. NULL:
 * *status says how to exit. */
json_t *report_ask(const struct policy *policy, json_t *request, int *status);

#endif
