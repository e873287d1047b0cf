/* queue_monitor: owns one worker, which runs the command and syncs with other hosts, and the tables of numbers, which it makes
 * and swaps under a lock that a RCPT takes only to look one up. A command that fails is a condition. */
#include "gate/queue_monitor.h"

#include "queue_sync.h"
#include "base/clock.h"
#include "gate/context.h"
#include "sys/log.h"
#include "sys/program.h"
#include "queue_parse.h"
#include "sys/worker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    IDLE_MS = 1000,
    TIMEOUT_LEAST_MS = 5000,
    TIMEOUT_MOST_MS = 60000,
    ROUNDS = 3,                  /* that old numbers stay */
    GROWING_LEAST = 100,         /* messages; below nobody calls it growing */
    GROWING_MS = 10 * 60 * 1000, /* twice as long as that long ago */
    OLDEST_S = 4 * 60 * 60,      /* worth telling; Postfix gives up after 5 days */
};

struct queue_monitor {
    struct context *context;
    struct aliases *rules;
    struct worker *worker;
    struct queue_sync *sync; /* this and what follows is the thread's */
    unsigned pers;           /* bits of the subjects that were read last */
    int64_t due_ms;          /* when the command is run again */
    int64_t length_before, length_ms, notified_growing_ms;
    bool notified_old;

    pthread_mutex_t lock; /* of all that follows */
    bool needed;
    struct queue_parse own;
    struct table *others[SUBJECTS];
    int64_t read_ms;  /* monotonic, when the command was started that printed own; 0: nothing is known */
    int64_t stale_ms; /* after which it is not */
    int64_t spent_ms; /* by that command */
    uint64_t rounds, failures;
};

static int64_t clock_ms(void)
{
    return clock_monotonic_ns() / 1000000 + 1;
}

/* ---- looking up ---- */

static bool is_known(const struct queue_monitor *backlog, int64_t now)
{
    return backlog->read_ms > 0 && now - backlog->read_ms <= backlog->stale_ms;
}

bool queue_monitor_find(struct queue_monitor *backlog, enum subject per, const char *subject,
                        int64_t *waiting, int64_t *age_ms)
{
    if (backlog == NULL)
        return false;
    int64_t now = clock_ms();
    pthread_mutex_lock(&backlog->lock);
    bool known = is_known(backlog, now) && backlog->own.of[per] != NULL;
    if (known) {
        *waiting =
            queue_parse_of(backlog->own.of[per], subject) + queue_parse_of(backlog->others[per], subject);
        *age_ms = now - backlog->read_ms;
    }
    pthread_mutex_unlock(&backlog->lock);
    return known;
}

int64_t queue_monitor_messages(struct queue_monitor *backlog)
{
    if (backlog == NULL)
        return -1;
    pthread_mutex_lock(&backlog->lock);
    int64_t messages = is_known(backlog, clock_ms()) ? backlog->own.messages : -1;
    pthread_mutex_unlock(&backlog->lock);
    return messages;
}

/* ---- a round ---- */

static int64_t timeout_of(const struct policy *policy)
{
    int64_t ms = policy->queue.every_ms;
    return ms < TIMEOUT_LEAST_MS ? TIMEOUT_LEAST_MS : ms > TIMEOUT_MOST_MS ? TIMEOUT_MOST_MS : ms;
}

/* Puts the numbers in force, and gives back what they replace. */
static void take(struct queue_monitor *backlog, const struct policy *policy, struct queue_parse *own,
                 struct table *others[SUBJECTS], int64_t started)
{
    pthread_mutex_lock(&backlog->lock);
    struct queue_parse old = backlog->own;
    backlog->own = *own;
    *own = old;
    for (int per = 0; per < SUBJECTS; per++) {
        struct table *before = backlog->others[per];
        backlog->others[per] = others[per];
        others[per] = before;
    }
    backlog->read_ms = started;
    backlog->stale_ms = ROUNDS * policy->queue.every_ms + 2 * timeout_of(policy);
    backlog->spent_ms = clock_ms() - started;
    backlog->rounds++;
    pthread_mutex_unlock(&backlog->lock);
}

