/* verdict: the one thing that leaves the core.
 *
 * A zeroed verdict is undecided, never accept. A 5xx or a discard needs its proof: there is no way to make one
 * without naming the rule row, the absence, the syntax error or the count that was read. */
#ifndef RCPTGATE_POLICY_VERDICT_H
#define RCPTGATE_POLICY_VERDICT_H

#include "base/action.h"
#include "base/count.h"
#include "policy/policy.h"
#include "policy/rules.h"
#include "policy/verdict_by.h"

struct verdict {
    enum action action; /* ACTION_NONE: undecided; decide() makes 451 of it */
    enum verdict_by by;
    const char *proof; /* the row or domain of a rule; "" for the rest. Lives as long as the ruling's pool */
    const struct limit *limit; /* VERDICT_BY_LIMIT, _RAMP: which; else NULL */
    int64_t used, max, wait_ms;
    int64_t age_ms; /* of used, where the limit counts the backlog; else 0 */
    /* Its template: the row's own text where that fits, else of the policy. Both NULL for ACCEPT and DISCARD. */
    const struct reply *reply;
    const char *row_reply; /* of the ruling, and lives as long */
};

/* The text of a limit that has none of its own, where action (defer or reject) is what it answers. */
enum reply_key verdict_limit_reply(const struct limit *limit, enum action action);

/* Copies the template. False: it answers with none, and *out is untouched. */
bool verdict_reply(const struct verdict *verdict, struct reply *out);

/* The only constructors. Each asserts its proof. */
struct verdict verdict_accept(void);
struct verdict verdict_backend(const struct policy *policy);
/* ruling must refuse or discard, and carry proof where it does so for good. */
struct verdict verdict_by_ruling(const struct policy *policy, const struct ruling *ruling);
/* What the limit itself says. Its proof is an answer that is OVER or HELD, and hard where that is for good. max is the ask's. */
struct verdict verdict_by_limit(const struct policy *policy, const struct limit *limit,
                                const struct count_ask *ask, const struct count_answer *answer);
/* The same, but "later": the answer is soft, or the limit may be no harder here. */
struct verdict verdict_by_limit_soft(const struct policy *policy, const struct limit *limit,
                                     const struct count_ask *ask, const struct count_answer *answer);
/* answer is OVER a max that a ramp has lowered, or a share that binds because of it: never harder than "later". wait_ms: until it
 * can get through. */
struct verdict verdict_by_ramp(const struct policy *policy, const struct limit *limit,
                               const struct count_ask *ask, const struct count_answer *answer,
                               int64_t wait_ms);

#endif
