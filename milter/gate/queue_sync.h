/* queue_sync: syncs what waits in this host's queue with the other hosts, and what waits in theirs, over
 * Redis (gate/queue_monitor.h says how). For the thread of the backlog alone. */
#ifndef RCPTGATE_GATE_QUEUE_SYNC_H
#define RCPTGATE_GATE_QUEUE_SYNC_H

#include "policy/policy.h"
#include "queue_parse.h"
#include "redis/client.h"

struct queue_sync;

struct queue_sync *queue_sync_new(void); /* NULL: out of memory */
void queue_sync_free(struct queue_sync *sync);

/* One round. others[per] is what waits on all other hosts (struct queue_number), the caller's to free; NULL where that is not known. */
void queue_sync(struct queue_sync *sync, struct redis_client *redis, const struct policy *policy,
                const struct queue_parse *own, int64_t now_ms, struct table *others[SUBJECTS]);

#endif
