/* policy_keeper: see policy_keeper.h. */
#include "policy_keeper.h"

#include "last_policy.h"
#include "file.h"
#include "load.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAVE_AGAIN_MS = 10000, LOOKS = 2 };

/* ---- what is said ---- */

void policy_keeper_log(const char *file, const struct problems *problems)
{
    static const char *const kinds[] = {"warning", "not-yet", "skipped", "unusable"};
    for (size_t i = 0; i < problems->n; i++) {
        const struct problem *p = &problems->at[i];
        char line[2 * sizeof p->text + 2 * sizeof p->instead + sizeof p->pointer];
        struct text text;
        text_init(&text, line, sizeof line);
        text_add_percent(&text, p->pointer);
        text_add(&text, " text=");
        text_add_quoted(&text, p->text);
        text_add(&text, " instead=");
        text_add_quoted(&text, p->instead);
        log_line(LOG_AT_WARNING, "event=policy-%s file=%s line=%d pointer=%s", kinds[p->kind], file, p->line,
                 line);
    }
}

enum log_priority policy_keeper_log_priority(const struct policy *policy)
{
    static const enum log_priority priorities[] = {
        [LOG_LEVEL_ERROR] = LOG_AT_ERROR,
        [LOG_LEVEL_WARNING] = LOG_AT_WARNING,
        [LOG_LEVEL_INFO] = LOG_AT_INFO,
        [LOG_LEVEL_DEBUG] = LOG_AT_DEBUG,
    };
    return priorities[policy->log.level];
}

/* What a reload cannot change, because it is set up once. */
static void say_restart_needed(const struct policy *old, const struct policy *new)
{
    const struct {
        const char *what;
        bool differs;
    } parts[] = {
        {"milter", strcmp(old->milter.socket, new->milter.socket) != 0},
        {"state", strcmp(old->state, new->state) != 0},
        {"aliases.database",
         (old->aliases.database == NULL) != (new->aliases.database == NULL) ||
             (old->aliases.database != NULL && strcmp(old->aliases.database, new->aliases.database) != 0)},
        {"counters.url", strcmp(old->counters.url, new->counters.url) != 0},
        {"counters.prefix", strcmp(old->counters.redis.prefix, new->counters.redis.prefix) != 0},
        {"counters.timeout", old->counters.redis.timeout_ms != new->counters.redis.timeout_ms},
        {"log.to", old->log.to_stderr != new->log.to_stderr},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].differs)
            log_line(LOG_AT_WARNING, "event=policy-restart text=\"the new %s is in force after a restart\"",
                     parts[i].what);
}

/* "2 entries of FILE are bad: /limits/0/max (its last good version), ..." */
static void name_entries(struct policy_keeper *keeper, const struct problems *problems)
{
    struct text text;
    size_t n = 0;
    for (size_t i = 0; i < problems->n; i++)
        n += problems->at[i].kind == PROBLEM_SKIPPED;
    keeper->entries = (struct error){0};
    if (n == 0)
        return;
    const size_t all = n;
    text_init(&text, keeper->entries.text, sizeof keeper->entries.text);
    text_addf(&text, "%zu bad %s in %s, run rcptgate check:", n, n == 1 ? "entry" : "entries", keeper->file);
    for (size_t i = 0; i < problems->n; i++) {
        const struct problem *p = &problems->at[i];
        if (p->kind == PROBLEM_SKIPPED)
            text_addf(&text, "%s line %d %s (used instead: %s)", n-- == all ? "" : ";", p->line, p->pointer,
                      p->instead[0] != '\0' ? p->instead : "nothing");
    }
}

static void tell_file(const struct policy_keeper *keeper, struct gate *gate)
{
    conditions_follow(&gate->context.conditions, CONDITION_POLICY, CONDITION_DEGRADED,
                      context_now(&gate->context), &keeper->bad);
}

