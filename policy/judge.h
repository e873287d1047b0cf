/* judge: ranks what the rules and the limits said, and gives the verdict. Pure. */
#ifndef RCPTGATE_JUDGE_H
#define RCPTGATE_JUDGE_H

#include "plan.h"
#include "verdict.h"

/* Where the answers come from. */
enum counts_source {
    COUNTS_NONE = 0, /* nobody could answer */
    COUNTS_STORE,    /* the counter store that the policy names */
    COUNTS_LOCAL,    /* this process stands in for it: a full `max` of its own gives the limit's answer, less gives 4xx */
};

/* answers has plan->request.n elements (ignored for COUNTS_NONE). */
struct verdict judge(const struct policy *policy, const struct envelope *envelope,
                     const struct ruling *ruling, const struct plan *plan,
                     enum counts_source source, const struct count_answer *answers);

#endif
