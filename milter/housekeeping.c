#include "housekeeping.h"

#include "log.h"

void housekeeping_counts_event(void *arg, bool down, const char *text)
{
    struct gate *gate = arg;
    if (down)
        trouble_set(&gate->troubles, TROUBLE_COUNTERS, TROUBLE_DEGRADED, gate_now(gate), "%s", text);
    else
        trouble_clear(&gate->troubles, TROUBLE_COUNTERS, gate_now(gate));
}

/* While it answers, the store may still have something to say: that it may evict counters. */
static void look_at_counts(struct gate *gate, int64_t now)
{
    struct error err = {0};
    if (gate->counts == NULL || trouble_get(&gate->troubles, TROUBLE_COUNTERS).set)
        return;
    counts_trouble(gate->counts, &err);
    trouble_follow(&gate->troubles, TROUBLE_COUNTERS_EVICT, TROUBLE_DEGRADED, now, &err);
}

static void look_at_rules(struct gate *gate, int64_t now)
{
    struct error err = {0};
    if (gate->rules == NULL)
        return;
    ruledb_trouble(gate->rules, &err);
    trouble_follow(&gate->troubles, TROUBLE_ALIASES, TROUBLE_DOWN, now, &err);
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
    look_at_log(gate, now);
    metrics_sample(&gate->metrics, now);
}
