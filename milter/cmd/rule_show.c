/* rule_show: see rule_show.h. Owns the look-up while it runs. The row that counts is found by the functions that the gate decides with:
 * what is shown here is what a RCPT would meet. */
#include "rule_show.h"

#include "aliases/aliases.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "config/config.h"
#include "config/json_get.h"
#include "policy/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SENDERS_SHOWN = 1000 };

struct sender {
    size_t scope; /* its place in the query: the smaller, the more specific */
    const char *pattern, *action, *reply;
};

struct shown {
    struct address address;
    struct alias_rows rows;
    struct alias alias;
    struct strings mailboxes;
    bool exempt;
    int64_t now_ms, expires_at; /* 0: never */
    struct sender_query query;
    struct pool *pool;
    struct sender senders[SENDERS_SHOWN];
    size_t n_senders;
    bool more_senders, failed;
};

/* --- finding --- */

static int64_t expiry(const struct shown *shown)
{
    return shown->alias.via == VIA_FULL   ? shown->rows.full.expires_at
           : shown->alias.via == VIA_BARE ? shown->rows.bare.expires_at
                                          : 0;
}

/* The alias as the gate finds it, and in which scopes a sender rule would have to stand. -1: out of memory. */
static int look_up(const struct policy *policy, struct aliases *aliases, struct shown *shown)
{
    static const struct network unknown_client;
    const struct address nobody = {.kind = ADDRESS_NULL};
    const struct client_row no_client = {.state = ROWS_LIVE};
    const struct sender_rows no_senders = {.state = ROWS_LIVE};
    const struct envelope envelope = {.client = &unknown_client,
                                      .sender = &nobody,
                                      .recipient = &shown->address,
                                      .resolved = true,
                                      .size = -1,
                                      .now_ms = shown->now_ms};
    struct alias_query query;
    struct ruling ruling;
    struct aliases_reading reading = aliases_begin(aliases);
    int rc = rules_alias_query(&shown->address, shown->pool, &query);
    if (rc == 0)
        aliases_alias(&reading, &query, shown->pool, &shown->rows);
    aliases_end(&reading);
    if (rc < 0)
        return -1;
    rules_alias(policy, &envelope, &shown->rows, &shown->alias);
    if (rules_mailboxes(policy, &shown->alias, shown->pool, &shown->mailboxes) < 0 ||
        rules_sender_query(&nobody, &shown->address, shown->alias.owner, shown->pool, &shown->query) < 0)
        return -1;
    rules_rule(policy, &envelope, &shown->alias, &no_senders, &no_client, &ruling);
    shown->exempt = ruling.recipient_exempt;
    shown->expires_at = expiry(shown);
    return 0;
}

static bool keep_sender(enum aliases_table table, const struct edit_record *record, void *context)
{
    struct shown *shown = context;
    const struct edit_value *at = record->at;
    size_t scope = 0;
    (void)table;
    while (at[0].text != NULL && scope < shown->query.n_scopes &&
           strcmp(shown->query.scopes[scope], at[0].text) != 0)
        scope++;
    if (at[0].text == NULL || scope == shown->query.n_scopes)
        return true;
    shown->more_senders = shown->n_senders == SENDERS_SHOWN;
    if (shown->more_senders)
        return false;
    struct sender *sender = &shown->senders[shown->n_senders++];
    *sender =
        (struct sender){scope, pool_strdup(shown->pool, at[1].text), pool_strdup(shown->pool, at[2].text),
                        at[3].text != NULL ? pool_strdup(shown->pool, at[3].text) : NULL};
    shown->failed = sender->pattern == NULL || sender->action == NULL;
    return !shown->failed;
}

static int by_scope(const void *a, const void *b)
{
    const struct sender *left = a, *right = b;
    return left->scope != right->scope ? (left->scope > right->scope) - (left->scope < right->scope)
                                       : strcmp(left->pattern, right->pattern);
}

/* --- showing --- */

