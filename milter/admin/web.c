/* web: owns the HTTP server, which answers in threads of its own, and remembers where that listens. What it cannot get
 * is a condition, and tried again. */
#include "admin/web.h"

#include "base/clock.h"
#include "sys/http.h"
#include "overview.h"
#include "page.h"
#include "status.h"

#include <stdlib.h>
#include <string.h>

enum { RETRY_MS = 5000 };

struct web {
    struct gate *gate;
    struct http *http; /* NULL: none */
    char host[NETWORK_TEXT];
    int port;
    int64_t retry_ns;
};

/* ---- the pages ---- */

static bool shows_subjects(struct gate *gate)
{
    const struct policy *policy = context_policy(&gate->context);
    bool subjects = policy->http.subjects;
    policy_unref(policy);
    return subjects;
}

/* Words with an "@" become "(address)": what an error quotes is nobody's business who may only read pages. */
static json_t *without_addresses(const char *text)
{
    char *out = malloc(9 * strlen(text) + 1), *to = out;
    while (out != NULL && *text != '\0') {
        size_t n = strcspn(text, " \"{}|,;"), word = n > 0 ? n : 1;
        bool address = memchr(text, '@', word) != NULL;
        memcpy(to, address ? "(address)" : text, address ? 9 : word);
        to += address ? 9 : word;
        text += word;
    }
    json_t *string = out != NULL ? json_stringn(out, (size_t)(to - out)) : NULL;
    free(out);
    return string;
}

static void hide_addresses(json_t *value)
{
    const char *name;
    json_t *part;
    size_t i;
    void *next;
    json_object_foreach_safe(value, next, name,
                             part) if (json_is_string(part) && strchr(json_string_value(part), '@') != NULL)
        json_object_set_new(value, name, without_addresses(json_string_value(part)));
    else hide_addresses(part);
    json_array_foreach(value, i, part) hide_addresses(part);
}

/* What the pages may show of it. */
static json_t *for_pages(struct gate *gate, json_t *report)
{
    if (!shows_subjects(gate))
        hide_addresses(report);
    return report;
}

static void answer_json(json_t *report, int status, struct http_answer *out)
{
    out->status = status;
    out->type = "application/json";
    if (report != NULL)
        out->body = json_dumps(report, JSON_INDENT(2));
    json_decref(report);
}

static void answer_health(struct gate *gate, const struct http_request *request, FILE *file,
                          struct http_answer *out)
{
    (void)request, (void)file;
    json_t *report = for_pages(gate, health_report(gate));
    answer_json(report, report != NULL && health_grade(report) == CONDITION_NOTE ? 200 : 503, out);
}

static void answer_status(struct gate *gate, const struct http_request *request, FILE *file,
                          struct http_answer *out)
{
    (void)request, (void)file;
    answer_json(for_pages(gate, status_report(gate, shows_subjects(gate))), 200, out);
}

static void answer_metrics(struct gate *gate, const struct http_request *request, FILE *file,
                           struct http_answer *out)
{
    (void)request;
    out->status = 200;
    out->type = "text/plain; version=0.0.4; charset=utf-8";
    status_print_metrics(file, gate);
}

static void answer_style(struct gate *gate, const struct http_request *request, FILE *file,
                         struct http_answer *out)
{
    (void)gate, (void)request;
    out->status = 200;
    out->type = "text/css; charset=utf-8";
    fputs(page_css, file);
}

/* What somebody asks, or is typing, is not to be swept away. */
static bool stands_still(const struct http_request *request, const struct overview_question *question)
{
    return http_query(request, "still") != NULL || question->to != NULL || question->from != NULL ||
           question->client != NULL;
}

static void answer_page(struct gate *gate, const struct http_request *request, FILE *file,
                        struct http_answer *out)
{
    const struct overview_question question = {http_query(request, "to"), http_query(request, "from"),
                                               http_query(request, "client")};
    struct history_minute hour[HISTORY_MINUTES];
    json_t *report = for_pages(gate, overview_report(gate, shows_subjects(gate), &question));
    history_get(&gate->context.history, context_now(&gate->context), hour);
    out->status = report != NULL ? 200 : 503;
    out->type = "text/html; charset=utf-8";
    if (report != NULL)
        page_print(file, report, hour, stands_still(request, &question));
    json_decref(report);
}

