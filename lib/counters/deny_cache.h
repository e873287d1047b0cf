/* deny_cache: the deny cache: what another store has just refused, remembered for a moment, so that a flood asks it a few
 * times a second and not once a RCPT.
 *
 * A request that was refused is answered the same again, for DENY_CACHE_MS at most and never beyond the moment
 * from which one of its limits could admit, or refuse softly where it was hard: what was taken has left by then. Only the very same request is (same counters, same limits): what
 * another of its limits would say could matter. A charge (another limit may now refuse, and harder), a charge that
 * is given back or settled, and a counter that is cleared drop the entries of that key. Refusals that were answered here are
 * counted, to be added to the store in batches. A request that counts attempts is never answered here: only the store
 * counts them.
 *
 * Bounded (a table of a fixed size, where the newer takes the place of the older); any thread at any time, with a lock
 * for each part of the table. */
#ifndef RCPTGATE_COUNTERS_DENY_CACHE_H
#define RCPTGATE_COUNTERS_DENY_CACHE_H

#include "base/count.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DENY_CACHE_MS = 900, /* what was cleared behind our back must show within a second */
    DENY_CACHE_ASKS = 8, /* of a request, at most */
};

struct deny_cache;

struct deny_cache_ticket { /* a request, as of before the store was asked */
    uint64_t name, version;
    bool eligible;
    uint64_t keys[DENY_CACHE_ASKS]; /* hashes of the asks' keys, where it is eligible */
};

/* seed: for the hashes in tickets. NULL: out of memory. */
struct deny_cache *deny_cache_new(const uint64_t seed[2]);
void deny_cache_free(struct deny_cache *cache);

/* True: answers are filled in, all of them; nothing was charged. False: ask the store, and hand the ticket to
 * deny_cache_put(). */
bool deny_cache_find(struct deny_cache *cache, const struct count_request *request, int64_t now_ms,
                     struct count_answer *answers, struct deny_cache_ticket *ticket);

/* Remembers what the store answered, if that was a refusal; if it was not, drops the entries of the keys that
 * were charged. */
void deny_cache_put(struct deny_cache *cache, const struct deny_cache_ticket *ticket,
                    const struct count_request *request, const struct count_answer *answers, int64_t now_ms);

void deny_cache_drop(struct deny_cache *cache, const char *key);
void deny_cache_drop_all(struct deny_cache *cache);

/* Calls each() for every counter that refused here since the last time: n times. */
typedef void deny_cache_refusal_fn(void *arg, const char *key, const char *limit, int64_t n);
void deny_cache_each_refusal(struct deny_cache *cache, deny_cache_refusal_fn *each, void *arg);

#endif
