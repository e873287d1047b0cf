/* health: whether the gate can do its work, found out by doing it.
 *
 * A canary RCPT is decided as any other would be, through the real backends, charging nothing; the counter
 * store is asked for a key of the canary's own besides, so that a policy without limits sees a dead Redis
 * too. That Redis takes writes is the store's own probe to find out (at most 2 s ago). What is found joins
 * the conditions: together they are the reasons. */
#ifndef RCPTGATE_ADMIN_HEALTH_H
#define RCPTGATE_ADMIN_HEALTH_H

#include "gate/gate.h"
#include "gate/conditions.h"

#include <jansson.h>

/* {"status": "healthy"|"degraded"|"down", "checked_at", "canary": {"verdict", "by", "counters", "aliases",
 * "decision_ms"},  "reasons": [{"what", "title", "grade", "since", "for_s", "text", "means"}], worst first,
 * "notes": [the same: the gate is healthy]}. Takes as long as a RCPT does. NULL: out of memory. */
json_t *health_report(struct gate *gate);

/* "healthy", "degraded", "down". */
const char *health_word(enum condition_grade grade);

/* CONDITION_NOTE for a healthy report. */
enum condition_grade health_grade(const json_t *report);

/* A condition as a reason. NULL: out of memory. */
json_t *health_reason(const struct policy *policy, enum condition condition, enum condition_grade grade,
                      int64_t since_ms, int64_t now_ms, const char *text);

#endif
