/* page: the report as HTML (see page.h). Owns nothing and cannot fail: whoever gave the stream looks at it. */
#include "page.h"

#include "admin/health.h"
#include "config/json_get.h"
#include "base/text.h"

#include <string.h>

/* ---- small parts ---- */

static void escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

static void put_word(FILE *out, const json_t *object, const char *name)
{
    escaped(out, json_get_text(object, name));
}

static void put_duration(FILE *out, json_int_t seconds)
{
    char buffer[32];
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    text_add_duration(&text, (int64_t)seconds * 1000);
    fputs(buffer, out);
}

/* 1234567 as "1 234 567", with thin spaces. */
static void put_number(FILE *out, json_int_t n)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, n);
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-')
            fputs("&#8239;", out);
        fputc(digits[i], out);
    }
}

/* A window as the policy writes it: in the largest unit that fits. */
static void put_window(FILE *out, json_int_t ms)
{
    static const struct {
        json_int_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (ms % units[i].ms != 0)
        i++;
    if (ms == 0)
        fputs("the queue", out); /* a backlog has no window */
    else
        fprintf(out, "%" JSON_INTEGER_FORMAT "%s", ms / units[i].ms, units[i].name);
}

/* "2026-11-23T02:01:11Z" as "2026-11-23 02:01:11 UTC". */
static void put_time(FILE *out, const char *time)
{
    if (strlen(time) == 20)
        fprintf(out, "<time datetime=\"%s\">%.10s %.8s UTC</time>", time, time, time + 11);
    else
        escaped(out, time);
}

/* ---- what is wrong, first ---- */

static void put_state(FILE *out, const json_t *report)
{
    static const char *const heads[] = {
        [CONDITION_NOTE] = "Healthy", [CONDITION_DEGRADED] = "Degraded", [CONDITION_DOWN] = "Down"};
    static const char *const says[] = {
        [CONDITION_NOTE] = "A test recipient was just decided through the real backends: everything works.",
        [CONDITION_DEGRADED] = "Mail goes on, with less than it should have.",
        [CONDITION_DOWN] = "Recipients are answered 451 until it is mended: mail is delayed, none is lost."};
    enum condition_grade grade = health_grade(report);
    fprintf(out, "<section class=\"state\" role=\"status\"><h1>%s</h1><p>%s", heads[grade], says[grade]);
    if (strcmp(json_get_text(report, "mode"), "shadow") == 0)
        fputs(" <strong>Mode shadow:</strong> everything is decided and counted, nothing is refused.", out);
    fputs("</p></section>\n", out);
}

static void put_reasons(FILE *out, const json_t *list, const char *head)
{
    size_t i;
    json_t *r;
    json_array_foreach(list, i, r)
    {
        if (i == 0)
            fprintf(out, "<h2>%s</h2>\n", head);
        fputs("<article class=\"reason is-", out);
        put_word(out, r, "grade");
        fputs("\"><h3>", out);
        put_word(out, r, "title");
        fputs(" <small>for ", out);
        put_duration(out, json_get_number(r, "for_s"));
        fputs(", since ", out);
        put_time(out, json_get_text(r, "since"));
        fputs("</small></h3><p>", out);
        put_word(out, r, "text");
        fputs("</p><p class=\"means\">", out);
        put_word(out, r, "means");
        fputs("</p></article>\n", out);
    }
}

/* ---- the rest ---- */

static void put_rate(FILE *out, const char *head, const json_t *traffic, const char *action)
{
    const json_t *rates = json_object_get(traffic, "rcpt_per_second"),
                 *totals = json_object_get(traffic, "rcpt_total");
    fprintf(out, "<div class=\"tile\"><dt>%s</dt><dd>%.1f <small>a second</small></dd><dd><small>", head,
            json_number_value(json_object_get(rates, action)));
    put_number(out, json_get_number(totals, action));
    fputs(" since the start</small></dd></div>\n", out);
}

static void put_lost(FILE *out, const json_t *lost)
{
    static const struct {
        const char *name, *says;
    } parts[] = {{"log_lines", "log lines"},
                 {"events", "events"},
                 {"counters_reset_as_junk", "counters that held junk"}};
    bool some = false;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (json_get_number(lost, parts[i].name) == 0)
            continue;
        fprintf(out, "%s%" JSON_INTEGER_FORMAT " %s", some ? ", " : "", json_get_number(lost, parts[i].name),
                parts[i].says);
        some = true;
    }
    fputs(some ? " since the start" : "nothing", out);
}

