/* chain: a request whose keys are at several sites of a store (store.h), as a chain of parts, each asked of one site.
 *
 * Parts without hard asks come first, so that what is open where a limit answers for good is not what another limit refuses a moment
 * later. Once a part has refused, the rest is asked what it says to it (the hardest answer wins) and charged for attempts alone; what
 * the first ones were charged stays in the answers, as receipts that the caller gives back. Where strangers make new keys and
 * their overflow key is at another site: is the key there? Else may there be another one? Else the overflow key.
 *
 * A part that is known to be refused for good is answer enough, where no attempts are to be counted: the rest stays COUNT_UNKNOWN. */
#ifndef RCPTGATE_COUNTERS_CHAIN_H
#define RCPTGATE_COUNTERS_CHAIN_H

#include "store.h"

struct chain_ops {
    /* Asks one part, whose keys are all of one site. splittable: COUNTERS_SPLIT is of use. */
    enum counters_status (*ask)(void *arg, unsigned site, enum counters_mode mode,
                                const struct count_request *part, bool splittable, int64_t now_ms,
                                struct count_answer *answers);
    /* What a part was refused a moment ago; false: it was not, as far as is known. */
    bool (*known)(void *arg, const struct count_request *part, int64_t now_ms, struct count_answer *answers);
    /* What the store (not this process in its place) answered; sets `here`. */
    void (*record)(void *arg, const struct count_request *part, int64_t now_ms, struct count_answer *answers);
};

/* As counters_reserve() or counters_peek(), or counters_charge() (answers may be NULL). request->pair is not looked at; retry is. */
enum counters_status chain_ask(struct counters *store, const struct chain_ops *ops, void *arg,
                               enum counters_mode mode, const struct count_request *request, int64_t now_ms,
                               struct count_answer *answers);

#endif
