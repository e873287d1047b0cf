/* rule_bounce: see rule_bounce.h. Owns a scan: our domains in memory, so that a row that forwards elsewhere costs one look at its
 * mailbox and no look-up. */
#include "rule_bounce.h"

#include "base/table.h"
#include "base/unzeroed.h"
#include "policy/forward.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    DOMAINS_MAX = 10000000,
    STEPS_MAX = 1000, /* addresses that one row leads to: Postfix's virtual_alias_expansion_limit */
};

struct domain { /* by its name in lower case, ".example.com" for what is below */
    struct table_row row;
    bool accepts;
};

struct step { /* an address that mail is forwarded to */
    const char *text, *full;
    const struct step *from; /* who forwards to it; NULL: the row itself */
};

struct scan {
    struct aliases *db;
    const struct policy *policy;
    struct table *domains;
    bool below; /* one of them begins with a dot */
    int64_t now_ms, left;
    struct aliases_reading reading; /* of one row, */
    struct pool pool;               /* and its memory */
    struct step steps[STEPS_MAX];
    size_t n_steps;
    struct rule_bounces *out;
};

/* ---- our domains ---- */

static void add_domain(struct scan *scan, const char *name, bool accepts)
{
    struct domain *domain = table_add(scan->domains, name, strlen(name));
    if (domain != NULL)
        domain->accepts = accepts;
}

static bool read_domain(enum aliases_table table, const struct edit_record *record, void *context)
{
    (void)table;
    struct scan *scan = context;
    const char *name = record->at[0].kind == EDIT_TEXT ? record->at[0].text : "";
    const char *action = record->at[1].kind == EDIT_TEXT ? record->at[1].text : "";
    bool accepts = strcmp(action, "accept") == 0, below = name[0] == '.';
    char labels[1 + ADDRESS_DOMAIN_MAX + 1] = ".";
    add_domain(scan, name, accepts);
    if (address_domain(name + below, labels + 1, NULL) == 0) /* a mailbox may have its A-labels */
        add_domain(scan, labels + !below, accepts);
    scan->below = scan->below || below;
    return true;
}

/* The domain, or the nearest that it is below; NULL: it is not ours. */
static const struct domain *find_domain(const struct scan *scan, const char *name, size_t n)
{
    const struct domain *found = table_find(scan->domains, name, n);
    const char *end = name + n;
    while (found == NULL && scan->below && n > 0 && (name = memchr(name + 1, '.', n - 1)) != NULL) {
        n = (size_t)(end - name);
        found = table_find(scan->domains, name, n);
    }
    return found;
}

/* As it stands in a domain's name in lower case; 0: it does not. */
static char lower_in_domain(char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_')
        return c;
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : 0);
}

/* May one of the list be ours? What is not in ASCII may be. */
static bool names_ours(const struct scan *scan, const char *list)
{
    char domain[ADDRESS_DOMAIN_MAX] UNZEROED;
    for (const char *at = strchr(list, '@'); at != NULL; at = strchr(at, '@')) {
        size_t n = 0;
        for (at++; n < sizeof domain && (domain[n] = lower_in_domain(*at)) != 0; at++)
            n++;
        if ((unsigned char)*at >= 0x80)
            return true;
        while (n > 0 && domain[n - 1] == '.')
            n--;
        if (find_domain(scan, domain, n) != NULL)
            return true;
    }
    return false;
}

/* ---- where mail goes ---- */

/* What the rules say of an address of ours; false: it is none, or nobody can tell. */
static bool look_up(struct scan *scan, const char *text, struct address *address, struct alias *alias)
{
    struct alias_query query;
    struct alias_rows rows = {0};
    scan->left--;
    if (address_parse(text, scan->policy->aliases.subaddress, address, NULL) != ADDRESS_MAILBOX ||
        rules_alias_query(address, &scan->pool, &query) < 0)
        return false;
    aliases_alias(&scan->reading, &query, &scan->pool, &rows);
    const struct envelope envelope = {.recipient = address, .resolved = true, .now_ms = scan->now_ms};
    rules_alias(scan->policy, &envelope, &rows, alias);
    return alias->ours;
}

/* Those of the list that may be ours; what there is no room or memory for is not followed. */
static void add_steps(struct scan *scan, const char *list, const struct step *from)
{
    while (*list != '\0' && scan->n_steps < STEPS_MAX) {
        const char *member = rules_next_mailbox(&list, &scan->pool);
        if (member != NULL && names_ours(scan, member))
            scan->steps[scan->n_steps++] = (struct step){.text = member, .from = from};
    }
}

