/* rule_args: see rule_args.h. Owns nothing: strings are the caller's, or its pool's. Fails with what cannot stand in
 * a row, in words for who typed it. */
#include "rule_args.h"

#include "base/action.h"
#include "policy/address.h"
#include "base/glob.h"
#include "base/network.h"
#include "policy/reply.h"
#include "base/text.h"
#include "base/utf8.h"
#include "time_arg.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *option, *column;
} fields[FIELDS] = {
    [FIELD_MAILBOX] = {"--mailbox", "mailbox"}, [FIELD_OWNER] = {"--owner", "owner"},
    [FIELD_CLASS] = {"--class", "class"},       [FIELD_ACTION] = {"--action", "action"},
    [FIELD_REPLY] = {"--reply", "reply"},       [FIELD_EXPIRES] = {"--expires", "expires_at"},
    [FIELD_FOR] = {"--for", "expires_at"},      [FIELD_CATCH_ALL] = {"--catch-all", "catch_all"},
    [FIELD_SCOPE] = {"--scope", "scope"},
};

static const enum aliases_table noun_table[NOUNS] = {
    [NOUN_ALIAS] = ALIASES_ALIASES, /* and ALIASES_GLOBS, which has fewer columns */
    [NOUN_DOMAIN] = ALIASES_DOMAINS,
    [NOUN_SENDER] = ALIASES_SENDERS,
    [NOUN_CLIENT] = ALIASES_CLIENTS,
};

const char *rule_args_field_option(enum rule_field field)
{
    return fields[field].option;
}

bool rule_args_field_fits(enum rule_field field, enum rule_noun noun)
{
    return aliases_schema_column(noun_table[noun], fields[field].column) >= 0;
}

const char *rule_args_text(enum aliases_table table, const struct edit_record *record, const char *column)
{
    int at = aliases_schema_column(table, column);
    return at >= 0 && record->at[at].kind == EDIT_TEXT ? record->at[at].text : NULL;
}

/* --- keys --- */

static int put(const struct rule_args *args, struct rule *rule, size_t at, const char *text,
               struct error *err)
{
    const char *copy = pool_strdup(args->pool, text);
    if (copy == NULL) {
        error_set(err, "out of memory");
        return -1;
    }
    rule->record.at[at] = (struct edit_value){.kind = EDIT_TEXT, .text = copy};
    return 0;
}

static int parse_mailbox(const char *text, const char *subaddress, struct address *out, struct error *err)
{
    struct error why = {0};
    switch (address_parse(text, subaddress, out, &why)) {
    case ADDRESS_MAILBOX:
        return 0;
    case ADDRESS_INVALID:
        error_set(err, "\"%s\" is no address: %s", text, why.text);
        return -1;
    default:
        error_set(err, "\"%s\" is no address: give one as name@example.com", text);
        return -1;
    }
}

/* A '*' in quotes is a '*'; unquoted it makes the address a glob. */
static bool is_glob(const char *raw, const struct address *address)
{
    raw += strspn(raw, " <");
    return raw[0] != '"' && address->local_full[0] != '"' && glob_is(address->local_full);
}

static int canonical_domain(const char *text, char out[ADDRESS_DOMAIN_MAX + 1], struct error *err)
{
    struct error why = {0};
    if (address_domain(text, out, &why) == 0)
        return 0;
    error_set(err, "\"%s\" is no domain: %s", text, why.text);
    return -1;
}

/* A domain; with a dot before it, all that is below. */
static int domain_or_below(const struct rule_args *args, const char *text, struct rule *out, size_t at,
                           struct error *err)
{
    char domain[ADDRESS_DOMAIN_MAX + 2] = ".";
    bool below = text[0] == '.';
    return canonical_domain(text + below, domain + below, err) < 0 ? -1 : put(args, out, at, domain, err);
}

/* "shop-*@.example.com" */
static int glob_below(const struct rule_args *args, const char *key, const char *at, struct rule *out,
                      struct error *err)
{
    struct address address;
    const char *plain = pool_printf(args->pool, "%.*s@%s", (int)(at - key), key, at + 2);
    if (plain == NULL || parse_mailbox(plain, args->subaddress, &address, err) < 0) {
        error_set(err, "out of memory"); /* unless it was no address */
        return -1;
    }
    out->table = ALIASES_GLOBS;
    if (is_glob(key, &address))
        return domain_or_below(args, at + 1, out, 0, err) < 0 ||
                       put(args, out, 1, address.local_full, err) < 0
                   ? -1
                   : 0;
    error_set(err, "\"%s\": only a glob can be for all domains below another, such as *@%s", key, at + 1);
    return -1;
}

