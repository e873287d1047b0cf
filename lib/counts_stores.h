/* counts_stores: how counter stores are made; for who owns one. How they are used: counts.h. */
#ifndef RCPTGATE_COUNTS_STORES_H
#define RCPTGATE_COUNTS_STORES_H

#include "counts.h"
#include "error.h"
#include "redis.h"

/* The embedded store. max_subjects bounds its memory; beyond it the counter that ends first goes. NULL: out of memory. */
struct counts *counts_memory_new(size_t max_subjects);

/* The store in Redis. Borrows the client; while that is not connected, calls are answered COUNTS_DOWN at once. NULL with
 * err set: out of memory. */
struct counts *counts_redis_new(struct redis *redis, struct error *err);

/* A store that stands on two: remote answers, local counts along, so that it can be the fallback, warm, when remote is
 * away (counts_pair.c says how). Takes over both; remote may be NULL: always away. now: the clock that callers pass
 * as now_ms. NULL with err set: out of memory or threads; both are freed. */
struct counts *counts_pair_new(struct counts *remote, struct counts *local, counts_now_fn *now, void *arg,
                               struct error *err);

/* How many counters were brought up to date in remote after it had been away or restarted. */
uint64_t counts_pair_merged(struct counts *pair);

#endif
