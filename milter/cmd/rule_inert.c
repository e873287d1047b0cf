/* rule_inert: see rule_inert.h. Owns nothing beyond a scan. What cannot be judged counts as a row that acts. */
#include "rule_inert.h"

#include "policy/address.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MILLISECONDS_FROM INT64_C(1000000000000) /* in seconds that is the year 33658 */

static const enum rule_noun nouns[ALIASES_TABLES] = {
    [ALIASES_DOMAINS] = NOUN_DOMAIN, [ALIASES_ALIASES] = NOUN_ALIAS,  [ALIASES_GLOBS] = NOUN_ALIAS,
    [ALIASES_SENDERS] = NOUN_SENDER, [ALIASES_CLIENTS] = NOUN_CLIENT,
};

/* A '*' in an address of the file is itself and no glob. */
static bool can_be_judged(enum aliases_table table, const struct edit_record *record)
{
    for (size_t i = 0; i < aliases_schema_columns[table].n_keys; i++) {
        const char *text = record->at[i].text;
        if (record->at[i].kind != EDIT_TEXT)
            return false;
        const char *at = strrchr(text, '@');
        if (at != NULL && at[1] != '.' && strcspn(text, "*?") < (size_t)(at - text))
            return false;
    }
    return true;
}

/* The gate asks for a domain with A-labels, and for the U-labels that these stand for: for no other spelling of them. */
static bool is_asked_for(const char *canonical, const char *text)
{
    char unicode[ADDRESS_DOMAIN_MAX * 4];
    const char *at = strrchr(canonical, '@'), *domain = at != NULL ? at + 1 : canonical;
    domain += *domain == '.';
    size_t n = (size_t)(domain - canonical);
    return strcmp(canonical, text) == 0 ||
           (strncmp(canonical, text, n) == 0 && address_domain_unicode(domain, unicode, sizeof unicode) &&
            strcmp(text + n, unicode) == 0);
}

static bool same_keys(enum aliases_table table, const struct rule *rule, const struct edit_record *record)
{
    bool same = rule->table == table;
    for (size_t i = 0; same && i < aliases_schema_columns[table].n_keys; i++)
        same = is_asked_for(rule->record.at[i].text, record->at[i].text);
    return same;
}

/* Nobody's local part is "*", whoever wrote that for all of a domain. In quotes it is the same address, and is meant. */
static bool is_star(enum aliases_table table, const struct edit_record *record, const char *name,
                    struct error *err)
{
    static const char *const instead[ALIASES_TABLES] = {
        [ALIASES_ALIASES] = "the glob * in alias_globs", [ALIASES_SENDERS] = "@domain without the *"};
    for (size_t i = 0; instead[table] != NULL && i < aliases_schema_columns[table].n_keys; i++)
        if (record->at[i].kind == EDIT_TEXT && strncmp(record->at[i].text, "*@", 2) == 0 &&
            record->at[i].text[2] != '.')
            error_set(err, "%s: %s matches nobody, as a * stands for itself there: write it as %s",
                      aliases_schema_columns[table].table, name, instead[table]);
    return err->text[0] != '\0';
}

static bool key_never_matches(const struct rule_args *args, enum aliases_table table,
                              const struct edit_record *record, const char *name, struct error *err)
{
    struct rule_args as_typed = {
        .noun = nouns[table], .subaddress = args->subaddress, .pool = args->pool, .now_s = args->now_s};
    struct rule canonical;
    struct error why = {0};
    char better[RULE_NAME];
    if (table == ALIASES_SENDERS)
        as_typed.given[FIELD_SCOPE] = record->at[0].text;
    const char *key =
        table == ALIASES_GLOBS ? name : record->at[aliases_schema_columns[table].n_keys - 1].text;
    if (rule_args_key(&as_typed, key, &canonical, &why) < 0)
        error_set(err, "%s: %s can never match: %.200s", aliases_schema_columns[table].table, name, why.text);
    else if (!same_keys(table, &canonical, record))
        error_set(err, "%s: %s can never match: write it as %s", aliases_schema_columns[table].table, name,
                  rule_args_name(&canonical, better));
    return err->text[0] != '\0';
}

bool rule_inert(const struct rule_args *args, enum aliases_table table, const struct edit_record *record,
                struct error *err)
{
    int at = aliases_schema_column(table, "expires_at");
    const struct rule rule = {.table = table, .record = *record};
    char name[RULE_NAME];
    rule_args_name(&rule, name);
    if (is_star(table, record, name, err))
        return true;
    if (!can_be_judged(table, record))
        return false;
    if (at >= 0 && record->at[at].kind == EDIT_NUMBER && record->at[at].number >= MILLISECONDS_FROM) {
        error_set(err, "%s: %s never ends: its expires_at is in milliseconds, and seconds are meant",
                  aliases_schema_columns[table].table, name);
        return true;
    }
    return key_never_matches(args, table, record, name, err);
}

/* ---- all of a file ---- */

struct scan {
    struct rule_args args;
    int64_t left, found; /* rows */
    rule_inert_each *each;
    void *context;
};

static bool look(enum aliases_table table, const struct edit_record *record, void *context)
{
    struct scan *scan = context;
    struct error why = {0};
    if (rule_inert(&scan->args, table, record, &why)) {
        scan->found++;
        if (scan->each != NULL)
            scan->each(&why, scan->context);
    }
    pool_reset(scan->args.pool);
    return --scan->left > 0;
}

int64_t rule_inert_scan(const char *database, const char *subaddress, int64_t rows_max, rule_inert_each *each,
                        void *context)
{
    struct pool pool = {0};
    struct aliases_edit *edit = NULL;
    struct error ignored = {0};
    struct scan scan = {.args = {.subaddress = subaddress, .pool = &pool}, .each = each, .context = context};
    if (aliases_edit_open(database, false, &edit, &ignored) != EDIT_DONE)
        return 0;
    for (enum aliases_table table = 0; table < ALIASES_TABLES; table++) {
        scan.left = rows_max;
        (void)aliases_edit_list(edit, table, NULL, look, &scan,
                                &ignored); /* others say what is wrong with it */
    }
    aliases_edit_close(edit);
    pool_done(&pool);
    return scan.found;
}
