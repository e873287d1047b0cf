/* remote: the counter store in Redis, which stands on remote_script.c (what goes through the script: requests, changes, retries),
 * remote_keys.c (show and reset, key by key) and remote_call.c (one call). */
#ifndef RCPTGATE_COUNTERS_REMOTE_H
#define RCPTGATE_COUNTERS_REMOTE_H

struct counters;

/* For tests that must hold both stores to the same vectors: Redis, too, then counts by now_ms of each call. */
void remote_follow_caller_clock(struct counters *counters);

#endif
