/* plan: which limits one RCPT meets, and under which keys. Pure.
 *
 * A limit is left out when a condition does not hold, when the RCPT lacks its subject, when the client is
 * exempt, when this message has been charged for it already (messages, bytes), or when it must not count
 * refused or discarded recipients. */
#ifndef RCPTGATE_POLICY_PLAN_H
#define RCPTGATE_POLICY_PLAN_H

#include "base/count.h"
#include "policy/policy.h"
#include "base/pool.h"
#include "policy/rules.h"

/* A charge of this message that still can be given back. */
struct receipt {
    const struct limit *limit;
    const char *key; /* that was asked for; it may have been charged to the overflow key in its place */
    struct count_change charge; /* key is where it was charged; amount and open as charged */
    bool hard;                  /* the store is told when it is taken */
    bool settled;               /* its bytes are taken already */
    struct receipt *next;
};

/* What a limit that counts the backlog asks of Postfix's queue. No store is asked and nothing is charged: the
 * caller fills in what was read, before judge(). */
struct backlog_ask {
    const struct limit *limit;
    const char *subject;   /* its text, as the queue shows it: canonical */
    int64_t max, headroom; /* as in struct count_ask: what a ramp allows, and keeps back */
    bool known;            /* from here on facts; false: nobody can tell, and nothing is refused */
    int64_t waiting;       /* messages */
    int64_t age_ms;        /* of that number */
};

struct plan { /* asks[i] belongs to limits[i] */
    struct count_request request;
    const struct limit **limits;
    struct backlog_ask *backlogs;
    size_t n_backlogs;
};

/* held: what this message holds already. pair in the request is set where some ask is an attempt (but in shadow). Memory
 * from the pool. 0, or -1 when out of memory. An empty plan has request.n == 0. */
int plan_make(const struct policy *policy, const struct envelope *envelope, const struct ruling *ruling,
              const struct receipt *held, struct pool *pool, struct plan *out);

/* What a retry of this RCPT is known by: its sender and recipient, each canonical with its subaddress, from whatever client
 * (big senders retry from a pool); for the null sender the client network, too. */
void plan_pair(const struct envelope *envelope, struct count_pair *out);

/* The look at a client's holds when it connects: only `per: client` limits with `hold` and `over: reject`.
 * client is its whole address. Empty for exempt.clients; that a client rule makes it exempt is the
 * caller's to know. */
int plan_connect(const struct policy *policy, const struct network *client, struct pool *pool,
                 struct plan *out);

/* Is there a limit at all that such a look is for? */
bool plan_looks_at_connect(const struct policy *policy);

/* Makes the plan one to be asked again, in which attempts are counted already, and none was refused: nor is one that came before
 * others did. What answers say was refused is no second refusal. 0, or -1 (out of memory, plan untouched). */
int plan_again(struct plan *plan, const struct count_answer *answers, struct pool *pool);

/* Lets this process alone answer the plan in place of a store that is down, or of a part of it (request.local): each
 * max is then counters.local_share of it (at least 1). judge() knows by an answer that is `local` that less than the whole
 * max was asked for. So what gets 4xx for the share is not charged, and its wait is the store's. A ramp stays
 * in it. max + headroom is the whole max as before, so that less than that trips no hold: it would outlast the
 * fault, on every host. 0, or -1 (out of memory, plan untouched). */
int plan_localise(const struct policy *policy, struct plan *plan, struct pool *pool);

/* For how long the ramp of a limit has lasted, of what is counted under a key; NULL: of nothing in particular. */
int64_t plan_ramp_age(const struct envelope *envelope, const struct limit *limit, const char *key);

/* Does the limit answer 4xx at most? The null sender and exempt recipients do not meet more, unless it is for the null sender. */
bool plan_is_soft(const struct envelope *envelope, const struct ruling *ruling, const struct limit *limit);

/* What a limit counts in a store, which counts no backlog. */
enum count_unit plan_unit(const struct limit *limit);

/* What counters.local_share leaves of a max. */
int64_t plan_local_max(const struct policy *policy, int64_t max);

#endif
