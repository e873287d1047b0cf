/* metrics: see metrics.h. The numbers of a limit stay where they are once its name was seen: only finding them needs the
 * lock. */
#include "gate/metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* From what a decision in memory takes to more than counters.timeout can be. */
static const struct {
    int64_t ns;
    const char *le;
} bounds[METRICS_BUCKETS] = {
    {50000, "0.00005"},  {100000, "0.0001"},  {250000, "0.00025"}, {500000, "0.0005"},  {1000000, "0.001"},
    {2500000, "0.0025"}, {5000000, "0.005"},  {10000000, "0.01"},  {25000000, "0.025"}, {50000000, "0.05"},
    {100000000, "0.1"},  {250000000, "0.25"}, {500000000, "0.5"},  {1000000000, "1"},   {2500000000, "2.5"},
    {5000000000, "5"},   {10000000000, "10"}, {20000000000, "20"}, {INT64_MAX, "+Inf"},
};

enum { MINUTE_MS = 60000 };
enum { LIMIT_NAMES = 10000 }; /* of all policies since the start; more are not counted */

struct limit_numbers {
    struct table_row row; /* the limit's name */
    _Atomic int over;     /* its own action: the line that is shown from the start */
    _Atomic uint64_t refused[METRICS_ACTIONS], shadow[METRICS_ACTIONS];
};

