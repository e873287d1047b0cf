#include "status.h"

#include "clock.h"
#include "log.h"
#include "member.h"
#include "text.h"

#include <dirent.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EVENTS_SHOWN = 12 };

/* ---- what is in force ---- */

static double to_ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

/* The store without its password. */
static void counters_at(const struct counters_config *c, char *out, size_t size)
{
    if (c->kind == COUNTERS_REDIS_TCP)
        snprintf(out, size, "%s:%d/%d", c->host, c->port, c->db);
    else if (c->kind == COUNTERS_REDIS_UNIX)
        snprintf(out, size, "%s db %d", c->path, c->db);
    else
        snprintf(out, size, "%s", c->kind == COUNTERS_MEMORY ? "this process" : "nowhere");
}

static json_t *report_counters(const struct gate *gate, const struct policy *policy)
{
    static const char *const downs[] = {"local", "defer", "accept"};
    char at[256];
    counters_at(&policy->counters, at, sizeof at);
    return json_pack("{s:s, s:s, s:s, s:I}", "kind", gate->local != NULL ? "redis" : "memory", "at", at,
                     "when_down", downs[policy->counters.when_down], "timeout_ms",
                     (json_int_t)policy->counters.timeout_ms);
}

/* When the database was last written to: its write-ahead log may be younger than the file. 0: cannot be told. */
static int64_t database_changed_ms(const char *path)
{
    char wal[1100];
    struct stat st;
    int64_t changed = 0;
    snprintf(wal, sizeof wal, "%s-wal", path);
    const char *const files[] = {path, wal};
    for (size_t i = 0; i < 2; i++) {
        if (stat(files[i], &st) < 0 || (i > 0 && st.st_size == 0))
            continue;
        int64_t ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        changed = ms > changed ? ms : changed;
    }
    return changed;
}

static json_t *report_aliases(const struct gate *gate, const struct policy *policy, int64_t now_ms)
{
    char time[CLOCK_TEXT];
    struct ruledb_status status;
    if (gate->rules == NULL || policy->aliases.database == NULL)
        return json_null();
    ruledb_status(gate->rules, &status);
    int64_t changed = database_changed_ms(policy->aliases.database);
    json_t *aliases =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "database", policy->aliases.database, "in_force",
                  ruledb_mode_name(status.mode), "aliases", (json_int_t)status.aliases, "domains",
                  (json_int_t)status.domains, "validated_age_s",
                  (json_int_t)(status.validated_age_ms < 0 ? -1 : status.validated_age_ms / 1000),
                  "copy_age_s", (json_int_t)(status.copy_age_ms < 0 ? -1 : status.copy_age_ms / 1000));
    if (changed > 0) {
        json_object_set_new(aliases, "changed", json_string(clock_text(changed, time)));
        json_object_set_new(aliases, "age_s", json_integer(now_ms > changed ? (now_ms - changed) / 1000 : 0));
    }
    return aliases;
}

static int64_t policy_since(struct gate *gate)
{
    pthread_mutex_lock(&gate->context.lock);
    int64_t since = gate->context.policy_since_ms;
    pthread_mutex_unlock(&gate->context.lock);
    return since;
}

static json_t *report_policy(struct gate *gate, const struct policy *policy, int64_t now_ms)
{
    char time[CLOCK_TEXT];
    int64_t since = policy_since(gate);
    return json_pack("{s:s, s:s, s:I, s:I}", "file", gate->policy_file != NULL ? gate->policy_file : "",
                     "since", clock_text(since, time), "age_s",
                     (json_int_t)(now_ms > since ? (now_ms - since) / 1000 : 0), "limits",
                     (json_int_t)policy->n_limits);
}

static json_t *report_traffic(struct gate *gate)
{
    struct metrics *m = &gate->context.metrics;
    double rates[METRICS_ACTIONS];
    metrics_rates(m, rates);
    json_t *per_second = json_object(), *total = json_object();
    for (int action = ACTION_ACCEPT; action < METRICS_ACTIONS; action++) {
        const char *name = action_name((enum action)action);
        json_object_set_new(per_second, name, json_real(rates[action]));
        json_object_set_new(total, name, json_integer((json_int_t)metrics_total(m, (enum action)action)));
    }
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:f, s:f}", "rcpt_per_second", per_second, "rcpt_total",
                     total, "sessions_open", (json_int_t)atomic_load(&m->sessions_open), "sessions_total",
                     (json_int_t)atomic_load(&m->sessions), "messages_total",
                     (json_int_t)atomic_load(&m->messages), "decision_max_ms",
                     to_ms(atomic_load(&m->decision_max_ns)), "callback_max_ms",
                     to_ms(atomic_load(&m->callback_max_ns)));
}

