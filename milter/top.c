#include "top.h"

#include "json_get.h"
#include "show.h"

#include <inttypes.h>
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

static void print_list(FILE *out, const char *title, const json_t *list)
{
    fprintf(out, "%-10s %21s  %-24s %s\n", title, "USED/MAX", "LIMIT", "SUBJECT");
    if (json_array_size(list) == 0)
        fputs("      none\n", out);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        char used[48];
        snprintf(used, sizeof used, "%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT,
                 json_get_number(c, "used"), json_get_number(c, "max"));
        fprintf(out, "%10" JSON_INTEGER_FORMAT " %21s  %-24s %s%s\n", json_get_number(c, "refused"), used,
                json_string_value(json_object_get(c, "limit")), json_string_value(json_object_get(c, "key")),
                json_get_number(c, "held_ms") > 0 ? " (held)" : "");
    }
}

void top_print(FILE *out, const json_t *report)
{
    const json_t *refused = json_object_get(report, "refused"), *busiest = json_object_get(report, "busiest");
    if (json_object_get(report, "counts") != NULL)
        fputs("Redis does not answer: as this gate counted\n", out);
    if (json_array_size(busiest) == 0 && json_array_size(refused) == 0) {
        fputs("no counters\n", out);
        return;
    }
    fputs("Refused most:\n", out);
    print_list(out, "REFUSED", refused);
    fputs("\nNearest to their limits:\n", out);
    print_list(out, "REFUSED", busiest);
}