static int alias_key(const struct rule_args *args, const char *key, struct rule *out, struct error *err)
{
    struct address address;
    const char *below = strstr(key, "@.");
    if (below != NULL)
        return glob_below(args, key, below, out, err);
    if (parse_mailbox(key, args->subaddress, &address, err) < 0)
        return -1;
    if (!is_glob(key, &address)) {
        out->table = ALIASES_ALIASES;
        return put(args, out, 0, address.full, err);
    }
    out->table = ALIASES_GLOBS;
    return put(args, out, 0, address.domain, err) < 0 || put(args, out, 1, address.local_full, err) < 0 ? -1
                                                                                                        : 0;
}

static int domain_key(const struct rule_args *args, const char *key, struct rule *out, struct error *err)
{
    out->table = ALIASES_DOMAINS;
    return domain_or_below(args, key, out, 0, err);
}

/* "@example.com", and "@.example.com". */
static int at_domain(const struct rule_args *args, const char *text, struct rule *out, size_t at,
                     struct error *err)
{
    const char *prefix = text[1] == '.' ? "@." : "@";
    char domain[ADDRESS_DOMAIN_MAX + 1], whole[ADDRESS_DOMAIN_MAX + 3];
    if (canonical_domain(text + strlen(prefix), domain, err) < 0)
        return -1;
    snprintf(whole, sizeof whole, "%s%s", prefix, domain);
    return put(args, out, at, whole, err);
}

static int an_address(const struct rule_args *args, const char *text, const char *instead, struct rule *out,
                      size_t at, struct error *err)
{
    struct address address;
    if (strchr(text, '@') == NULL) {
        error_set(err, "\"%s\" is neither an address nor %s", text, instead);
        return -1;
    }
    if (parse_mailbox(text, args->subaddress, &address, err) < 0)
        return -1;
    if (is_glob(text, &address)) { /* it would be taken, and match nobody */
        error_set(err,
                  "\"%s\" looks like a glob, which only aliases know: write @%s for all of a domain, or the "
                  "local part in quotes where it is meant as it stands",
                  text, address.domain);
        return -1;
    }
    return put(args, out, at, address.full, err);
}

static int sender_scope(const struct rule_args *args, const char *scope, struct rule *out, struct error *err)
{
    if (strcmp(scope, "*") == 0)
        return put(args, out, 0, scope, err);
    if (strncasecmp(scope, "owner:", 6) == 0 && scope[6] != '\0') {
        char *lower = pool_strdup(args->pool, scope);
        if (lower != NULL)
            text_lower(lower); /* the daemon asks for owners so, however they are written in their rows */
        return put(args, out, 0, lower != NULL ? lower : scope, err);
    }
    if (scope[0] == '@')
        return at_domain(args, scope, out, 0, err);
    return an_address(args, scope, "@domain, @.domain, owner:NAME or *", out, 0, err);
}

static int sender_key(const struct rule_args *args, const char *key, struct rule *out, struct error *err)
{
    out->table = ALIASES_SENDERS;
    const char *scope = args->given[FIELD_SCOPE];
    if (sender_scope(args, scope != NULL ? scope : "*", out, err) < 0)
        return -1;
    if (strcmp(key, "*") == 0 || strcmp(key, "<>") == 0)
        return put(args, out, 1, key, err);
    if (key[0] == '@' && strchr(key, ':') == NULL) /* with a colon it is a source route */
        return at_domain(args, key, out, 1, err);
    return an_address(args, key, "@domain, @.domain, <> or *", out, 1, err);
}

static int client_key(const struct rule_args *args, const char *key, struct rule *out, struct error *err)
{
    struct network network;
    char text[NETWORK_TEXT];
    out->table = ALIASES_CLIENTS;
    if (network_parse(key, &network, err) < 0)
        return -1;
    return put(args, out, 0, network_format(&network, text), err);
}

