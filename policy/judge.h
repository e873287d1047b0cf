/* judge: ranks what the rules and the limits said, and gives the verdict. Pure. */
#ifndef RCPTGATE_POLICY_JUDGE_H
#define RCPTGATE_POLICY_JUDGE_H

#include "policy/plan.h"
#include "policy/verdict.h"

/* Where the answers come from. */
enum count_source {
    COUNT_SOURCE_NONE = 0, /* nobody could answer */
    COUNT_SOURCE_STORE,    /* the counter store that the policy names */
    COUNT_SOURCE_LOCAL, /* this process stands in for it, or for a part of it (answers that are `local`; plan_localise()): a full
                        `max` of its own gives the limit's answer, less gives 4xx */
};

/* answers has plan->request.n elements (ignored for COUNT_SOURCE_NONE). What the store could not tell is
 * answered by counters.when_down; `local` that gets here was no help and is a 451. mode shadow is the
 * caller's. */
struct verdict judge(const struct policy *policy, const struct envelope *envelope,
                     const struct ruling *ruling, const struct plan *plan, enum count_source source,
                     const struct count_answer *answers);

/* The same for the shadow limits alone, which refuse nothing: the hardest answer that one of them would
 * have given, for the log. ACCEPT where none would. */
struct verdict judge_shadow(const struct policy *policy, const struct envelope *envelope,
                            const struct ruling *ruling, const struct plan *plan, enum count_source source,
                            const struct count_answer *answers);

#endif
