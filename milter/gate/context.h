/* context: what every part of the gate needs: the time, the name of this host, the policy in force, what is
 * wrong, what happened, and what all hosts share. Knows none of those parts.
 *
 * Any thread, any time, between context_init() and context_done(). */
#ifndef RCPTGATE_GATE_CONTEXT_H
#define RCPTGATE_GATE_CONTEXT_H

#include "redis/client.h"
#include "base/error.h"
#include "gate/events.h"
#include "gate/history.h"
#include "gate/metrics.h"
#include "gate/refusals.h"
#include "policy/policy.h"
#include "gate/conditions.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct context {
    pthread_mutex_t lock; /* guards policy (to be changed, or given a reference) and policy_since_ms */
    const struct policy *_Atomic policy;
    int64_t policy_since_ms; /* when it was put in force */
    int64_t started_ms;
    char host[256];
    struct conditions conditions; /* what is wrong now */
    struct events *events;
    struct metrics metrics;
    struct history history;
    struct refusals *refusals;    /* NULL: out of memory, and nothing is remembered */
    struct redis_client *redis;   /* what all hosts share, set once at the start; NULL: nothing */
    int64_t (*now_ms)(void *arg); /* Unix time; tests bring their own */
    void *now_arg;
};

/* Takes over the caller's reference to policy. 0, or -1 with err set; context_done() is then harmless. */
int context_init(struct context *context, const struct policy *policy, struct error *err);
void context_done(struct context *context); /* events were stopped before */

int64_t context_now(const struct context *context);
int64_t context_clock(void *context); /* the same, for who takes a function and its argument */

/* The policy in force, with a reference for the caller. */
const struct policy *context_policy(struct context *context);

/* Puts policy in force for every message from now on; takes over the reference. */
void context_set_policy(struct context *context, const struct policy *policy);

#endif