int rule_args_key(const struct rule_args *args, const char *key, struct rule *out, struct error *err)
{
    static int (*const parsers[NOUNS])(const struct rule_args *, const char *, struct rule *,
                                       struct error *) = {
        [NOUN_ALIAS] = alias_key,
        [NOUN_DOMAIN] = domain_key,
        [NOUN_SENDER] = sender_key,
        [NOUN_CLIENT] = client_key,
    };
    *out = (struct rule){0};
    return parsers[args->noun](args, key, out, err);
}

/* --- columns --- */

/* The end of the first mailbox of a list: a comma that is not in quotes, or the end. */
static size_t mailbox_length(const char *list)
{
    bool quoted = false;
    size_t n = 0;
    for (; list[n] != '\0' && (quoted || list[n] != ','); n++) {
        if (list[n] == '\\' && list[n + 1] != '\0')
            n++;
        else if (list[n] == '"')
            quoted = !quoted;
    }
    return n;
}

/* One address out of a list. Upper case is kept, since only its own host knows whether case matters there; every other
 * spelling becomes the canonical one, which each reader of the table understands. */
static const char *one_mailbox(const struct rule_args *args, const char *text, size_t n, struct error *err)
{
    while (n > 0 && isspace((unsigned char)*text)) {
        text++;
        n--;
    }
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    const char *typed = pool_strndup(args->pool, text, n);
    struct address address;
    if (typed == NULL || parse_mailbox(typed, args->subaddress, &address, err) < 0)
        return NULL;
    return strcasecmp(typed, address.full) == 0 ? typed : pool_strdup(args->pool, address.full);
}

static int mailbox_list(const struct rule_args *args, const char *list, struct edit_value *out,
                        struct error *err)
{
    const char *joined = NULL;
    for (bool more = true; more;) {
        size_t n = mailbox_length(list);
        const char *one = one_mailbox(args, list, n, err);
        if (one != NULL)
            joined = joined == NULL ? one : pool_printf(args->pool, "%s,%s", joined, one);
        if (one == NULL || joined == NULL) {
            error_set(err, "out of memory"); /* unless it was no address */
            return -1;
        }
        more = list[n] == ',';
        list += n + 1;
    }
    *out = (struct edit_value){.kind = EDIT_TEXT, .text = joined};
    return 0;
}

static int word(const char *text, const char *const *words, const char *option, struct edit_value *out,
                struct error *err)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            *out = (struct edit_value){.kind = EDIT_TEXT, .text = words[i]};
            return 0;
        }
    }
    char all[64];
    struct text list;
    text_init(&list, all, sizeof all);
    for (size_t i = 0; words[i] != NULL; i++)
        text_addf(&list, "%s%s", i > 0 ? ", " : "", words[i]);
    error_set(err, "%s cannot be \"%s\", only one of %s", option, text, all);
    return -1;
}

static int moment(const struct rule_args *args, enum rule_field field, struct edit_value *out,
                  struct error *err)
{
    int64_t at = 0;
    int rc = field == FIELD_FOR ? time_arg_duration(args->given[field], &at, err)
                                : time_arg_parse(args->given[field], args->now_s, &at, err);
    if (rc < 0)
        return -1;
    if (field == FIELD_FOR)
        at += args->now_s;
    *out = (struct edit_value){.kind = at == 0 ? EDIT_NULL : EDIT_NUMBER, .number = at};
    return 0;
}

static int plain(const char *text, const char *option, struct edit_value *out, struct error *err)
{
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            error_set(err, "%s has a control character in it", option);
            return -1;
        }
    }
    if (!utf8_valid(text, strlen(text))) {
        error_set(err, "%s is not UTF-8", option);
        return -1;
    }
    *out = (struct edit_value){.kind = EDIT_TEXT, .text = text};
    return 0;
}

static int field_value(const struct rule_args *args, enum rule_field field, struct edit_value *out,
                       struct error *err)
{
    static const char *const actions[] = {"accept", "defer", "reject", "discard", NULL};
    static const char *const catch_alls[] = {"accept", "reject", NULL};
    const char *text = args->given[field], *option = fields[field].option;
    if (text[0] == '\0' && field != FIELD_ACTION) {
        *out = (struct edit_value){.kind = EDIT_NULL};
        return 0;
    }
    switch (field) {
    case FIELD_MAILBOX:
        return mailbox_list(args, text, out, err);
    case FIELD_ACTION:
        return word(text, actions, option, out, err);
    case FIELD_CATCH_ALL:
        return word(text, catch_alls, option, out, err);
    case FIELD_EXPIRES:
    case FIELD_FOR:
        return moment(args, field, out, err);
    default:
        return plain(text, option, out, err);
    }
}