static json_t *report_limits(struct gate *gate, const struct policy *policy)
{
    static const char *const words[] = {"defer", "discard", "reject"};
    json_t *list = json_array();
    for (size_t i = 0; i < policy->n_limits; i++) {
        const struct limit *limit = &policy->limits[i];
        uint64_t refused, shadow;
        metrics_limit_totals(&gate->context.metrics, limit->name, &refused, &shadow);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:I, s:I, s:s, s:b, s:I, s:I}", "name", limit->name,
                                        "per", limit->per_name, "max", (json_int_t)limit->max, "window_ms",
                                        (json_int_t)limit->window_ms, "over",
                                        words[limit->over - ACTION_DEFER], "shadow", limit->shadow, "refused",
                                        (json_int_t)refused, "would_refuse", (json_int_t)shadow));
    }
    return list;
}

static uint64_t junk_resets(struct gate *gate)
{
    return gate->counts != NULL ? counts_junk_resets(gate->counts) : 0;
}

/* What was wrong and is no more: for who asks what happened at night. */
static json_t *report_past(struct gate *gate, const struct policy *policy, int64_t now_ms)
{
    json_t *past = json_array();
    for (int t = 0; t < TROUBLES; t++) {
        const struct trouble_row row = trouble_get(&gate->context.troubles, (enum trouble)t);
        char time[CLOCK_TEXT];
        if (row.set || row.times == 0)
            continue;
        json_t *reason = health_reason(policy, (enum trouble)t, row.grade, row.since_ms, now_ms, row.text);
        json_object_set_new(reason, "until", json_string(clock_text(row.cleared_ms, time)));
        json_object_set_new(reason, "lasted_s", json_integer((row.cleared_ms - row.since_ms) / 1000));
        json_object_set_new(reason, "times", json_integer((json_int_t)row.times));
        json_object_del(reason, "for_s");
        json_array_append_new(past, reason);
    }
    return past;
}

static int add(json_t *report, const char *name, json_t *value)
{
    return json_object_set_new(report, name, value);
}

static json_t *backlog_or_null(struct gate *gate)
{
    json_t *report = backlog_report(gate->backlog);
    return report != NULL ? report : json_null();
}

static size_t networks_blocked(struct gate *gate)
{
    struct blocklist *list = blocks_list(gate->blocks);
    size_t n = blocklist_live(list);
    blocklist_unref(list);
    return n;
}

json_t *status_report(struct gate *gate, bool subjects)
{
    char time[CLOCK_TEXT];
    json_t *report = health_report(gate);
    if (report == NULL)
        return NULL;
    const struct policy *policy = context_policy(&gate->context);
    int64_t now = context_now(&gate->context);
    int bad =
        add(report, "version", json_string(RCPTGATE_VERSION)) |
        add(report, "host", json_string(gate->context.host)) |
        add(report, "pid", json_integer((json_int_t)getpid())) |
        add(report, "started", json_string(clock_text(gate->context.started_ms, time))) |
        add(report, "uptime_s", json_integer((now - gate->context.started_ms) / 1000)) |
        add(report, "mode", json_string(policy->shadow ? "shadow" : "enforce")) |
        add(report, "policy", report_policy(gate, policy, now)) |
        add(report, "aliases", report_aliases(gate, policy, now)) |
        add(report, "counters", report_counters(gate, policy)) | add(report, "queue", backlog_or_null(gate)) |
        add(report, "blocks", json_integer((json_int_t)networks_blocked(gate))) |
        add(report, "traffic", report_traffic(gate)) | add(report, "limits", report_limits(gate, policy)) |
        add(report, "past", report_past(gate, policy, now)) |
        add(report, "lost",
            json_pack("{s:I, s:I, s:I}", "log_lines", (json_int_t)log_dropped(), "events",
                      (json_int_t)events_dropped(gate->context.events), "counters_reset_as_junk",
                      (json_int_t)junk_resets(gate))) |
        add(report, "events", events_recent(gate->context.events, EVENTS_SHOWN, subjects));
    policy_unref(policy);
    if (bad != 0) {
        json_decref(report);
        return NULL;
    }
    return report;
}

