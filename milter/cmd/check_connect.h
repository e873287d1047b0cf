/* check_connect: what a policy needs that its file cannot show: Redis, and what the unit lets the gate do. */
#ifndef RCPTGATE_CMD_CHECK_CONNECT_H
#define RCPTGATE_CMD_CHECK_CONNECT_H

#include "config/problems.h"
#include "policy/policy.h"

/* Adds what it finds. file: of the policy, by which the unit is known that runs it. */
void check_connect(const char *file, const struct policy *policy, struct problems *problems);

#endif
