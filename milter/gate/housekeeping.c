/* housekeeping: see housekeeping.h. */
#include "gate/housekeeping.h"

#include "counters/stores.h"
#include "sys/log.h"

static void counters_down(struct context *context, const char *text)
{
    const struct policy *policy = context_policy(context); /* the grade, too, can change while it is down */
    enum condition_grade grade = conditions_counters_grade(policy);
    policy_unref(policy);
    conditions_set(&context->conditions, CONDITION_COUNTERS, grade, context_now(context), "%s", text);
}

void housekeeping_counters_event(void *arg, bool down, const char *text)
{
    struct context *context = arg;
    if (down)
        counters_down(context, text);
    else
        conditions_clear(&context->conditions, CONDITION_COUNTERS, context_now(context));
}

/* Some of a cluster. */
static void look_at_shards(struct gate *gate, const struct error *missing, int64_t now)
{
    const struct policy *policy = context_policy(&gate->context);
    enum condition_grade grade = conditions_counters_grade(policy);
    policy_unref(policy);
    conditions_follow(&gate->context.conditions, CONDITION_COUNTERS_SHARD, grade, now, missing);
}

/* Down, what is wrong can change (refused, then loading); while it answers, it may still have something to say: that it
 * may evict counters, or that one command was refused. */
static void look_at_counters(struct housekeeping *seen, struct gate *gate, int64_t now)
{
    struct error err = {0};
    counters_condition(gate->counters, &err);
    uint64_t merged = gate->context.redis != NULL ? failover_synced(gate->counters) : 0;
    if (merged != seen->counters_merged)
        log_line(LOG_AT_WARNING, "event=counters-merged counters=%llu",
                 (unsigned long long)(merged - seen->counters_merged));
    seen->counters_merged = merged;
    /* As it is now, whatever was logged last: an event that comes between two lines here is caught up with the
     * next time. */
    struct error missing = {0};
    counters_missing(gate->counters, &missing);
    bool up = gate->context.redis != NULL ? redis_client_is_up(gate->context.redis) : gate->local == NULL;
    if (!up) {
        if (err.text[0] != '\0')
            counters_down(&gate->context, err.text);
        conditions_clear(&gate->context.conditions, CONDITION_COUNTERS_SHARD, now);
        return;
    }
    look_at_shards(gate, &missing, now);
    conditions_clear(&gate->context.conditions, CONDITION_COUNTERS, now);
    conditions_follow(&gate->context.conditions, CONDITION_COUNTERS_WARNING, CONDITION_DEGRADED, now, &err);
}

/* What counts beside Redis is no store that answers: that it must forget some is worth knowing. */
static void look_at_local_counters(struct gate *gate, int64_t now)
{
    struct error err = {0};
    if (gate->local == NULL)
        return;
    counters_condition(gate->local, &err);
    conditions_follow(&gate->context.conditions, CONDITION_COUNTERS_LOCAL, CONDITION_NOTE, now, &err);
}

/* Who answers for the alias rules now, for the end of a sentence. */
static const char *who_answers(enum aliases_mode mode)
{
    switch (mode) {
    case ALIASES_COPY:
        return "; meanwhile the last good copy answers, and what it does not know gets 451";
    case ALIASES_NOTHING:
        return "; no copy that is young enough can be read: recipients of our domains get 451";
    case ALIASES_UNVERIFIED:
    case ALIASES_LIVE:
        break;
    }
    return "";
}

static void follow_rules(struct gate *gate, enum condition condition, enum aliases_mode mode, int64_t now,
                         const struct error *err)
{
    enum condition_grade grade = mode == ALIASES_NOTHING ? CONDITION_DOWN : CONDITION_DEGRADED;
    if (err->text[0] != '\0')
        conditions_set(&gate->context.conditions, condition, grade, now, "%s%s", err->text,
                       who_answers(mode));
    else
        conditions_clear(&gate->context.conditions, condition, now);
}

/* Only where Postfix asks us: its own maps may know what ours do not. */
static void look_at_mailboxes(struct gate *gate, const struct aliases_status *status, int64_t now)
{
    const struct policy *policy = context_policy(&gate->context);
    bool asks = policy->maps.socket != NULL;
    policy_unref(policy);
    if (asks && status->homeless > 0)
        conditions_set(&gate->context.conditions, CONDITION_ALIASES_MAILBOX, CONDITION_NOTE, now,
                       "%lld %s mail and %s no mailbox, %s for one: give it one, or let it be rejected",
                       (long long)status->homeless,
                       status->homeless == 1 ? "alias or catch-all accepts" : "aliases or catch-alls accept",
                       status->homeless == 1 ? "has" : "have", status->homeless_name);
    else
        conditions_clear(&gate->context.conditions, CONDITION_ALIASES_MAILBOX, now);
}

static void look_at_rules(struct gate *gate, int64_t now)
{
    struct aliases_status status;
    if (gate->rules == NULL)
        return;
    aliases_status(gate->rules, &status);
    if (status.mode < ALIASES_UNVERIFIED)
        error_set(&status.condition,
                  status.refused.text[0] != '\0' ? "" : "the alias database has not passed its checks yet");
    follow_rules(gate, CONDITION_ALIASES, status.mode, now, &status.condition);
    follow_rules(gate, CONDITION_ALIASES_REFUSED, status.mode, now, &status.refused);
    follow_rules(gate, CONDITION_ALIASES_COPY, ALIASES_LIVE, now, &status.copy_condition);
    look_at_mailboxes(gate, &status, now);
}

static void look_at_blocks(struct gate *gate, int64_t now)
{
    struct error err = {0};
    blocks_condition(gate->blocks, &err);
    conditions_follow(&gate->context.conditions, CONDITION_BLOCKS, CONDITION_DEGRADED, now, &err);
}

/* Lines that were lost a while ago are no condition any more. */
static void look_at_log(struct housekeeping *seen, struct conditions *conditions, int64_t now)
{
    enum { QUIET_MS = 60000 };
    uint64_t dropped = log_dropped();
    if (dropped > seen->log_dropped) {
        seen->log_dropped = dropped;
        seen->log_dropped_ms = now;
        conditions_set(
            conditions, CONDITION_LOG, CONDITION_DEGRADED, now,
            "log lines are lost: whoever reads the log (syslog, journald, the terminal) is too slow");
    } else if (now - seen->log_dropped_ms > QUIET_MS) {
        conditions_clear(conditions, CONDITION_LOG, now);
    }
}

void housekeeping_tick(struct housekeeping *seen, struct gate *gate)
{
    int64_t now = context_now(&gate->context);
    look_at_counters(seen, gate, now);
    look_at_local_counters(gate, now);
    look_at_rules(gate, now);
    look_at_blocks(gate, now);
    look_at_log(seen, &gate->context.conditions, now);
    metrics_sample(&gate->context.metrics, now);
    history_look(&gate->context.history, &gate->context.metrics, queue_monitor_messages(gate->backlog), now);
}
