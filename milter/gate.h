/* gate: what the process has: the policy in force, the alias rules, the counters, and all open sessions. */
#ifndef RCPTGATE_GATE_H
#define RCPTGATE_GATE_H

#include "backlog.h"
#include "blocks.h"
#include "counts.h"
#include "error.h"
#include "events.h"
#include "later.h"
#include "metrics.h"
#include "policy.h"
#include "ramp_clock.h"
#include "ruledb.h"
#include "trouble.h"

#include <pthread.h>
#include <stdatomic.h>

struct session;

struct gate {
    pthread_mutex_t lock; /* guards policy (to be changed, or given a reference) and sessions */
    const struct policy *_Atomic policy;
    struct session *sessions; /* doubly linked, through session->next and ->previous */
    atomic_bool stopping;

    /* Set once at the start; these parts of a policy need a restart. */
    struct ruledb *rules;  /* NULL: no alias rules */
    struct counts *counts; /* what is asked; never NULL. Where it is not the embedded one it stands on: */
    struct counts *redis;  /* the store that the policy names; NULL: none can be had */
    struct counts *local;  /* counts along, and stands in for it */
    struct later *later;
    struct ramp_clock ramp;
    struct backlog *backlog;  /* knows nothing until backlog_start() */
    struct blocks *blocks;    /* memory alone until blocks_load() and blocks_start() */
    struct troubles troubles; /* what is wrong now */
    struct metrics metrics;
    struct events *events;
    const char *policy_file; /* borrowed; NULL: not known. For status */
    int64_t policy_since_ms; /* when the policy in force was put in force; under lock */
    uint64_t counts_merged;  /* as housekeeping last saw it */
    uint64_t log_dropped;    /* as housekeeping last saw it, and when */
    int64_t log_dropped_ms;
    char host[256];
    int64_t started_ms;
    int64_t (*now_ms)(void *arg); /* Unix time; tests bring their own */
    void *now_arg;
};

/* A gate with everything that the policy names. Takes over the caller's reference to policy. counts_event may
 * be NULL. 0, or -1 with err set; gate_done() is then harmless. */
int gate_init(struct gate *gate, const struct policy *policy, counts_event_fn *event, struct error *err);
void gate_done(struct gate *gate);

int64_t gate_now(const struct gate *gate);

/* The policy in force, with a reference for the caller. */
const struct policy *gate_policy(struct gate *gate);

/* Puts policy in force for every message from now on; takes over the reference. */
void gate_set_policy(struct gate *gate, const struct policy *policy);

/* Around every callback of a session that needs the gate: false when it is stopping and the callback must
 * answer "later" at once. Who frees the session does not leave. */
bool gate_enter(struct gate *gate, struct session *session);
void gate_leave(struct gate *gate, struct session *session);

/* Lets no new callback in, waits up to wait_ms for those under way, then gives back what open sessions have
 * reserved; a session that is still in use then keeps its reservations until their windows end. False: some
 * are under way still, and gate_done() would free what they use. */
bool gate_stop(struct gate *gate, int wait_ms);

#endif
