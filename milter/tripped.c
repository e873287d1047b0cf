#include "tripped.h"

#include "log.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    LEAST_MS = 60000, /* between two events of a limit with a short window */
    KEY_MAX = 2048,
};

/* The key under which that limit was over; shares have the limit of their own ask. The backlog has no keys: buffer gets what
 * one would be called. */
static const char *key_of(const struct decision *d, const struct limit *limit, char buffer[KEY_MAX])
{
    for (size_t i = 0; d->answers != NULL && i < d->plan.request.n; i++)
        if (d->plan.limits[i] == limit &&
            (d->answers[i].result == COUNT_OVER || d->answers[i].result == COUNT_HELD))
            return d->plan.request.asks[i].key;
    for (size_t i = 0; i < d->plan.n_backlogs; i++) {
        const struct backlog_ask *ask = &d->plan.backlogs[i];
        if (ask->limit != limit || ask->waiting < ask->max)
            continue;
        struct text key;
        text_init(&key, buffer, KEY_MAX);
        text_addf(&key, "%s:{", limit->per_name);
        text_add_percent(&key, ask->subject);
        text_add(&key, "}");
        return buffer;
    }
    return limit->per_name;
}

static int64_t quiet_ms(const struct limit *limit)
{
    int64_t ms = limit->window_ms > limit->hold_ms ? limit->window_ms : limit->hold_ms;
    return ms > LEAST_MS ? ms : LEAST_MS;
}

static void tell(struct gate *gate, const struct decision *d, const struct verdict *v, const char *shadow)
{
    char used[24], max[24], buffer[KEY_MAX];
    const char *key = key_of(d, v->limit, buffer);
    if (!events_due(gate->events, key, v->limit->name, d->envelope.now_ms, quiet_ms(v->limit)))
        return;
    snprintf(used, sizeof used, "%" PRId64, v->used);
    snprintf(max, sizeof max, "%" PRId64, v->max);
    log_line(LOG_AT_WARNING, "event=limit-tripped limit=%s subject=%s action=%s used=%s max=%s shadow=%s",
             v->limit->name, key, action_name(v->action), used, max, shadow);
    const struct event_field fields[] = {{"limit", v->limit->name},
                                         {"subject", key},
                                         {"action", action_name(v->action)},
                                         {"used", used},
                                         {"max", max},
                                         {"shadow", shadow}};
    events_add(gate->events, d->envelope.now_ms, "limit-tripped", fields, sizeof fields / sizeof fields[0]);
}

void tripped_tell(struct gate *gate, const struct decision *d)
{
    if (d->verdict.by == VERDICT_BY_LIMIT)
        tell(gate, d, &d->verdict, "no");
    if (d->shadow.by == VERDICT_BY_LIMIT)
        tell(gate, d, &d->shadow, "yes");
}
