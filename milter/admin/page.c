/* page: the report as HTML (see page.h). Owns nothing and cannot fail: whoever gave the stream looks at it. */
#include "page.h"

#include "admin/health.h"
#include "admin/words.h"
#include "config/json_get.h"
#include "html.h"
#include "page_events.h"
#include "page_explain.h"
#include "page_hour.h"
#include "page_who.h"

#include <string.h>

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
        html_member(out, r, "grade");
        fputs("\"><h3>", out);
        html_member(out, r, "title");
        fputs(" <small>for ", out);
        html_duration(out, json_get_number(r, "for_s"));
        fputs(", since ", out);
        html_time(out, json_get_text(r, "since"));
        fputs("</small></h3><p>", out);
        html_member(out, r, "text");
        fputs("</p><p class=\"means\">", out);
        html_member(out, r, "means");
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
    html_number(out, json_get_number(totals, action));
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
    fputs("</dl>\n", out);
}

static void put_aliases(FILE *out, const json_t *aliases)
{
    static const char *const answers[][2] = {{"live", "in force"},
                                             {"unverified", "in force, being checked"},
                                             {"copy", "<strong>its last good copy answers</strong>"},
                                             {"nothing", "<strong>nothing answers for it</strong>"}};
    if (json_get_number(aliases, "aliases") >= 0) {
        fputs(", ", out);
        html_plural(out, json_get_number(aliases, "aliases"), "alias of ", "aliases of ");
        html_plural(out, json_get_number(aliases, "domains"), "domain", "domains");
    }
    if (*json_get_text(aliases, "changed") != '\0') {
        fputs(", changed ", out);
        html_duration(out, json_get_number(aliases, "age_s"));
        fputs(" ago", out);
    }
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        if (strcmp(json_get_text(aliases, "in_force"), answers[i][0]) == 0)
            fprintf(out, "; %s", answers[i][1]);
}

static void put_queue(FILE *out, const json_t *queue)
{
    static const char *const parts[][2] = {
        {"queue_id", "<br>the oldest is "}, {"sender", ", from "}, {"recipient", ", to "}, {"reason", ": "}};
    const json_t *oldest = json_object_get(queue, "oldest");
    if (!json_is_true(json_object_get(queue, "known"))) {
        fputs("<strong>unknown: it could not be read yet, or not for too long</strong>", out);
        return;
    }
    html_plural(out, json_get_number(queue, "messages"), "message", "messages");
    if (json_get_number(queue, "messages") > 0) {
        fputs(", the oldest for ", out);
        html_duration(out, json_get_number(queue, "oldest_s"));
    }
    fputs("; read ", out);
    html_duration(out, json_get_number(queue, "age_s"));
    fprintf(out, " ago, which took %" JSON_INTEGER_FORMAT " ms", json_get_number(queue, "read_ms"));
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (*json_get_text(oldest, parts[i][0]) != '\0')
            fputs(parts[i][1], out);
        html_member(out, oldest, parts[i][0]);
    }
}

static void put_now(FILE *out, const json_t *report, bool blocks_are_listed)
{
    const json_t *traffic = json_object_get(report, "traffic");
    fprintf(out, "<h2>Now</h2>\n<dl class=\"facts\"><dt>Sessions</dt><dd>%" JSON_INTEGER_FORMAT " open, ",
            json_get_number(traffic, "sessions_open"));
    html_number(out, json_get_number(traffic, "sessions_total"));
    fputs(" since the start; ", out);
    html_plural(out, json_get_number(traffic, "messages_total"), "message", "messages");
    fprintf(out,
            "</dd>\n<dt>Longest wait</dt><dd>%.1f ms for a decision, %.1f ms at any command, since the "
            "start</dd>\n",
            json_number_value(json_object_get(traffic, "decision_max_ms")),
            json_number_value(json_object_get(traffic, "callback_max_ms")));
    if (json_is_object(json_object_get(report, "queue"))) {
        fputs("<dt>Postfix's queue</dt><dd>", out);
        put_queue(out, json_object_get(report, "queue"));
        fputs("</dd>\n", out);
    }
    if (!blocks_are_listed && json_get_number(report, "blocks") > 0) {
        fputs("<dt>Blocked</dt><dd>", out);
        html_plural(out, json_get_number(report, "blocks"), "network", "networks");
        fputs("</dd>\n", out);
    }
    fputs("<dt>Lost</dt><dd>", out);
    put_lost(out, json_object_get(report, "lost"));
    fputs("</dd></dl>\n", out);
}

static void put_shards(FILE *out, const json_t *shards)
{
    size_t i;
    json_t *shard;
    json_array_foreach(shards, i, shard)
    {
        char says[1024];
        struct text text;
        text_init(&text, says, sizeof says);
        words_add_shard(&text, shard);
        if (says[0] == '\0')
            continue;
        fputs("<br>", out);
        html_text(out, says);
    }
}