/* ---- for a person ---- */

static double real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

/* ruledb_mode_name() in words. */
static const char *who_answers(const char *mode)
{
    static const char *const words[][2] = {{"live", "in force"},
                                           {"doubted", "in force, being checked"},
                                           {"copy", "the last good copy answers for it"},
                                           {"nothing", "nothing answers for it"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i][0], mode) == 0)
            return words[i][1];
    return mode;
}

static const char *duration(json_int_t seconds, char buffer[32])
{
    struct text text;
    text_init(&text, buffer, 32);
    text_add_duration(&text, (int64_t)seconds * 1000);
    return buffer;
}

static void print_reasons(FILE *out, const json_t *list)
{
    size_t i;
    json_t *r;
    char buffer[32];
    json_array_foreach(list, i, r)
    {
        fprintf(out, "\n  %s: %s for %s, since %s\n      %s\n", member_text(r, "title"),
                member_text(r, "grade"), duration(member_number(r, "for_s"), buffer), member_text(r, "since"),
                member_text(r, "text"));
        if (*member_text(r, "means") != '\0')
            fprintf(out, "      %s\n", member_text(r, "means"));
    }
}

static void print_past(FILE *out, const json_t *list)
{
    size_t i;
    json_t *r;
    char buffer[32];
    json_array_foreach(list, i, r)
    {
        fprintf(out, "%s\n  %s: for %s, until %s\n      %s\n", i == 0 ? "\nwell again; it was" : "",
                member_text(r, "title"), duration(member_number(r, "lasted_s"), buffer),
                member_text(r, "until"), member_text(r, "text"));
    }
}

static void print_traffic(FILE *out, const json_t *traffic)
{
    const json_t *rate = json_object_get(traffic, "rcpt_per_second"),
                 *total = json_object_get(traffic, "rcpt_total");
    fprintf(out,
            "recipients  %.1f/s accepted, %.1f/s deferred, %.1f/s rejected, %.1f/s dropped (last minute)\n",
            real(rate, "accept"), real(rate, "defer"), real(rate, "reject"), real(rate, "discard"));
    fprintf(out,
            "            %" JSON_INTEGER_FORMAT " accepted, %" JSON_INTEGER_FORMAT
            " deferred, %" JSON_INTEGER_FORMAT " rejected, %" JSON_INTEGER_FORMAT
            " dropped since the start\n",
            member_number(total, "accept"), member_number(total, "defer"), member_number(total, "reject"),
            member_number(total, "discard"));
    fprintf(out, "sessions    %" JSON_INTEGER_FORMAT " open; longest decision %.1f ms\n",
            member_number(traffic, "sessions_open"), real(traffic, "decision_max_ms"));
}

static void print_aliases(FILE *out, const json_t *aliases)
{
    char buffer[32];
    fprintf(out, "aliases     %s: ", member_text(aliases, "database"));
    if (member_number(aliases, "aliases") >= 0)
        fprintf(out, "%" JSON_INTEGER_FORMAT " aliases of %" JSON_INTEGER_FORMAT " domain%s, ",
                member_number(aliases, "aliases"), member_number(aliases, "domains"),
                member_number(aliases, "domains") == 1 ? "" : "s");
    if (*member_text(aliases, "changed") != '\0')
        fprintf(out, "changed %s ago, ", duration(member_number(aliases, "age_s"), buffer));
    fprintf(out, "%s", who_answers(member_text(aliases, "in_force")));
    if (member_number(aliases, "copy_age_s") >= 0)
        fprintf(out, "; its copy was good %s ago", duration(member_number(aliases, "copy_age_s"), buffer));
    fputc('\n', out);
}

static void print_queue(FILE *out, const json_t *queue)
{
    char buffer[32];
    if (!json_is_true(json_object_get(queue, "known"))) {
        fputs("queue       unknown: Postfix's queue could not be read yet, or not for too long\n", out);
        return;
    }
    fprintf(out, "queue       %" JSON_INTEGER_FORMAT " message%s", member_number(queue, "messages"),
            member_number(queue, "messages") == 1 ? "" : "s");
    if (member_number(queue, "messages") > 0)
        fprintf(out, ", the oldest for %s", duration(member_number(queue, "oldest_s"), buffer));
    fprintf(out, "; read %s ago", duration(member_number(queue, "age_s"), buffer));
    fprintf(out, ", which took %" JSON_INTEGER_FORMAT " ms\n", member_number(queue, "read_ms"));
}

