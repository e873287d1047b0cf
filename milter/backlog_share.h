/* backlog_share: tells the other hosts what waits in this host's queue, and reads what waits in theirs, over
 * Redis (backlog.h says how). For the thread of the backlog alone. */
#ifndef RCPTGATE_BACKLOG_SHARE_H
#define RCPTGATE_BACKLOG_SHARE_H

#include "policy.h"
#include "queue_count.h"
#include "redis.h"

struct backlog_share;

struct backlog_share *backlog_share_new(void); /* NULL: out of memory */
void backlog_share_free(struct backlog_share *share);

/* One round. others[per] is what waits on all other hosts (struct queue_number), the caller's to free; NULL where that is not known. */
void backlog_share(struct backlog_share *share, struct redis *redis, const struct policy *policy,
                   const struct queue_count *own, int64_t now_ms, struct table *others[SUBJECTS]);

#endif