static void add(_Atomic uint64_t *number, uint64_t n)
{
    atomic_fetch_add_explicit(number, n, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

static void raise_to(_Atomic uint64_t *most, int64_t ns)
{
    uint64_t now = ns > 0 ? (uint64_t)ns : 0, seen = get(most);
    while (seen < now && !atomic_compare_exchange_weak_explicit(most, &seen, now, memory_order_relaxed,
                                                                memory_order_relaxed))
        ;
}

static void note_longest(struct metrics_longest *longest, int64_t ns)
{
    raise_to(&longest->ever_ns, ns);
    raise_to(&longest->now_ns, ns);
}

static void turn_minute(struct metrics_longest *longest)
{
    atomic_store(&longest->before_ns, atomic_exchange(&longest->now_ns, 0));
}

/* In the last minute, or up to two. */
static uint64_t longest_of_late(const struct metrics_longest *longest)
{
    uint64_t now = get(&longest->now_ns), before = get(&longest->before_ns);
    return now > before ? now : before;
}

static void observe(struct metrics_histogram *histogram, int64_t ns)
{
    size_t i = 0;
    while (i < METRICS_BUCKETS - 1 && ns > bounds[i].ns)
        i++;
    add(&histogram->buckets[i], 1);
    add(&histogram->sum_ns, ns > 0 ? (uint64_t)ns : 0);
}

void metrics_init(struct metrics *metrics)
{
    memset(metrics, 0, sizeof *metrics);
    pthread_mutex_init(&metrics->lock, NULL);
    metrics->limits = table_new(sizeof(struct limit_numbers), LIMIT_NAMES);
}

void metrics_done(struct metrics *metrics)
{
    table_free(metrics->limits);
    metrics->limits = NULL;
    pthread_mutex_destroy(&metrics->lock);
}

/* NULL: not counted. */
static struct limit_numbers *limit_get(struct metrics *metrics, const char *name)
{
    pthread_mutex_lock(&metrics->lock);
    struct limit_numbers *limit =
        metrics->limits != NULL ? table_add(metrics->limits, name, strlen(name)) : NULL;
    pthread_mutex_unlock(&metrics->lock);
    return limit;
}

void metrics_know(struct metrics *metrics, const struct policy *policy)
{
    for (size_t i = 0; i < policy->n_limits; i++) {
        struct limit_numbers *limit = limit_get(metrics, policy->limits[i].name);
        if (limit != NULL)
            atomic_store(&limit->over, (int)policy->limits[i].over);
    }
}

void metrics_rcpt(struct metrics *metrics, const struct verdict *verdict, const struct verdict *shadow,
                  enum count_source source, bool needed, int64_t ns)
{
    struct limit_numbers *limit;
    add(&metrics->rcpt[verdict->action][verdict->by], 1);
    if (verdict->limit != NULL && (limit = limit_get(metrics, verdict->limit->name)) != NULL)
        add(&limit->refused[verdict->action], 1);
    if (shadow->limit != NULL && (limit = limit_get(metrics, shadow->limit->name)) != NULL)
        add(&limit->shadow[shadow->action], 1);
    if (needed && source == COUNT_SOURCE_LOCAL)
        add(&metrics->decided_local, 1);
    else if (needed && source == COUNT_SOURCE_NONE)
        add(&metrics->decided_blind, 1);
    observe(&metrics->decision, ns);
    note_longest(&metrics->longest_decision, ns);
    raise_to(&metrics->decision_latest_ns, ns);
}

void metrics_duplicate(struct metrics *metrics)
{
    add(&metrics->duplicates, 1);
}

void metrics_refused_connection(struct metrics *metrics, enum verdict_by by)
{
    add(&metrics->refused_connections[by], 1);
}

void metrics_counters(struct metrics *metrics, enum counters_status status, int64_t ns)
{
    add(&metrics->counters_calls[status], 1);
    if (status != COUNTERS_DOWN) /* answered without asking anybody: not a time of the store */
        observe(&metrics->counters, ns);
}

void metrics_session(struct metrics *metrics, int change)
{
    if (change > 0)
        add(&metrics->sessions, 1);
    atomic_fetch_add_explicit(&metrics->sessions_open, change, memory_order_relaxed);
}

void metrics_message(struct metrics *metrics)
{
    add(&metrics->messages, 1);
}

void metrics_callback(struct metrics *metrics, int64_t ns)
{
    note_longest(&metrics->longest_callback, ns);
}

void metrics_forget_longest(struct metrics *metrics)
{
    atomic_store(&metrics->longest_decision.ever_ns, 0);
    atomic_store(&metrics->longest_callback.ever_ns, 0);
}

uint64_t metrics_take_longest(struct metrics *metrics)
{
    return atomic_exchange_explicit(&metrics->decision_latest_ns, 0, memory_order_relaxed);
}

uint64_t metrics_total(const struct metrics *metrics, enum action action)
{
    uint64_t sum = 0;
    for (int by = 0; by < METRICS_BYS; by++)
        sum += get(&metrics->rcpt[action][by]);
    return sum;
}

void metrics_limit_totals(struct metrics *metrics, const char *name, uint64_t *refused, uint64_t *shadow)
{
    pthread_mutex_lock(&metrics->lock);
    const struct limit_numbers *limit = table_find(metrics->limits, name, strlen(name));
    pthread_mutex_unlock(&metrics->lock);
    *refused = *shadow = 0;
    for (int action = 0; limit != NULL && action < METRICS_ACTIONS; action++) {
        *refused += get(&limit->refused[action]);
        *shadow += get(&limit->shadow[action]);
    }
}

void metrics_sample(struct metrics *metrics, int64_t now_ms)
{
    pthread_mutex_lock(&metrics->lock);
    size_t last = (metrics->next_sample + METRICS_MINUTE - 1) % METRICS_MINUTE;
    int64_t passed = now_ms - metrics->samples[last].at_ms, minute = now_ms - metrics->minute_ms;
    if (minute >= MINUTE_MS || minute < 0) {
        metrics->minute_ms = now_ms;
        turn_minute(&metrics->longest_decision);
        turn_minute(&metrics->longest_callback);
    }
    if (metrics->n_samples == 0 || passed >= 1000 || passed < 0) {
        struct metrics_sample *sample = &metrics->samples[metrics->next_sample];
        sample->at_ms = now_ms;
        for (int action = 0; action < METRICS_ACTIONS; action++)
            sample->rcpt[action] = metrics_total(metrics, (enum action)action);
        metrics->next_sample = (metrics->next_sample + 1) % METRICS_MINUTE;
        metrics->n_samples += metrics->n_samples < METRICS_MINUTE;
    }
    pthread_mutex_unlock(&metrics->lock);
}

void metrics_rates(struct metrics *metrics, double rates[METRICS_ACTIONS])
{
    memset(rates, 0, METRICS_ACTIONS * sizeof *rates);
    pthread_mutex_lock(&metrics->lock);
    size_t n = metrics->n_samples;
    if (n >= 2) {
        const struct metrics_sample *newest =
            &metrics->samples[(metrics->next_sample + METRICS_MINUTE - 1) % METRICS_MINUTE];
        const struct metrics_sample *oldest =
            &metrics->samples[(metrics->next_sample + METRICS_MINUTE - n) % METRICS_MINUTE];
        double seconds = (double)(newest->at_ms - oldest->at_ms) / 1000;
        for (int action = 0; action < METRICS_ACTIONS && seconds > 0; action++)
            rates[action] = (double)(newest->rcpt[action] - oldest->rcpt[action]) / seconds;
    }
    pthread_mutex_unlock(&metrics->lock);
}

/* ---- the text format of Prometheus ---- */

void metrics_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_one(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    metrics_head(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void print_seconds(FILE *out, const char *name, const char *help, uint64_t ns)
{
    metrics_head(out, name, "gauge", help);
    fprintf(out, "%s %.9f\n", name, (double)ns / 1e9);
}

static void print_histogram(FILE *out, const char *name, const char *help,
                            const struct metrics_histogram *histogram)
{
    uint64_t sum = 0;
    uint64_t ns = get(&histogram->sum_ns);
    metrics_head(out, name, "histogram", help);
    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        sum += get(&histogram->buckets[i]);
        fprintf(out, "%s_bucket{le=\"%s\"} %" PRIu64 "\n", name, bounds[i].le, sum);
    }
    fprintf(out, "%s_sum %.9f\n%s_count %" PRIu64 "\n", name, (double)ns / 1e9, name, sum);
}

/* Combinations that cannot be are left out as long as they are 0. */
static void print_rcpt(FILE *out, const struct metrics *metrics)
{
    metrics_head(out, "rcptgate_rcpt_total", "counter",
                 "Recipients (RCPT TO) decided, by verdict and by what decided.");
    for (int action = ACTION_ACCEPT; action < METRICS_ACTIONS; action++) {
        for (int by = 0; by < METRICS_BYS; by++) {
            uint64_t n = get(&metrics->rcpt[action][by]);
            bool possible = action == ACTION_ACCEPT                             ? by == VERDICT_BY_NOBODY
                            : by == VERDICT_BY_BACKEND || by == VERDICT_BY_RAMP ? action == ACTION_DEFER
                            : by == VERDICT_BY_BLOCK                            ? action != ACTION_DISCARD
                                                                                : by != VERDICT_BY_NOBODY;
            if (possible || n > 0)
                fprintf(out, "rcptgate_rcpt_total{verdict=\"%s\",by=\"%s\"} %" PRIu64 "\n",
                        action_name((enum action)action), verdict_by_name((enum verdict_by)by), n);
        }
    }
    print_one(out, "rcptgate_rcpt_duplicates_total", "counter",
              "Recipients that this message had already, in this or another spelling.",
              get(&metrics->duplicates));
}

static int by_name(const void *left, const void *right)
{
    const struct table_row *a = *(void *const *)left, *b = *(void *const *)right;
    return strcmp(a->key, b->key);
}

static void print_limits(FILE *out, void *const *limits, size_t n_limits, bool shadow)
{
    const char *name = shadow ? "rcptgate_limit_shadow_total" : "rcptgate_limit_refused_total";
    metrics_head(out, name, "counter",
                 shadow ? "Recipients that a limit in shadow would have refused."
                        : "Recipients that a limit refused.");
    for (size_t i = 0; i < n_limits; i++) {
        const struct limit_numbers *limit = limits[i];
        for (int action = ACTION_DEFER; action < METRICS_ACTIONS; action++) {
            uint64_t n = get(shadow ? &limit->shadow[action] : &limit->refused[action]);
            if (n > 0 || action == atomic_load(&limit->over))
                fprintf(out, "%s{limit=\"%s\",action=\"%s\"} %" PRIu64 "\n", name, limit->row.key,
                        action_name((enum action)action), n);
        }
    }
}

static void print_all_limits(FILE *out, struct metrics *metrics)
{
    pthread_mutex_lock(&metrics->lock);
    void **limits = table_sorted(metrics->limits, by_name);
    size_t n = limits != NULL ? table_rows(metrics->limits) : 0;
    pthread_mutex_unlock(&metrics->lock);
    print_limits(out, limits, n, false);
    print_limits(out, limits, n, true);
    free(limits);
}

static void print_counters(FILE *out, const struct metrics *metrics)
{
    static const char *const statuses[METRICS_STATUSES] = {"ok", "down", "unsure"};
    metrics_head(out, "rcptgate_counters_calls_total", "counter",
                 "Questions to the counter store: answered, refused at once, or the answer was lost.");
    for (int status = 0; status < METRICS_STATUSES; status++)
        fprintf(out, "rcptgate_counters_calls_total{status=\"%s\"} %" PRIu64 "\n", statuses[status],
                get(&metrics->counters_calls[status]));
    print_histogram(out, "rcptgate_counters_seconds", "How long the counter store took to answer.",
                    &metrics->counters);
    metrics_head(
        out, "rcptgate_rcpt_without_counters_total", "counter",
        "Recipients decided while the counter store was down: by limits in this process, or without.");
    fprintf(out, "rcptgate_rcpt_without_counters_total{by=\"local\"} %" PRIu64 "\n",
            get(&metrics->decided_local));
    fprintf(out, "rcptgate_rcpt_without_counters_total{by=\"nobody\"} %" PRIu64 "\n",
            get(&metrics->decided_blind));
}

void metrics_print(FILE *out, struct metrics *metrics)
{
    int64_t open = atomic_load_explicit(&metrics->sessions_open, memory_order_relaxed);
    print_rcpt(out, metrics);
    print_all_limits(out, metrics);
    print_histogram(out, "rcptgate_decision_seconds", "How long a decision at RCPT TO took.",
                    &metrics->decision);
    print_seconds(out, "rcptgate_decision_max_seconds", "The longest decision of the last minute or two.",
                  longest_of_late(&metrics->longest_decision));
    print_seconds(out, "rcptgate_callback_max_seconds",
                  "The longest that a session was held up at once in the last minute or two, at any command.",
                  longest_of_late(&metrics->longest_callback));
    print_counters(out, metrics);
    metrics_head(out, "rcptgate_connections_refused_total", "counter",
                 "Connections refused before MAIL FROM.");
    for (int by = VERDICT_BY_CLIENT_RULE; by < METRICS_BYS; by++)
        if (by == VERDICT_BY_CLIENT_RULE || by == VERDICT_BY_BLOCK || by == VERDICT_BY_LIMIT ||
            get(&metrics->refused_connections[by]) > 0)
            fprintf(out, "rcptgate_connections_refused_total{by=\"%s\"} %" PRIu64 "\n",
                    verdict_by_name((enum verdict_by)by), get(&metrics->refused_connections[by]));
    print_one(out, "rcptgate_sessions_total", "counter", "SMTP sessions.", get(&metrics->sessions));
    print_one(out, "rcptgate_sessions", "gauge", "SMTP sessions open now.", open > 0 ? (uint64_t)open : 0);
    print_one(out, "rcptgate_messages_total", "counter", "Messages that reached their end.",
              get(&metrics->messages));
}
