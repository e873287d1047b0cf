/* redis_lane: one connection that many threads share.
 *
 * A thread that finds no leader becomes the leader: it writes the commands of everybody who waits at once,
 * reads, and hands each answer to its thread, in order. When its own has come it hands the lead to the next
 * who waits. No thread is between a caller and Redis when the lane is idle; when it is busy, commands travel
 * in batches.
 *
 * A caller whose deadline passes before its command was written leaves the queue (nothing was done). After it was written
 * the connection is given up, and everybody whose answer is still out gets REDIS_LOST. */
#ifndef RCPTGATE_REDIS_LANE_H
#define RCPTGATE_REDIS_LANE_H

#include "redis_link.h"

#include <stdatomic.h>

struct redis_lane;

/* The lane gave its connection up: called without any lock, before the callers are told. */
typedef void redis_lane_failed_fn(void *arg, const char *text);

/* down: while it is true, calls get REDIS_DOWN at once. NULL when out of memory. */
struct redis_lane *redis_lane_new(const atomic_bool *down, redis_lane_failed_fn *failed, void *arg);
void redis_lane_free(struct redis_lane *lane);

enum redis_status redis_lane_call(struct redis_lane *lane, const struct redis_request *request,
                                  int64_t deadline, redisReply **reply);

/* How many calls are under way. */
int redis_lane_load(struct redis_lane *lane);

/* Everybody whose command is not yet written gets REDIS_DOWN now. */
void redis_lane_drop(struct redis_lane *lane);

/* For the keeper: whether an idle lane has lost its connection. */
bool redis_lane_needs_link(struct redis_lane *lane);

/* Takes link over, and target for reconnecting by itself. A lane that is busy finishes what it has on the old connection,
 * and then makes its own. */
void redis_lane_renew(struct redis_lane *lane, struct redis_link *link, struct redis_target *target);

#endif
