/* page_who: see page_who.h. The number stands first and the name beside it, so that a narrow screen has both. Owns nothing. */
#include "page_who.h"

#include "base/clock.h"
#include "config/json_get.h"
#include "gate/refusals.h"
#include "html.h"
#include "admin/words.h"

#include <string.h>

enum { WORDS = 1024 };

/* ---- who floods ---- */

/* "limit alias-minute; from b@example.net, to a@example.com": the rest of what is known of a row. */
static void print_rest(FILE *out, const json_t *row, const char *by)
{
    static const char *const others[][3] = {{"client", "from client ", "from many clients"},
                                            {"sender", "by sender ", "by many senders"},
                                            {"recipient", "to ", "to many recipients"}};
    char buffer[WORDS];
    struct text text;
    const char *part = "";
    text_init(&text, buffer, sizeof buffer);
    if (strcmp(by, "rule") != 0) {
        words_add_refusal(&text, row);
        part = "; ";
    }
    for (size_t i = 0; i < 3; i++) {
        const char *name = json_string_value(json_object_get(row, others[i][0]));
        if (name == NULL || strcmp(by, others[i][0]) == 0)
            continue;
        text_add(&text, part);
        text_add(&text, *name != '\0' ? others[i][1] : others[i][2]);
        text_add(&text, name);
        part = ", ";
    }
    html_text(out, buffer);
}

static void print_refused(FILE *out, const json_t *list, const char *by, const char *title)
{
    size_t i;
    json_t *row;
    char buffer[WORDS];
    if (json_array_size(list) == 0)
        return;
    fprintf(out, "<table><caption>%s</caption>\n", title);
    json_array_foreach(list, i, row)
    {
        struct text text;
        text_init(&text, buffer, sizeof buffer);
        if (strcmp(by, "rule") == 0)
            words_add_refusal(&text, row);
        else
            text_add(&text, json_get_text(row, by));
        fputs("<tr><td class=\"n some\">", out);
        html_number(out, json_get_number(row, "refused"));
        fputs("</td><td><b>", out);
        html_text(out, buffer);
        fputs("</b> <span class=\"k\">", out);
        print_rest(out, row, by);
        fputs("</span></td></tr>\n", out);
    }
    fputs("</table>\n", out);
}

static void print_flooders(FILE *out, const json_t *by, bool shadow)
{
    fprintf(out, "<h2>Who %s refused in the last %d minutes</h2>\n", shadow ? "would have been" : "was",
            REFUSALS_MINUTES);
    if (json_array_size(json_object_get(by, "rule")) == 0) {
        fputs("<p>Nobody.</p>\n", out);
        return;
    }
    fputs("<div class=\"pair\">\n", out);
    print_refused(out, json_object_get(by, "client"), "client", "Clients");
    print_refused(out, json_object_get(by, "sender"), "sender", "Senders");
    print_refused(out, json_object_get(by, "rule"), "rule", "What refused them");
    fputs("</div>\n", out);
}

/* ---- counters ---- */

enum column { REFUSED, USE, HELD };

static void print_number(FILE *out, const json_t *counter, enum column column)
{
    switch (column) {
    case REFUSED:
        html_number(out, json_get_number(counter, "refused"));
        break;
    case USE:
        html_number(out, json_get_number(counter, "used"));
        fputs("/", out);
        html_number(out, json_get_number(counter, "max"));
        break;
    case HELD:
        html_duration(out, (json_get_number(counter, "held_ms") + 999) / 1000);
    }
}

static void print_counters(FILE *out, const json_t *list, enum column column, const char *title)
{
    size_t i;
    json_t *counter;
    if (json_array_size(list) == 0)
        return;
    fprintf(out, "<table><caption>%s</caption>\n", title);
    json_array_foreach(list, i, counter)
    {
        char buffer[WORDS];
        struct text text;
        text_init(&text, buffer, sizeof buffer);
        words_add_subject(&text, json_get_text(counter, "key"));
        bool full = column != USE || json_get_number(counter, "used") >= json_get_number(counter, "max");
        fprintf(out, "<tr><td class=\"n%s\">", full ? " some" : "");
        print_number(out, counter, column);
        fputs("</td><td><b>", out);
        html_text(out, buffer);
        fputs("</b> <span class=\"k\">limit ", out);
        html_member(out, counter, "limit");
        if (column != HELD && json_get_number(counter, "held_ms") > 0)
            fputs(", held", out);
        fputs("</span></td></tr>\n", out);
    }
    fputs("</table>\n", out);
}

static void print_top(FILE *out, const json_t *top)
{
    const json_t *refused = json_object_get(top, "refused"), *busiest = json_object_get(top, "busiest"),
                 *held = json_object_get(top, "held");
    if (json_array_size(refused) + json_array_size(busiest) + json_array_size(held) == 0)
        return;
    fputs("<h2>Subjects of limits, as this gate counts</h2>\n<div class=\"pair\">\n", out);
    print_counters(out, refused, REFUSED, "Refused most, since they are counted");
    print_counters(out, busiest, USE, "Nearest to their limits");
    print_counters(out, held, HELD, "Held, for so long yet");
    fputs("</div>\n", out);
}

/* ---- blocks ---- */

static void print_blocks(FILE *out, const json_t *blocked)
{
    size_t i;
    json_t *block;
    const json_t *list = json_object_get(blocked, "blocks");
    if (json_array_size(list) == 0)
        return;
    fputs("<h2>Blocked networks</h2>\n<div class=\"pair\"><table>\n", out);
    json_array_foreach(list, i, block)
    {
        bool ends = strcmp(json_get_text(block, "until"), "never") != 0;
        fputs("<tr><td><b>", out);
        html_member(out, block, "network");
        fputs("</b> <span class=\"k\">", out);
        fputs(strcmp(json_get_text(block, "action"), "defer") == 0 ? "deferred" : "rejected", out);
        fputs(ends ? " until " : ", until it is unblocked", out);
        if (ends)
            html_time(out, json_get_text(block, "until"));
        fputs("; by ", out);
        html_member(out, block, "by");
        if (*json_get_text(block, "reason") != '\0')
            fputs(": ", out);
        html_member(out, block, "reason");
        fputs("</span></td></tr>\n", out);
    }
    fputs("</table></div>\n", out);
    if (json_is_true(json_object_get(blocked, "more")))
        fputs("<p class=\"k\">And more: <code>rcptgate blocks</code> has them all.</p>\n", out);
}

void page_who_print(FILE *out, const json_t *report)
{
    if (!json_is_true(json_object_get(report, "subjects"))) {
        fputs("<h2>Who is refused</h2>\n<p>This page names nobody. On this host <code>rcptgate top --by "
              "client</code> does, and "
              "so does this page where <code>http.subjects</code> is true.</p>\n",
              out);
        return;
    }
    const char *mode = json_get_text(json_object_get(report, "status"), "mode");
    print_flooders(out, json_object_get(report, "refused_by"), strcmp(mode, "shadow") == 0);
    print_top(out, json_object_get(report, "top"));
    print_blocks(out, json_object_get(report, "blocked"));
}
