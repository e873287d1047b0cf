/* rules: alias, domain, sender, client: edit the rule database with the validation that the daemon uses. One transaction for a
 * command: all of it is done, or nothing. */
#include "command.h"

#include "policy/address.h"
#include "gate/policy_file.h"
#include "base/pool.h"
#include "rule_accept.h"
#include "rule_args.h"
#include "rule_export.h"
#include "rule_import.h"
#include "rule_list.h"
#include "rule_rights.h"
#include "rule_show.h"
#include "rule_transfer.h"
#include "rule_write.h"
#include "aliases/check.h"
#include "aliases/edit.h"
#include "aliases/schema.h"
#include "base/network.h"
#include "sys/ids.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CHECKED_ROWS = 100 }; /* for each row that is removed */

static const char *const noun_names[NOUNS] = {
    [NOUN_ALIAS] = "alias", [NOUN_DOMAIN] = "domain", [NOUN_SENDER] = "sender", [NOUN_CLIENT] = "client"};

struct invocation {
    struct rule_args args;
    const char *file;     /* -c; NULL: not given */
    const char *database; /* --database, then what the policy says, then `safe` */
    char safe[PATH_MAX];  /* by which it is opened */
    const char *group;    /* --group */
    const char *format;   /* --format */
    bool json;
    struct import_options import;
    char **keys; /* positional arguments after the verb */
    int n_keys;
    const struct policy *policy; /* NULL where --database does without one */
    struct pool pool;
    struct error err;
};

struct verb {
    const char *name;
    bool alias_only;
    int min_keys, max_keys;
    int (*run)(struct invocation *in);
};

static int complain(const struct invocation *in, int status)
{
    if (status != EXIT_DONE)
        fprintf(stderr, "rcptgate %s: %s\n", noun_names[in->args.noun], in->err.text);
    return status;
}

static void say(const char *what, const struct rule *rule)
{
    char name[RULE_NAME];
    printf("%s %s\n", what, rule_args_name(rule, name));
}

/* --- the database --- */

static int create(struct invocation *in)
{
    if (rule_rights_take_to_create(in->database, in->group, in->policy, in->safe, &in->err) < 0)
        return EXIT_CANNOT_CREATE;
    in->database = in->safe;
    enum edit_status status = aliases_edit_create(in->database, in->group, &in->err);
    if (status != EDIT_DONE)
        return rule_write_exit_status(status);
    if (!in->json)
        printf("created %s\n", in->database);
    char dir[PATH_MAX];
    struct stat st;
    snprintf(dir, sizeof dir, "%.*s",
             (int)(strrchr(in->database, '/') != NULL ? strrchr(in->database, '/') - in->database : 0),
             in->database);
    if (stat(dir[0] != '\0' ? dir : ".", &st) == 0 && st.st_uid != 0 && (st.st_mode & 02070) != 02070)
        fprintf(stderr,
                "rcptgate alias: the directory %s is not shared: its group needs mode 2770, so that the gate "
                "and all who write "
                "rules can lock the database (chgrp, chmod 2770)\n",
                dir[0] != '\0' ? dir : ".");
    return EXIT_DONE;
}

/* Opens the database with the rights of its directory's owner. Whatever else root alone may read or write is open
 * by now. */
static enum edit_status open_database(struct invocation *in, bool writes, bool for_good,
                                      struct aliases_edit **edit, struct error *err)
{
    char safe[PATH_MAX];
    struct stat st;
    if (stat(in->database, &st) < 0 &&
        errno == ENOENT) /* it says so; or it is to be made, with rights of its own */
        return aliases_edit_open(in->database, writes, edit, err);
    if (rule_rights_take(in->database, for_good, safe, err) < 0)
        return EDIT_FAILED;
    memcpy(in->safe, safe, sizeof safe);
    in->database = in->safe;
    enum edit_status status = aliases_edit_open(in->database, writes, edit, err);
    struct error ignored = {0};
    if (status != EDIT_FAILED || writes || aliases_edit_open(in->database, true, edit, &ignored) != EDIT_DONE)
        return status;
    aliases_edit_close(*edit); /* who writes has taken back what was left half done by one that was killed */
    *err = (struct error){0};
    return aliases_edit_open(in->database, false, edit, err);
}

