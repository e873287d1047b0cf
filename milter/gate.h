/* gate: what the process has: the context that all its parts share, the alias rules, the counters, the blocks,
 * and what limits look at besides. It owns them; of the sessions that use it, it knows nothing. */
#ifndef RCPTGATE_GATE_H
#define RCPTGATE_GATE_H

#include "backlog.h"
#include "blocks.h"
#include "context.h"
#include "counts.h"
#include "error.h"
#include "refunds.h"
#include "policy.h"
#include "ramp_clock.h"
#include "redis.h"
#include "refunds.h"
#include "ruledb.h"

struct gate {
    struct context context;

    /* Set once at the start; these parts of a policy need a restart. */
    struct ruledb *rules;  /* NULL: no alias rules */
    struct counts *counts; /* what is asked; never NULL. Where it is not the embedded one it stands on */
    struct counts *local;  /* the one that counts along, and stands in, and on context.redis */
    struct refunds *refunds;
    struct ramp_clock ramp;
    struct backlog *backlog; /* knows nothing until backlog_start() */
    struct blocks *blocks;   /* memory alone until blocks_load() and blocks_start() */
    const char *policy_file; /* borrowed; NULL: not known. For status */
};

/* A gate with everything that the policy names. Takes over the caller's reference to policy. event, called
 * with the gate's context, may be NULL. 0, or -1 with err set; gate_done() is then harmless. */
int gate_init(struct gate *gate, const struct policy *policy, redis_event_fn *event, struct error *err);
void gate_done(struct gate *gate);

/* Puts policy in force for every message from now on; takes over the reference. */
void gate_set_policy(struct gate *gate, const struct policy *policy);

#endif