static void others_free(struct table *others[SUBJECTS])
{
    for (int per = 0; per < SUBJECTS; per++)
        table_free(others[per]);
}

static void on_line(void *arg, char *line, size_t n)
{
    queue_parse_line(arg, line, n);
}

/* 0: counted all of it. */
static int count_run(struct queue_monitor *backlog, const struct policy *policy, struct queue_parse *count,
                     struct error *err)
{
    const struct program program = {.argv = policy->queue.command,
                                    .timeout_ms = timeout_of(policy),
                                    .stop_fd = worker_fd(backlog->worker),
                                    .line = on_line,
                                    .arg = count};
    if (program_run(&program, err) < 0)
        return -1;
    if (count->bad == count->messages && count->bad > 0) {
        error_set(err, "%s prints no JSON object a line, as `postqueue -j` does", policy->queue.command[0]);
        return -1;
    }
    return 0;
}

static void notify(struct queue_monitor *backlog, const char *name, int64_t messages, int64_t oldest_s)
{
    char length[24], oldest[24];
    snprintf(length, sizeof length, "%" PRId64, messages);
    snprintf(oldest, sizeof oldest, "%" PRId64, oldest_s);
    log_line(LOG_AT_WARNING, "event=%s messages=%s oldest=%ss", name, length, oldest);
    const struct event_field fields[] = {{"messages", length}, {"oldest_s", oldest}};
    events_add(backlog->context->events, context_now(backlog->context), name, fields, 2);
}

/* Events: twice as long as some minutes ago; its oldest message passed some hours. */
static void watch(struct queue_monitor *backlog, const struct queue_parse *count, int64_t now)
{
    int64_t now_s = context_now(backlog->context) / 1000;
    int64_t age = count->oldest_s > 0 && now_s > count->oldest_s ? now_s - count->oldest_s : 0;
    if (count->messages >= GROWING_LEAST && backlog->length_ms > 0 &&
        count->messages > 2 * backlog->length_before &&
        (backlog->notified_growing_ms == 0 || now - backlog->notified_growing_ms >= GROWING_MS)) {
        notify(backlog, "queue-growing", count->messages, age);
        backlog->notified_growing_ms = now;
    }
    if (backlog->length_ms == 0 || now - backlog->length_ms >= GROWING_MS) {
        backlog->length_before = count->messages;
        backlog->length_ms = now;
    }
    if (age >= OLDEST_S && !backlog->notified_old)
        notify(backlog, "queue-old", count->messages, age);
    backlog->notified_old = age >= OLDEST_S;
}

static void failed(struct queue_monitor *backlog, const struct error *err)
{
    int64_t now = clock_ms();
    pthread_mutex_lock(&backlog->lock);
    backlog->failures++;
    bool known = is_known(backlog, now);
    pthread_mutex_unlock(&backlog->lock);
    conditions_set(
        &backlog->context->conditions, CONDITION_QUEUE, CONDITION_DEGRADED, context_now(backlog->context),
        "Postfix's queue cannot be read: %s. %s", err->text,
        known ? "The last numbers stay in force for a while"
              : "Limits that count the backlog refuse nothing; run queue.command as the gate's user");
}

static void round_run(struct queue_monitor *backlog, const struct policy *policy)
{
    struct queue_parse count;
    struct error err = {0};
    struct table *others[SUBJECTS] = {NULL};
    int64_t started = clock_ms();
    if (queue_parse_init(&count, policy->backlog_pers, backlog->context->host, policy->aliases.subaddress,
                         backlog->rules) < 0) {
        error_set(&err, "out of memory");
        failed(backlog, &err);
        return;
    }
    if (count_run(backlog, policy, &count, &err) < 0) {
        if (!worker_stopping(backlog->worker)) /* else it was our own doing */
            failed(backlog, &err);
        queue_parse_done(&count);
        return;
    }
    watch(backlog, &count, clock_ms());
    if (backlog->context->redis != NULL)
        queue_sync(backlog->sync, backlog->context->redis, policy, &count, context_now(backlog->context),
                   others);
    take(backlog, policy, &count, others, started);
    conditions_clear(&backlog->context->conditions, CONDITION_QUEUE, context_now(backlog->context));
    queue_parse_done(&count);
    others_free(others);
}