/* 0 with *edit open for writing; creates the database where there is none and `or_create`. */
static int open_to_write(struct invocation *in, bool or_create, struct aliases_edit **edit)
{
    struct error missing = {0};
    enum edit_status status = open_database(in, true, true, edit, &missing);
    if (status == EDIT_MISSING && or_create) {
        int created = create(in);
        if (created != EXIT_DONE)
            return created;
        return rule_write_exit_status(open_database(in, true, true, edit, &in->err));
    }
    if (status != EDIT_DONE)
        error_set(&in->err, "%s", missing.text);
    return rule_write_exit_status(status);
}

static bool seen(enum aliases_table table, const struct edit_record *record, void *context)
{
    (void)table;
    (void)record;
    *(bool *)context = true;
    return false;
}

/* In either spelling. Unsure counts as yes: it is only about a hint. */
static bool has_domain(struct aliases_edit *edit, const char *domain)
{
    char unicode[ADDRESS_DOMAIN_MAX * 4];
    const char *forms[] = {domain, address_domain_unicode(domain, unicode, sizeof unicode) ? unicode : NULL};
    bool found = false;
    for (size_t i = 0; i < 2 && forms[i] != NULL && !found; i++) {
        struct edit_record keys = {.at = {{.kind = EDIT_TEXT, .text = forms[i]}}};
        enum edit_status status = aliases_edit_list(edit, ALIASES_DOMAINS, &keys, seen, &found, NULL);
        found = found || (status != EDIT_DONE && status != EDIT_NOT_FOUND);
    }
    return found;
}

/* Is the domain of this alias one of ours, or below one? */
static bool is_ours(struct aliases_edit *edit, const char *domain)
{
    bool ours = has_domain(edit, domain);
    for (const char *at = domain; !ours && (at = strchr(at + 1, '.')) != NULL;)
        ours = has_domain(edit, at);
    return ours;
}

static const char no_mailbox[] =
    "has no mailbox: where Postfix asks the gate, mail that is accepted for it bounces";

/* Only of what was written: a `set` leaves the rest of the row as it is. */
static void hint_mailbox(const struct rule *rule)
{
    const char *action = rule_args_text(rule->table, &rule->record, "action");
    const struct edit_value *at = rule->record.at;
    bool path = rule->table == ALIASES_GLOBS && strncmp(at[1].text, "srs", 3) == 0; /* postsrsd rewrites it */
    bool accepts = (action == NULL || strcmp(action, "accept") == 0) && !path;
    char name[RULE_NAME];
    if (rule->table == ALIASES_DOMAINS) {
        const char *catch_all = rule_args_text(rule->table, &rule->record, "catch_all");
        if (accepts && catch_all != NULL && strcmp(catch_all, "accept") == 0)
            printf("a catch-all %s; one that delivers: rcptgate alias add '*@%s' MAILBOX\n", no_mailbox,
                   at[0].text);
    } else if ((rule->table == ALIASES_ALIASES || rule->table == ALIASES_GLOBS) && accepts &&
               rule_args_text(rule->table, &rule->record, "mailbox") == NULL) {
        printf("%s %s\n", rule_args_name(rule, name), no_mailbox);
    }
}

/* What is right but perhaps not what was meant. */
static void hint(struct aliases_edit *edit, const struct rule *rule)
{
    const struct edit_value *at = rule->record.at;
    const char *domain = rule->table == ALIASES_GLOBS ? at[0].text : strrchr(at[0].text, '@');
    if ((rule->table == ALIASES_ALIASES || rule->table == ALIASES_GLOBS) && domain != NULL) {
        domain += domain[0] == '@';
        if (!is_ours(edit, domain))
            printf(
                "%s is not one of our domains yet, so no alias rule applies to it: rcptgate domain add %s\n",
                domain, domain);
    }
    const char *action =
        rule->table == ALIASES_SENDERS ? rule_args_text(rule->table, &rule->record, "action") : NULL;
    if (action != NULL && strcmp(action, "accept") != 0 && strcmp(at[1].text, "*") == 0)
        printf("* matches the null sender <> (bounces) too; to accept it by name: rcptgate sender add '%s' "
               "'<>' accept\n",
               at[0].text);
}

/* --- what a running gate will not take without a word --- */

/* Without a policy there is no gate to speak of. */
static enum edit_status count_before(struct invocation *in, struct aliases_edit *edit, int64_t most,
                                     struct aliases_sizes *before)
{
    *before = (struct aliases_sizes){0};
    return in->policy != NULL ? aliases_edit_count(edit, most, before, &in->err) : EDIT_DONE;
}

