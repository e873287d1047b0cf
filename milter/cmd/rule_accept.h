/* rule_accept: `rcptgate alias accept`: alias data that lost more than max_shrink is right. */
#ifndef RCPTGATE_CMD_RULE_ACCEPT_H
#define RCPTGATE_CMD_RULE_ACCEPT_H

#include "base/error.h"
#include "policy/policy.h"

#include <stdbool.h>

/* Asks the running gate to take the present data; where none runs, the next one does when it starts. Prints
 * what came of it, unless `silent`. The exit status, with err set unless it is 0. */
int rule_accept(const struct policy *policy, bool silent, struct error *err);

#endif
