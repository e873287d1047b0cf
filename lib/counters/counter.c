/* counter: see counter.h. */
#include "counter.h"

#include <string.h>

void counter_move(struct counter *counter, int64_t window_ms, int64_t hold_ms, int64_t now_ms)
{
    if (counter->window.window_ms == 0 || counter->created > now_ms)
        counter->created = now_ms;
    window_move(&counter->window, window_ms, now_ms);
    if (counter->held > now_ms + hold_ms)
        counter->held = now_ms + hold_ms;
    if (counter->held <= now_ms)
        counter->held = 0;
}

void counter_view(const struct counter *counter, int64_t now_ms, struct count_view *out)
{
    struct window window = counter->window;
    window_move(&window, window.window_ms, now_ms);
    *out = (struct count_view){.unit = counter->unit,
                               .used = window_used(&window),
                               .max = counter->max,
                               .window_ms = window.window_ms,
                               .refused = counter->refused,
                               .held_ms = counter->held > now_ms ? counter->held - now_ms : 0,
                               .reset_ms = window_rest(&window, now_ms)};
}

struct reader {
    const char *at, *end;
};

static bool read_word(struct reader *reader, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(reader->end - reader->at) < n || memcmp(reader->at, word, n) != 0)
        return false;
    reader->at += n;
    return true;
}

/* Digits alone, at most WINDOW_MOST. */
static bool read_number(struct reader *reader, int64_t *out)
{
    const char *start = reader->at;
    int64_t value = 0;
    for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; reader->at++) {
        value = value * 10 + (*reader->at - '0');
        if (value > WINDOW_MOST)
            return false;
    }
    *out = value;
    return reader->at > start;
}

/* The newest first. */
static bool read_slots(struct reader *reader, struct window *window)
{
    for (int i = WINDOW_SLOTS - 1; i >= 0; i--) {
        if (!read_number(reader, &window->count[i]))
            return false;
        if (!read_word(reader, ","))
            return true;
    }
    return false;
}

bool counter_parse(const char *text, size_t n, struct counter *out)
{
    struct reader reader = {.at = text, .end = text + n};
    struct counter counter = {0};
    struct window *window = &counter.window;
    int64_t used; /* for people; what counts are the slots */
    if (!read_number(&reader, &used) || !read_word(&reader, "/") || !read_number(&reader, &counter.max) ||
        !read_word(&reader, " window=") || !read_number(&reader, &window->window_ms) ||
        !read_word(&reader, " born=") || !read_number(&reader, &counter.created) ||
        !read_word(&reader, " slot=") || !read_number(&reader, &window->slot) || !read_word(&reader, " ") ||
        !read_slots(&reader, window))
        return false;
    if (read_word(&reader, " refused=") && !read_number(&reader, &counter.refused))
        return false;
    if (read_word(&reader, " held=") && !read_number(&reader, &counter.held))
        return false;
    if (read_word(&reader, " ") &&
        count_unit_find(reader.at, (size_t)(reader.end - reader.at), &counter.unit))
        reader.at = reader.end;
    if (reader.at != reader.end || window->window_ms < 1 ||
        window->slot > INT64_MAX / window->window_ms - 2 * WINDOW_SLOTS)
        return false;
    window->slot -= WINDOW_SLOTS - 1;
    *out = counter;
    return true;
}