/* No limit needs it: nothing is known, and nothing is wrong. */
static void rest(struct queue_monitor *backlog)
{
    struct queue_parse old;
    struct table *others[SUBJECTS];
    pthread_mutex_lock(&backlog->lock);
    old = backlog->own;
    memcpy(others, backlog->others, sizeof others);
    backlog->own = (struct queue_parse){0};
    memset(backlog->others, 0, sizeof backlog->others);
    backlog->read_ms = 0;
    pthread_mutex_unlock(&backlog->lock);
    queue_parse_done(&old);
    others_free(others);
    conditions_clear(&backlog->context->conditions, CONDITION_QUEUE, context_now(backlog->context));
}

/* ---- the thread ---- */

static void need(struct queue_monitor *backlog, bool needed)
{
    pthread_mutex_lock(&backlog->lock);
    bool before = backlog->needed;
    backlog->needed = needed;
    pthread_mutex_unlock(&backlog->lock);
    if (before && !needed)
        rest(backlog);
}

/* A reload is noticed within a second: a new limit may need another subject. */
static int64_t queue_monitor_step(void *arg)
{
    struct queue_monitor *backlog = arg;
    const struct policy *policy = context_policy(backlog->context);
    int64_t now = clock_ms();
    need(backlog, policy->backlog_pers != 0);
    if (policy->backlog_pers != 0 && (now >= backlog->due_ms || policy->backlog_pers != backlog->pers)) {
        backlog->due_ms = now + policy->queue.every_ms;
        round_run(backlog, policy);
        now = clock_ms();
    }
    backlog->pers = policy->backlog_pers;
    policy_unref(policy);
    int64_t wait = backlog->pers != 0 && backlog->due_ms - now < IDLE_MS ? backlog->due_ms - now : IDLE_MS;
    return clock_monotonic_ns() + (wait > 0 ? wait : 1) * 1000000;
}

struct queue_monitor *queue_monitor_new(struct context *context, struct aliases *rules, struct error *err)
{
    struct queue_monitor *backlog = calloc(1, sizeof *backlog);
    if (backlog == NULL) {
        error_set(err, "out of memory for the backlog");
        return NULL;
    }
    backlog->context = context;
    backlog->rules = rules;
    pthread_mutex_init(&backlog->lock, NULL);
    return backlog;
}

int queue_monitor_start(struct queue_monitor *backlog, struct error *err)
{
    backlog->sync = queue_sync_new();
    if (backlog->sync == NULL) {
        error_set(err, "out of memory for the backlog");
        return -1;
    }
    backlog->worker = worker_new("queue", queue_monitor_step, backlog, err);
    return backlog->worker != NULL ? worker_start(backlog->worker, err) : -1;
}

void queue_monitor_stop(struct queue_monitor *backlog)
{
    if (backlog != NULL)
        worker_stop(backlog->worker);
}

void queue_monitor_free(struct queue_monitor *backlog)
{
    if (backlog == NULL)
        return;
    worker_free(backlog->worker);
    queue_sync_free(backlog->sync);
    queue_parse_done(&backlog->own);
    others_free(backlog->others);
    pthread_mutex_destroy(&backlog->lock);
    free(backlog);
}

