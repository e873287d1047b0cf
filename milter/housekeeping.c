/* housekeeping: see housekeeping.h. */
#include "housekeeping.h"

#include "log.h"

static void counts_down(struct context *context, const char *text)
{
    const struct policy *policy = context_policy(context); /* the grade, too, can change while it is down */
    enum trouble_grade grade = trouble_counters_grade(policy);
    policy_unref(policy);
    trouble_set(&context->troubles, TROUBLE_COUNTERS, grade, context_now(context), "%s", text);
}

void housekeeping_counts_event(void *arg, bool down, const char *text)
{
    struct context *context = arg;
    if (down)
        counts_down(context, text);
    else
        trouble_clear(&context->troubles, TROUBLE_COUNTERS, context_now(context));
}

/* Down, what is wrong can change (refused, then loading); while it answers, it may still have something to say: that it
 * may evict counters, or that one command was refused. */
static void look_at_counts(struct housekeeping *seen, struct gate *gate, int64_t now)
{
    struct error err = {0};
    counts_trouble(gate->counts, &err);
    uint64_t merged = gate->context.redis != NULL ? counts_pair_merged(gate->counts) : 0;
    if (merged != seen->counts_merged)
        log_line(LOG_AT_WARNING, "event=counters-merged counters=%llu",
                 (unsigned long long)(merged - seen->counts_merged));
    seen->counts_merged = merged;
    /* As it is now, whatever was told last: an event that comes between two lines here is caught up with the
     * next time. */
    bool up = gate->context.redis != NULL ? counts_redis_wait(gate->context.redis, 0) : gate->local == NULL;
    if (!up) {
        if (err.text[0] != '\0')
            counts_down(&gate->context, err.text);
        return;
    }
    trouble_clear(&gate->context.troubles, TROUBLE_COUNTERS, now);
    trouble_follow(&gate->context.troubles, TROUBLE_COUNTERS_EVICT, TROUBLE_DEGRADED, now, &err);
}

/* Who answers for the alias rules now, for the end of a sentence. */
static const char *who_answers(enum ruledb_mode mode)
{
    switch (mode) {
    case RULEDB_COPY:
        return "; meanwhile the last good copy answers, and what it does not know gets 451";
    case RULEDB_NOTHING:
        return "; no copy that is young enough can be read: recipients of our domains get 451";
    case RULEDB_DOUBTED:
    case RULEDB_LIVE:
        break;
    }
    return "";
}

static void follow_rules(struct gate *gate, enum trouble trouble, enum ruledb_mode mode, int64_t now,
                         const struct error *err)
{
    enum trouble_grade grade = mode == RULEDB_NOTHING ? TROUBLE_DOWN : TROUBLE_DEGRADED;
    if (err->text[0] != '\0')
        trouble_set(&gate->context.troubles, trouble, grade, now, "%s%s", err->text, who_answers(mode));
    else
        trouble_clear(&gate->context.troubles, trouble, now);
}

static void look_at_rules(struct gate *gate, int64_t now)
{
    struct ruledb_status status;
    if (gate->rules == NULL)
        return;
    ruledb_status(gate->rules, &status);
    if (status.mode < RULEDB_DOUBTED)
        error_set(&status.trouble,
                  status.refused.text[0] != '\0' ? "" : "the alias database has not passed its checks yet");
    follow_rules(gate, TROUBLE_ALIASES, status.mode, now, &status.trouble);
    follow_rules(gate, TROUBLE_ALIASES_REFUSED, status.mode, now, &status.refused);
    follow_rules(gate, TROUBLE_ALIASES_COPY, RULEDB_LIVE, now, &status.copy_trouble);
}

static void look_at_blocks(struct gate *gate, int64_t now)
{
    struct error err = {0};
    blocks_trouble(gate->blocks, &err);
    trouble_follow(&gate->context.troubles, TROUBLE_BLOCKS, TROUBLE_DEGRADED, now, &err);
}

/* Lines that were lost a while ago are no trouble any more. */
static void look_at_log(struct housekeeping *seen, struct troubles *troubles, int64_t now)
{
    enum { QUIET_MS = 60000 };
    uint64_t dropped = log_dropped();
    if (dropped > seen->log_dropped) {
        seen->log_dropped = dropped;
        seen->log_dropped_ms = now;
        trouble_set(troubles, TROUBLE_LOG, TROUBLE_DEGRADED, now,
                    "log lines are lost: whoever reads the log (syslog, journald, the terminal) is too slow");
    } else if (now - seen->log_dropped_ms > QUIET_MS) {
        trouble_clear(troubles, TROUBLE_LOG, now);
    }
}

void housekeeping_tick(struct housekeeping *seen, struct gate *gate)
{
    int64_t now = context_now(&gate->context);
    look_at_counts(seen, gate, now);
    look_at_rules(gate, now);
    look_at_blocks(gate, now);
    look_at_log(seen, &gate->context.troubles, now);
    metrics_sample(&gate->context.metrics, now);
}
