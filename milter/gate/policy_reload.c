/* policy_reload: owns what was last seen of the file, and its problems; the policy itself is the gate's. A file that cannot be used
 * is a condition, and the policy in force stays. */
#include "gate/policy_reload.h"

#include "last_good.h"
#include "base/file.h"
#include "gate/policy_file.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAVE_AGAIN_MS = 10000, LOOKS = 2 };

/* ---- what is said ---- */

void policy_reload_log(const char *file, const struct problems *problems)
{
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
        log_line(LOG_AT_WARNING, "event=policy-%s file=%s line=%d pointer=%s", problems_kind_name(p->kind),
                 file, p->line, line);
    }
}

enum log_priority policy_reload_log_priority(const struct policy *policy)
{
    static const enum log_priority priorities[] = {
        [LOG_LEVEL_ERROR] = LOG_AT_ERROR,
        [LOG_LEVEL_WARNING] = LOG_AT_WARNING,
        [LOG_LEVEL_INFO] = LOG_AT_INFO,
        [LOG_LEVEL_DEBUG] = LOG_AT_DEBUG,
    };
    return priorities[policy->log.level];
}

static bool same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* What a reload cannot change, because it is set up once: said once, and a note until the restart. */
static void say_restart_needed(struct gate *gate, const struct policy *old, const struct policy *new)
{
    const struct policy *started = gate->started;
    const struct part {
        const char *what;
        bool differs, changed;
    } parts[] = {
#define PART(what, field) {what, !same(started->field, new->field), !same(old->field, new->field)}
        PART("milter.socket", milter.socket),
        PART("maps.socket", maps.socket),
        PART("state", state),
        PART("user", user),
        PART("aliases.database", aliases.database),
        PART("counters.url", counters.url),
        PART("counters.password_file", counters.redis.password_file),
        PART("counters.sentinel_password_file", counters.redis.sentinel_password_file),
        PART("counters.tls.ca", counters.redis.tls_ca),
        PART("counters.tls.cert", counters.redis.tls_cert),
        PART("counters.tls.key", counters.redis.tls_key),
        PART("counters.tls.name", counters.redis.tls_name),
        PART("counters.prefix", counters.redis.prefix),
#undef PART
        {"counters.timeout", started->counters.redis.timeout_ms != new->counters.redis.timeout_ms,
         old->counters.redis.timeout_ms != new->counters.redis.timeout_ms},
        {"counters.local_subjects", started->counters.local_subjects != new->counters.local_subjects,
         old->counters.local_subjects != new->counters.local_subjects},
        {"log.to", started->log.to_stderr != new->log.to_stderr, old->log.to_stderr != new->log.to_stderr},
    };
    struct error due = {0};
    struct text text;
    text_init(&text, due.text, sizeof due.text);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].differs)
            text_addf(&text, "%s%s", due.text[0] == '\0' ? "waiting for a restart: " : ", ", parts[i].what);
        if (parts[i].differs && parts[i].changed)
            log_line(LOG_AT_WARNING, "event=policy-restart text=\"the new %s is in force after a restart\"",
                     parts[i].what);
    }
    conditions_follow(&gate->context.conditions, CONDITION_RESTART, CONDITION_NOTE,
                      context_now(&gate->context), &due);
}

/* "2 entries of FILE are bad: /limits/0/max (its last good version), ..." */
static void name_entries(struct policy_reload *reload, const struct problems *problems)
{
    struct text text;
    size_t n = 0;
    for (size_t i = 0; i < problems->n; i++)
        n += problems->at[i].kind == PROBLEM_SKIPPED;
    reload->entries = (struct error){0};
    if (n == 0)
        return;
    const size_t all = n;
    text_init(&text, reload->entries.text, sizeof reload->entries.text);
    text_addf(&text, "%zu bad %s in %s, run rcptgate check:", n, n == 1 ? "entry" : "entries", reload->file);
    for (size_t i = 0; i < problems->n; i++) {
        const struct problem *p = &problems->at[i];
        if (p->kind == PROBLEM_SKIPPED)
            text_addf(&text, "%s line %d %s (used instead: %s)", n-- == all ? "" : ";", p->line, p->pointer,
                      p->instead[0] != '\0' ? p->instead : "nothing");
    }
}

static void notify_file(const struct policy_reload *reload, struct gate *gate)
{
    conditions_follow(&gate->context.conditions, CONDITION_POLICY, CONDITION_DEGRADED,
                      context_now(&gate->context), &reload->bad);
}

