/* status: the report and the metrics (see status.h). Owns nothing; the report fails only for want of memory. */
#include "status.h"

#include "config/json_get.h"
#include "admin/words.h"
#include "shards.h"

#include "counters/stores.h"
#include "base/clock.h"
#include "sys/log.h"

#include <dirent.h>
#include <inttypes.h>
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
    char name[200];
    if (c->kind == COUNTERS_REDIS_TCP || c->kind == COUNTERS_REDIS_UNIX)
        snprintf(out, size, "%s%s%d%s", redis_config_name(&c->redis, name, sizeof name),
                 c->redis.path == NULL && c->redis.topology == REDIS_TOPOLOGY_NODE ? "/" : " db ",
                 c->redis.db, c->redis.tls ? " over TLS" : "");
    else
        snprintf(out, size, "%s", c->kind == COUNTERS_MEMORY ? "this process" : "nowhere");
}

static json_t *report_counters(const struct gate *gate, const struct policy *policy)
{
    static const char *const downs[] = {"local", "defer", "accept"};
    char at[256];
    counters_at(&gate->started->counters, at, sizeof at);
    json_t *counters = json_pack("{s:s, s:s, s:s, s:I}", "kind", gate->local != NULL ? "redis" : "memory",
                                 "at", at, "when_down", downs[policy->counters.when_down], "timeout_ms",
                                 (json_int_t)gate->started->counters.redis.timeout_ms);
    shards_report(gate, counters);
    return counters;
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

static json_t *report_aliases(const struct gate *gate, int64_t now_ms)
{
    char time[CLOCK_TEXT];
    struct aliases_status status;
    if (gate->rules == NULL)
        return json_null();
    aliases_status(gate->rules, &status);
    int64_t changed = database_changed_ms(gate->started->aliases.database);
    json_t *aliases =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "database", gate->started->aliases.database,
                  "in_force", aliases_mode_name(status.mode), "aliases", (json_int_t)status.aliases,
                  "domains", (json_int_t)status.domains, "validated_age_s",
                  (json_int_t)(status.validated_age_ms < 0 ? -1 : status.validated_age_ms / 1000),
                  "copy_age_s", (json_int_t)(status.copy_age_ms < 0 ? -1 : status.copy_age_ms / 1000),
                  "validation_ms", (json_int_t)status.round_ms);
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
                     to_ms(atomic_load(&m->longest_decision.ever_ns)), "callback_max_ms",
                     to_ms(atomic_load(&m->longest_callback.ever_ns)));
}

static json_t *report_limits(struct gate *gate, const struct policy *policy)
{
    static const char *const words[] = {"defer", "discard", "reject"};
    static const char *const units[] = {"recipients", "messages", "bytes", "attempts", "backlog"};
    json_t *list = json_array();
    for (size_t i = 0; i < policy->n_limits; i++) {
        const struct limit *limit = &policy->limits[i];
        char says[4096];
        struct text text;
        uint64_t refused, shadow;
        metrics_limit_totals(&gate->context.metrics, limit->name, &refused, &shadow);
        text_init(&text, says, sizeof says);
        words_add_limit(&text, limit);
        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:b, s:I, s:I, s:o}", "name", limit->name, "per",
                      limit->per_name, "count", units[limit->count], "max", (json_int_t)limit->max,
                      "window_ms", (json_int_t)limit->window_ms, "over", words[limit->over - ACTION_DEFER],
                      "hold_ms", (json_int_t)limit->hold_ms, "shadow", limit->shadow, "refused",
                      (json_int_t)refused, "would_refuse", (json_int_t)shadow, "says", json_get_clean(says)));
    }
    return list;
}

static uint64_t junk_resets(struct gate *gate)
{
    return counters_junk_resets(gate->counters);
}

