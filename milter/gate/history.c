/* history: a ring of minutes under a lock, filled by differences of the metrics. Owns nothing else and cannot fail. */
#include "gate/history.h"

#include <string.h>

enum { MINUTE_MS = 60000 };

void history_init(struct history *history)
{
    *history = (struct history){0};
    pthread_mutex_init(&history->lock, NULL);
}

void history_done(struct history *history)
{
    pthread_mutex_destroy(&history->lock);
}

/* All since the start. */
static void totals(struct metrics *metrics, struct history_minute *out)
{
    *out = (struct history_minute){0};
    for (int by = 0; by < METRICS_BYS; by++) {
        for (int action = 0; action < METRICS_ACTIONS; action++) {
            uint32_t n = (uint32_t)atomic_load_explicit(&metrics->rcpt[action][by], memory_order_relaxed);
            out->answered[action] += n;
            out->decisions += n;
            out->refused[by] += action == ACTION_ACCEPT ? 0 : n;
        }
        uint32_t n = (uint32_t)atomic_load_explicit(&metrics->refused_connections[by], memory_order_relaxed);
        out->answered[ACTION_REJECT] += n;
        out->refused[by] += n;
    }
    out->sum_ns = atomic_load_explicit(&metrics->decision.sum_ns, memory_order_relaxed);
}

static struct history_minute *minute_at(struct history *history, int64_t minute)
{
    struct history_minute *at = &history->ring[minute % HISTORY_MINUTES];
    if (at->minute != minute)
        *at = (struct history_minute){.minute = minute, .queue = -1};
    return at;
}

void history_look(struct history *history, struct metrics *metrics, int64_t queue, int64_t now_ms)
{
    struct history_minute now;
    totals(metrics, &now);
    uint64_t longest = metrics_take_longest(metrics);
    pthread_mutex_lock(&history->lock);
    struct history_minute *at = minute_at(history, now_ms / MINUTE_MS), *seen = &history->seen;
    for (int action = 0; history->begun && action < METRICS_ACTIONS; action++)
        at->answered[action] += now.answered[action] - seen->answered[action];
    for (int by = 0; history->begun && by < METRICS_BYS; by++)
        at->refused[by] += now.refused[by] - seen->refused[by];
    if (history->begun) {
        at->decisions += now.decisions - seen->decisions;
        at->sum_ns += now.sum_ns - seen->sum_ns;
    }
    if (longest > at->max_ns)
        at->max_ns = longest;
    if (queue >= 0)
        at->queue = queue;
    history->seen = now;
    history->begun = true;
    pthread_mutex_unlock(&history->lock);
}

void history_get(struct history *history, int64_t now_ms, struct history_minute out[HISTORY_MINUTES])
{
    int64_t last = now_ms / MINUTE_MS;
    pthread_mutex_lock(&history->lock);
    for (int i = 0; i < HISTORY_MINUTES; i++) {
        int64_t minute = last - HISTORY_MINUTES + 1 + i;
        out[i] = history->ring[minute % HISTORY_MINUTES];
        if (out[i].minute != minute)
            out[i] = (struct history_minute){.queue = -1};
    }
    pthread_mutex_unlock(&history->lock);
    struct history_minute *now = &out[HISTORY_MINUTES - 1], *before = now - 1;
    if (now->minute == 0 && before->minute != 0) /* it has just begun */
        *now = (struct history_minute){.minute = last, .queue = before->queue};
}
