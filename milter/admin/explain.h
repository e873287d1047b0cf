/* explain: a decision as `explain` shows it. */
#ifndef RCPTGATE_ADMIN_EXPLAIN_H
#define RCPTGATE_ADMIN_EXPLAIN_H

#include "milter/decide.h"

#include <jansson.h>

/* Every step between facts and verdict; the caller's. NULL when out of memory. */
json_t *explain_decision(const struct policy *policy, const struct decision *decision);

#endif