/* What was wrong and is no more: for who asks what happened at night. */
static json_t *report_past(struct gate *gate, const struct policy *policy, int64_t now_ms)
{
    json_t *past = json_array();
    for (int t = 0; t < CONDITIONS; t++) {
        const struct condition_row row = conditions_get(&gate->context.conditions, (enum condition)t);
        char time[CLOCK_TEXT];
        if (row.set || row.times == 0)
            continue;
        json_t *reason = health_reason(policy, (enum condition)t, row.grade, row.since_ms, now_ms, row.text);
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

/* subjects: may it say who waits? */
static json_t *backlog_or_null(struct gate *gate, bool subjects)
{
    json_t *report = queue_monitor_report(gate->backlog), *oldest = json_object_get(report, "oldest");
    if (!subjects) {
        json_object_del(oldest, "sender");
        json_object_del(oldest, "recipient");
    }
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
    int bad = add(report, "version", json_string(RCPTGATE_VERSION)) |
              add(report, "host", json_string(gate->context.host)) |
              add(report, "pid", json_integer((json_int_t)getpid())) |
              add(report, "started", json_string(clock_text(gate->context.started_ms, time))) |
              add(report, "uptime_s", json_integer((now - gate->context.started_ms) / 1000)) |
              add(report, "mode", json_string(policy->shadow ? "shadow" : "enforce")) |
              add(report, "policy", report_policy(gate, policy, now)) |
              add(report, "aliases", report_aliases(gate, now)) |
              add(report, "counters", report_counters(gate, policy)) |
              add(report, "queue", backlog_or_null(gate, subjects)) |
              add(report, "blocks", json_integer((json_int_t)networks_blocked(gate))) |
              add(report, "traffic", report_traffic(gate)) |
              add(report, "limits", report_limits(gate, policy)) |
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

static void print_conditions(FILE *out, struct gate *gate)
{
    struct condition_row rows[CONDITIONS];
    for (int t = 0; t < CONDITIONS; t++)
        rows[t] = conditions_get(&gate->context.conditions, (enum condition)t);
    metrics_head(out, "rcptgate_trouble", "gauge",
                 "What is wrong now: 0 nothing, 1 worth knowing, 2 degraded, 3 down.");
    for (int t = 0; t < CONDITIONS; t++)
        fprintf(out, "rcptgate_trouble{what=\"%s\"} %d\n", conditions_name((enum condition)t),
                rows[t].set ? (int)rows[t].grade + 1 : 0);
    metrics_head(out, "rcptgate_troubles_total", "counter", "How often it went wrong.");
    for (int t = 0; t < CONDITIONS; t++)
        fprintf(out, "rcptgate_troubles_total{what=\"%s\"} %" PRIu64 "\n", conditions_name((enum condition)t),
                rows[t].times);
    metrics_head(out, "rcptgate_backend_up", "gauge", "Does the backend answer?");
    fprintf(out,
            "rcptgate_backend_up{backend=\"counters\"} %d\nrcptgate_backend_up{backend=\"aliases\"} %d\n",
            !rows[CONDITION_COUNTERS].set, !rows[CONDITION_ALIASES].set);
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

/* So long ago, as Unix time; 0 where it never was. */
static double moment(const struct gate *gate, int64_t age_ms)
{
    return age_ms < 0 ? 0 : (double)(context_now(&gate->context) - age_ms) / 1000;
}

static void print_aliases_metrics(FILE *out, const struct gate *gate)
{
    static const enum aliases_mode modes[] = {ALIASES_LIVE, ALIASES_UNVERIFIED, ALIASES_COPY,
                                              ALIASES_NOTHING};
    struct aliases_status status;
    aliases_status(gate->rules, &status);
    metrics_head(out, "rcptgate_aliases_in_force", "gauge",
                 "What answers for the alias rules: 1 for one of these.");
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        fprintf(out, "rcptgate_aliases_in_force{data=\"%s\"} %d\n", aliases_mode_name(modes[i]),
                status.mode == modes[i]);
    if (gate->rules != NULL)
        gauge(out, "rcptgate_aliases_changed_timestamp_seconds",
              "When the alias database was last written to; 0: it cannot be seen.",
              (double)database_changed_ms(gate->started->aliases.database) / 1000);
    gauge(out, "rcptgate_aliases_rows", "Aliases in the data that was last taken as good; -1: not known.",
          (double)status.aliases);
    gauge(out, "rcptgate_aliases_validated_timestamp_seconds",
          "When the alias database was last known to pass all its checks; 0: never.",
          moment(gate, status.validated_age_ms));
    gauge(out, "rcptgate_aliases_copy_timestamp_seconds",
          "When the last good copy was last known to be as the database; 0: there is none.",
          moment(gate, status.copy_age_ms));
}

void status_print_metrics(FILE *out, struct gate *gate)
{
    const struct policy *policy = context_policy(&gate->context);
    metrics_head(out, "rcptgate_build_info", "gauge", "The version that runs.");
    fprintf(out, "rcptgate_build_info{version=\"" RCPTGATE_VERSION "\"} 1\n");
    gauge(out, "rcptgate_enforcing", "1: verdicts are enforced; 0: mode shadow.", !policy->shadow);
    metrics_print(out, &gate->context.metrics);
    queue_monitor_print(out, gate->backlog);
    print_conditions(out, gate);
    gauge(out, "rcptgate_policy_loaded_timestamp_seconds", "Since when the policy is in force.",
          (double)policy_since(gate) / 1000);
    gauge(out, "rcptgate_policy_limits", "Limits of the policy in force.", (double)policy->n_limits);
    if (gate->rules != NULL)
        print_aliases_metrics(out, gate);
    counter(out, "rcptgate_log_lines_dropped_total",
            "Log lines lost because whoever reads the log is too slow.", log_dropped());
    counter(out, "rcptgate_counters_junk_resets_total",
            "Keys of ours in Redis that held junk and were reset.", junk_resets(gate));
    if (gate->local != NULL)
        counter(out, "rcptgate_counters_merged_total",
                "Counters brought up to date in Redis after it was away or restarted.",
                failover_synced(gate->counters));
    shards_print_metrics(out, gate);
    gauge(out, "rcptgate_blocks", "Networks that are blocked.", (double)networks_blocked(gate));
    counter(out, "rcptgate_events_total", "Events that happened.", events_added(gate->context.events));
    counter(out, "rcptgate_events_dropped_total", "Events that never reached the stream in Redis.",
            events_dropped(gate->context.events));
    print_process(out, gate);
    policy_unref(policy);
}
