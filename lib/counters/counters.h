/* counters: a counter store: in this process (memory), in Redis with the same semantics, or one that stands on both.
 *
 * The sliding count: a window is cut into 10 slots by the clock; used is what the current slot and the 10 before it
 * hold. Any span of one window touches at most 11 slots, so never more than max are admitted in any span;
 * 1.1 windows of silence empty them all.
 *
 * All functions may be called from any thread at any time. */
#ifndef RCPTGATE_COUNTERS_H
#define RCPTGATE_COUNTERS_H

#include "base/count.h"
#include "base/error.h"
#include "counters/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Checks all asks and charges all or none. answers has request->n elements. A status other than COUNTERS_OK: the store did not
 * answer all; the others are COUNT_UNKNOWN (zeroed), or, where somebody stands in (request->local, failover_new()), the
 * answers of this process alone (`local`). now_ms: Unix time; the memory store counts by it, Redis by its own
 * clock.
 *
 * Where the keys are at several sites of a store, one part is asked after the other, and what is asked all the time may have been charged
 * ahead: what a receipt says was charged although another part refused is the caller's to give back. */
enum counters_status counters_reserve(struct counters *counters, const struct count_request *request,
                                      int64_t now_ms, struct count_answer *answers);

/* The same answers without charging, creating or holding anything. */
enum counters_status counters_peek(struct counters *counters, const struct count_request *request,
                                   int64_t now_ms, struct count_answer *answers);

/* Charges all asks without checking any (what another store admitted), and holds for hold_ms where it is not 0. */
enum counters_status counters_charge(struct counters *counters, const struct count_request *request,
                                     int64_t now_ms);

/* The part of a change that this process counts itself; never waits. Leaves in *change what is to be told by
 * counters_change(), later: nothing where slot is -1 and at_ms is 0. */
void counters_change_here(struct counters *counters, struct count_change *change, int64_t now_ms);

/* Applies changes to charges, each on its own; nothing goes below 0, and no more of a slot is open than was counted. A counter
 * that is gone, or was born at another time than change.created, is left alone (INT64_MAX: whoever it is), and so is what has
 * left the window, but for change.late, which then counts as of change.at_ms.
 *
 * What was made, or may have been, is marked: nothing is left to be told of it (see counters_change_here()). COUNTERS_DOWN: something
 * surely was not made, and is not marked. */
enum counters_status counters_change(struct counters *counters, struct count_change *changes, size_t n,
                                     int64_t now_ms);

/* What is settled together must be at one site: a number of the store's, the same for all keys of most stores. */
unsigned counters_site(struct counters *counters, const char *key);

/* The same of the bytes of one message at its end, all or none, after the check of each: answers say which limit is over. n at
 * most COUNTERS_SETTLE_MOST, all of one site. Waits for the store until the deadline (as in struct count_request), and does the
 * part of this process with it. Nothing is marked. */
enum { COUNTERS_SETTLE_MOST = 64 };
enum counters_status counters_settle(struct counters *counters, const struct count_change *changes, size_t n,
                                     int64_t now_ms, int64_t deadline, struct count_answer *answers);

/* By this process alone, where counters_settle() was not answered; before is what that said. Leaves in the changes what is to be
 * told by counters_change() later. COUNTERS_DOWN: this store has nobody who stands in. */
enum counters_status counters_settle_here(struct counters *counters, enum counters_status before,
                                          struct count_change *changes, size_t n, int64_t now_ms,
                                          struct count_answer *answers);

/* Remembers which RCPTs were deferred, n at most COUNTERS_DEFERRALS. A store that stands on two does not wait
 * here for the other one, but tells it later. What was remembered, or may have been, gets n = 0. */
enum { COUNTERS_DEFERRALS = 256 };
enum counters_status counters_deferred(struct counters *counters, struct count_deferral *deferrals, size_t n,
                                       int64_t now_ms);

/* Calls each() for every counter whose key matches one of the keys: a whole key
 * ("recipient:{a@example.com}"), or with a '*' at its beginning and/or end ("*:{a@example.com}*"). Slow with
 * many subjects; not for the path of a RCPT. each() must not call the store. */
enum counters_status counters_show(struct counters *counters, const char *const *keys, size_t n,
                                   int64_t now_ms, counters_each_fn *each, void *arg);

/* Deletes the matching counters, or with limit != NULL only that field. *n_reset: how many fields went. */
enum counters_status counters_reset(struct counters *counters, const char *const *keys, size_t n,
                                    const char *limit, size_t *n_reset);

/* How often junk was found under a key of ours (another type, or text that is no counter) and replaced. 0 in memory. */
uint64_t counters_junk_resets(struct counters *counters);

/* When what answers for a key was asked again after it had been away while other parts of the store were not (Unix time in ms); 0: never. */
int64_t counters_back_ms(struct counters *counters, const char *key);

/* Which part of the store does not answer, and why, where others do: what counters_show() and counters_reset() then miss. "": all do. */
void counters_missing(struct counters *counters, struct error *out);

/* In words, for status and log: "" while well, else what is wrong and what to do. */
void counters_condition(struct counters *counters, struct error *out);

void counters_free(struct counters *counters); /* ends its threads; NULL is harmless */

#endif