static void tell_entries(const struct policy_keeper *keeper, struct gate *gate)
{
    conditions_follow(&gate->context.conditions, CONDITION_POLICY_ENTRIES, CONDITION_DEGRADED,
                      context_now(&gate->context), &keeper->entries);
}

/* "FILE:3: is not JSON: line 3 ..." */
static void say_unusable(const char *file, const struct problems *problems, struct error *err)
{
    for (size_t i = 0; i < problems->n; i++)
        if (problems->at[i].kind == PROBLEM_FATAL)
            error_set(err, "%s:%d: %s", file, problems->at[i].line, problems->at[i].text);
    error_set(err, "%s: out of memory", file);
}

/* ---- the file ---- */

static void stat_file(const char *file, struct stat *st)
{
    if (stat(file, st) < 0)
        *st = (struct stat){0};
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           same_time(a->st_mtim, b->st_mtim) && same_time(a->st_ctim, b->st_ctim);
}

/* The file with the last good version of what is bad in it. bytes NULL: it cannot be read. */
static const struct policy *load_first(const char *file, const char *path, const char *bytes, size_t n,
                                       struct problems *problems, char **effective, struct error *err)
{
    struct problems ignored = {0};
    char from[STATE_DIR_PATH], *last = NULL;
    const struct policy *plain = config_load(bytes, n, &ignored);
    if (plain != NULL && problems_status(&ignored) != 0 && path[0] != '\0')
        last = last_policy_find(path, plain->state, NULL, from);
    problems_done(&ignored);
    policy_unref(plain);
    const struct policy *policy =
        config_last_good_patch(bytes, n, last, last != NULL ? strlen(last) : 0, problems, effective);
    free(last);
    if (policy == NULL)
        say_unusable(file, problems, err);
    return policy;
}

const struct policy *policy_keeper_check(const char *file, struct problems *problems, struct error *err)
{
    char path[PATH_MAX] = "", *bytes = NULL, *effective = NULL;
    size_t n = 0;
    if (file_read(file, &bytes, &n, err) < 0)
        return NULL;
    (void)last_policy_path(file, path);
    const struct policy *policy = load_first(file, path, bytes, n, problems, &effective, err);
    free(effective);
    free(bytes);
    return policy;
}

/* The file is of no use. */
static const struct policy *start_with_last(struct policy_keeper *keeper, const char *bytes,
                                            struct error *err)
{
    char from[STATE_DIR_PATH];
    struct problems ignored = {0};
    char *text = keeper->path[0] != '\0' ? last_policy_find(keeper->path, NULL, bytes, from) : NULL;
    const struct policy *policy = text != NULL ? config_load(text, strlen(text), &ignored) : NULL;
    problems_done(&ignored);
    if (policy == NULL) {
        free(text);
        error_set(err, "%s; there is no last good policy of this file either", keeper->bad.text);
        return NULL;
    }
    struct error bad = keeper->bad;
    keeper->bad = (struct error){0};
    error_set(&keeper->bad, "%s; the last good policy stays in force, from %s; mend the file", bad.text,
              from);
    keeper->text = text;
    return policy;
}

const struct policy *policy_keeper_start(struct policy_keeper *keeper, const char *file,
                                         struct problems *problems, struct error *err)
{
    char *bytes = NULL;
    size_t n = 0;
    *keeper = (struct policy_keeper){.file = file};
    (void)last_policy_path(file, keeper->path);
    stat_file(file, &keeper->taken);
    keeper->seen = keeper->taken;
    keeper->unread = file_read(file, &bytes, &n, &keeper->bad) < 0;
    const struct policy *policy = NULL;
    if (!keeper->unread)
        policy = load_first(file, keeper->path, bytes, n, problems, &keeper->text, &keeper->bad);
    if (policy != NULL) {
        keeper->unsaved = true;
        name_entries(keeper, problems);
    } else {
        policy = start_with_last(keeper, bytes, err);
    }
    free(bytes);
    if (policy != NULL)
        snprintf(keeper->state, sizeof keeper->state, "%s", policy->state);
    return policy;
}

