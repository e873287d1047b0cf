#include "housekeeping.h"

#include "log.h"

static void counts_down(struct gate *gate, const char *text)
{
    const struct policy *policy = gate_policy(gate); /* the grade, too, can change while it is down */
    enum trouble_grade grade = trouble_counters_grade(policy);
    policy_unref(policy);
    trouble_set(&gate->troubles, TROUBLE_COUNTERS, grade, gate_now(gate), "%s", text);
}

void housekeeping_counts_event(void *arg, bool down, const char *text)
{
    struct gate *gate = arg;
    if (down)
        counts_down(gate, text);
    else
        trouble_clear(&gate->troubles, TROUBLE_COUNTERS, gate_now(gate));
}

/* Down, what is wrong can change (refused, then loading); while it answers, it may still have something to say: that it
 * may evict counters, or that one command was refused. */
static void look_at_counts(struct gate *gate, int64_t now)
{
    struct error err = {0};
    counts_trouble(gate->counts, &err);
    uint64_t merged = gate->redis != NULL ? counts_pair_merged(gate->counts) : 0;
    if (merged != gate->counts_merged)
        log_line(LOG_AT_WARNING, "event=counters-merged counters=%llu",
                 (unsigned long long)(merged - gate->counts_merged));
    gate->counts_merged = merged;
    /* As it is now, whatever was told last: an event that comes between two lines here is caught up with the
     * next time. */
    bool up = gate->redis != NULL ? counts_redis_wait(gate->redis, 0) : gate->local == NULL;
    if (!up) {
        if (err.text[0] != '\0')
            counts_down(gate, err.text);
        return;
    }
    trouble_clear(&gate->troubles, TROUBLE_COUNTERS, now);
    trouble_follow(&gate->troubles, TROUBLE_COUNTERS_EVICT, TROUBLE_DEGRADED, now, &err);
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
        trouble_set(&gate->troubles, trouble, grade, now, "%s%s", err->text, who_answers(mode));
    else
        trouble_clear(&gate->troubles, trouble, now);
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
    trouble_follow(&gate->troubles, TROUBLE_BLOCKS, TROUBLE_DEGRADED, now, &err);
}

/* Lines that were lost a while ago are no trouble any more. */
static void look_at_log(struct gate *gate, int64_t now)
{
    enum { QUIET_MS = 60000 };
    uint64_t dropped = log_dropped();
    if (dropped > gate->log_dropped) {
        gate->log_dropped = dropped;
        gate->log_dropped_ms = now;
        trouble_set(&gate->troubles, TROUBLE_LOG, TROUBLE_DEGRADED, now,
                    "log lines are lost: whoever reads the log (syslog, journald, the terminal) is too slow");
    } else if (now - gate->log_dropped_ms > QUIET_MS) {
        trouble_clear(&gate->troubles, TROUBLE_LOG, now);
    }
}

void housekeeping_tick(struct gate *gate)
{
    int64_t now = gate_now(gate);
    look_at_counts(gate, now);
    look_at_rules(gate, now);
    look_at_blocks(gate, now);
    look_at_log(gate, now);
    metrics_sample(&gate->metrics, now);
}