static void print_in_force(FILE *out, const json_t *report)
{
    char buffer[32];
    const json_t *policy = json_object_get(report, "policy"), *aliases = json_object_get(report, "aliases"),
                 *counters = json_object_get(report, "counters");
    fprintf(out, "policy      %s, %" JSON_INTEGER_FORMAT " limit%s, in force for %s\n",
            member_text(policy, "file"), member_number(policy, "limits"),
            member_number(policy, "limits") == 1 ? "" : "s",
            duration(member_number(policy, "age_s"), buffer));
    if (json_is_null(aliases))
        fputs("aliases     none are configured\n", out);
    else
        print_aliases(out, aliases);
    fprintf(out, "counters    %s: %s; when it is down: %s\n", member_text(counters, "kind"),
            member_text(counters, "at"), member_text(counters, "when_down"));
    if (json_is_object(json_object_get(report, "queue")))
        print_queue(out, json_object_get(report, "queue"));
    if (member_number(report, "blocks") > 0)
        fprintf(out, "blocks      %" JSON_INTEGER_FORMAT " network%s\n", member_number(report, "blocks"),
                member_number(report, "blocks") == 1 ? "" : "s");
}

void status_print(FILE *out, const json_t *report)
{
    char buffer[32];
    static const char *const heads[] = {[TROUBLE_NOTE] = "healthy",
                                        [TROUBLE_DEGRADED] =
                                            "DEGRADED: mail goes on, with less than it should have",
                                        [TROUBLE_DOWN] = "DOWN: recipients are answered 451"};
    bool shadow = strcmp(member_text(report, "mode"), "shadow") == 0;
    fprintf(out, "%s%s\n", heads[health_grade(report)],
            shadow ? "; mode shadow: nothing is refused or dropped, it is only counted and logged" : "");
    print_reasons(out, json_object_get(report, "reasons"));
    print_reasons(out, json_object_get(report, "notes"));
    fprintf(out, "%srcptgate %s on %s, process %" JSON_INTEGER_FORMAT ", up for %s\n",
            json_array_size(json_object_get(report, "reasons")) +
                        json_array_size(json_object_get(report, "notes")) >
                    0
                ? "\n"
                : "",
            member_text(report, "version"), member_text(report, "host"), member_number(report, "pid"),
            duration(member_number(report, "uptime_s"), buffer));
    print_in_force(out, report);
    print_traffic(out, json_object_get(report, "traffic"));
    print_past(out, json_object_get(report, "past"));
}

/* ---- for Prometheus ---- */

static void gauge(FILE *out, const char *name, const char *help, double value)
{
    metrics_head(out, name, "gauge", help);
    fprintf(out, "%s %.15g\n", name, value);
}