/* Each fills out and either writes to file or sets the body. */
static const struct {
    const char *path;
    void (*answer)(struct gate *gate, const struct http_request *request, FILE *file,
                   struct http_answer *out);
} pages[] = {
    {"/", answer_page},          {"/style.css", answer_style},    {"/metrics", answer_metrics},
    {"/healthz", answer_health}, {"/status.json", answer_status},
};

static void out_of_memory(struct http_answer *out)
{
    static const char text[] = "out of memory\n";
    free(out->body);
    out->status = 503;
    out->type = "text/plain; charset=utf-8";
    out->body = strdup(text);
    out->n = out->body != NULL ? sizeof text - 1 : 0;
}

static void on_get(void *arg, const struct http_request *request, struct http_answer *out)
{
    struct web *web = arg;
    size_t i = 0, n = 0;
    char *body = NULL;
    while (i < sizeof pages / sizeof pages[0] && strcmp(pages[i].path, request->path) != 0)
        i++;
    if (i == sizeof pages / sizeof pages[0])
        return;
    FILE *file = open_memstream(&body, &n);
    if (file != NULL)
        pages[i].answer(web->gate, request, file, out);
    bool whole = file != NULL && fclose(file) == 0;
    if (out->body != NULL) {
        free(body);
        out->n = strlen(out->body);
    } else {
        out->body = body;
        out->n = n;
    }
    if (!whole || out->body == NULL || out->n == 0)
        out_of_memory(out);
}

/* http.hosts */
static bool knows_host(void *arg, const char *name)
{
    const struct web *web = arg;
    const struct policy *policy = context_policy(&web->gate->context);
    bool known = false;
    for (size_t i = 0; i < policy->http.hosts.n && !known; i++)
        known = strcmp(policy->http.hosts.at[i], name) == 0;
    policy_unref(policy);
    return known;
}

/* ---- the server ---- */

static void web_close(struct web *web)
{
    http_stop(web->http);
    web->http = NULL;
}

static void web_open(struct web *web)
{
    struct error err = {0};
    struct conditions *conditions = &web->gate->context.conditions;
    int64_t now = clock_monotonic_ns();
    if (now < web->retry_ns)
        return;
    const struct http_user user = {on_get, knows_host, web};
    web->http = http_start(web->host, web->port, &user, &err);
    if (web->http != NULL) {
        conditions_clear(conditions, CONDITION_HTTP, context_now(&web->gate->context));
        return;
    }
    web->retry_ns = now + (int64_t)RETRY_MS * 1000000;
    conditions_set(
        conditions, CONDITION_HTTP, CONDITION_NOTE, context_now(&web->gate->context),
        "%s; tried again every %d s. Free the port, or give this gate another http.listen (\"\" for none)",
        err.text, RETRY_MS / 1000);
}

void web_look(struct web *web)
{
    if (web == NULL)
        return;
    const struct policy *policy = context_policy(&web->gate->context);
    if (strcmp(web->host, policy->http.host) != 0 || web->port != policy->http.port) {
        web_close(web);
        snprintf(web->host, sizeof web->host, "%s", policy->http.host);
        web->port = policy->http.port;
        web->retry_ns = 0;
        if (web->host[0] == '\0')
            conditions_clear(&web->gate->context.conditions, CONDITION_HTTP,
                             context_now(&web->gate->context));
    }
    policy_unref(policy);
    if (web->http == NULL && web->host[0] != '\0')
        web_open(web);
    if (web->http != NULL)
        http_look(web->http);
}

struct web *web_new(struct gate *gate)
{
    struct web *web = calloc(1, sizeof *web);
    if (web != NULL)
        web->gate = gate;
    return web;
}

void web_free(struct web *web)
{
    if (web == NULL)
        return;
    web_close(web);
    free(web);
}
