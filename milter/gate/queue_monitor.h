/* queue_monitor: what waits in Postfix's queue, for limits that count the backlog, here and on the other hosts.
 *
 * While some limit needs it, a thread runs queue.command every queue.every and counts what it prints; a RCPT
 * only looks a number up. The command has as long as queue.every, but at least 5 s and at most 1 m; then it
 * is killed. One that fails or hangs is a condition, not a stop: the last numbers stay for three rounds more,
 * then they are unknown, and what is unknown refuses nothing.
 *
 * Over Redis each host syncs its numbers, in the hashes PREFIX:backlog:PER, field "subject|host",
 * value "number stamp" (the stamp is that of the round; both parts of the field percent-encoded as in keys).
 * Only what could matter is synced: at least a fiftieth of the smallest max of such a limit, and the 1,000
 * greatest numbers. A host whose stamp stands still is forgotten after three rounds, its fields are removed
 * after an hour, and the hash expires. While Redis is away, and without it, this host's numbers stand
 * alone. */
#ifndef RCPTGATE_GATE_QUEUE_MONITOR_H
#define RCPTGATE_GATE_QUEUE_MONITOR_H

#include "base/error.h"
#include "policy/policy.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct queue_monitor;
struct context;
struct aliases;

/* Nothing is known yet. rules: borrowed; they know whose SRS is ours; NULL: there are none. NULL with err set. */
struct queue_monitor *queue_monitor_new(struct context *context, struct aliases *rules, struct error *err);
int queue_monitor_start(struct queue_monitor *backlog, struct error *err); /* its thread */
void queue_monitor_stop(
    struct queue_monitor *backlog); /* ends the thread, and a command under way; NULL is harmless */
void queue_monitor_free(struct queue_monitor *backlog); /* stopped before; NULL is harmless */

/* How many messages wait for the subject, and how old that number is. False: unknown. Never waits for more
 * than a short lock. */
bool queue_monitor_find(struct queue_monitor *backlog, enum subject per, const char *subject,
                        int64_t *waiting, int64_t *age_ms);

/* How many messages wait on this host; -1: not known. */
int64_t queue_monitor_messages(struct queue_monitor *backlog);

/* For tests: as if the command had just printed that. */
void queue_monitor_put(struct queue_monitor *backlog, const struct policy *policy, char *lines);

/* For /metrics; prints nothing while nothing is read. */
void queue_monitor_print(FILE *out, struct queue_monitor *backlog);

/* For status; NULL while no limit needs it. */
json_t *queue_monitor_report(struct queue_monitor *backlog);

#endif
