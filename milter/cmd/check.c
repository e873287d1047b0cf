/* check: validates a policy file. Exit 0 clean, 1 usable with entries skipped, 78 unusable. */
#include "command.h"

#include "check_connect.h"

#include "gate/policy_file.h"
#include "aliases/aliases.h"
#include "rule_bounce.h"
#include "rule_inert.h"
#include "base/pool.h"
#include "policy/rules.h"
#include "sys/ids.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WARNED = 3 };

static const char *const status_names[] = {"clean", "usable", "unusable", [WARNED] = "warnings"};

/* Nothing is clean that somebody is warned of, though all of it is in force as written. */
static const char *status_name(int status, const struct problems *problems)
{
    bool clean = status == EXIT_DONE;
    return status_names[clean && problems->n > 0 ? WARNED : clean ? 0 : status == EXIT_REFUSED ? 1 : 2];
}

static void print_status(const char *file, int status, const struct problems *problems)
{
    if (status == EXIT_DONE && problems->n > 0)
        printf("%s: usable as written, with %zu warning%s\n", file, problems->n, problems->n == 1 ? "" : "s");
    else
        printf("%s: %s\n", file, status_name(status, problems));
}

static int print_json(const char *file, const struct problems *problems, int status)
{
    json_t *list = json_array();
    for (size_t i = 0; i < problems->n; i++) {
        const struct problem *p = &problems->at[i];
        json_t *entry = json_pack("{s:s, s:s, s:s, s:s}", "kind", problems_kind_name(p->kind), "pointer",
                                  p->pointer, "text", p->text, "instead", p->instead);
        if (entry != NULL && p->line > 0)
            json_object_set_new(entry, "line", json_integer(p->line));
        json_array_append_new(list, entry);
    }
    json_t *report =
        json_pack("{s:s, s:s, s:o}", "file", file, "status", status_name(status, problems), "problems", list);
    int rc = report != NULL ? json_dumpf(report, stdout, JSON_INDENT(2)) : -1;
    json_decref(report);
    if (rc < 0 || putchar('\n') == EOF)
        return EXIT_INTERNAL;
    return status;
}

static void warn(struct problems *problems, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void warn(struct problems *problems, const char *pointer, const char *format, ...)
{
    struct problem *p = problems_append(problems);
    if (p == NULL)
        return;
    snprintf(p->pointer, sizeof p->pointer, "%s", pointer);
    va_list args;
    va_start(args, format);
    vsnprintf(p->text, sizeof p->text, format, args);
    va_end(args);
}

/* "FILE cannot be read: why", of a file that has no problems of its own. */
static void add_unreadable(const char *file, const char *why, struct problems *problems)
{
    struct problem *p = problems_append(problems);
    size_t n = strlen(file);
    if (p == NULL)
        return;
    p->kind = PROBLEM_FATAL;
    snprintf(p->text, sizeof p->text, "%s", strncmp(why, file, n) == 0 && why[n] == ' ' ? why + n + 1 : why);
}

static bool is_role(const char *local)
{
    return local != NULL && (strcmp(local, "postmaster") == 0 || strcmp(local, "abuse") == 0);
}

/* Is this one address, in one of our domains, with nothing that has a mailbox for it? */
static bool has_no_row(struct aliases *db, const struct policy *policy, const struct pattern *pattern)
{
    struct pool pool = {0};
    struct address address;
    struct alias_query query;
    struct alias_rows rows = {0};
    const char *whole = pool_join(&pool, pattern->local, "@", pattern->domain);
    struct aliases_reading reading = aliases_begin(db);
    if (whole != NULL &&
        address_parse(whole, policy->aliases.subaddress, &address, NULL) == ADDRESS_MAILBOX &&
        rules_alias_query(&address, &pool, &query) == 0)
        aliases_alias(&reading, &query, &pool, &rows);
    aliases_end(&reading);
    bool none = rows.state == ROWS_LIVE && rows.domain.domain != NULL && rows.full.key == NULL &&
                rows.bare.key == NULL && rows.n_globs == 0;
    pool_done(&pool);
    return none;
}

/* Exempt recipients are never unknown to the gate; where they are to Postfix, their mail bounces. */
static void check_exempt(struct aliases *db, const struct policy *policy, struct problems *problems)
{
    for (size_t i = 0; i < policy->exempt.recipients.n; i++) {
        const struct pattern *pattern = &policy->exempt.recipients.at[i];
        char pointer[40];
        snprintf(pointer, sizeof pointer, "/exempt/recipients/%zu", i);
        if (is_role(pattern->local) || (pattern->domain != NULL && pattern->domain[0] == '\0'))
            continue;
        if (pattern->local == NULL || pattern->domain == NULL)
            warn(problems, pointer,
                 "lets in mail for addresses that need not exist: where there is no alias, it bounces to "
                 "whoever "
                 "is named as its sender. Name single addresses, or let a glob deliver");
        else if (has_no_row(db, policy, pattern))
            warn(problems, pointer,
                 "%s@%s is let in and is no alias: its mail bounces to whoever is named as its sender. Run: "
                 "rcptgate alias add %s@%s MAILBOX",
                 pattern->local, pattern->domain, pattern->local, pattern->domain);
    }
}

enum { LOOKUPS = 1000000 }; /* of forwards at most: some ten seconds */

static void check_forwards(struct aliases *db, const struct policy *policy, struct problems *problems)
{
    struct rule_bounces bounces;
    rule_bounce_scan(db, policy, LOOKUPS, &bounces);
    if (bounces.n > 0)
        warn(problems, "/aliases/database",
             "%lld of its aliases and globs accept mail and forward it to an address of ours that does not, "
             "or back "
             "to themselves (%.128s to %.128s): it bounces to whoever is named as its sender, or its message "
             "gets 451 "
             "for ever. Let them forward to a mailbox, or reject",
             (long long)bounces.n, bounces.name, bounces.to);
}

/* What the rules need that the file cannot show: the database itself. */
static void check_database(const struct policy *policy, struct problems *problems)
{
    struct error condition = {0};
    struct aliases_status status = {0};
    struct aliases *db = NULL;
    if (policy->aliases.database == NULL)
        return;
    db = aliases_new(&(struct aliases_config){.path = policy->aliases.database});
    aliases_condition(db, &condition);
    if (condition.text[0] != '\0' && access(policy->aliases.database, R_OK) < 0 && errno == EACCES)
        warn(problems, "/aliases/database",
             "cannot be read by you, which says nothing of the gate: check as root, or as a member of its "
             "group");
    else if (condition.text[0] != '\0')
        warn(problems, "/aliases/database",
             "without a good copy of it every recipient that is not exempt gets 451: %.400s", condition.text);
    else if (policy->maps.socket != NULL && aliases_count_homeless(db, &status) && status.homeless > 0)
        warn(problems, "/aliases/database",
             "%lld of its aliases, globs and catch-alls accept mail and have no mailbox (%s): it bounces to "
             "whoever "
             "is named as its sender. Give them one, or let them reject",
             (long long)status.homeless, status.homeless_name);
    if (policy->maps.socket != NULL) {
        if (condition.text[0] == '\0')
            check_forwards(db, policy, problems);
        check_exempt(db, policy, problems);
    }
    aliases_free(db);
}

enum { ROWS_LOOKED_AT = 1000000, ROWS_NAMED = 20 };

static void name_inert(const struct error *why, void *context)
{
    struct problems *problems = context;
    size_t named = 0;
    for (size_t i = 0; i < problems->n; i++)
        named += strcmp(problems->at[i].pointer, "/aliases/database") == 0;
    if (named < ROWS_NAMED)
        warn(problems, "/aliases/database", "%.500s", why->text);
}

static void check_rows(const struct policy *policy, struct problems *problems)
{
    if (policy->aliases.database != NULL)
        (void)rule_inert_scan(policy->aliases.database, policy->aliases.subaddress, ROWS_LOOKED_AT,
                              name_inert, problems);
}

static void check_secret(const char *path, mode_t others, const char *pointer, const char *text,
                         struct problems *problems)
{
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & others) != 0)
        warn(problems, pointer, "%s", text);
}

