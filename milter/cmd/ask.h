/* ask: what a command asks of the running gate, over the control socket. */
#ifndef RCPTGATE_CMD_ASK_H
#define RCPTGATE_CMD_ASK_H

#include "base/error.h"
#include "policy/policy.h"

#include <jansson.h>
#include <stdbool.h>

/* May this user ask the gate that runs with that policy? False: what right is missing is in err. True also where none runs. */
bool ask_allowed(const struct policy *policy, struct error *err);

/* Asks the running gate. NULL with err set; *absent is set where none runs. */
json_t *ask_running(const struct policy *policy, const json_t *request, bool *absent, struct error *err);

/* What a command does: asks the running gate; where none runs, answers by itself what can be answered without
 * (requests_alone()). Takes over request; NULL stands for one that could not be made of the arguments. Prints
 * errors to stderr. NULL: *status says how to exit; who lacks the right to ask, or to read what must be read instead, gets
 * EXIT_NO_RIGHT and no answer of our own, which could only be a made-up one. */
json_t *ask_gate(const struct policy *policy, json_t *request, int *status);

/* For --json or for a person: prints the report and releases it. The exit status. */
int ask_print(json_t *report, bool json, void (*person)(FILE *, const json_t *));

#endif
