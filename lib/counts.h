/* counts: a counter store. Two exist: in this process (memory) and Redis, with the same semantics.
 *
 * The sliding count: a window is cut into 10 slots by the clock; used is what the current slot and the 10 before it
 * hold. Any span of one window touches at most 11 slots, so never more than max are admitted in any span;
 * 1.1 windows of silence empty them all.
 *
 * All functions may be called from any thread at any time. */
#ifndef RCPTGATE_COUNTS_H
#define RCPTGATE_COUNTS_H

#include "count.h"
#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct counts; /* a store */

enum counts_status {
    COUNTS_OK = 0,
    COUNTS_DOWN, /* nothing was charged: down, deadline missed before anything was sent, or refused by Redis */
    COUNTS_UNSURE, /* the answer was lost: it may have been charged */
};

/* Checks all asks and charges all or none. answers has request->n elements; on a status other than COUNTS_OK
 * all are zeroed (COUNT_UNKNOWN). now_ms: Unix time; the memory store counts by it, Redis by its own
 * clock. */
enum counts_status counts_reserve(struct counts *counts, const struct count_request *request, int64_t now_ms,
                                  struct count_answer *answers);

/* The same answers without charging, creating or holding anything. */
enum counts_status counts_peek(struct counts *counts, const struct count_request *request, int64_t now_ms,
                               struct count_answer *answers);

/* Charges all asks without checking any (what another store admitted), and holds for hold_ms where it is not 0. */
enum counts_status counts_charge(struct counts *counts, const struct count_request *request, int64_t now_ms);

/* A store that stands on two (counts_pair_new) may answer from this process alone where counts_reserve() or
 * counts_peek() was not answered; before is what that said. Where the other store is back by then, it is asked after all.
 * COUNTS_DOWN: this store has nobody who stands in. */
enum counts_status counts_stand_in(struct counts *counts, bool peek, enum counts_status before,
                                   const struct count_request *request, int64_t now_ms,
                                   struct count_answer *answers);

/* The part of a change that this process counts itself; never waits. Leaves in *change what is to be told by
 * counts_change(), at once or later. Nothing to do in a store that stands alone. */
void counts_change_here(struct counts *counts, struct count_change *change, int64_t now_ms);

/* Applies changes to charges, each on its own; nothing goes below 0. A counter that is gone, or was born later than
 * change.born, is left alone (born INT64_MAX: whoever it is); slot -1 changes nothing. What is given back from a slot
 * that has left the window is gone already; what is added then counts as of now. */
enum counts_status counts_change(struct counts *counts, const struct count_change *changes, size_t n,
                                 int64_t now_ms);

/* Remembers which RCPTs were deferred, n at most COUNTS_DEFERRALS. A store that stands on two does not wait
 * here for the other one, but tells it later. */
enum { COUNTS_DEFERRALS = 256 };
enum counts_status counts_deferred(struct counts *counts, const struct count_deferral *deferrals, size_t n,
                                   int64_t now_ms);

/* Calls each() for every counter whose key matches one of the keys: a whole key
 * ("recipient:{a@example.com}"), or with a '*' at its beginning and/or end ("*:{a@example.com}*"). Slow with
 * many subjects; not for the path of a RCPT. each() must not call the store. */
typedef void counts_each_fn(void *arg, const struct count_view *view);
enum counts_status counts_show(struct counts *counts, const char *const *keys, size_t n, int64_t now_ms,
                               counts_each_fn *each, void *arg);

/* Deletes the matching counters, or with limit != NULL only that field. *n_reset: how many fields went. */
enum counts_status counts_reset(struct counts *counts, const char *const *keys, size_t n, const char *limit,
                                size_t *n_reset);

/* Appends an entry to the stream of events beside the counters ("prefix:events", which keeps the last 10,000
 * or so): words are names and values in turn. A store in memory has no stream: COUNTS_OK. COUNTS_UNSURE also
 * where the store refuses this one. */
enum counts_status counts_stream_add(struct counts *counts, const char *const *words, size_t n_words);

/* How often junk was found under a key of ours (another type, or text that is no counter) and replaced. 0 in memory. */
uint64_t counts_junk_resets(struct counts *counts);

/* In words, for status and log: "" while well, else what is wrong and what to do. */
void counts_trouble(struct counts *counts, struct error *out);

void counts_free(struct counts *counts); /* ends its threads; NULL is harmless */

/* The embedded store. max_subjects bounds its memory; beyond it the counter that ends first goes. */
struct counts *counts_memory_new(size_t max_subjects);

/* A store that stands on two: far answers, near counts along, so that it can stand in, warm, when far is away
 * (counts_pair.c says how). Takes over both; far may be NULL: always away. now: the clock that callers pass
 * as now_ms. NULL with err set: out of memory or threads; both are freed. */
typedef int64_t counts_now_fn(void *arg);
struct counts *counts_pair_new(struct counts *far, struct counts *near, counts_now_fn *now, void *arg,
                               struct error *err);

/* How many counters were brought up to date in far after it had been away or restarted. */
uint64_t counts_pair_merged(struct counts *pair);

struct counts_redis_config {
    const char *host; /* or */
    const char *path; /* of a unix socket */
    int port, db;
    const char *user, *password, *password_file; /* NULL: none */
    const char *prefix;
    int64_t timeout_ms; /* for one call, connect and answer together */
};

/* Redis. Starts connecting in the background and returns at once; while it is not connected, calls are
 * answered COUNTS_DOWN at once. Strings are copied. event (may be NULL) is told of each change between well
 * and down, from any thread. NULL with err set only when out of memory or threads. */
typedef void counts_event_fn(void *arg, bool down, const char *text);
struct counts *counts_redis_new(const struct counts_redis_config *config, counts_event_fn *event, void *arg,
                                struct error *err);

/* For tests that must hold both stores to the same vectors: Redis, too, then counts by now_ms of each call. */
void counts_redis_follow_caller_clock(struct counts *counts);

/* Waits until connected or timeout_ms went by; true when connected. For start-up and commands. */
bool counts_redis_wait(struct counts *counts, int64_t timeout_ms);

#endif
