/* denials: what another store has just refused, remembered for a moment, so that a flood asks it a few times
 * a second and not once a RCPT.
 *
 * A request that was refused is answered the same again, for DENIALS_MS at most and never beyond the moment
 * from which one of its limits could admit. Only the very same request is (same counters, same limits): what
 * another of its limits would say could matter. A charge (another limit may now refuse, and harder), a charge that
 * is given back, and a counter that is cleared drop the denials of that key. Refusals that were answered here are
 * counted, to be added to the store in batches.
 *
 * Attempts are counted here meanwhile, each with the identifier it may be known by as a retry: the store is told
 * of all of them, in batches, and it alone says which were retries and do not count. So a request that counts attempts
 * is remembered only as long as its answer is the same whether it is a retry or not, and whatever this process
 * has counted since:
 * - a limit on attempts that admitted has room for all that were made here since, and one more;
 * - one that refused is held, or is over by itself until a slot leaves its window, and has no hold to be tripped.
 * The store is asked again only after it was told what it lacks of the counters in question (denials_lacks()): it
 * always answers by a whole count of this process's attempts, and a limit trips at its max. Attempts on other hosts, and on
 * this one at the very same moment, make it known up to DENIALS_MS later: refused softer, not admitted.
 * Not remembered: attempts in windows shorter than DENIALS_WINDOW_MS (half a second later is another time there),
 * with shares or spill keys, and requests that were retries themselves.
 *
 * Bounded (a table of a fixed size, where the newer takes the place of the older; attempts that find no room ask the
 * store); any thread at any time, with a lock for each part of the table. */
#ifndef RCPTGATE_DENIALS_H
#define RCPTGATE_DENIALS_H

#include "count.h"
#include "untold.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DENIALS_MS = 900,          /* what was cleared behind our back must show within a second */
    DENIALS_WINDOW_MS = 10000, /* of attempts, at least */
    DENIALS_ASKS = 8,          /* of a request, at most */
};

struct denials;

struct denial_ticket { /* names a request, as of before the store was asked */
    uint64_t name[2], version;
    int64_t base
        [DENIALS_ASKS]; /* of each ask that counts attempts: what was made here since is counted from it */
    bool eligible;
};

struct denials *denials_new(void); /* NULL: out of memory */
void denials_free(struct denials *denials);

/* True: answers are filled in, all of them; nothing was charged, and attempts are noted, unless this is known to be a
 * retry. False: ask the store, and hand the ticket to denials_put(). */
bool denials_find(struct denials *denials, const struct count_request *request, bool retry, int64_t now_ms,
                  struct count_answer *answers, struct denial_ticket *ticket);

/* Does the store have to be told of attempts first, so that it can answer? */
bool denials_lacks(const struct denials *denials, const struct count_request *request);

/* Remembers what the store answered, if that was a refusal; if it was not, drops the denials of the keys that
 * were charged. */
void denials_put(struct denials *denials, const struct denial_ticket *ticket,
                 const struct count_request *request, const struct count_answer *answers, int64_t now_ms);

void denials_drop(struct denials *denials, const char *key);
void denials_drop_all(struct denials *denials);

/* Is there anything for denials_each_refusal()? */
bool denials_pending(const struct denials *denials);

/* Calls each() for every counter that refused here since the last time: n times. */
typedef void denials_refusal_fn(void *arg, const char *key, const char *limit, int64_t n);
void denials_each_refusal(struct denials *denials, denials_refusal_fn *each, void *arg);

/* Takes out the attempts that were noted (see untold_take(); who is a denial). Of each denial, then, denials_charge()
 * says what amount attempts are charged to: returns how many changes, their texts borrowed; and when they were told,
 * or given up, denials_told() forgets them: n, retries included. */
size_t denials_take(struct denials *denials, struct untold **out);
size_t denials_charge(struct denials *denials, uint16_t who, int64_t amount,
                      struct count_change out[DENIALS_ASKS]);
void denials_told(struct denials *denials, uint16_t who, int64_t n);

#endif