static const char *const states[] = {
    [ALIAS_UNASKED] = "no alias rules", [ALIAS_NOT_OURS] = "not ours", [ALIAS_FOUND] = "found",
    [ALIAS_UNKNOWN] = "unknown",        [ALIAS_EXPIRED] = "expired",   [ALIAS_INVALID] = "invalid",
    [ALIAS_STALE] = "unreadable",
};

static const char *const vias[] = {
    [VIA_NONE] = "",     [VIA_FULL] = "exact address",  [VIA_BARE] = "address without its subaddress",
    [VIA_GLOB] = "glob", [VIA_CATCH_ALL] = "catch-all",
};

static void line(const char *title, const char *text)
{
    char clean[1024];
    if (text == NULL || text[0] == '\0')
        return;
    snprintf(clean, sizeof clean, "%s", text);
    utf8_clean(clean); /* for a terminal, which would obey it */
    printf("%-10s %s\n", title, clean);
}

static void print_state(const struct shown *shown)
{
    const struct alias *alias = &shown->alias;
    const char *conceal = alias->concealed ? " (answered as unknown: aliases.conceal)" : "";
    switch (alias->state) {
    case ALIAS_FOUND:
        printf("%-10s %s, by %s%s%s\n", "rules say", action_name(alias->action), vias[alias->via],
               alias->row != NULL && alias->row == alias->domain && alias->via != VIA_CATCH_ALL
                   ? ", whose domain is harder"
                   : "",
               conceal);
        break;
    case ALIAS_EXPIRED:
        printf("%-10s expired, by %s%s\n", "rules say", vias[alias->via], conceal);
        break;
    case ALIAS_NOT_OURS:
        line("rules say", "nothing: its domain is not one of ours");
        break;
    default:
        line("rules say",
             shown->exempt ? "no row, and exempt: never unknown" : "unknown: no row, glob or catch-all");
    }
}

static void print_senders(const struct shown *shown)
{
    char text[1024];
    for (size_t i = 0; i < shown->n_senders; i++) {
        const struct sender *s = &shown->senders[i];
        snprintf(text, sizeof text, "%s from %s to %s%s%s", s->action, s->pattern,
                 shown->query.scopes[s->scope], s->reply != NULL ? ": " : "",
                 s->reply != NULL ? s->reply : "");
        line(i == 0 ? "senders" : "", text);
    }
    if (shown->more_senders)
        line("", "and more");
    if (shown->n_senders == 0 && shown->alias.ours)
        line("senders", "no sender rule applies");
}

static void print(const struct shown *shown)
{
    const struct alias *alias = &shown->alias;
    char when[CLOCK_TEXT + 16] = "", date[CLOCK_TEXT];
    if (shown->expires_at != 0)
        snprintf(when, sizeof when, "%s%s", clock_text(shown->expires_at * 1000, date),
                 alias->state == ALIAS_EXPIRED ? " (expired)" : "");
    line("address", shown->address.full);
    print_state(shown);
    if (alias->row != NULL && alias->row != alias->domain)
        line("row", alias->row);
    line("domain", alias->domain);
    for (size_t i = 0; i < shown->mailboxes.n; i++)
        line(i == 0 ? "mailbox" : "", shown->mailboxes.at[i]);
    line("owner", alias->owner);
    line("class", alias->class_name);
    line("expires", when);
    line("reply", alias->reply);
    print_senders(shown);
}

static json_t *text_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? json_get_clean(text) : json_null();
}

