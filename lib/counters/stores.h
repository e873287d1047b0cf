/* stores: how counter stores are made; for who owns one. How they are used: counters/counters.h. */
#ifndef RCPTGATE_COUNTERS_STORES_H
#define RCPTGATE_COUNTERS_STORES_H

#include "counters/counters.h"
#include "base/error.h"
#include "redis/client.h"

/* The embedded store. max_subjects bounds its memory; beyond it the counter that ends first goes. NULL: out of memory. */
struct counters *counters_memory_new(size_t max_subjects);

/* Of the embedded store: grows when a hold begins, and when counters are cleared. */
uint64_t counters_memory_holds(const struct counters *counters);

/* The store in Redis. Borrows the client; while that is not connected, calls are answered COUNTERS_DOWN at once. NULL with
 * err set: out of memory. */
struct counters *counters_remote_new(struct redis_client *redis, struct error *err);

/* A store that stands on two: remote answers, local counts along, so that it can be the fallback, warm, when remote is
 * away (failover.c says how). Takes over both; remote may be NULL: always away. now: the clock that callers pass
 * as now_ms. NULL with err set: out of memory or threads; both are freed. */
struct counters *failover_new(struct counters *remote, struct counters *local, counters_now_fn *now,
                              void *arg, struct error *err);

/* At how many sites of remote (1 where it is a single Redis) local answers, or has something to tell it. */
unsigned failover_behind(struct counters *store);

/* Calls each() for such a site, once the store has noticed it. */
void failover_each_behind(struct counters *store, counters_lag_fn *each, void *arg);

/* How many counters were brought up to date in remote after it had been away or restarted. */
uint64_t failover_synced(struct counters *store);

#endif
