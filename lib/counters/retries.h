/* retries: which RCPTs were deferred, remembered in this process: identifier and time of each, in sets of a
 * fixed size, the oldest of a set giving way. Bounded, thread-safe; one that was forgotten counts as new.
 *
 * It also knows which of them another store is yet to be told of (unsynced). */
#ifndef RCPTGATE_COUNTERS_RETRIES_H
#define RCPTGATE_COUNTERS_RETRIES_H

#include "base/count.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct retries;

struct retries *retries_new(void); /* NULL: out of memory */
void retries_free(struct retries *retries);

void retries_add(struct retries *retries, const struct count_deferral *deferral);

/* Was it deferred long enough ago to be no hammering, and not too long ago? retry may be NULL. */
bool retries_known(struct retries *retries, const char *retry, int64_t now_ms);

/* Up to n that the other store is yet to be told of, from *cursor on (0 at first); returns how many. */
size_t retries_unsynced(struct retries *retries, size_t *cursor, struct count_deferral *out, size_t n);

/* It was told these. What was deferred again meanwhile is to be told again. */
void retries_synced(struct retries *retries, const struct count_deferral *synced, size_t n);

/* It may have lost them: all are to be told once more. */
void retries_unsync(struct retries *retries);

#endif