/* Within the transaction. `left` stays "" where the gate will take what is there now, or nobody can tell. */
static void foresee_refusal(const struct invocation *in, struct aliases_edit *edit, int64_t most,
                            const struct aliases_sizes *before, struct error *left)
{
    struct aliases_sizes now;
    struct error unsaid = {0};
    if (in->policy != NULL && aliases_edit_count(edit, most, &now, &unsaid) == EDIT_DONE)
        (void)aliases_check_shrink(before, &now, in->policy->aliases.max_shrink, left);
}

static void warn_of_refusal(const struct invocation *in, const struct error *left)
{
    struct error why = {0};
    if (left->text[0] == '\0')
        return;
    aliases_check_say_shrink(in->database, in->policy->aliases.max_shrink, left, &why);
    fprintf(stderr, "rcptgate %s: a running gate will not take this: %s\n", noun_names[in->args.noun],
            why.text);
}

/* --- verbs --- */

static int run_init(struct invocation *in)
{
    return create(in);
}

/* What stands behind the key is a mailbox or an action, whichever the noun has. */
static int take_positionals(struct invocation *in)
{
    struct rule_args *args = &in->args;
    int extra = in->n_keys - 1;
    if (args->noun == NOUN_DOMAIN)
        return extra > 0 ? command_usage("domain", "one domain at a time, but \"%s\" follows", in->keys[1])
                         : 0;
    if (args->noun == NOUN_SENDER && extra > 0) {
        bool action_last = extra == 2 || action_from_name(in->keys[1]) != ACTION_NONE;
        if (extra == 2 || !action_last) {
            if (args->given[FIELD_SCOPE] != NULL)
                return command_usage("sender", "the scope was given twice");
            args->given[FIELD_SCOPE] = in->keys[0];
            in->keys++;
            extra--;
        }
    }
    if (extra > 1)
        return command_usage(noun_names[args->noun], "too many arguments: \"%s\"", in->keys[2]);
    enum rule_field field = args->noun == NOUN_ALIAS ? FIELD_MAILBOX : FIELD_ACTION;
    if (extra == 1 && args->given[field] != NULL)
        return command_usage(noun_names[args->noun], "%s was given twice", rule_args_field_option(field) + 2);
    if (extra == 1)
        args->given[field] = in->keys[1];
    in->n_keys = 1;
    return 0;
}

/* Commits where all went well so far, and says so. */
static int finish(struct invocation *in, struct aliases_edit *edit, int status, const char *done,
                  const struct rule *rule)
{
    if (status == EXIT_DONE)
        status = rule_write_exit_status(aliases_edit_commit(edit, &in->err));
    if (status == EXIT_DONE) {
        say(done, rule);
        hint(edit, rule);
    }
    aliases_edit_close(edit);
    return status;
}

static int run_add(struct invocation *in)
{
    struct rule rule;
    int usage = take_positionals(in);
    if (usage != 0)
        return usage;
    if (rule_args_needs_action(in->args.noun) && in->args.given[FIELD_ACTION] == NULL)
        return command_usage(noun_names[in->args.noun],
                             "add needs an action: accept, defer, reject or discard");
    if (rule_args_key(&in->args, in->keys[0], &rule, &in->err) < 0 ||
        rule_args_columns(&in->args, &rule, &in->err) < 0 || rule_args_check_reply(&rule, NULL, &in->err) < 0)
        return EXIT_REFUSED;
    struct aliases_edit *edit = NULL;
    int status = open_to_write(in, true, &edit);
    if (status == EXIT_DONE)
        status = rule_write_exit_status(aliases_edit_add(edit, rule.table, &rule.record, &in->err));
    status = finish(in, edit, status, "added", &rule);
    if (status == EXIT_DONE)
        hint_mailbox(&rule);
    return status;
}

static int run_set(struct invocation *in)
{
    struct rule rule;
    int usage = take_positionals(in);
    if (usage != 0)
        return usage;
    if (rule_args_key(&in->args, in->keys[0], &rule, &in->err) < 0 ||
        rule_args_columns(&in->args, &rule, &in->err) < 0)
        return EXIT_REFUSED;
    struct aliases_edit *edit = NULL;
    struct aliases_sizes before;
    struct error left = {0};
    int status = open_to_write(in, false, &edit);
    if (status == EXIT_DONE)
        status = rule_write_exit_status(count_before(in, edit, CHECKED_ROWS, &before));
    if (status == EXIT_DONE)
        status = rule_write_exit_status(rule_write_update(edit, &rule, &in->err));
    if (status == EXIT_DONE) /* the last row that accepts may accept no more */
        foresee_refusal(in, edit, CHECKED_ROWS, &before, &left);
    status = finish(in, edit, status, "changed", &rule);
    if (status == EXIT_DONE)
        warn_of_refusal(in, &left);
    return status;
}

