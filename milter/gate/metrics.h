/* metrics: what the gate counts about itself, for Prometheus, `status` and the page.
 *
 * Everything on the path of a RCPT is a relaxed atomic addition; only to find the numbers of a limit that refuses
 * takes a short lock. Nothing here carries an address: labels are verdicts, names of limits,
 * and names of backends. Numbers count from the start of the process. */
#ifndef RCPTGATE_GATE_METRICS_H
#define RCPTGATE_GATE_METRICS_H

#include "counters/counters.h"
#include "policy/judge.h"
#include "policy/policy.h"
#include "base/table.h"
#include "policy/verdict.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

enum {
    METRICS_ACTIONS = ACTION_REJECT + 1,
    METRICS_BYS = VERDICT_BYS,
    METRICS_STATUSES = COUNTERS_UNSURE + 1,
    METRICS_BUCKETS = 19, /* the last one has no upper bound */
    METRICS_MINUTE = 61,  /* samples, one a second */
};

struct metrics_histogram {                     /* of durations */
    _Atomic uint64_t buckets[METRICS_BUCKETS]; /* not cumulated */
    _Atomic uint64_t sum_ns;
};

struct metrics_longest {                /* of durations */
    _Atomic uint64_t ever_ns;           /* since the start, or since it was forgotten */
    _Atomic uint64_t now_ns, before_ns; /* in this minute and in the last one */
};

struct metrics_sample { /* what the rates are made from */
    int64_t at_ms;
    uint64_t rcpt[METRICS_ACTIONS];
};

struct metrics {
    _Atomic uint64_t rcpt[METRICS_ACTIONS][METRICS_BYS];
    _Atomic uint64_t duplicates;
    _Atomic uint64_t refused_connections[METRICS_BYS];
    _Atomic uint64_t counters_calls[METRICS_STATUSES];
    _Atomic uint64_t decided_local, decided_blind; /* by the fallback; by none though one was needed */
    _Atomic uint64_t sessions, messages;           /* begun; ended with all their data */
    _Atomic int64_t sessions_open;
    struct metrics_longest longest_decision, longest_callback;
    _Atomic uint64_t decision_latest_ns; /* the longest since metrics_take_longest() */
    struct metrics_histogram decision, counters;
    pthread_mutex_t lock; /* of what follows */
    struct table *limits; /* by name; only ever grows; NULL: out of memory */
    struct metrics_sample samples[METRICS_MINUTE];
    size_t n_samples, next_sample;
    int64_t minute_ms; /* when the minute of the longest began */
};

void metrics_init(struct metrics *metrics);
void metrics_done(struct metrics *metrics);

/* Makes the limits of a policy appear, with 0, before the first refusal. */
void metrics_know(struct metrics *metrics, const struct policy *policy);

/* One RCPT that took ns. source: where its counts came from; needed: whether it needed any. */
void metrics_rcpt(struct metrics *metrics, const struct verdict *verdict, const struct verdict *shadow,
                  enum count_source source, bool needed, int64_t ns);
void metrics_duplicate(struct metrics *metrics);
void metrics_refused_connection(struct metrics *metrics, enum verdict_by by);

/* One question to the counter store. */
void metrics_counters(struct metrics *metrics, enum counters_status status, int64_t ns);

void metrics_session(struct metrics *metrics, int change); /* 1: begun, -1: over */
void metrics_message(struct metrics *metrics);
void metrics_callback(struct metrics *metrics, int64_t ns);

/* The longest ever begin anew: for who wants to see those of a certain time. */
void metrics_forget_longest(struct metrics *metrics);

/* The longest decision since this was last called; for the history. */
uint64_t metrics_take_longest(struct metrics *metrics);

/* Takes a sample for the rates; for housekeeping, about once a second. */
void metrics_sample(struct metrics *metrics, int64_t now_ms);

/* How many RCPTs a second got each action, over the last minute (or since the start). */
void metrics_rates(struct metrics *metrics, double rates[METRICS_ACTIONS]);

/* How many RCPTs got that action since the start. */
uint64_t metrics_total(const struct metrics *metrics, enum action action);

/* What that limit has refused, and would have refused were it not in shadow, since the start. */
void metrics_limit_totals(struct metrics *metrics, const char *limit, uint64_t *refused, uint64_t *shadow);

/* ---- writing them: the text format of Prometheus, version 0.0.4 ---- */

/* "# HELP" and "# TYPE". type: "counter", "gauge" or "histogram". */
void metrics_head(FILE *out, const char *name, const char *type, const char *help);

/* All that is in struct metrics. */
void metrics_print(FILE *out, struct metrics *metrics);

#endif
