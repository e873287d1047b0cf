/* top: the rankings of a look at all counters (see top.h). Owns nothing; a store that cannot answer is NULL. */
#include "admin/top.h"

#include "show.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct place {
    double score;
    json_t *counter;
};

struct ranking { /* the best n, the best first */
    struct place *places;
    size_t n, most;
};

struct top {
    const char *limit;
    const struct top_fallback *fallback; /* while that is asked, else NULL */
    struct ranking refused, busiest, held;
};

static void ranking_offer(struct ranking *ranking, double score, const struct count_view *view, bool local)
{
    size_t i = ranking->n;
    if (score <= 0 || (i == ranking->most && score <= ranking->places[i - 1].score))
        return;
    if (i == ranking->most)
        json_decref(ranking->places[--i].counter);
    else
        ranking->n++;
    for (; i > 0 && ranking->places[i - 1].score < score; i--)
        ranking->places[i] = ranking->places[i - 1];
    ranking->places[i] = (struct place){score, show_counter(view)};
    if (local)
        json_object_set_new(ranking->places[i].counter, "local", json_true());
}

static void look(void *arg, const struct count_view *view)
{
    struct top *top = arg;
    const struct top_fallback *local = top->fallback;
    if ((top->limit != NULL && strcmp(view->limit, top->limit) != 0) ||
        (local != NULL && !local->is_wanted(local->arg, view->key)))
        return;
    bool now = view->used > 0 || view->held_ms > 0; /* else it is over, and only the counter is still there */
    ranking_offer(&top->refused, now ? (double)view->refused : 0, view, local != NULL);
    ranking_offer(&top->held, (double)view->held_ms, view, local != NULL);
    ranking_offer(&top->busiest, view->max > 0 ? (double)view->used / (double)view->max : 0, view,
                  local != NULL);
}

/* The ranking becomes a list, and is gone. */
static json_t *ranking_list(struct ranking *ranking)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ranking->n; i++)
        json_array_append_new(list, ranking->places[i].counter);
    free(ranking->places);
    return list;
}

static bool ranking_init(struct ranking *ranking, size_t n)
{
    ranking->most = n < 1 ? 1 : n > TOP_MOST ? TOP_MOST : n;
    ranking->places = calloc(ranking->most, sizeof *ranking->places);
    return ranking->places != NULL;
}

json_t *top_report_with(struct counters *counters, const struct top_fallback *fallback, const char *limit,
                        size_t n, int64_t now_ms)
{
    static const char *const all[] = {"*"};
    struct top top = {.limit = limit};
    bool ok = ranking_init(&top.refused, n) && ranking_init(&top.busiest, n) && ranking_init(&top.held, n) &&
              counters_show(counters, all, 1, now_ms, look, &top) == COUNTERS_OK;
    top.fallback = fallback;
    if (ok && fallback != NULL)
        ok = counters_show(fallback->counters, all, 1, now_ms, look, &top) == COUNTERS_OK;
    json_t *report = json_pack("{s:o, s:o, s:o}", "refused", ranking_list(&top.refused), "busiest",
                               ranking_list(&top.busiest), "held", ranking_list(&top.held));
    if (ok)
        return report;
    json_decref(report);
    return NULL;
}

json_t *top_report(struct counters *counters, const char *limit, size_t n, int64_t now_ms)
{
    return top_report_with(counters, NULL, limit, n, now_ms);
}