/* The row with the key just as it was typed: of what another program wrote, not all can be said in another way. *rule is
 * that row where there is one. */
static enum edit_status remove_as_stored(struct invocation *in, struct aliases_edit *edit, const char *key,
                                         struct rule *rule, struct error *err)
{
    const bool sender = in->args.noun == NOUN_SENDER;
    const char *scope = in->args.given[FIELD_SCOPE] != NULL ? in->args.given[FIELD_SCOPE] : "*";
    struct rule stored = {.table = rule_args_table(in->args.noun)};
    if (in->args.noun == NOUN_ALIAS && strpbrk(key, "*?") != NULL)
        return EDIT_NOT_FOUND; /* a glob */
    stored.record.at[0] = (struct edit_value){.kind = EDIT_TEXT, .text = sender ? scope : key};
    if (sender)
        stored.record.at[1] = (struct edit_value){.kind = EDIT_TEXT, .text = key};
    enum edit_status status = aliases_edit_remove(edit, stored.table, &stored.record, err);
    if (status == EDIT_DONE)
        *rule = stored;
    return status;
}

struct left {
    const char *domain;
    int64_t aliases;
};

static bool count_left(enum aliases_table table, const struct edit_record *record, void *context)
{
    struct left *left = context;
    const char *text = record->at[0].text, *at = text != NULL ? strrchr(text, '@') : NULL;
    const char *domain = table == ALIASES_GLOBS ? text : at != NULL ? at + 1 : NULL;
    left->aliases += domain != NULL && strcmp(domain, left->domain) == 0;
    return true;
}

/* A domain that goes leaves its aliases behind. */
static void say_left(struct aliases_edit *edit, const struct rule *rule)
{
    struct left left = {.domain = rule->record.at[0].text};
    if (rule->table != ALIASES_DOMAINS)
        return;
    (void)aliases_edit_list(edit, ALIASES_ALIASES, NULL, count_left, &left, NULL); /* only a hint */
    (void)aliases_edit_list(edit, ALIASES_GLOBS, NULL, count_left, &left, NULL);
    if (left.aliases > 0)
        printf("%" PRId64
               " alias%s of it %s left; no alias rule applies to %s any more: rcptgate alias list '*@%s'\n",
               left.aliases, left.aliases == 1 ? "" : "es", left.aliases == 1 ? "is" : "are", left.domain,
               left.domain);
}

/* What is left that covers the client, or most of it, of a row that goes. */
struct wider {
    struct network client, found;
    const char *action; /* NULL: nothing */
    int64_t now_s;
};

static bool look_wider(enum aliases_table table, const struct edit_record *record, void *context)
{
    struct wider *wider = context;
    struct network network;
    const struct edit_value *expires = &record->at[aliases_schema_column(table, "expires_at")];
    if (record->at[0].text == NULL || network_parse(record->at[0].text, &network, NULL) < 0 ||
        !network_contains(&network, &wider->client) ||
        (expires->kind == EDIT_NUMBER && expires->number <= wider->now_s) ||
        (wider->action != NULL && network.bits < wider->found.bits))
        return true;
    const char *action = rule_args_text(table, record, "action");
    wider->found = network;
    wider->action = action_name(action != NULL ? action_from_name(action) : ACTION_ACCEPT);
    return true;
}

/* A row that accepts is mostly there because a wider one does not. */
static void say_wider(const struct invocation *in, struct aliases_edit *edit, const struct rule *rule)
{
    struct wider wider = {.now_s = in->args.now_s};
    char network[NETWORK_TEXT];
    if (rule->table != ALIASES_CLIENTS || network_parse(rule->record.at[0].text, &wider.client, NULL) < 0)
        return;
    (void)aliases_edit_list(edit, ALIASES_CLIENTS, NULL, look_wider, &wider, NULL); /* only a hint */
    if (wider.action != NULL)
        printf("%s holds for it now: %s\n", network_format(&wider.found, network), wider.action);
}

static enum edit_status remove_one(struct invocation *in, struct aliases_edit *edit, const char *key,
                                   struct rule *rule)
{
    struct error stored = {0};
    enum edit_status status = remove_as_stored(in, edit, key, rule, &stored);
    if (status == EDIT_NOT_FOUND)
        return rule_args_key(&in->args, key, rule, &in->err) < 0
                   ? EDIT_INVALID
                   : aliases_edit_remove(edit, rule->table, &rule->record, &in->err);
    if (status != EDIT_DONE)
        error_set(&in->err, "%s", stored.text);
    return status;
}

