/* show: what is counted for a subject: its counters, and what waits for it in Postfix's queue.
 *
 * A subject is what a person types: "a@example.com", "example.com", "192.0.2.7", "owner:bob" (any `per`),
 * "all", or a whole key as redis-cli prints it. */
#ifndef RCPTGATE_ADMIN_SHOW_H
#define RCPTGATE_ADMIN_SHOW_H

#include "gate/queue_monitor.h"
#include "counters/counters.h"
#include "policy/policy.h"

#include <jansson.h>
#include <stdio.h>

/* The key in a subject that is a whole one, with or without the prefix; else NULL. */
const char *show_whole_key(const struct policy *policy, const char *subject);

/* The keys under which a subject may be counted. An array of strings for counters_show(); NULL: out of memory. */
json_t *show_keys(const struct policy *policy, const char *subject);

/* {"counters": [{"key", "limit", "used", "max", "window_ms", "refused", "held_ms", "reset_ms"}]}; NULL: the
 * store could not answer. */
json_t *show_report(struct counters *counters, const json_t *keys, int64_t now_ms);

/* Adds to list, for each limit that counts the backlog of such a subject, {"key", "limit", "waiting", "max",
 * "age_ms"}; nothing where the number is unknown. */
void show_backlog(struct queue_monitor *backlog, const struct policy *policy, const char *subject,
                  json_t *list);

/* {"reset": N}; NULL: the store could not answer. limit may be NULL. */
json_t *show_reset(struct counters *counters, const json_t *keys, const char *limit);

/* One counter as it stands in these lists. */
json_t *show_counter(const struct count_view *view);

#endif