static void counter(FILE *out, const char *name, const char *help, uint64_t value)
{
    metrics_head(out, name, "counter", help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void print_troubles(FILE *out, struct gate *gate)
{
    struct trouble_row rows[TROUBLES];
    for (int t = 0; t < TROUBLES; t++)
        rows[t] = trouble_get(&gate->context.troubles, (enum trouble)t);
    metrics_head(out, "rcptgate_trouble", "gauge",
                 "What is wrong now: 0 nothing, 1 worth knowing, 2 degraded, 3 down.");
    for (int t = 0; t < TROUBLES; t++)
        fprintf(out, "rcptgate_trouble{what=\"%s\"} %d\n", trouble_name((enum trouble)t),
                rows[t].set ? (int)rows[t].grade + 1 : 0);
    metrics_head(out, "rcptgate_troubles_total", "counter", "How often it went wrong.");
    for (int t = 0; t < TROUBLES; t++)
        fprintf(out, "rcptgate_troubles_total{what=\"%s\"} %" PRIu64 "\n", trouble_name((enum trouble)t),
                rows[t].times);
    metrics_head(out, "rcptgate_backend_up", "gauge", "Does the backend answer?");
    fprintf(out,
            "rcptgate_backend_up{backend=\"counters\"} %d\nrcptgate_backend_up{backend=\"aliases\"} %d\n",
            gate->counts != NULL && !rows[TROUBLE_COUNTERS].set, !rows[TROUBLE_ALIASES].set);
}

static void print_process(FILE *out, const struct gate *gate)
{
    struct rusage usage = {0};
    struct rlimit files = {0};
    unsigned long pages = 0;
    size_t n_files = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL) {
        if (fscanf(statm, "%*u %lu", &pages) != 1)
            pages = 0;
        (void)fclose(statm);
    }
    DIR *fds = opendir("/proc/self/fd");
    if (fds != NULL) {
        while (readdir(fds) != NULL)
            n_files++;
        closedir(fds);
        n_files = n_files > 3 ? n_files - 3 : 0; /* ".", "..", and the one that looks */
    }
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    metrics_head(out, "process_cpu_seconds_total", "counter", "Processor time.");
    fprintf(out, "process_cpu_seconds_total %.6f\n",
            (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    gauge(out, "process_start_time_seconds", "When the gate was started.",
          (double)gate->context.started_ms / 1000);
    gauge(out, "process_resident_memory_bytes", "Memory.", (double)pages * (double)sysconf(_SC_PAGESIZE));
    gauge(out, "process_open_fds", "Open file descriptors.", (double)n_files);
    gauge(out, "process_max_fds", "How many may be open.", (double)files.rlim_cur);
}

static void print_aliases_metrics(FILE *out, const struct gate *gate, const struct policy *policy)
{
    static const enum ruledb_mode modes[] = {RULEDB_LIVE, RULEDB_DOUBTED, RULEDB_COPY, RULEDB_NOTHING};
    struct ruledb_status status;
    ruledb_status(gate->rules, &status);
    metrics_head(out, "rcptgate_aliases_in_force", "gauge",
                 "What answers for the alias rules: 1 for one of these.");
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        fprintf(out, "rcptgate_aliases_in_force{data=\"%s\"} %d\n", ruledb_mode_name(modes[i]),
                status.mode == modes[i]);
    if (policy->aliases.database != NULL)
        gauge(out, "rcptgate_aliases_changed_timestamp_seconds",
              "When the alias database was last written to; 0: it cannot be seen.",
              (double)database_changed_ms(policy->aliases.database) / 1000);
    gauge(out, "rcptgate_aliases_rows", "Aliases in the data that was last taken as good; -1: not known.",
          (double)status.aliases);
    gauge(out, "rcptgate_aliases_validated_age_seconds",
          "Since the alias database last passed all its checks; -1: never.",
          status.validated_age_ms < 0 ? -1 : (double)status.validated_age_ms / 1000);
    gauge(out, "rcptgate_aliases_copy_age_seconds",
          "Since the last good copy was as the database; -1: there is none.",
          status.copy_age_ms < 0 ? -1 : (double)status.copy_age_ms / 1000);
}

void status_print_metrics(FILE *out, struct gate *gate)
{
    const struct policy *policy = context_policy(&gate->context);
    metrics_head(out, "rcptgate_build_info", "gauge", "The version that runs.");
    fprintf(out, "rcptgate_build_info{version=\"" RCPTGATE_VERSION "\"} 1\n");
    gauge(out, "rcptgate_enforcing", "1: verdicts are enforced; 0: mode shadow.", !policy->shadow);
    metrics_print(out, &gate->context.metrics);
    backlog_print(out, gate->backlog);
    print_troubles(out, gate);
    gauge(out, "rcptgate_policy_loaded_timestamp_seconds", "Since when the policy is in force.",
          (double)policy_since(gate) / 1000);
    gauge(out, "rcptgate_policy_limits", "Limits of the policy in force.", (double)policy->n_limits);
    if (gate->rules != NULL)
        print_aliases_metrics(out, gate, policy);
    counter(out, "rcptgate_log_lines_dropped_total",
            "Log lines lost because whoever reads the log is too slow.", log_dropped());
    counter(out, "rcptgate_counters_junk_resets_total",
            "Keys of ours in Redis that held junk and were reset.", junk_resets(gate));
    if (gate->local != NULL)
        counter(out, "rcptgate_counters_merged_total",
                "Counters brought up to date in Redis after it was away or restarted.",
                counts_pair_merged(gate->counts));
    gauge(out, "rcptgate_blocks", "Networks that are blocked.", (double)networks_blocked(gate));
    counter(out, "rcptgate_events_total", "Events that happened.", events_added(gate->context.events));
    counter(out, "rcptgate_events_dropped_total", "Events that never reached the stream in Redis.",
            events_dropped(gate->context.events));
    print_process(out, gate);
    policy_unref(policy);
}
