/* gate: see gate.h. */
#include "gate/gate.h"

#include "block_log.h"
#include "counters/stores.h"
#include "gate/state_dir.h"

#include <stdio.h>

static int counters_init(struct gate *gate, const struct counters_config *config, redis_event_fn *event,
                         struct error *err)
{
    bool alone = config->kind == COUNTERS_MEMORY;
    struct counters *memory = counters_memory_new((size_t)config->local_subjects), *remote = NULL;
    if (memory == NULL) {
        error_set(err, "out of memory for the counters");
        return -1;
    }
    if (alone) {
        gate->counters = memory;
        return 0;
    }
    if (config->kind != COUNTERS_NONE) {
        gate->context.redis = redis_client_new(&config->redis, event, &gate->context, err);
        remote = gate->context.redis != NULL ? counters_remote_new(gate->context.redis, err) : NULL;
        if (remote == NULL) {
            counters_free(memory);
            return -1;
        }
    }
    /* The clock that charged must be the one that gives back. */
    gate->counters = failover_new(remote, memory, context_clock, &gate->context, err);
    if (gate->counters == NULL)
        return -1;
    gate->local = memory;
    return 0;
}

/* What changes in the conditions is an event; notes are not worth one. */
static void on_condition(void *arg, enum condition condition, bool set, const char *text)
{
    struct gate *gate = arg;
    struct context *context = &gate->context;
    char name[64];
    if (!set && (condition == CONDITION_COUNTERS || condition == CONDITION_ALIASES))
        ramp_clock_begin(&gate->ramp, context, conditions_name(condition));
    if (conditions_get(&context->conditions, condition).grade == CONDITION_NOTE)
        return;
    snprintf(name, sizeof name, "%s-%s", conditions_name(condition), set ? "trouble" : "well");
    const struct event_field fields[] = {{"text", text}};
    events_add(context->events, context_now(context), name, fields, 1);
}

static int blocks_init(struct gate *gate, struct error *err)
{
    const struct blocks_config config = {
        .redis = gate->context.redis,
        .host = gate->context.host,
        .now_ms = context_clock,
        .event = block_log_event,
        .arg = &gate->context,
    };
    gate->blocks = blocks_new(&config, err);
    return gate->blocks != NULL ? 0 : -1;
}

static int rules_init(struct gate *gate, const struct policy *policy, struct error *err)
{
    char copy[STATE_DIR_PATH];
    if (policy->aliases.database == NULL)
        return 0;
    state_dir_path(policy->state, STATE_DIR_ALIASES_COPY, copy);
    const struct aliases_config config = {.path = policy->aliases.database,
                                          .copy_path = copy,
                                          .max_stale_ms = policy->aliases.max_stale_ms,
                                          .max_shrink = policy->aliases.max_shrink};
    gate->rules = aliases_new(&config);
    if (gate->rules == NULL)
        error_set(err, "out of memory for the alias rules");
    return gate->rules != NULL ? 0 : -1;
}

int gate_init(struct gate *gate, const struct policy *policy, redis_event_fn *event, struct error *err)
{
    *gate = (struct gate){0};
    struct context *context = &gate->context;
    if (context_init(context, policy, err) < 0)
        return -1;
    context->conditions.changed = on_condition;
    context->conditions.arg = gate;
    gate->started = policy_ref(policy);
    if (counters_init(gate, &policy->counters, event, err) < 0 ||
        events_start(context->events, context->redis, err) < 0 || blocks_init(gate, err) < 0 ||
        rules_init(gate, policy, err) < 0 ||
        (gate->backlog = queue_monitor_new(context, gate->rules, err)) == NULL)
        return -1;
    gate->refunds = refunds_new(gate->counters, context_clock, context, err);
    return gate->refunds != NULL ? 0 : -1;
}

void gate_done(struct gate *gate)
{
    queue_monitor_stop(gate->backlog);
    refunds_free(gate->refunds, 1000);
    blocks_free(gate->blocks);
    events_stop(gate->context.events, 500);
    counters_free(gate->counters);
    redis_client_free(gate->context.redis); /* after all who borrow it */
    aliases_free(gate->rules);
    queue_monitor_free(gate->backlog);
    context_done(&gate->context);
    policy_unref(gate->started);
    gate->started = NULL;
    gate->refunds = NULL;
    gate->counters = gate->local = NULL;
    gate->context.redis = NULL;
    gate->rules = NULL;
    gate->backlog = NULL;
}

void gate_set_policy(struct gate *gate, const struct policy *policy)
{
    aliases_configure(gate->rules, policy->aliases.max_stale_ms, policy->aliases.max_shrink);
    context_set_policy(&gate->context, policy);
}