int rule_args_columns(const struct rule_args *args, struct rule *rule, struct error *err)
{
    for (enum rule_field field = 0; field < FIELDS; field++) {
        if (args->given[field] == NULL || field == FIELD_SCOPE)
            continue;
        int at = aliases_schema_column(rule->table, fields[field].column);
        if (at < 0 && args->given[field][0] == '\0')
            continue; /* a glob has no expires_at; an empty one of a file does no harm */
        if (at < 0) {
            error_set(err, "%s cannot be given here: %s has no column %s", fields[field].option,
                      aliases_schema_columns[rule->table].table, fields[field].column);
            return -1;
        }
        if (field_value(args, field, &rule->record.at[at], err) < 0)
            return -1;
    }
    return 0;
}

int rule_args_check_reply(const struct rule *rule, const struct edit_record *existing, struct error *err)
{
    int at = aliases_schema_column(rule->table, "reply");
    bool given = rule->record.at[at].kind != EDIT_UNSET;
    const char *reply =
        rule_args_text(rule->table, given || existing == NULL ? &rule->record : existing, "reply");
    const char *action = rule_args_text(rule->table, &rule->record, "action");
    if (action == NULL && existing != NULL)
        action = rule_args_text(rule->table, existing, "action");
    enum action will = action != NULL ? action_from_name(action) : ACTION_ACCEPT;
    if (reply == NULL || (!given && will != ACTION_DEFER && will != ACTION_REJECT))
        return 0; /* a reply that nobody is told does no harm */
    struct reply parsed;
    struct error why = {0};
    if (reply_parse(reply, will, NULL, &parsed, &why) == 0)
        return 0;
    error_set(err, "the reply \"%s\" with %s: %s%s", reply, action_name(will), why.text,
              given ? "" : "; it stands in the row already, give --reply too (--reply '' for the default)");
    return -1;
}

/* --- rows of a file --- */

bool rule_args_needs_action(enum rule_noun noun)
{
    return noun == NOUN_SENDER || noun == NOUN_CLIENT;
}

enum aliases_table rule_args_table(enum rule_noun noun)
{
    return noun_table[noun];
}

const char *rule_args_name(const struct rule *rule, char buffer[RULE_NAME])
{
    const struct edit_value *at = rule->record.at;
    if (rule->table == ALIASES_GLOBS)
        snprintf(buffer, RULE_NAME, "%s@%s", at[1].text, at[0].text);
    else if (rule->table == ALIASES_SENDERS)
        snprintf(buffer, RULE_NAME, "%s %s", at[0].text, at[1].text);
    else
        snprintf(buffer, RULE_NAME, "%s", at[0].text);
    return buffer;
}

int rule_args_row(const struct rule_args *args, const char *const cells[ALIASES_COLUMNS], struct rule *out,
                  struct error *err)
{
    const struct aliases_schema_columns *columns = &aliases_schema_columns[noun_table[args->noun]];
    struct rule_args row = {
        .noun = args->noun, .subaddress = args->subaddress, .now_s = args->now_s, .pool = args->pool};
    for (size_t i = 0; i < columns->n; i++)
        for (enum rule_field field = 0; field < FIELDS && cells[i] != NULL; field++)
            if (field != FIELD_FOR && strcmp(fields[field].column, columns->names[i]) == 0)
                row.given[field] = cells[i];
    const char *key = cells[columns->n_keys - 1], *action = row.given[FIELD_ACTION];
    if (key == NULL || key[0] == '\0') {
        error_set(err, "%s is empty", columns->names[columns->n_keys - 1]);
        return -1;
    }
    if (row.given[FIELD_SCOPE] != NULL && row.given[FIELD_SCOPE][0] == '\0')
        row.given[FIELD_SCOPE] = NULL;
    if (rule_args_needs_action(args->noun) && (action == NULL || action[0] == '\0')) {
        error_set(err, "action is missing: accept, defer, reject or discard");
        return -1;
    }
    if (action != NULL && action[0] == '\0')
        row.given[FIELD_ACTION] = "accept"; /* what a row has that names none */
    return rule_args_key(&row, key, out, err) < 0 ? -1 : rule_args_columns(&row, out, err);
}