static void put_traffic(FILE *out, const json_t *report)
{
    const json_t *traffic = json_object_get(report, "traffic");
    fputs("<h2>Recipients, in the last minute</h2>\n<dl class=\"tiles\">\n", out);
    put_rate(out, "accepted", traffic, "accept");
    put_rate(out, "deferred", traffic, "defer");
    put_rate(out, "rejected", traffic, "reject");
    put_rate(out, "dropped", traffic, "discard");
    fprintf(out,
            "</dl>\n<h2>Now</h2>\n<dl class=\"facts\"><dt>Sessions</dt><dd>%" JSON_INTEGER_FORMAT " open, ",
            json_get_number(traffic, "sessions_open"));
    put_number(out, json_get_number(traffic, "sessions_total"));
    fputs(" since the start; ", out);
    put_number(out, json_get_number(traffic, "messages_total"));
    fprintf(
        out,
        " messages</dd>\n<dt>Longest wait</dt><dd>%.1f ms for a decision, %.1f ms at any command, since the "
        "start</dd>\n",
        json_number_value(json_object_get(traffic, "decision_max_ms")),
        json_number_value(json_object_get(traffic, "callback_max_ms")));
    fputs("<dt>Lost</dt><dd>", out);
    put_lost(out, json_object_get(report, "lost"));
    fputs("</dd></dl>\n", out);
}

static void put_aliases(FILE *out, const json_t *aliases)
{
    static const char *const answers[][2] = {{"live", "in force"},
                                             {"doubted", "in force, being checked"},
                                             {"copy", "<strong>its last good copy answers</strong>"},
                                             {"nothing", "<strong>nothing answers for it</strong>"}};
    if (json_get_number(aliases, "aliases") >= 0) {
        fputs(", ", out);
        put_number(out, json_get_number(aliases, "aliases"));
        fputs(json_get_number(aliases, "aliases") == 1 ? " alias of " : " aliases of ", out);
        put_number(out, json_get_number(aliases, "domains"));
        fputs(json_get_number(aliases, "domains") == 1 ? " domain" : " domains", out);
    }
    if (*json_get_text(aliases, "changed") != '\0') {
        fputs(", changed ", out);
        put_duration(out, json_get_number(aliases, "age_s"));
        fputs(" ago", out);
    }
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        if (strcmp(json_get_text(aliases, "in_force"), answers[i][0]) == 0)
            fprintf(out, "; %s", answers[i][1]);
}

static void put_queue(FILE *out, const json_t *queue)
{
    if (!json_is_true(json_object_get(queue, "known"))) {
        fputs("<strong>unknown: it could not be read yet, or not for too long</strong>", out);
        return;
    }
    put_number(out, json_get_number(queue, "messages"));
    fputs(json_get_number(queue, "messages") == 1 ? " message" : " messages", out);
    if (json_get_number(queue, "messages") > 0) {
        fputs(", the oldest for ", out);
        put_duration(out, json_get_number(queue, "oldest_s"));
    }
    fputs("; read ", out);
    put_duration(out, json_get_number(queue, "age_s"));
    fprintf(out, " ago, which took %" JSON_INTEGER_FORMAT " ms", json_get_number(queue, "read_ms"));
}

static void put_in_force(FILE *out, const json_t *report)
{
    const json_t *policy = json_object_get(report, "policy"), *aliases = json_object_get(report, "aliases"),
                 *counters = json_object_get(report, "counters");
    fputs("<h2>In force</h2>\n<dl class=\"facts\"><dt>Policy</dt><dd><code>", out);
    put_word(out, policy, "file");
    fputs("</code>, in force for ", out);
    put_duration(out, json_get_number(policy, "age_s"));
    fputs("</dd>\n<dt>Aliases</dt><dd>", out);
    if (json_is_null(aliases)) {
        fputs("none are configured: every recipient goes on to the limits", out);
    } else {
        fputs("<code>", out);
        put_word(out, aliases, "database");
        fputs("</code>", out);
        put_aliases(out, aliases);
    }
    fputs("</dd>\n<dt>Counters</dt><dd>", out);
    put_word(out, counters, "kind");
    fputs(", <code>", out);
    put_word(out, counters, "at");
    fputs("</code>; when it is down: ", out);
    put_word(out, counters, "when_down");
    if (json_is_object(json_object_get(report, "queue"))) {
        fputs("</dd>\n<dt>Postfix's queue</dt><dd>", out);
        put_queue(out, json_object_get(report, "queue"));
    }
    if (json_get_number(report, "blocks") > 0) {
        fputs("</dd>\n<dt>Blocks</dt><dd>", out);
        put_number(out, json_get_number(report, "blocks"));
        fputs(json_get_number(report, "blocks") == 1 ? " network" : " networks", out);
    }
    fputs("</dd></dl>\n", out);
}

static void put_count_cell(FILE *out, json_int_t n)
{
    fputs(n > 0 ? "<td class=\"n some\">" : "<td class=\"n\">", out);
    put_number(out, n);
    fputs("</td>", out);
}

