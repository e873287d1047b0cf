/* retries: the RCPTs that were answered 4xx and may come again uncounted, remembered in this process: for each pair (see
 * struct count_pair) and half-day when the first of the young ones was deferred, how many are young (less than a minute
 * old) and how many ripe, and from which client network the last one came. What is ripe lets any RCPT of the pair pass,
 * what is young only one from another client network.
 *
 * Bounded (sets of a fixed size, the oldest of a set giving way), thread-safe; one that was forgotten counts as new.
 * It also knows how many of them another store is yet to be told of (unsynced): the newest ones. */
#ifndef RCPTGATE_COUNTERS_RETRIES_H
#define RCPTGATE_COUNTERS_RETRIES_H

#include "base/count.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct retries;

struct retries *retries_new(void); /* NULL: out of memory */
void retries_free(struct retries *retries);

void retries_note(struct retries *retries, const struct count_deferral *deferral, int64_t now_ms);

/* Is this RCPT a retry? One that waits for its pair is then used up, unless look. */
bool retries_take(struct retries *retries, const struct count_pair *pair, int64_t now_ms, bool look);

/* Takes out up to n, at least 2, that the other store is yet to be told of; they are on their way then, until retries_arrived(). Returns
 * how many. */
size_t retries_collect(struct retries *retries, int64_t now_ms, struct count_deferral *out, size_t n);

/* The same of one pair, this half-day, and those that are on their way already: told twice they let one more pass, not told in time they
 * would count. False: nothing. */
bool retries_collect_pair(struct retries *retries, const struct count_pair *pair, int64_t now_ms,
                          struct count_deferral *out);

/* The other store was told of them, but for those whose n is still more than 0: these are unsynced again. */
void retries_arrived(struct retries *retries, const struct count_deferral *list, size_t n);

/* The other store may have lost them: it is to be told of all once more. */
void retries_unsync(struct retries *retries);

#endif
