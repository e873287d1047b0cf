/* counter: see counter.h. */
#include "counter.h"

#include <string.h>

void counter_move(struct counter *counter, int64_t window_ms, int64_t hold_ms, int64_t now_ms)
{
    if (counter->window.window_ms == 0)
        counter->created = now_ms; /* its name from now on, whatever the clock does */
    window_move(&counter->window, window_ms, now_ms);
    if (counter->held > now_ms + hold_ms)
        counter->held = now_ms + hold_ms;
    if (counter->held <= now_ms)
        counter->held = 0;
}

void counter_harden(struct counter *counter)
{
    if (!counter->hard)
        window_open_all(&counter->window);
    counter->hard = true;
}

void counter_charge(struct counter *counter, int64_t amount, bool hard)
{
    if (counter->hard && !hard && window_taken(&counter->window) == 0) {
        window_close_all(&counter->window);
        counter->hard = false;
    }
    window_add(&counter->window, amount, counter->hard ? amount : 0);
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

/* "4" or "4:1". */
static bool read_slot(struct reader *reader, int64_t *count, int64_t *open)
{
    *open = 0;
    if (!read_number(reader, count) || (read_word(reader, ":") && !read_number(reader, open)))
        return false;
    if (*open > *count)
        *open = *count;
    return true;
}

/* The newest first. */
static bool read_slots(struct reader *reader, struct window *window)
{
    for (int i = WINDOW_SLOTS - 1; i >= 0; i--) {
        if (!read_slot(reader, &window->count[i], &window->open[i]))
            return false;
        if (!read_word(reader, ","))
            return true;
    }
    return false;
}

/* What follows the slots, each behind a space; a word of another version than this one is passed over. */
static bool read_words(struct reader *reader, struct counter *counter)
{
    while (read_word(reader, " ")) {
        int64_t *number = read_word(reader, "refused=") ? &counter->refused
                          : read_word(reader, "held=")  ? &counter->held
                                                        : NULL;
        const char *start = reader->at;
        if (number != NULL && !read_number(reader, number))
            return false;
        while (number == NULL && reader->at < reader->end && (unsigned char)*reader->at > ' ')
            reader->at++;
        if (reader->at == start)
            return false;
        size_t n = (size_t)(reader->at - start);
        if (number == NULL && !count_unit_find(start, n, &counter->unit)) /* or unknown to us */
            counter->hard = counter->hard || (n == 1 && start[0] == 'h');
    }
    return reader->at == reader->end;
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
        !read_slots(&reader, window) || !read_words(&reader, &counter))
        return false;
    if (window->window_ms < 1 || window->slot > INT64_MAX / window->window_ms - 2 * WINDOW_SLOTS)
        return false;
    window->slot -= WINDOW_SLOTS - 1;
    *out = counter;
    return true;
}