static void notify_entries(const struct policy_reload *reload, struct gate *gate)
{
    conditions_follow(&gate->context.conditions, CONDITION_POLICY_ENTRIES, CONDITION_DEGRADED,
                      context_now(&gate->context), &reload->entries);
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

/* The file is of no use. */
static const struct policy *start_with_last(struct policy_reload *reload, const char *bytes,
                                            struct error *err)
{
    char from[STATE_DIR_PATH];
    struct error bad = reload->bad;
    const struct policy *policy = policy_file_last(reload->file, bytes, from, &reload->text);
    reload->bad = (struct error){0};
    if (policy == NULL)
        error_set(err, "%s; there is no last good policy of this file either", bad.text);
    else
        error_set(&reload->bad, "%s; the last good policy stays in force, from %s; mend the file", bad.text,
                  from);
    return policy;
}

const struct policy *policy_reload_start(struct policy_reload *reload, const char *file,
                                         struct problems *problems, struct error *err)
{
    char *bytes = NULL;
    size_t n = 0;
    *reload = (struct policy_reload){.file = file};
    (void)last_good_path(file, reload->path);
    stat_file(file, &reload->taken);
    reload->seen = reload->taken;
    reload->unread = file_read(file, &bytes, &n, &reload->bad) < 0;
    const struct policy *policy = NULL;
    if (!reload->unread)
        policy = policy_file_mend(file, bytes, n, problems, &reload->text, &reload->bad);
    if (policy != NULL) {
        reload->unsaved = true;
        name_entries(reload, problems);
    } else {
        policy = start_with_last(reload, bytes, err);
    }
    free(bytes);
    if (policy != NULL)
        snprintf(reload->state, sizeof reload->state, "%s", policy->state);
    return policy;
}

void policy_reload_done(struct policy_reload *reload)
{
    free(reload->text);
    reload->text = NULL;
}

/* ---- while the gate runs ---- */

/* A state directory that cannot be written costs the next start, not this one. */
static void save(struct policy_reload *reload, struct gate *gate)
{
    struct error err = {0};
    int64_t now = context_now(&gate->context);
    if (!reload->unsaved || now < reload->save_ms || reload->path[0] == '\0')
        return;
    reload->unsaved = last_good_save(reload->path, reload->state, reload->text, &err) < 0;
    reload->save_ms = now + SAVE_AGAIN_MS;
    conditions_follow(&gate->context.conditions, CONDITION_POLICY_COPY, CONDITION_DEGRADED, now, &err);
}

void policy_reload_notify(struct policy_reload *reload, struct gate *gate)
{
    notify_file(reload, gate);
    notify_entries(reload, gate);
    save(reload, gate);
}

static void put_in_force(struct policy_reload *reload, struct gate *gate, const struct policy *policy,
                         char *text, struct problems *problems)
{
    const struct policy *old = context_policy(&gate->context);
    name_entries(reload, problems);
    config_compare(old, policy, problems);
    policy_reload_log(reload->file, problems);
    say_restart_needed(gate, old, policy);
    policy_unref(old);
    log_set_level(policy_reload_log_priority(policy));
    reload->unsaved = reload->unsaved || strcmp(reload->text, text) != 0;
    reload->save_ms = 0;
    free(reload->text);
    reload->text = text;
    reload->bad = (struct error){0};
    log_line(LOG_AT_WARNING, "event=policy-loaded file=%s limits=%zu", reload->file, policy->n_limits);
    gate_set_policy(gate, policy);
    notify_entries(reload, gate);
}

static void take(struct policy_reload *reload, struct gate *gate, const char *bytes, size_t n)
{
    struct problems problems = {0};
    struct error err = {0};
    char *text = NULL;
    const struct policy *policy =
        policy_file_patch(reload->file, bytes, n, reload->text, &problems, &text, &err);
    if (policy != NULL) {
        put_in_force(reload, gate, policy, text, &problems);
    } else {
        reload->unread = problems_status(&problems) == 0; /* for want of memory, not of a policy */
        reload->bad = (struct error){0};
        error_set(&reload->bad, "%s; the last good policy stays in force; mend the file", err.text);
    }
    problems_done(&problems);
}

/* Reads the file. False: it was written meanwhile. */
static bool read_file(struct policy_reload *reload, struct gate *gate)
{
    struct error err = {0};
    struct stat after;
    char *bytes = NULL;
    size_t n = 0;
    reload->unread = file_read(reload->file, &bytes, &n, &err) < 0;
    stat_file(reload->file, &after);
    bool quiet = same_file(&reload->seen, &after);
    if (quiet && reload->unread) {
        reload->bad = (struct error){0};
        error_set(&reload->bad, "%s; the last good policy stays in force; put the file back", err.text);
    } else if (quiet) {
        take(reload, gate, bytes, n);
    }
    free(bytes);
    reload->taken = quiet ? reload->seen : reload->taken;
    if (quiet)
        notify_file(reload, gate);
    return quiet;
}

void policy_reload_look(struct policy_reload *reload, struct gate *gate, bool now)
{
    struct stat st;
    stat_file(reload->file, &st);
    bool still = same_file(&reload->seen, &st);
    reload->seen = st;
    reload->looks = still ? reload->looks + 1 : 0;
    bool changed = reload->unread || !same_file(&st, &reload->taken);
    if ((now || (changed && reload->looks >= LOOKS)) && !read_file(reload, gate))
        reload->looks = 0;
    save(reload, gate);
}
