/* limit_events: which event, and how long a subject is then quiet. Owns nothing; what was said when, and what is too
 * much, is the business of gate/events. */
#include "limit_events.h"

#include "sys/log.h"
#include "base/text.h"
#include "base/unzeroed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LEAST_MS = 60000 }; /* between two events of a limit with a short window */

const char *limit_events_key(const struct decision *d, const struct limit *limit,
                             char buffer[LIMIT_EVENTS_KEY])
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
        text_init(&key, buffer, LIMIT_EVENTS_KEY);
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

struct where {
    struct events *events;
    struct refusals *refusals;
};

struct trip {
    const struct limit *limit;
    enum action action;
    int64_t used, max;
    const char *shadow; /* "yes" or "no" */
};

static void log_trip(const struct trip *trip, const char *key, const struct refusals_who *who)
{
    char line[LOG_LINE_MAX];
    struct text text;
    text_init(&text, line, sizeof line);
    text_addf(&text,
              "event=limit-tripped limit=%s subject=%s action=%s used=%" PRId64 " max=%" PRId64 " shadow=%s",
              trip->limit->name, key, action_name(trip->action), trip->used, trip->max, trip->shadow);
    const char *const names[][2] = {{" client=", who->client}, {" sender=", who->sender}};
    for (size_t i = 0; i < 2; i++) {
        if (names[i][1][0] == '\0')
            continue;
        text_add(&text, names[i][0]);
        if (names[i][1][0] == '"') /* a local part that has to be quoted */
            text_add_quoted(&text, names[i][1]);
        else
            text_add_percent(&text, names[i][1]);
    }
    log_text(LOG_AT_WARNING, line);
}

static void notify(const struct where *to, const struct decision *d, const struct trip *trip)
{
    char used[24], max[24], buffer[LIMIT_EVENTS_KEY] UNZEROED;
    const char *key = limit_events_key(d, trip->limit, buffer);
    struct events *events = to->events;
    struct refusals_who who;
    if (!events_due(events, key, trip->limit->name, d->envelope.now_ms, quiet_ms(trip->limit)))
        return;
    snprintf(used, sizeof used, "%" PRId64, trip->used);
    snprintf(max, sizeof max, "%" PRId64, trip->max);
    refusals_find(to->refusals, trip->limit->name, key, trip->shadow[0] == 'y', &who);
    log_trip(trip, key, &who);
    const struct event_field fields[] = {{"limit", trip->limit->name},
                                         {"subject", key},
                                         {"action", action_name(trip->action)},
                                         {"used", used},
                                         {"max", max},
                                         {"shadow", trip->shadow},
                                         {"client", who.client},
                                         {"sender", who.sender}};
    events_add(events, d->envelope.now_ms, "limit-tripped", fields, sizeof fields / sizeof fields[0]);
}

static void notify_verdict(const struct where *to, const struct decision *d, const struct verdict *v,
                           const char *shadow)
{
    const struct trip trip = {v->limit, v->action, v->used, v->max, shadow};
    if (v->by == VERDICT_BY_LIMIT)
        notify(to, d, &trip);
}

/* Where a rule spoke first: who guesses at addresses hears of nothing else, and is held all the same. */
static void notify_holds(const struct where *to, const struct decision *d)
{
    for (size_t i = 0; d->answers != NULL && i < d->plan.request.n; i++) {
        const struct limit *limit = d->plan.limits[i];
        const struct trip trip = {limit, limit->over, d->answers[i].used, limit->max, "no"};
        if (d->answers[i].result == COUNT_HELD && !limit->shadow)
            notify(to, d, &trip);
    }
}

void limit_events_add(struct events *events, struct refusals *refusals, const struct decision *d)
{
    const struct where to = {events, refusals};
    notify_verdict(&to, d, &d->verdict, "no");
    notify_verdict(&to, d, &d->shadow, "yes");
    if (d->verdict.by != VERDICT_BY_LIMIT)
        notify_holds(&to, d);
}
