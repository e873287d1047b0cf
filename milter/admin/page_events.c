/* page_events: see page_events.h. What happened again and again is one line, with how often. Owns nothing. */
#include "page_events.h"

#include "config/json_get.h"
#include "html.h"
#include "admin/words.h"

#include <string.h>

enum { LINES = 12, WORDS = 2048 };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool is_above(const json_t *event)
{
    const char *name = json_get_text(event, "event");
    return ends_with(name, "-trouble") || ends_with(name, "-well");
}

/* The same again, but for its numbers? */
static bool is_same(const json_t *a, const json_t *b)
{
    static const char *const parts[] = {"event",  "limit",   "subject", "action",
                                        "shadow", "because", "by",      "reason"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strcmp(json_get_text(a, parts[i]), json_get_text(b, parts[i])) != 0)
            return false;
    return true;
}

static bool came_again(const json_t *events, size_t i)
{
    for (size_t newer = 0; newer < i; newer++)
        if (is_same(json_array_get(events, newer), json_array_get(events, i)))
            return true;
    return false;
}

static size_t count_same(const json_t *events, size_t i)
{
    size_t n = 0;
    for (size_t earlier = i; earlier < json_array_size(events); earlier++)
        n += is_same(json_array_get(events, earlier), json_array_get(events, i));
    return n;
}

static void print_event(FILE *out, const json_t *event, size_t times)
{
    char buffer[WORDS];
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    words_add_event(&text, event);
    fputs("<tr><td class=\"t\">", out);
    html_time(out, json_get_text(event, "at"));
    fputs("</td><td title=\"", out);
    html_member(out, event, "event");
    fputs("\">", out);
    html_text(out, buffer);
    if (times > 1)
        fprintf(out, " <span class=\"k\">(%zu times, this was the last)</span>", times);
    fputs("</td></tr>\n", out);
}

void page_events_print(FILE *out, const json_t *events)
{
    size_t lines = 0;
    for (size_t i = 0; i < json_array_size(events) && lines < LINES; i++) {
        const json_t *event = json_array_get(events, i);
        if (is_above(event) || came_again(events, i))
            continue;
        if (lines++ == 0)
            fputs("<h2>Lately</h2>\n<table>\n", out);
        print_event(out, event, count_same(events, i));
    }
    if (lines > 0)
        fputs("</table>\n", out);
}
