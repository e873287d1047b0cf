/* conditions: what is wrong now, since when, and what to do about it. One row for each thing that can go wrong.
 *
 * Whoever notices sets it, again and again if it likes: only a change is logged. `status`, /healthz, /metrics
 * and the log say the same because they all read this table. Any thread, any time; nothing here blocks on
 * more than a short lock. What to do depends on the cause, so that advice is in the text of who sets it. */
#ifndef RCPTGATE_GATE_CONDITIONS_H
#define RCPTGATE_GATE_CONDITIONS_H

#include "base/error.h"
#include "policy/policy.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum condition {
    CONDITION_COUNTERS, /* the counter store does not answer: when_down is in force */
    CONDITION_COUNTERS_SHARD, /* a part of the counter store does not answer: when_down is in force for what is counted there */
    CONDITION_COUNTERS_WARNING, /* it answers, but: it may throw counters away, a right is missing, a TLS file is bad ... */
    CONDITION_COUNTERS_LOCAL,  /* this process counts fewer subjects beside Redis than there are */
    CONDITION_ALIASES,         /* the alias database cannot be used: the last good copy answers, or nobody */
    CONDITION_ALIASES_REFUSED, /* new alias data was not taken (integrity, version, max_shrink) */
    CONDITION_ALIASES_COPY,    /* no last good copy can be kept */
    CONDITION_ALIASES_MAILBOX, /* what is accepted has no mailbox */
    CONDITION_POLICY,          /* the policy file cannot be used: the last good one is in force */
    CONDITION_POLICY_ENTRIES,  /* entries of the policy are skipped or replaced */
    CONDITION_POLICY_COPY,     /* the last good policy cannot be kept for the next start */
    CONDITION_RESTART,         /* a part of the policy in force waits for a restart; a note */
    CONDITION_BLOCKS,          /* blocks cannot be kept, or shared with the other gates */
    CONDITION_HOLDS,           /* holds cannot be kept for a restart, or were not all found at the last */
    CONDITION_QUEUE,           /* Postfix's queue cannot be read */
    CONDITION_STATE,           /* the state directory cannot be used */
    CONDITION_DECISION,        /* a decision fails though all its parts are well */
    CONDITION_LOG,             /* log lines are lost */
    CONDITION_HTTP,            /* the HTTP port cannot be had */
    CONDITION_ROOT,            /* the gate runs with root's rights */
    CONDITION_SOCKET,          /* the milter's socket had to be mended, or could not be */
    CONDITION_MAPS,            /* the socket of Postfix's maps had to be mended, or cannot be had */
    CONDITIONS
};

enum condition_grade {
    CONDITION_NOTE,     /* worth knowing; the gate is healthy */
    CONDITION_DEGRADED, /* mail goes on, with less than it should have: `status` exits 1, /healthz 503 */
    CONDITION_DOWN,     /* recipients are answered 451: `status` exits 2 */
};

/* "counters", "policy-entries" ...: for status, metrics and log. */
const char *conditions_name(enum condition condition);

/* "Counter store": what a person calls it. */
const char *conditions_title(enum condition condition);

/* What it means for mail under that policy. */
const char *conditions_meaning(enum condition condition, const struct policy *policy);

/* How bad it is that the counter store does not answer. */
enum condition_grade conditions_counters_grade(const struct policy *policy);

struct condition_row {
    bool set;
    enum condition_grade grade;
    int64_t since_ms, cleared_ms; /* Unix time; 0: never */
    uint64_t times;               /* it was set after having been clear */
    char text[512]; /* what is wrong and what to do; kept after it was cleared: the last error */
};

struct conditions {
    pthread_mutex_t lock;
    struct condition_row rows[CONDITIONS];
    /* Called at each change, outside the lock; may be NULL. For the stream of events. */
    void (*changed)(void *arg, enum condition condition, bool set, const char *text);
    void *arg;
};

void conditions_init(struct conditions *conditions);
void conditions_done(struct conditions *conditions);

void conditions_set(struct conditions *conditions, enum condition condition, enum condition_grade grade,
                    int64_t now_ms, const char *format, ...) __attribute__((format(printf, 5, 6)));
void conditions_clear(struct conditions *conditions, enum condition condition, int64_t now_ms);

/* set or clear by whether a text is there: for modules that tell what is wrong as a struct error. */
void conditions_follow(struct conditions *conditions, enum condition condition, enum condition_grade grade,
                       int64_t now_ms, const struct error *err);

/* A copy of the row. */
struct condition_row conditions_get(struct conditions *conditions, enum condition condition);

#endif