/* Who may read what is secret, or write it? */
static void check_secrets(const char *file, const struct policy *policy, struct problems *problems)
{
    const struct redis_config *redis = &policy->counters.redis;
    if (redis->password != NULL)
        check_secret(file, 0004, "/counters/url",
                     "has a password, and every user of this machine can read this file: take the right away "
                     "(chmod o-r), "
                     "or put the password into counters.password_file",
                     problems);
    check_secret(file, 0002, "", "every user of this machine can write this file: chmod o-w", problems);
    const struct secret_file {
        const char *path, *pointer;
    } files[] = {
        {redis->password_file, "/counters/password_file"},
        {redis->sentinel_password_file, "/counters/sentinel_password_file"},
        {redis->tls_key != NULL ? redis->tls_key : redis->tls_cert,
         redis->tls_key != NULL ? "/counters/tls/key" : "/counters/tls/cert"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (files[i].path != NULL)
            check_secret(files[i].path, 0006, files[i].pointer,
                         "can be read or written by every user of this machine: chmod o-rwx", problems);
}

/* To root nothing is tried that is of the last good policy, where the gate's user may have written it: root's files would be
 * read as passwords, and sent where it says. */
static void connect_by(const char *file, const struct policy *policy, struct problems *problems)
{
    struct problems ignored = {0};
    struct error err = {0};
    bool patched = ids_are_roots() && problems_status(problems) != 0;
    const struct policy *own = patched ? policy_file_load(file, &ignored, &err) : policy_ref(policy);
    if (own != NULL)
        check_connect(file, own, problems);
    else
        warn(problems, "", "nothing was asked: mend the file first, or check as another user than root");
    policy_unref(own);
    problems_done(&ignored);
}

int cmd_check(int argc, char **argv)
{
    const char *file = POLICY_FILE_DEFAULT;
    bool json = false, connect = false;
    const struct option_value options[] = {
        {"-c", &file, NULL}, {"--json", NULL, &json}, {"--connect", NULL, &connect}, {NULL, NULL, NULL}};
    int n = command_options("check", argc, argv, options);
    if (n < 0)
        return EXIT_USAGE;
    if (n > 1)
        return command_usage("check", "one file at a time");
    if (n == 1)
        file = argv[1];

    struct problems problems = {0};
    struct error err = {0};
    const char *path = strcmp(file, "-") == 0 ? "/dev/stdin" : file;
    const struct policy *policy = policy_file_check(path, &problems, &err);
    if (policy == NULL && problems.n == 0)
        add_unreadable(path, err.text, &problems);
    if (policy != NULL) {
        check_secrets(file, policy, &problems);
        check_database(policy, &problems);
        check_rows(policy, &problems);
        if (connect)
            connect_by(file, policy, &problems);
    }
    int status = policy != NULL ? problems_status(&problems) : EXIT_CONFIG;
    if (json) {
        status = print_json(file, &problems, status);
    } else {
        policy_file_print(stdout, file, &problems, PROBLEM_WARNING);
        print_status(file, status, &problems);
    }
    policy_unref(policy);
    problems_done(&problems);
    return status;
}
