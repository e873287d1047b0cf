/* retries: which RCPTs were deferred, remembered in this process: 128 bits of hash and the time each, in sets of a fixed
 * size, the oldest of a set giving way. Bounded, thread-safe; one that was forgotten counts as new. */
#ifndef RCPTGATE_RETRIES_H
#define RCPTGATE_RETRIES_H

#include <stdbool.h>
#include <stdint.h>

struct retries;

struct retries *retries_new(void); /* NULL: out of memory */
void retries_free(struct retries *retries);

void retries_add(struct retries *retries, const char *retry, int64_t now_ms);

/* Was it deferred long enough ago to be no hammering, and not too long ago? retry may be NULL. */
bool retries_known(struct retries *retries, const char *retry, int64_t now_ms);

#endif