static void put_in_force(FILE *out, const json_t *report)
{
    const json_t *policy = json_object_get(report, "policy"), *aliases = json_object_get(report, "aliases"),
                 *counters = json_object_get(report, "counters");
    fputs("<h2>In force</h2>\n<dl class=\"facts\"><dt>Policy</dt><dd><code>", out);
    html_member(out, policy, "file");
    fputs("</code>, in force for ", out);
    html_duration(out, json_get_number(policy, "age_s"));
    fputs("</dd>\n<dt>Aliases</dt><dd>", out);
    if (json_is_null(aliases)) {
        fputs("none are configured: every recipient goes on to the limits", out);
    } else {
        fputs("<code>", out);
        html_member(out, aliases, "database");
        fputs("</code>", out);
        put_aliases(out, aliases);
    }
    fputs("</dd>\n<dt>Counters</dt><dd>", out);
    html_member(out, counters, "kind");
    fputs(", <code>", out);
    html_member(out, counters, "at");
    fputs("</code>; when it is down: ", out);
    html_member(out, counters, "when_down");
    put_shards(out, json_object_get(counters, "shards"));
    fputs("</dd></dl>\n", out);
}

static void put_count_cell(FILE *out, json_int_t n)
{
    fputs(n > 0 ? "<tr><td class=\"n some\">" : "<tr><td class=\"n\">", out);
    html_number(out, n);
    fputs("</td>", out);
}

static void put_limits(FILE *out, const json_t *limits)
{
    size_t i;
    json_t *l;
    if (json_array_size(limits) == 0)
        return;
    fputs("<h2>Limits</h2>\n<table><tr><th class=\"n\">Refused</th><th>Limit</th></tr>\n", out);
    json_array_foreach(limits, i, l)
    {
        put_count_cell(out, json_get_number(l, "refused"));
        fputs("<td><b>", out);
        html_member(out, l, "name");
        fputs("</b> <span class=\"k\">", out);
        html_member(out, l, "says");
        if (json_get_number(l, "would_refuse") > 0) {
            fputs("; would have refused ", out);
            html_number(out, json_get_number(l, "would_refuse"));
        }
        fputs("</span></td></tr>\n", out);
    }
    fputs("</table>\n", out);
}

static void put_past(FILE *out, const json_t *past)
{
    size_t i;
    json_t *r;
    json_array_foreach(past, i, r)
    {
        if (i == 0)
            fputs("<h2>Well again</h2>\n<table>\n", out);
        fputs("<tr><td class=\"t\">", out);
        html_time(out, json_get_text(r, "until"));
        fputs("</td><td><b>", out);
        html_member(out, r, "title");
        fputs("</b>, after ", out);
        html_duration(out, json_get_number(r, "lasted_s"));
        fputs(": ", out);
        html_member(out, r, "text");
        if (json_get_number(r, "times") > 1)
            fprintf(out, " <span class=\"k\">(%" JSON_INTEGER_FORMAT " times since the start)</span>",
                    json_get_number(r, "times"));
        fputs("</td></tr>\n", out);
    }
    if (i > 0)
        fputs("</table>\n", out);
}

static void put_head(FILE *out, const json_t *status, bool still)
{
    fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
          "<meta name=\"color-scheme\" content=\"light dark\">",
          out);
    fputs(still ? "<title>" : "<meta http-equiv=\"refresh\" content=\"30\"><title>", out);
    html_member(out, status, "status");
    fputs(": rcptgate on ", out);
    html_member(out, status, "host");
    fprintf(out, "</title><link rel=\"stylesheet\" href=\"/style.css\"></head>\n<body class=\"%s\">\n",
            health_word(health_grade(status)));
    fputs("<header class=\"top\"><span><b>rcptgate</b> ", out);
    html_member(out, status, "version");
    fputs(" on <b>", out);
    html_member(out, status, "host");
    fputs("</b>, up for ", out);
    html_duration(out, json_get_number(status, "uptime_s"));
    fputs("</span><span>", out);
    html_time(out, json_get_text(status, "checked_at"));
    fputs("</span></header>\n<main>\n", out);
}

static void put_foot(FILE *out, bool still)
{
    fputs("</main>\n<footer>For programs: <a href=\"/healthz\">/healthz</a>, "
          "<a href=\"/status.json\">/status.json</a>, <a href=\"/metrics\">/metrics</a>. ",
          out);
    fputs(still ? "<form method=\"get\" action=\"/\">This page stands still. <button>Let it come "
                  "anew</button></form>"
                : "<form method=\"get\" action=\"/\">This page comes anew every 30 seconds. <button "
                  "name=\"still\">Let it stand "
                  "still</button></form>",
          out);
    fputs("</footer>\n</body></html>\n", out);
}

void page_print(FILE *out, const json_t *report, const struct history_minute hour[HISTORY_MINUTES],
                bool still)
{
    const json_t *status = json_object_get(report, "status");
    put_head(out, status, still);
    put_state(out, status);
    put_reasons(out, json_object_get(status, "reasons"), "What is wrong");
    put_reasons(out, json_object_get(status, "notes"), "Worth knowing");
    put_traffic(out, status);
    page_hour_print(out, hour);
    page_who_print(out, report);
    put_now(out, status, json_is_true(json_object_get(report, "subjects")));
    put_limits(out, json_object_get(status, "limits"));
    put_in_force(out, status);
    page_explain_print(out, report);
    page_events_print(out, json_object_get(report, "lately"));
    put_past(out, json_object_get(status, "past"));
    put_foot(out, still);
}
