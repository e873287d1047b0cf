/* gate: see gate.h. */
#include "gate.h"

#include "block_log.h"
#include "state_dir.h"

#include <stdio.h>

enum {
    MEMORY_SUBJECTS = 500000,
    MIRROR_SUBJECTS = 200000, /* beside Redis: some 160 bytes each with one limit */
};

static int counts_init(struct gate *gate, const struct counters_config *config, counts_event_fn *event,
                       struct error *err)
{
    bool alone = config->kind == COUNTERS_MEMORY;
    struct counts *memory = counts_memory_new(alone ? MEMORY_SUBJECTS : MIRROR_SUBJECTS);
    if (memory == NULL) {
        error_set(err, "out of memory for the counters");
        return -1;
    }
    if (alone) {
        gate->counts = memory;
        return 0;
    }
    struct counts_redis_config redis = {
        .host = config->host,
        .path = config->path,
        .port = config->port,
        .db = config->db,
        .user = config->user,
        .password = config->password,
        .password_file = config->password_file,
        .prefix = config->prefix,
        .timeout_ms = config->timeout_ms,
    };
    struct counts *far = NULL;
    if (config->kind != COUNTERS_NONE &&
        (far = counts_redis_new(&redis, event, &gate->context, err)) == NULL) {
        counts_free(memory);
        return -1;
    }
    /* The clock that charged must be the one that gives back. */
    gate->counts = counts_pair_new(far, memory, context_clock, &gate->context, err);
    if (gate->counts == NULL)
        return -1;
    gate->context.redis = far;
    gate->local = memory;
    return 0;
}

/* What changes in the table of troubles is an event; notes are not worth one. */
static void on_trouble(void *arg, enum trouble trouble, bool set, const char *text)
{
    struct gate *gate = arg;
    struct context *context = &gate->context;
    char name[64];
    if (!set && (trouble == TROUBLE_COUNTERS || trouble == TROUBLE_ALIASES))
        ramp_clock_begin(&gate->ramp, context, trouble_name(trouble));
    if (trouble_get(&context->troubles, trouble).grade == TROUBLE_NOTE)
        return;
    snprintf(name, sizeof name, "%s-%s", trouble_name(trouble), set ? "trouble" : "well");
    const struct event_field fields[] = {{"text", text}};
    events_add(context->events, context_now(context), name, fields, 1);
}

static int blocks_init(struct gate *gate, const struct policy *policy, struct error *err)
{
    const struct blocks_config config = {
        .redis = gate->context.redis,
        .prefix = policy->counters.prefix,
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
    const struct ruledb_config config = {.path = policy->aliases.database,
                                         .copy_path = copy,
                                         .max_stale_ms = policy->aliases.max_stale_ms,
                                         .max_shrink = policy->aliases.max_shrink};
    gate->rules = ruledb_new(&config);
    if (gate->rules == NULL)
        error_set(err, "out of memory for the alias rules");
    return gate->rules != NULL ? 0 : -1;
}

int gate_init(struct gate *gate, const struct policy *policy, counts_event_fn *event, struct error *err)
{
    *gate = (struct gate){0};
    struct context *context = &gate->context;
    if (context_init(context, policy, err) < 0)
        return -1;
    context->troubles.changed = on_trouble;
    context->troubles.arg = gate;
    if (counts_init(gate, &policy->counters, event, err) < 0 ||
        events_start(context->events, context->redis, err) < 0 || blocks_init(gate, policy, err) < 0 ||
        rules_init(gate, policy, err) < 0 || (gate->backlog = backlog_new(context, err)) == NULL)
        return -1;
    gate->later = later_new(context_clock, context, err);
    return gate->later != NULL ? 0 : -1;
}

void gate_done(struct gate *gate)
{
    backlog_stop(gate->backlog);
    later_free(gate->later, 1000);
    blocks_free(gate->blocks);
    events_stop(gate->context.events, 500);
    counts_free(gate->counts);
    ruledb_free(gate->rules);
    backlog_free(gate->backlog);
    context_done(&gate->context);
    gate->later = NULL;
    gate->counts = gate->local = NULL;
    gate->rules = NULL;
    gate->backlog = NULL;
}

void gate_set_policy(struct gate *gate, const struct policy *policy)
{
    ruledb_configure(gate->rules, policy->aliases.max_stale_ms, policy->aliases.max_shrink);
    context_set_policy(&gate->context, policy);
}
