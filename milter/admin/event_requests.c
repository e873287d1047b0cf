/* event_requests: see event_requests.h. Owns nothing. A Redis that does not answer costs the other hosts' events, and is said. */
#include "admin/event_requests.h"

#include "config/json_get.h"
#include "redis/shared.h"

#include <stdlib.h>
#include <string.h>

struct gathered {
    json_t *events, *keys; /* as they came; as the names of an object */
    char last[64];         /* the id of the last entry of the stream */
};

char *event_requests_key(const json_t *event)
{
    return json_dumps(event, JSON_COMPACT | JSON_SORT_KEYS);
}

/* Takes over the event. */
static void gather(struct gathered *all, json_t *event)
{
    char *key = event != NULL ? event_requests_key(event) : NULL;
    if (key != NULL && json_object_get(all->keys, key) == NULL) {
        json_object_set_new(all->keys, key, json_true());
        json_array_append(all->events, event);
    }
    free(key);
    json_decref(event);
}

static void on_entry(void *arg, const char *id, const char *const *words, size_t n_words)
{
    struct gathered *all = arg;
    snprintf(all->last, sizeof all->last, "%s", id);
    gather(all, events_from_stream(words, n_words));
}

static void gather_list(struct gathered *all, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        gather(all, json_incref(json_array_get(list, i)));
}

struct placed {
    json_t *event;
    size_t at; /* so that equal times stay in their order */
};

static int by_time(const void *left, const void *right)
{
    const struct placed *a = left, *b = right;
    json_int_t one = json_get_number(a->event, "at_ms"), two = json_get_number(b->event, "at_ms");
    if (one != two)
        return one < two ? -1 : 1;
    return a->at < b->at ? -1 : 1;
}

/* The last n, by their time. */
static json_t *sorted(const json_t *events, size_t n)
{
    size_t size = json_array_size(events);
    struct placed *placed = calloc(size + 1, sizeof *placed);
    json_t *list = json_array();
    for (size_t i = 0; placed != NULL && i < size; i++)
        placed[i] = (struct placed){json_array_get(events, i), i};
    if (placed != NULL && size > 1)
        qsort(placed, size, sizeof *placed, by_time);
    for (size_t i = size > n ? size - n : 0; placed != NULL && i < size; i++)
        json_array_append(list, placed[i].event);
    free(placed);
    return list;
}

/* Why the stream is not in it; "": it is. */
static const char *gather_stream(struct gate *gate, struct gathered *all, size_t n, struct error *why)
{
    if (gate->context.redis == NULL)
        return "this gate has no Redis";
    if (shared_stream_read(gate->context.redis, all->last, n, on_entry, all, why))
        return "";
    error_set(why, "Redis does not answer");
    return why->text;
}

json_t *event_requests_answer(struct gate *gate, const json_t *request)
{
    const json_t *cursor = json_object_get(request, "cursor");
    json_int_t asked = json_get_number(request, "n"), started = gate->context.started_ms;
    size_t n = asked > 0 && asked < EVENT_REQUESTS_MOST ? (size_t)asked : EVENT_REQUESTS_MOST;
    bool same = json_get_number(cursor, "gate") == started;
    uint64_t after = same ? (uint64_t)json_get_number(cursor, "memory") : 0, next;
    struct gathered all = {.events = json_array(), .keys = json_object()};
    struct error why = {0};
    snprintf(all.last, sizeof all.last, "%s", json_get_text(cursor, "stream"));
    const char *missing = gather_stream(gate, &all, n, &why);
    json_t *memory = events_since(gate->context.events, after, n, &next);
    gather_list(&all, memory);
    json_t *report =
        json_pack("{s:o, s:s, s:{s:s, s:I, s:I}}", "events", sorted(all.events, n), "stream", missing,
                  "cursor", "stream", all.last, "memory", (json_int_t)next, "gate", started);
    json_decref(memory);
    json_decref(all.events);
    json_decref(all.keys);
    return report;
}
