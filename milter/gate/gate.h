/* gate: what the process has: the context that all its parts share, the alias rules, the counters, the blocks,
 * and what limits look at besides. It owns them; of the sessions that use it, it knows nothing. */
#ifndef RCPTGATE_GATE_H
#define RCPTGATE_GATE_H

#include "gate/queue_monitor.h"
#include "blocks/blocks.h"
#include "gate/context.h"
#include "counters/counters.h"
#include "base/error.h"
#include "counters/refunds.h"
#include "policy/policy.h"
#include "gate/ramp_clock.h"
#include "redis/client.h"
#include "aliases/aliases.h"

struct gate {
    struct context context;

    /* Set once at the start; these parts of a policy need a restart. */
    const struct policy *started; /* with what they were set up */
    struct aliases *rules;        /* NULL: no alias rules */
    struct counters *counters;    /* what is asked; never NULL */
    struct counters *
        local; /* what counts along in this process, and is the fallback; NULL where counters is the embedded store */
    struct refunds *refunds;
    struct ramp_clock ramp;
    struct queue_monitor *backlog; /* knows nothing until queue_monitor_start() */
    struct blocks *blocks;         /* memory alone until blocks_load() and blocks_start() */
    const char *policy_file;       /* borrowed; NULL: not known. For status */
    bool as_taken;                 /* as in struct envelope */
};

/* A gate with everything that the policy names. Takes over the caller's reference to policy. event, called
 * with the gate's context, may be NULL. 0, or -1 with err set; gate_done() is then harmless. */
int gate_init(struct gate *gate, const struct policy *policy, redis_event_fn *event, struct error *err);
void gate_done(struct gate *gate);

/* Puts policy in force for every message from now on; takes over the reference. */
void gate_set_policy(struct gate *gate, const struct policy *policy);

#endif
