/* top: the two boards of a look at all counters (see top.h). Owns nothing; a store that cannot answer is NULL. */
#include "top.h"

#include "show.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct place {
    double score;
    json_t *counter;
};

struct board { /* the best n, the best first */
    struct place *places;
    size_t n, most;
};

struct top {
    const char *limit;
    struct board refused, busiest;
};

static void board_offer(struct board *board, double score, const struct count_view *view)
{
    size_t i = board->n;
    if (score <= 0 || (i == board->most && score <= board->places[i - 1].score))
        return;
    if (i == board->most)
        json_decref(board->places[--i].counter);
    else
        board->n++;
    for (; i > 0 && board->places[i - 1].score < score; i--)
        board->places[i] = board->places[i - 1];
    board->places[i] = (struct place){score, show_counter(view)};
}

static void look(void *arg, const struct count_view *view)
{
    struct top *top = arg;
    if (top->limit != NULL && strcmp(view->limit, top->limit) != 0)
        return;
    bool now = view->used > 0 || view->held_ms > 0; /* else it is over, and only the counter is still there */
    board_offer(&top->refused, now ? (double)view->refused : 0, view);
    board_offer(&top->busiest, view->max > 0 ? (double)view->used / (double)view->max : 0, view);
}

/* The board becomes a list, and is gone. */
static json_t *board_list(struct board *board)
{
    json_t *list = json_array();
    for (size_t i = 0; i < board->n; i++)
        json_array_append_new(list, board->places[i].counter);
    free(board->places);
    return list;
}

json_t *top_report(struct counts *counts, const char *limit, size_t n, int64_t now_ms)
{
    static const char *const all[] = {"*"};
    struct top top = {.limit = limit};
    top.refused.most = top.busiest.most = n < 1 ? 1 : n > TOP_MOST ? TOP_MOST : n;
    top.refused.places = calloc(top.refused.most, sizeof *top.refused.places);
    top.busiest.places = calloc(top.busiest.most, sizeof *top.busiest.places);
    bool ok = top.refused.places != NULL && top.busiest.places != NULL &&
              counts_show(counts, all, 1, now_ms, look, &top) == COUNTS_OK;
    json_t *refused = board_list(&top.refused), *busiest = board_list(&top.busiest);
    if (ok)
        return json_pack("{s:o, s:o}", "refused", refused, "busiest", busiest);
    json_decref(refused);
    json_decref(busiest);
    return NULL;
}