void policy_keeper_done(struct policy_keeper *keeper)
{
    free(keeper->text);
    keeper->text = NULL;
}

/* ---- while the gate runs ---- */

/* A state directory that cannot be written costs the next start, not this one. */
static void save(struct policy_keeper *keeper, struct gate *gate)
{
    struct error err = {0};
    int64_t now = context_now(&gate->context);
    if (!keeper->unsaved || now < keeper->save_ms || keeper->path[0] == '\0')
        return;
    keeper->unsaved = last_policy_save(keeper->path, keeper->state, keeper->text, &err) < 0;
    keeper->save_ms = now + SAVE_AGAIN_MS;
    conditions_follow(&gate->context.conditions, CONDITION_POLICY_COPY, CONDITION_DEGRADED, now, &err);
}

void policy_keeper_tell(struct policy_keeper *keeper, struct gate *gate)
{
    tell_file(keeper, gate);
    tell_entries(keeper, gate);
    save(keeper, gate);
}

static void put_in_force(struct policy_keeper *keeper, struct gate *gate, const struct policy *policy,
                         char *text, struct problems *problems)
{
    const struct policy *old = context_policy(&gate->context);
    name_entries(keeper, problems);
    config_compare(old, policy, problems);
    policy_keeper_log(keeper->file, problems);
    say_restart_needed(old, policy);
    policy_unref(old);
    log_set_level(policy_keeper_log_priority(policy));
    keeper->unsaved = keeper->unsaved || strcmp(keeper->text, text) != 0;
    keeper->save_ms = 0;
    free(keeper->text);
    keeper->text = text;
    keeper->bad = (struct error){0};
    log_line(LOG_AT_WARNING, "event=policy-loaded file=%s limits=%zu", keeper->file, policy->n_limits);
    gate_set_policy(gate, policy);
    tell_entries(keeper, gate);
}

static void take(struct policy_keeper *keeper, struct gate *gate, const char *bytes, size_t n)
{
    struct problems problems = {0};
    struct error err = {0};
    char *text = NULL;
    const struct policy *policy =
        config_last_good_patch(bytes, n, keeper->text, strlen(keeper->text), &problems, &text);
    if (policy != NULL) {
        put_in_force(keeper, gate, policy, text, &problems);
    } else {
        say_unusable(keeper->file, &problems, &err);
        keeper->unread = problems_status(&problems) == 0; /* for want of memory, not of a policy */
        keeper->bad = (struct error){0};
        error_set(&keeper->bad, "%s; the last good policy stays in force; mend the file", err.text);
    }
    problems_done(&problems);
}

/* Reads the file. False: it was written meanwhile. */
static bool read_file(struct policy_keeper *keeper, struct gate *gate)
{
    struct error err = {0};
    struct stat after;
    char *bytes = NULL;
    size_t n = 0;
    keeper->unread = file_read(keeper->file, &bytes, &n, &err) < 0;
    stat_file(keeper->file, &after);
    bool quiet = same_file(&keeper->seen, &after);
    if (quiet && keeper->unread) {
        keeper->bad = (struct error){0};
        error_set(&keeper->bad, "%s; the last good policy stays in force; put the file back", err.text);
    } else if (quiet) {
        take(keeper, gate, bytes, n);
    }
    free(bytes);
    keeper->taken = quiet ? keeper->seen : keeper->taken;
    if (quiet)
        tell_file(keeper, gate);
    return quiet;
}

void policy_keeper_look(struct policy_keeper *keeper, struct gate *gate, bool now)
{
    struct stat st;
    stat_file(keeper->file, &st);
    bool still = same_file(&keeper->seen, &st);
    keeper->seen = st;
    keeper->looks = still ? keeper->looks + 1 : 0;
    bool changed = keeper->unread || !same_file(&st, &keeper->taken);
    if ((now || (changed && keeper->looks >= LOOKS)) && !read_file(keeper, gate))
        keeper->looks = 0;
    save(keeper, gate);
}