static int run_remove(struct invocation *in)
{
    struct aliases_edit *edit = NULL;
    if (in->args.noun == NOUN_SENDER && in->args.given[FIELD_SCOPE] == NULL && in->n_keys > 1) {
        if (in->n_keys > 2)
            return command_usage("sender", "remove takes SCOPE PATTERN, or --scope SCOPE PATTERN...");
        in->args.given[FIELD_SCOPE] = in->keys[0];
        in->keys++;
        in->n_keys = 1;
    }
    struct rule *rules = pool_alloc(&in->pool, (size_t)in->n_keys * sizeof *rules);
    if (rules == NULL) {
        error_set(&in->err, "out of memory");
        return EXIT_INTERNAL;
    }
    /* Of a table with more rows these are less than a percent, and to count it all would take a while. */
    const int64_t most = CHECKED_ROWS * (int64_t)in->n_keys;
    struct aliases_sizes before;
    struct error left = {0};
    int status = open_to_write(in, false, &edit);
    if (status == EXIT_DONE)
        status = rule_write_exit_status(count_before(in, edit, most, &before));
    for (int i = 0; i < in->n_keys && status == EXIT_DONE; i++)
        status = rule_write_exit_status(remove_one(in, edit, in->keys[i], &rules[i]));
    if (status == EXIT_DONE) {
        foresee_refusal(in, edit, most, &before, &left);
        status = rule_write_exit_status(aliases_edit_commit(edit, &in->err));
    }
    if (status == EXIT_DONE)
        warn_of_refusal(in, &left);
    for (int i = 0; i < in->n_keys && status == EXIT_DONE; i++) {
        say("removed", &rules[i]);
        say_left(edit, &rules[i]);
        say_wider(in, edit, &rules[i]);
    }
    aliases_edit_close(edit);
    return status;
}

/* The tables of a noun; returns how many. */
static size_t tables_of(enum rule_noun noun, enum aliases_table tables[2])
{
    tables[0] = rule_args_table(noun);
    tables[1] = ALIASES_GLOBS;
    return noun == NOUN_ALIAS ? 2 : 1;
}

static int run_list(struct invocation *in)
{
    enum aliases_table tables[2];
    size_t n_tables = tables_of(in->args.noun, tables);
    struct aliases_edit *edit = NULL;
    enum edit_status status = open_database(in, false, true, &edit, &in->err);
    if (in->n_keys > 0)
        text_lower(in->keys[0]); /* as keys are */
    if (status == EDIT_DONE)
        status = rule_list(edit, &in->args, tables, n_tables, in->n_keys > 0 ? in->keys[0] : NULL, in->json,
                           &in->err);
    aliases_edit_close(edit);
    return rule_write_exit_status(status);
}

static int run_show(struct invocation *in)
{
    struct aliases_edit *edit = NULL;
    enum edit_status status = open_database(in, false, true, &edit, &in->err);
    const struct rule_show show = {.database = in->database,
                                   .policy = in->policy,
                                   .address = in->keys[0],
                                   .json = in->json,
                                   .pool = &in->pool};
    if (status == EDIT_DONE)
        status = rule_show(&show, edit, &in->err);
    aliases_edit_close(edit);
    return rule_write_exit_status(status);
}

/* How the file is written: as --format says, else as its name ends, else (import) as it begins. */
static int find_format(struct invocation *in, const char *file, enum rule_format *format)
{
    *format = rule_import_format(in->format != NULL ? in->format : file);
    if (in->format != NULL && (*format == RULE_FORMAT_UNKNOWN || strchr(in->format, '.') != NULL))
        return command_usage(noun_names[in->args.noun], "--format is csv, jsonl or postfix, not \"%s\"",
                             in->format);
    if (*format == RULE_FORMAT_POSTFIX && in->args.noun != NOUN_ALIAS && in->args.noun != NOUN_DOMAIN)
        return command_usage(noun_names[in->args.noun], "--format postfix goes with alias and domain");
    return 0;
}

static int run_export(struct invocation *in)
{
    const char *file = in->n_keys > 0 ? in->keys[0] : "-";
    enum aliases_table tables[2];
    size_t n_tables = tables_of(in->args.noun, tables);
    enum rule_format format;
    int usage = find_format(in, file, &format);
    if (usage != 0)
        return usage;
    struct aliases_edit *edit = NULL;
    struct rule_export_file out;
    if (rule_export_open(&out, file, &in->err) < 0)
        return EXIT_CANNOT_CREATE;
    enum edit_status status = open_database(in, false, false, &edit, &in->err);
    if (status == EDIT_DONE)
        status = rule_export(edit, tables, n_tables, &out, format, &in->err);
    aliases_edit_close(edit);
    (void)ids_give_back(); /* the file is where root wants it */
    return rule_write_exit_status(rule_export_close(&out, status, &in->err));
}

