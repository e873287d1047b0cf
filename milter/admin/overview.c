/* overview: puts the reports together (see overview.h). Owns nothing. */
#include "overview.h"

#include "admin/requests.h"
#include "admin/top.h"
#include "base/clock.h"
#include "config/json_get.h"
#include "status.h"

#include <string.h>

enum { ROWS = 8, EVENTS = 100, ASKED_MOST = 1000 /* bytes; no address is longer */ };

static json_t *refused_by(struct gate *gate)
{
    json_t *all = json_object();
    for (int by = 0; by < REFUSALS_BY_SUBJECT; by++)
        json_object_set_new(
            all, refusals_by_name((enum refusals_by)by),
            refusals_report(gate->context.refusals, (enum refusals_by)by, NULL, ROWS, clock_monotonic_ms()));
    return all;
}

/* Redis may have millions; what is counted here is bounded, and near. */
static json_t *top_here(struct gate *gate)
{
    struct counters *here = gate->local != NULL ? gate->local : gate->counters;
    return top_report(here, NULL, ROWS, context_now(&gate->context));
}

static json_t *blocked(struct gate *gate)
{
    json_t *request = json_pack("{s:s, s:i}", "do", "blocks", "most", ROWS);
    json_t *report = requests_answer(gate, request);
    json_decref(request);
    return report;
}

static bool is_too_long(const char *text)
{
    return text != NULL && strlen(text) > ASKED_MOST;
}

static json_t *typed(const char *text)
{
    return text != NULL && text[0] != '\0' ? json_get_clean(text) : NULL;
}

static void explain(struct gate *gate, const struct overview_question *q, json_t *report)
{
    if (q->to == NULL && q->from == NULL && q->client == NULL)
        return;
    if (is_too_long(q->to) || is_too_long(q->from) || is_too_long(q->client)) {
        json_object_set_new(report, "explained",
                            json_pack("{s:s}", "error", "That is longer than any address"));
        return;
    }
    json_t *asked = json_pack("{s:s, s:o*, s:o*, s:o*}", "do", "explain", "to", typed(q->to), "from",
                              typed(q->from), "client", typed(q->client));
    json_object_set_new(report, "explained", requests_answer(gate, asked));
    json_object_set_new(report, "asked", asked);
}

json_t *overview_report(struct gate *gate, bool subjects, const struct overview_question *question)
{
    json_t *status = status_report(gate, subjects);
    if (status == NULL)
        return NULL;
    json_t *report = json_pack("{s:o, s:b, s:o}", "status", status, "subjects", subjects, "lately",
                               events_recent(gate->context.events, EVENTS, subjects));
    if (!subjects)
        return report;
    json_object_set_new(report, "refused_by", refused_by(gate));
    json_object_set_new(report, "top", top_here(gate));
    json_object_set_new(report, "blocked", blocked(gate));
    explain(gate, question, report);
    return report;
}
