/* decide: the straight line of one RCPT, from what Postfix said to the verdict.
 *
 *   address -> candidate rows -> ruling -> plan      pure but for the fetch
 *   reserve                                          one round trip
 *   judge                                            pure
 *
 * The milter charges; `explain` walks the same line and only looks. */
#ifndef RCPTGATE_MILTER_DECIDE_H
#define RCPTGATE_MILTER_DECIDE_H

#include "gate/gate.h"
#include "policy/judge.h"

struct facts { /* one RCPT, borrowed */
    const struct network *client;
    const char *user; /* SASL login; NULL: none */
    const struct address *sender;
    const char *sender_raw; /* as received */
    const char *recipient;  /* what Postfix resolved, or the raw argument; as decide_recipient() saw it */
    bool resolved;
    bool unsure;                /* who it is, or who sends, is not known for sure: nothing is proven */
    int64_t size;               /* -1: not declared */
    const struct receipt *held; /* what the message holds already */

    uint64_t *no_client_rule; /* as in struct ruling_question */
};

struct decision { /* everything between facts and verdict; memory of the pool */
    struct address recipient;
    struct error invalid; /* why recipient is no address; "" when it is one */
    /* decide_recipient() zeroes all from here on */
    struct envelope envelope;
    struct ruling ruling;
    struct plan plan;
    enum count_source source;
    struct count_answer *answers;
    struct verdict verdict;
    struct verdict shadow; /* the hardest that a shadow limit would have said; accept: none */
};

/* The first step, apart since a second spelling of an accepted recipient needs no more: zeroes the decision
 * and parses its recipient. */
void decide_recipient(const struct policy *policy, const char *recipient, struct decision *out);

/* The others. Charges when the verdict lets the RCPT through, else charges nothing but attempts. peek:
 * charges nothing at all. Always leaves a verdict in *out: out of memory is a backend that cannot answer. */
void decide(struct gate *gate, const struct policy *policy, const struct facts *facts, bool peek,
            struct pool *pool, struct decision *out);

/* What the i-th ask of the decision charged; false: nothing that could be given back. */
bool decide_charge(const struct decision *decision, size_t i, struct count_change *out);

/* The reply line of the verdict. */
void decide_reply(const struct decision *decision, struct reply_line *out);

#endif