/* Would so many rows be gone that somebody should say so first? Below CHECK_SHRINK_FROM only where none is left. */
static bool removes_too_much(const struct invocation *in, const struct edit_difference *difference)
{
    int max_shrink = in->policy != NULL ? in->policy->aliases.max_shrink : 50;
    if (difference->before < CHECK_SHRINK_FROM)
        return difference->before > 0 && difference->removed == difference->before && difference->added == 0;
    return difference->removed >
           difference->before / 100 * max_shrink + difference->before % 100 * max_shrink / 100;
}

/* What was there has been replaced: by what, in rows, and may it be? */
static enum edit_status compare(struct invocation *in, struct aliases_edit *edit,
                                struct import_result *result, bool *too_much)
{
    enum aliases_table tables[2];
    size_t n_tables = tables_of(in->args.noun, tables);
    struct edit_difference difference = {0};
    enum edit_status status = EDIT_DONE;
    for (size_t i = 0; i < n_tables && status == EDIT_DONE; i++)
        status = aliases_edit_compare(edit, tables[i], &difference, &in->err);
    result->added = difference.added;
    result->updated = difference.changed;
    result->removed = difference.removed;
    *too_much = !in->import.force && removes_too_much(in, &difference);
    return status;
}

static void say_imported(const struct invocation *in, const struct import_result *result, bool written)
{
    if (in->json) {
        printf("{\"added\": %" PRId64 ", \"updated\": %" PRId64 ", \"removed\": %" PRId64
               ", \"bad\": %" PRId64 ", \"written\": %s}\n",
               result->added, result->updated, result->removed, result->bad, written ? "true" : "false");
        return;
    }
    printf("%s%" PRId64 " added, %" PRId64 " updated, ", rule_write_how(in->import.dry_run, written),
           result->added, result->updated);
    if (in->import.replace)
        printf("%" PRId64 " removed, ", result->removed);
    printf("%" PRId64 " bad%s\n", result->bad,
           result->bad > 0 && !in->import.skip_bad ? "; nothing was written (--skip-bad writes the others)"
                                                   : "");
}

static enum edit_status clear(struct invocation *in, struct aliases_edit *edit)
{
    enum aliases_table tables[2];
    size_t n_tables = tables_of(in->args.noun, tables);
    enum edit_status status = EDIT_DONE;
    for (size_t i = 0; in->import.replace && i < n_tables && status == EDIT_DONE; i++)
        status = aliases_edit_clear(edit, tables[i], &in->err);
    return status;
}

static void say_too_much(struct invocation *in, const char *name, int64_t removed, const struct error *left)
{
    if (left->text[0] != '\0')
        error_set(&in->err, "max_shrink does not allow it: %s; nothing was written (--force does it)",
                  left->text);
    else
        error_set(
            &in->err,
            "%s lacks %" PRId64
            " of the rows that are there, more than max_shrink allows; nothing was written (--force does it)",
            name, removed);
}

/* Reads all rows into the open database. */
static int import_rows(struct invocation *in, FILE *file, const char *name, struct aliases_edit *edit)
{
    struct import_result result = {0};
    bool too_much = false;
    in->import.noun = noun_names[in->args.noun];
    struct aliases_sizes before = {0};
    struct error left = {0};
    rule_import_catch_signals();
    const bool changes = in->import.replace || in->import.update;
    enum edit_status status = changes ? count_before(in, edit, INT64_MAX, &before) : EDIT_DONE;
    if (status == EDIT_DONE)
        status = clear(in, edit);
    if (status == EDIT_DONE)
        status = rule_import(edit, &in->args, file, name, &in->import, &result, &in->err);
    if (status == EDIT_DONE && in->import.replace)
        status = compare(in, edit, &result, &too_much);
    if (status == EDIT_DONE && changes)
        foresee_refusal(in, edit, INT64_MAX, &before, &left);
    too_much = too_much || (in->import.replace && left.text[0] != '\0' && !in->import.force);
    bool good = (result.bad == 0 || in->import.skip_bad) && !too_much, write = good && !in->import.dry_run;
    if (status == EDIT_DONE && write)
        status = aliases_edit_commit(edit, &in->err);
    if (status != EDIT_DONE)
        return rule_import_interrupted() ? EXIT_INTERRUPTED : rule_write_exit_status(status);
    say_imported(in, &result, write);
    if (good)
        warn_of_refusal(in, &left);
    if (too_much)
        say_too_much(in, name, result.removed, &left);
    return good ? EXIT_DONE : EXIT_REFUSED;
}

