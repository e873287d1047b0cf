/* denials: what another store has just refused, remembered for a moment, so that a flood asks it a few times
 * a second and not once a RCPT.
 *
 * A request that was refused is answered the same again, for DENIALS_MS at most and never beyond the moment
 * from which one of its limits could admit. Only the very same request is (same counters, same limits): what
 * another of its limits would say could matter. Requests that count attempts are not remembered: each of them
 * must be counted. A charge (another limit may now refuse, and harder), a charge that is given back, and a
 * counter that is cleared drop the denials of that key. Refusals that were answered here are counted, to be
 * added to the store in batches.
 *
 * Bounded (a table of a fixed size, where the newer takes the place of the older); any thread at any time,
 * with a lock for each part of the table. */
#ifndef RCPTGATE_DENIALS_H
#define RCPTGATE_DENIALS_H

#include "count.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DENIALS_MS = 900 }; /* what was cleared behind our back must show within a second */

struct denials;

struct denial_ticket { /* names a request, as of before the store was asked */
    uint64_t name[2], version;
    bool eligible;
};

struct denials *denials_new(void); /* NULL: out of memory */
void denials_free(struct denials *denials);

/* True: answers are filled in, all of them; nothing was charged. False: ask the store, and hand the ticket to
 * denials_put(). */
bool denials_find(struct denials *denials, const struct count_request *request, int64_t now_ms,
                  struct count_answer *answers, struct denial_ticket *ticket);

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

#endif