static void put_limits(FILE *out, const json_t *limits)
{
    size_t i;
    json_t *l;
    if (json_array_size(limits) == 0)
        return;
    fputs("<h2>Limits</h2>\n<div class=\"wide\"><table><tr><th>Name</th><th>Counts per</th>"
          "<th class=\"n\">Max</th><th>In</th><th>Over it</th><th class=\"n\">Refused</th>"
          "<th class=\"n\">In shadow</th></tr>\n",
          out);
    json_array_foreach(limits, i, l)
    {
        fputs("<tr><td><code>", out);
        put_word(out, l, "name");
        fputs("</code></td><td>", out);
        put_word(out, l, "per");
        fputs("</td><td class=\"n\">", out);
        put_number(out, json_get_number(l, "max"));
        fputs("</td><td>", out);
        put_window(out, json_get_number(l, "window_ms"));
        fputs("</td><td>", out);
        put_word(out, l, "over");
        fputs(json_is_true(json_object_get(l, "shadow")) ? ", in shadow</td>" : "</td>", out);
        put_count_cell(out, json_get_number(l, "refused"));
        put_count_cell(out, json_get_number(l, "would_refuse"));
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

static void put_event(FILE *out, json_t *event)
{
    const char *name;
    json_t *value;
    fputs("<tr><td class=\"t\">", out);
    put_time(out, json_get_text(event, "at"));
    fputs("</td><td><strong>", out);
    put_word(out, event, "event");
    fputs("</strong> ", out);
    json_object_foreach(event, name, value)
    {
        if (strcmp(name, "at") == 0 || strcmp(name, "event") == 0 || json_string_length(value) == 0)
            continue;
        if (strcmp(name, "shadow") == 0 && strcmp(json_string_value(value), "no") == 0)
            continue;
        if (strcmp(name, "text") != 0)
            fprintf(out, "<span class=\"k\">%s</span>&nbsp;", name);
        escaped(out, json_string_value(value));
        fputs(" ", out);
    }
    fputs("</td></tr>\n", out);
}

static void put_events(FILE *out, const json_t *events)
{
    size_t i;
    json_t *e;
    json_array_foreach(events, i, e)
    {
        if (i == 0)
            fputs("<h2>Lately</h2>\n<div class=\"wide\"><table><tr><th>When</th><th>What</th></tr>\n", out);
        put_event(out, e);
    }
    if (i > 0)
        fputs("</table></div>\n", out);
}

static void put_past(FILE *out, const json_t *past)
{
    size_t i;
    json_t *r;
    json_array_foreach(past, i, r)
    {
        if (i == 0)
            fputs("<h2>Well again</h2>\n<div class=\"wide\"><table><tr><th>Until</th><th>What</th>"
                  "<th class=\"n\">Lasted</th><th class=\"n\">Times</th></tr>\n",
                  out);
        fputs("<tr><td class=\"t\">", out);
        put_time(out, json_get_text(r, "until"));
        fputs("</td><td><strong>", out);
        put_word(out, r, "title");
        fputs("</strong> ", out);
        put_word(out, r, "text");
        fputs("</td><td class=\"n\">", out);
        put_duration(out, json_get_number(r, "lasted_s"));
        fprintf(out, "</td><td class=\"n\">%" JSON_INTEGER_FORMAT "</td></tr>\n",
                json_get_number(r, "times"));
    }
    if (i > 0)
        fputs("</table></div>\n", out);
}

void page_print(FILE *out, const json_t *report)
{
    fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
          "<meta name=\"color-scheme\" content=\"light dark\"><meta http-equiv=\"refresh\" "
          "content=\"30\"><title>",
          out);
    put_word(out, report, "status");
    fputs(": rcptgate on ", out);
    put_word(out, report, "host");
    fprintf(out, "</title><link rel=\"stylesheet\" href=\"/style.css\"></head>\n<body class=\"%s\">\n",
            health_word(health_grade(report)));
    fputs("<header class=\"top\"><span><b>rcptgate</b> ", out);
    put_word(out, report, "version");
    fputs(" on <b>", out);
    put_word(out, report, "host");
    fputs("</b>, up for ", out);
    put_duration(out, json_get_number(report, "uptime_s"));
    fputs("</span><span>", out);
    put_time(out, json_get_text(report, "checked_at"));
    fputs("</span></header>\n<main>\n", out);
    put_state(out, report);
    put_reasons(out, json_object_get(report, "reasons"), "What is wrong");
    put_reasons(out, json_object_get(report, "notes"), "Worth knowing");
    put_traffic(out, report);
    put_in_force(out, report);
    put_limits(out, json_object_get(report, "limits"));
    put_events(out, json_object_get(report, "events"));
    put_past(out, json_object_get(report, "past"));
    fputs("</main>\n<footer>For programs: <a href=\"/healthz\">/healthz</a>, "
          "<a href=\"/status.json\">/status.json</a>, <a href=\"/metrics\">/metrics</a>. "
          "This page comes anew every 30 seconds.</footer>\n</body></html>\n",
          out);
}