static int run_import(struct invocation *in)
{
    const char *name = in->n_keys > 0 ? in->keys[0] : "-";
    int usage = find_format(in, name, &in->import.format);
    if (usage != 0)
        return usage;
    bool standard = strcmp(name, "-") == 0;
    FILE *file = standard ? stdin : fopen(name, "re");
    if (file == NULL) {
        error_set(&in->err, "%s cannot be read: %s", name, strerror(errno));
        return EXIT_NO_INPUT;
    }
    struct aliases_edit *edit = NULL;
    int status = open_to_write(in, !in->import.dry_run, &edit);
    if (status == EXIT_DONE)
        status = import_rows(in, file, standard ? "standard input" : name, edit);
    if (status != EXIT_DONE && ferror(file))
        status = EXIT_NO_INPUT;
    aliases_edit_close(edit);
    if (!standard)
        (void)fclose(file); /* only read: nothing can be lost */
    return status;
}

static int run_accept(struct invocation *in)
{
    return rule_accept(in->policy, false, &in->err);
}

static struct rule_transfer transfer_of(const struct invocation *in)
{
    return (struct rule_transfer){.database = in->database,
                                  .policy = in->policy,
                                  .json = in->json,
                                  .force = in->import.force,
                                  .dry_run = in->import.dry_run};
}

static int run_snapshot(struct invocation *in)
{
    const struct rule_transfer transfer = transfer_of(in);
    return rule_transfer_snapshot(&transfer, in->keys[0], &in->err);
}

static int run_install(struct invocation *in)
{
    struct stat st;
    int fd = rule_transfer_open(in->keys[0], &in->err), status = EXIT_DONE;
    if (fd < 0)
        return EXIT_NO_INPUT;
    if (!in->import.dry_run && stat(in->database, &st) < 0 && errno == ENOENT)
        status = create(in);
    const struct rule_transfer transfer = transfer_of(in);
    return status == EXIT_DONE ? rule_transfer_install(&transfer, in->keys[0], fd, &in->err) : status;
}

static int run_rollback(struct invocation *in)
{
    const struct rule_transfer transfer = transfer_of(in);
    return rule_transfer_rollback(&transfer, &in->err);
}

static const struct verb verbs[] = {
    {"init", true, 0, 0, run_init},         {"add", false, 1, 3, run_add},
    {"set", false, 1, 3, run_set},          {"remove", false, 1, INT_MAX, run_remove},
    {"list", false, 0, 1, run_list},        {"import", false, 0, 1, run_import},
    {"export", false, 0, 1, run_export},    {"accept", true, 0, 0, run_accept},
    {"snapshot", true, 1, 1, run_snapshot}, {"install", true, 1, 1, run_install},
    {"rollback", true, 0, 0, run_rollback}, {"show", true, 1, 1, run_show},
};

/* --- the command line --- */

static int find_noun(const char *name)
{
    for (int i = 0; i < NOUNS; i++)
        if (strcmp(noun_names[i], name) == 0)
            return i;
    return -1;
}

static const struct verb *find_verb(const char *name, enum rule_noun noun)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].name, name) == 0 && (!verbs[i].alias_only || noun == NOUN_ALIAS))
            return &verbs[i];
    return NULL;
}

static int no_verb(enum rule_noun noun, const char *name)
{
    const char *names[sizeof verbs / sizeof verbs[0] + 1] = {NULL};
    char hint[COMMAND_HINT];
    size_t n = 0;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (!verbs[i].alias_only || noun == NOUN_ALIAS)
            names[n++] = verbs[i].name;
    return command_usage(noun_names[noun], "there is no \"%s\"%s", name, command_hint(name, names, hint));
}