static bool leads_back(const struct step *step)
{
    for (const struct step *from = step->from; from != NULL; from = from->from)
        if (strcmp(from->full, step->full) == 0)
            return true;
    return false;
}

/* As Postfix does: asks for each mailbox of the list, for those that this is forwarded to, and so on. What leads to itself Postfix
 * leaves as it is, and a domain of aliases delivers nothing; in a longer ring it does not take the message. NULL: all is well. */
static const struct step *find_bounce(struct scan *scan, const char *list)
{
    scan->n_steps = 0;
    add_steps(scan, list, NULL);
    for (size_t i = 0; i < scan->n_steps && scan->left > 0; i++) {
        struct step *step = &scan->steps[i];
        struct address address;
        struct alias alias;
        const char *text = NULL;
        if (!look_up(scan, step->text, &address, &alias))
            step->full = "";
        else if ((step->full = pool_strdup(&scan->pool, address.full)) == NULL)
            return NULL;
        else if (leads_back(step))
            return step;
        else
            switch (forward_alias(scan->policy, &address, &alias, &scan->pool, &text)) {
            case FORWARD_NOWHERE:
                return step;
            case FORWARD_TO:
                add_steps(scan, text, step);
                break;
            case FORWARD_DEFER:
                break;
            }
    }
    return NULL;
}

/* ---- rows ---- */

/* The key is of what accepts mail; it may have expired, or be shut with all of its domain. */
static bool takes_mail(struct scan *scan, enum aliases_table table, const char *key)
{
    if (table == ALIASES_GLOBS) {
        const struct domain *domain = find_domain(scan, key, strlen(key));
        return domain != NULL && domain->accepts;
    }
    struct address address;
    struct alias alias;
    return look_up(scan, key, &address, &alias) && alias.state == ALIAS_FOUND &&
           alias.action == ACTION_ACCEPT && strcmp(alias.row, key) == 0;
}

static void note(struct rule_bounces *out, enum aliases_table table, const char *const keys[ALIASES_KEYS],
                 const struct step *to)
{
    struct rule rule = {.table = table};
    for (size_t i = 0; i < ALIASES_KEYS; i++)
        rule.record.at[i] = (struct edit_value){.kind = EDIT_TEXT, .text = keys[i]};
    if (out->n++ > 0)
        return;
    rule_args_name(&rule, out->name);
    snprintf(out->to, sizeof out->to, "%s", to->full);
}

static bool look(enum aliases_table table, const char *const keys[ALIASES_KEYS], const char *mailbox,
                 void *context)
{
    struct scan *scan = context;
    if (!names_ours(scan, mailbox))
        return true;
    scan->reading = aliases_begin(scan->db);
    const struct step *to = takes_mail(scan, table, keys[0]) ? find_bounce(scan, mailbox) : NULL;
    aliases_end(&scan->reading);
    if (to != NULL)
        note(scan->out, table, keys, to);
    pool_reset(&scan->pool);
    return scan->left > 0;
}

void rule_bounce_scan(struct aliases *db, const struct policy *policy, int64_t lookups_max,
                      struct rule_bounces *out)
{
    struct error ignored = {0}; /* others say what is wrong with it */
    struct aliases_edit *edit = NULL;
    struct scan scan = {
        .db = db, .policy = policy, .now_ms = (int64_t)time(NULL) * 1000, .left = lookups_max, .out = out};
    *out = (struct rule_bounces){0};
    if (aliases_edit_open(policy->aliases.database, false, &edit, &ignored) != EDIT_DONE)
        return;
    scan.domains = table_new(sizeof(struct domain), DOMAINS_MAX);
    if (scan.domains != NULL &&
        aliases_edit_list(edit, ALIASES_DOMAINS, NULL, read_domain, &scan, &ignored) == EDIT_DONE &&
        aliases_edit_mailboxes(edit, ALIASES_ALIASES, look, &scan, &ignored) == EDIT_DONE)
        (void)aliases_edit_mailboxes(edit, ALIASES_GLOBS, look, &scan, &ignored);
    aliases_edit_close(edit);
    table_free(scan.domains);
    pool_done(&scan.pool);
}