void queue_monitor_put(struct queue_monitor *backlog, const struct policy *policy, char *lines)
{
    struct queue_parse count;
    struct table *others[SUBJECTS] = {NULL};
    if (queue_parse_init(&count, policy->backlog_pers, backlog->context->host, policy->aliases.subaddress,
                         backlog->rules) < 0)
        return;
    char *save = NULL;
    for (char *line = strtok_r(lines, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
        queue_parse_line(&count, line, strlen(line));
    take(backlog, policy, &count, others, clock_ms());
    queue_parse_done(&count);
    others_free(others);
}

/* ---- what operators see ---- */

struct summary {
    bool known, needed;
    int64_t messages, oldest_s, bad, age_ms, spent_ms;
    int64_t read_ms, arrived_s; /* when it was read, and when its oldest message came; 0: it is empty */
    struct queue_oldest oldest;
    uint64_t rounds, failures;
};

static struct summary summarise(struct queue_monitor *backlog)
{
    int64_t now = clock_ms();
    pthread_mutex_lock(&backlog->lock);
    struct summary s = {.known = is_known(backlog, now),
                        .needed = backlog->needed,
                        .messages = backlog->own.messages,
                        .oldest_s = backlog->own.oldest_s,
                        .oldest = backlog->own.oldest,
                        .bad = backlog->own.bad,
                        .age_ms = now - backlog->read_ms,
                        .arrived_s = backlog->own.oldest_s,
                        .spent_ms = backlog->spent_ms,
                        .rounds = backlog->rounds,
                        .failures = backlog->failures};
    pthread_mutex_unlock(&backlog->lock);
    s.read_ms = context_now(backlog->context) - s.age_ms; /* clock_ms() is not the time of day */
    int64_t now_s = context_now(backlog->context) / 1000;
    s.oldest_s = s.oldest_s > 0 && now_s > s.oldest_s ? now_s - s.oldest_s : 0;
    return s;
}

static void print_one(FILE *out, const char *name, const char *type, const char *help, double value)
{
    metrics_head(out, name, type, help);
    fprintf(out, "%s %.15g\n", name, value);
}

void queue_monitor_print(FILE *out, struct queue_monitor *backlog)
{
    if (backlog == NULL)
        return;
    const struct summary s = summarise(backlog);
    if (!s.needed)
        return;
    print_one(out, "rcptgate_queue_reads_total", "counter", "How often Postfix's queue was read.",
              (double)s.rounds);
    print_one(out, "rcptgate_queue_failures_total", "counter", "How often it could not be read.",
              (double)s.failures);
    if (!s.known)
        return;
    print_one(out, "rcptgate_queue_messages", "gauge", "Messages in Postfix's queue on this host.",
              (double)s.messages);
    if (s.arrived_s > 0)
        print_one(out, "rcptgate_queue_oldest_timestamp_seconds", "gauge",
                  "When the oldest message in it came; missing where it is empty.", (double)s.arrived_s);
    print_one(out, "rcptgate_queue_read_seconds", "gauge", "How long it took to read it the last time.",
              (double)s.spent_ms / 1000);
    print_one(out, "rcptgate_queue_read_timestamp_seconds", "gauge", "When that was.",
              (double)s.read_ms / 1000);
}

json_t *queue_monitor_report(struct queue_monitor *backlog)
{
    if (backlog == NULL)
        return NULL;
    const struct summary s = summarise(backlog);
    if (!s.needed)
        return NULL;
    if (!s.known)
        return json_pack("{s:b, s:I}", "known", 0, "failures", (json_int_t)s.failures);
    json_t *report =
        json_pack("{s:b, s:I, s:I, s:I, s:I, s:I}", "known", 1, "messages", (json_int_t)s.messages,
                  "oldest_s", (json_int_t)s.oldest_s, "age_s", (json_int_t)s.age_ms / 1000, "read_ms",
                  (json_int_t)s.spent_ms, "failures", (json_int_t)s.failures);
    if (s.messages > 0)
        json_object_set_new(report, "oldest",
                            json_pack("{s:s, s:s, s:s, s:s}", "queue_id", s.oldest.id, "sender",
                                      s.oldest.sender, "recipient", s.oldest.recipient, "reason",
                                      s.oldest.reason));
    return report;
}