/* Do the options go with the verb? 0, or the exit status of a usage error. */
static int check_options(const struct invocation *in, const struct verb *verb)
{
    const char *noun = noun_names[in->args.noun];
    const struct import_options *import = &in->import;
    bool imports = verb->run == run_import, files = imports || verb->run == run_export;
    bool installs = verb->run == run_install, back = verb->run == run_rollback;
    bool transfers = installs || back || verb->run == run_snapshot;
    if (in->json && verb->run != run_list && verb->run != run_show && !imports && !transfers)
        return command_usage(noun, "--json goes with list and import%s",
                             in->args.noun == NOUN_ALIAS ? ", show, snapshot, install and rollback" : "");
    if (!imports && (import->skip_bad || import->replace || import->update))
        return command_usage(noun, "--skip-bad, --replace and --update go with import");
    if (!imports && !installs && (import->force || (import->dry_run && !back)))
        return command_usage(noun,
                             "--force and --dry-run go with import and install, --dry-run with rollback");
    if (!files && in->format != NULL)
        return command_usage(noun, "--format goes with import and export");
    for (enum rule_field field = 0; field < FIELDS && (files || transfers); field++)
        if (in->args.given[field] != NULL)
            return command_usage(noun, "%s does not go with %s: the file has the columns",
                                 rule_args_field_option(field), verb->name);
    if (in->args.given[FIELD_EXPIRES] != NULL && in->args.given[FIELD_FOR] != NULL)
        return command_usage(noun, "--expires and --for say the same");
    return 0;
}

/* Options, verb and keys. 0, or the exit status of a usage error. */
static int parse_line(struct invocation *in, int argc, char **argv, const struct verb **verb)
{
    const char *noun = noun_names[in->args.noun];
    struct option_value options[FIELDS + 11] = {{"-c", &in->file, NULL},
                                                {"--database", &in->database, NULL},
                                                {"--json", NULL, &in->json},
                                                {"--format", &in->format, NULL},
                                                {"--skip-bad", NULL, &in->import.skip_bad},
                                                {"--replace", NULL, &in->import.replace},
                                                {"--dry-run", NULL, &in->import.dry_run},
                                                {"--update", NULL, &in->import.update},
                                                {"--force", NULL, &in->import.force}};
    size_t n = 9;
    if (in->args.noun == NOUN_ALIAS)
        options[n++] = (struct option_value){"--group", &in->group, NULL};
    for (enum rule_field field = 0; field < FIELDS; field++)
        if (rule_args_field_fits(field, in->args.noun))
            options[n++] = (struct option_value){rule_args_field_option(field), &in->args.given[field], NULL};
    int positional = command_options(noun, argc, argv, options);
    if (positional < 0)
        return EXIT_USAGE;
    *verb = positional > 0 ? find_verb(argv[1], in->args.noun) : NULL;
    if (*verb == NULL)
        return positional > 0 ? no_verb(in->args.noun, argv[1]) : command_usage(noun, "what is to be done?");
    in->keys = argv + 2;
    in->n_keys = positional - 1;
    if (in->n_keys < (*verb)->min_keys)
        return command_usage(noun, "%s needs to know which", (*verb)->name);
    if (in->n_keys > (*verb)->max_keys)
        return command_usage(noun, "too many arguments: \"%s\"", in->keys[(*verb)->max_keys]);
    return check_options(in, *verb);
}

/* The policy says where the database is, and what a subaddress is; with --database it may be missing. */
static int find_database(struct invocation *in)
{
    const char *file = in->file != NULL ? in->file : POLICY_FILE_DEFAULT;
    in->args.subaddress = "+";
    if (in->database != NULL && in->file == NULL && access(file, F_OK) != 0)
        return 0;
    in->policy = policy_file_load_or_complain(file);
    if (in->policy == NULL)
        return command_no_policy(file);
    in->args.subaddress = in->policy->aliases.subaddress;
    if (in->database == NULL)
        in->database = in->policy->aliases.database;
    if (in->database != NULL)
        return 0;
    fprintf(stderr,
            "rcptgate %s: %s has no alias rules: put \"aliases\": {} into it for the default database, or "
            "say which with "
            "--database FILE\n",
            noun_names[in->args.noun], file);
    return EXIT_CONFIG;
}

int cmd_rules(int argc, char **argv)
{
    int noun = argc > 0 ? find_noun(argv[0]) : -1;
    if (noun < 0)
        return EXIT_USAGE;
    struct invocation in = {.args = {.noun = (enum rule_noun)noun, .now_s = (int64_t)time(NULL)}};
    const struct verb *verb = NULL;
    in.args.pool = &in.pool;
    int status = parse_line(&in, argc, argv, &verb);
    if (status == 0)
        status = find_database(&in);
    if (status == 0) {
        status = verb->run(&in);
        if (in.err.text[0] != '\0')
            status = complain(&in, status);
    }
    policy_unref(in.policy);
    pool_done(&in.pool);
    return status;
}
