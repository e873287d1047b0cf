/* count: what the core asks of a counter store, and what the store answers.
 *
 * The core (policy/plan.h) writes the asks, a store (lib/counters/counters.h) answers them, the core (policy/judge.h)
 * reads the answers. A request is all or nothing: the store checks every ask before it charges any. */
#ifndef RCPTGATE_BASE_COUNT_H
#define RCPTGATE_BASE_COUNT_H

#include "base/network.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum count_flag {
    COUNT_ATTEMPT = 1,   /* charged also when the request is refused; not charged when it is a retry */
    COUNT_SHADOW = 2,    /* its refusal refuses nothing; it is then not charged itself */
    COUNT_HOLD_ONLY = 4, /* look whether the limit is held; do not check or charge the count */
    COUNT_EXISTING =
        16, /* between stores: its key must be there, else the whole request is not charged, and the ask COUNT_ABSENT */
    COUNT_AGAIN =
        64, /* it was refused a moment ago, and is looked at anew: that refusal is the one that counts, or counts no more */
    COUNT_REJECT = 32, /* its hard answer is a 5xx, which nothing else makes harder or softer */
    COUNT_HARD =
        8, /* its limit may answer for good, or holds: what it reserves is open until its message ends. What others reserve (but
              attempts) proves no hard answer: a limit may have been soft a moment ago, or be so at another gate */
};

/* What a limit counts. A counter that counted something else begins anew. */
enum count_unit {
    COUNT_UNIT_RECIPIENTS,
    COUNT_UNIT_MESSAGES,
    COUNT_UNIT_BYTES,
    COUNT_UNIT_ATTEMPTS,
    COUNT_UNITS,
};

const char *count_unit_name(enum count_unit unit);                      /* "recipients" */
bool count_unit_find(const char *name, size_t n, enum count_unit *out); /* false: no such name of n bytes */

struct count_ask {
    const char *key;   /* "recipient:{a@example.com}"; the store puts its prefix and ':' in front */
    const char *limit; /* name of the limit: the field in the key */
    enum count_unit unit;
    int64_t max;       /* 0..10^15 */
    int64_t window_ms; /* 1,000..31 days */
    int64_t amount;    /* charged when admitted; >= 0 */
    int64_t need;      /* refused when used + need > max (bytes ask for 1 where no size was declared) */
    int64_t
        hold_ms; /* once over, held this long; 0: no hold. A hold found longer is cut to it, so COUNT_HOLD_ONLY
                          needs it too. A retry trips none */
    int64_t
        headroom; /* a hold trips, and an answer is hard, only where max + headroom is full: by how much max was
                       lowered for a while; >= 0 */
    int64_t ttl_ms; /* the key's time to live after this charge */
    unsigned flags;
    int share_of;        /* index of the ask of which this one is a source's share; -1: a limit itself.
                            Always less than its own index */
    int64_t share_above; /* the share binds once used of that ask is at least this */
    /* The key to use instead when key is new and new_max new ones were counted in the last minute: strangers share
     * it, so it is never held. NULL: key is always used */
    const char *overflow;
    const char *new_key; /* where new keys are counted, "new:{example.com}"; set where overflow is */
    int64_t new_max;
};

/* What a retry is known by. */
struct count_pair {
    char id[33]; /* of sender and recipient, and for the null sender of the client network: [0-9a-f]{32} */
    struct network client; /* the network that the RCPT comes from */
};

/* RCPTs of a pair that were answered 4xx: each lets a later one pass uncounted. */
struct count_deferral {
    int64_t at_ms; /* when */
    int n;         /* how many */
    bool least;    /* the store may know of them: so many wait for the pair, at least */
    int on_way;    /* of struct retries: how many it has sent on their way with this one */
    struct count_pair pair;
};