static json_t *to_json(const struct shown *shown)
{
    const struct alias *alias = &shown->alias;
    json_t *mailboxes = json_array(), *senders = json_array();
    for (size_t i = 0; i < shown->mailboxes.n; i++)
        json_array_append_new(mailboxes, json_get_clean(shown->mailboxes.at[i]));
    for (size_t i = 0; i < shown->n_senders; i++) {
        const struct sender *s = &shown->senders[i];
        json_array_append_new(senders, json_pack("{s:o, s:o, s:o, s:o}", "scope",
                                                 json_get_clean(shown->query.scopes[s->scope]), "pattern",
                                                 json_get_clean(s->pattern), "action",
                                                 json_get_clean(s->action), "reply", text_or_null(s->reply)));
    }
    return json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:o}", "address",
                     json_get_clean(shown->address.full), "state", states[alias->state], "via",
                     vias[alias->via], "row", text_or_null(alias->row), "domain", text_or_null(alias->domain),
                     "action", text_or_null(alias->action != ACTION_NONE ? action_name(alias->action) : NULL),
                     "mailbox", mailboxes, "owner", text_or_null(alias->owner), "class",
                     text_or_null(alias->class_name), "expires_at",
                     shown->expires_at != 0 ? json_integer(shown->expires_at) : json_null(), "reply",
                     text_or_null(alias->reply), "exempt", shown->exempt, "concealed", alias->concealed,
                     "senders", senders);
}

static enum edit_status print_json(const struct shown *shown, struct error *err)
{
    json_t *report = to_json(shown);
    bool done = report != NULL && json_dumpf(report, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2)) == 0;
    json_decref(report);
    if (!done)
        error_set(err, "out of memory");
    putchar('\n');
    return done ? EDIT_DONE : EDIT_FAILED;
}

/* --- all of it --- */

static enum edit_status find(const struct rule_show *of, const struct policy *policy,
                             struct aliases_edit *edit, struct shown *shown, struct error *err)
{
    struct error why = {0};
    const struct aliases_config config = {.path = of->database};
    if (address_parse(of->address, policy->aliases.subaddress, &shown->address, &why) != ADDRESS_MAILBOX) {
        error_set(err, "\"%s\" is no address: %s", of->address,
                  why.text[0] != '\0' ? why.text : "give one as name@example.com");
        return EDIT_INVALID;
    }
    struct aliases *aliases = aliases_new(&config);
    int rc = aliases != NULL ? look_up(policy, aliases, shown) : -1;
    if (rc == 0 && shown->alias.state == ALIAS_STALE)
        aliases_condition(aliases, err);
    aliases_free(aliases);
    if (rc == 0 && shown->alias.state != ALIAS_STALE)
        return aliases_edit_list(edit, ALIASES_SENDERS, NULL, keep_sender, shown, err);
    error_set(err, rc < 0 ? "out of memory" : "the rows of this address cannot be read");
    return EDIT_FAILED;
}

static enum edit_status show(const struct rule_show *of, const struct policy *policy,
                             struct aliases_edit *edit, struct shown *shown, struct error *err)
{
    enum edit_status status = find(of, policy, edit, shown, err);
    if (status != EDIT_DONE)
        return status;
    if (shown->failed)
        return EDIT_FAILED;
    qsort(shown->senders, shown->n_senders, sizeof shown->senders[0], by_scope);
    if (of->json)
        return print_json(shown, err);
    print(shown);
    return EDIT_DONE;
}

enum edit_status rule_show(const struct rule_show *of, struct aliases_edit *edit, struct error *err)
{
    static const char defaults[] = "{\"aliases\": {}}";
    struct problems problems = {0};
    struct shown *shown = calloc(1, sizeof *shown);
    const bool has =
        of->policy != NULL && of->policy->aliases.database != NULL; /* else rules would ask nothing */
    const struct policy *made = has ? NULL : config_load(defaults, sizeof defaults - 1, &problems);
    const struct policy *policy = has ? of->policy : made;
    enum edit_status status = EDIT_FAILED;
    if (shown != NULL && policy != NULL) {
        shown->pool = of->pool;
        shown->now_ms = clock_now_ms();
        status = show(of, policy, edit, shown, err);
    }
    if (status == EDIT_FAILED)
        error_set(err, "out of memory"); /* unless it was said better */
    problems_done(&problems);
    policy_unref(made);
    free(shown);
    return status;
}
