/* page_explain: see page_explain.h. Owns nothing. */
#include "page_explain.h"

#include "admin/words.h"
#include "config/json_get.h"
#include "html.h"

#include <stdbool.h>
#include <string.h>

enum { KEY_WORDS = 1024 };

static bool has(const json_t *object, const char *name)
{
    return *json_get_text(object, name) != '\0';
}

static void print_field(FILE *out, const json_t *asked, const char *name, const char *label, const char *hint)
{
    fprintf(out,
            "<label>%s <input name=\"%s\" maxlength=\"400\" placeholder=\"%s\" autocomplete=\"off\" value=\"",
            label, name, hint);
    html_member(out, asked, name);
    fputs("\"></label>\n", out);
}

static void print_form(FILE *out, const json_t *asked)
{
    fputs("<form class=\"ask\" method=\"get\" action=\"/#explain\">\n", out);
    print_field(out, asked, "to", "Recipient", "shop@example.com");
    print_field(out, asked, "from", "Sender", "none: a bounce");
    print_field(out, asked, "client", "Client", "any");
    fputs("<button>Explain</button></form>\n", out);
}

static void begin(FILE *out, const char *head)
{
    fprintf(out, "<dt>%s</dt><dd>", head);
}

static void print_alias(FILE *out, const json_t *alias)
{
    static const char *const parts[][2] = {
        {"via", " as "}, {"row", ": "}, {"action", ", "}, {"owner", ", owner "}, {"class", ", class "}};
    size_t i;
    json_t *mailbox;
    begin(out, "Alias");
    html_member(out, alias, "state");
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
        if (has(alias, parts[p][0]))
            fputs(parts[p][1], out);
        html_member(out, alias, parts[p][0]);
    }
    json_array_foreach(json_object_get(alias, "mailbox"), i, mailbox)
    {
        fputs(i == 0 ? ", to " : ", ", out);
        html_text(out, json_string_value(mailbox));
    }
    fputs(json_is_true(json_object_get(alias, "concealed")) ? " (answered as unknown: aliases.conceal)</dd>\n"
                                                            : "</dd>\n",
          out);
}

static void print_limits(FILE *out, const json_t *limits)
{
    size_t i;
    json_t *l;
    begin(out, "Limits");
    if (json_array_size(limits) == 0)
        fputs("none applies", out);
    json_array_foreach(limits, i, l)
    {
        fputs(i > 0 ? "<br>" : "", out);
        html_member(out, l, "limit");
        fputs(": ", out);
        html_number(out, json_get_number(l, "used"));
        fputs(" of ", out);
        html_number(out, json_get_number(l, "max"));
        fputs(", ", out);
        html_member(out, l, "result");
        if (json_get_number(l, "wait_ms") > 0) {
            fputs(" for ", out);
            html_duration(out, (json_get_number(l, "wait_ms") + 999) / 1000);
        }
        fputs(json_is_true(json_object_get(l, "shadow")) ? " (in shadow) <span class=\"k\">"
                                                         : " <span class=\"k\">",
              out);
        char buffer[KEY_WORDS];
        struct text text;
        text_init(&text, buffer, sizeof buffer);
        words_add_subject(&text, json_get_text(l, "key"));
        html_text(out, buffer);
        fputs("</span>", out);
    }
    fputs("</dd>\n", out);
}

static void print_verdict(FILE *out, const json_t *e)
{
    static const char *const words[][2] = {{"accept", "Accepted"},
                                           {"defer", "Deferred"},
                                           {"reject", "Rejected"},
                                           {"discard", "Accepted, and dropped at the end of the message"}};
    const char *verdict = json_get_text(e, "verdict");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(verdict, words[i][0]) == 0)
            fprintf(out, "<p class=\"verdict %s\"><b>%s</b>", verdict, words[i][1]);
    if (has(e, "reply"))
        fputs(": <code>", out);
    html_member(out, e, "reply");
    fputs(has(e, "reply") ? "</code>" : "", out);
    if (json_is_true(json_object_get(e, "shadow_mode")))
        fputs(" In mode shadow nothing of it is done: the recipient is let through.", out);
    fputs("</p>\n", out);
}

static void print_steps(FILE *out, const json_t *e)
{
    fputs("<dl class=\"facts\">", out);
    begin(out, "Recipient");
    html_member(out, e, has(e, "recipient") ? "recipient" : "given");
    if (has(e, "invalid"))
        fputs(", no valid address: ", out);
    html_member(out, e, "invalid");
    fputs("</dd>\n", out);
    begin(out, "Sender");
    html_member(out, e, "sender");
    fputs(has(e, "sender") ? "</dd>\n" : "none: a bounce</dd>\n", out);
    begin(out, "Client");
    html_member(out, e, "client");
    fputs(json_is_true(json_object_get(e, "client_exempt")) ? ", exempt</dd>\n" : "</dd>\n", out);
    print_alias(out, json_object_get(e, "alias"));
    begin(out, "Rule");
    html_member(out, e, "ruling");
    fputs(has(e, "rule") ? ": " : "", out);
    html_member(out, e, "rule");
    fputs("</dd>\n", out);
    print_limits(out, json_object_get(e, "limits"));
    fputs("</dl>\n", out);
}

void page_explain_print(FILE *out, const json_t *report)
{
    const json_t *explained = json_object_get(report, "explained");
    fputs("<h2 id=\"explain\">Explain a recipient</h2>\n", out);
    if (!json_is_true(json_object_get(report, "subjects"))) {
        fputs("<p>This page shows no addresses, and so explains none: <code>http.subjects</code> is false. "
              "On this host "
              "<code>rcptgate explain --to ADDRESS</code> says what a recipient would be answered, and "
              "why.</p>\n",
              out);
        return;
    }
    fputs("<p class=\"k\">What would this RCPT be answered now, and why? Nothing is counted.</p>\n", out);
    print_form(out, json_object_get(report, "asked"));
    if (has(explained, "error")) {
        fputs("<p class=\"verdict defer\">", out);
        html_member(out, explained, "error");
        fputs("</p>\n", out);
    } else if (explained != NULL) {
        print_verdict(out, explained);
        print_steps(out, explained);
    }
}