struct count_request {
    const struct count_ask *asks;
    size_t n;
    const struct count_pair *pair;         /* NULL where no ask has COUNT_ATTEMPT */
    const struct count_deferral *deferred; /* to be noted before the pair is looked for; NULL: nothing */
    /* The same asks as this process may answer them where the store does not: their max can be lower. NULL: nobody stands in.
     * Keys, limits and the rest are those of asks. */
    const struct count_ask *local;
    const uint64_t *
        hashes; /* between stores of this process, which have one seed: of the key of each ask; NULL: not known */
    bool
        refused; /* of a part of a request: another part refused already, so that only attempts are charged */
    bool retry;  /* the same: it is known to be one, or (no pair) not */
    int64_t
        deadline; /* until when the store may wait (CLOCK_MONOTONIC, ns); 0: its own timeout from now on */
};

enum count_result {
    COUNT_UNKNOWN = 0, /* the store could not tell */
    COUNT_ADMITTED,    /* within the limit (charged only if the whole request was admitted) */
    COUNT_OVER,
    COUNT_HELD,
    COUNT_ABSENT, /* see COUNT_EXISTING */
};

struct count_answer {
    enum count_result result;
    bool overflowed; /* the overflow key was asked: the answer is 4xx at most */
    bool
        local; /* it is the answer of this process alone, in place of the store's: to what count_request.local asks */
    bool unsynced; /* counted here alone so far, to be added to the store that answers otherwise */
    bool retry;    /* the store knew it as a retry: no attempt was charged */
    bool hard;     /* a refusal for which what was taken is enough (or a hold): it may be for good */
    int64_t used;  /* before this request */
    int64_t taken; /* of that, what no message under way can give back */
    int64_t
        wait_ms; /* until need fits (and the hold that this tripped has ended), or the hold ends, or the share binds
                        no more; 0 when admitted; 1.1 windows where need is above max */
    int64_t hard_ms; /* a hard answer is sure to stay so for so long; 0: it is soft */
    /* The receipt, by which the charge can be given back: */
    int64_t slot;    /* where it was charged; -1: nothing was charged */
    int64_t created; /* of the counter (charged or not): one that was deleted since has another */
    int64_t here;    /* where this process counted it as well, beside the store that answers; -1: nowhere */
};

/* What the end of a message asks before its bytes count (counters_settle()). */
enum count_check {
    COUNT_CHECK_NOTHING = 0,
    COUNT_CHECK_FULL, /* refuse where used >= max: nobody said how long the message would be. Open or taken: else it and what is
                         declared beside it would overshoot together */
    COUNT_CHECK_FIT, /* refuse where used + amount > max: it is longer than declared */
};

/* A charge that is changed later: given back (-a, -a), or settled (d, -a): a what was charged, d the bytes that came less
 * those that were reserved. */
struct count_change {
    const char *key;
    const char *limit;
    enum count_unit unit; /* a counter that counts something else by now is left alone */
    int64_t window_ms;
    int64_t slot,
        created; /* from the receipt. Only the clock that made slot may be compared with it. slot -1: see at_ms */
    int64_t amount, open; /* what is added to the count of that slot, and to the open part of it */
    int64_t here;         /* from the receipt */
    int64_t
        at_ms; /* by the caller's clock: when the change was made; where slot is -1, when the charge was: the store
                      then finds its own slot by how long ago that is. 0: now, and slot -1 changes nothing */
    int64_t
        late; /* what counts as of at_ms, and as taken, where the slot has left the window: all the bytes; else 0 */
    int64_t max, ttl_ms; /* of the limit, where late or check is set */
    enum count_check check;
    bool unsynced; /* from the receipt */
};

/* One counter as `show` prints it. */
struct count_view {
    const char *key; /* without the prefix */
    const char *limit;
    enum count_unit unit;
    int64_t used, max, window_ms;
    int64_t refused;  /* since the counter was created */
    int64_t held_ms;  /* what is left of its hold; 0: none */
    int64_t reset_ms; /* until its whole allowance is back */
};

#endif
