/* trouble: what is wrong now, since when, and what to do about it. One row for each thing that can go wrong.
 *
 * Whoever notices sets it, again and again if it likes: only a change is logged. `status`, /healthz, /metrics
 * and the log tell the same because they all read this table. Any thread, any time; nothing here blocks on
 * more than a short lock. */
#ifndef RCPTGATE_TROUBLE_H
#define RCPTGATE_TROUBLE_H

#include "error.h"
#include "policy.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trouble {
    TROUBLE_COUNTERS,         /* the counter store does not answer: when_down is in force */
    TROUBLE_COUNTERS_EVICT,   /* Redis may throw counters away (maxmemory-policy) */
    TROUBLE_ALIASES,          /* the alias database cannot be used: the last good copy answers, or nobody */
    TROUBLE_ALIASES_REFUSED,  /* new alias data was not taken (integrity, version, max_shrink) */
    TROUBLE_ALIASES_COPY,     /* no last good copy can be kept */
    TROUBLE_POLICY,           /* the policy file cannot be used: the last good one is in force */
    TROUBLE_POLICY_ENTRIES,   /* entries of the policy are skipped or replaced */
    TROUBLE_POLICY_COPY,      /* the last good policy cannot be kept for the next start */
    TROUBLE_BLOCKS,           /* blocks cannot be kept, or shared with the other gates */
    TROUBLE_QUEUE,            /* Postfix's queue cannot be read */
    TROUBLE_STATE,            /* the state directory cannot be used */
    TROUBLE_LOG,              /* log lines are lost */
    TROUBLE_HTTP,             /* the HTTP port cannot be had */
    TROUBLE_SOCKET,           /* the milter's socket had to be mended, or could not be */
    TROUBLES
};

enum trouble_grade {
    TROUBLE_NOTE,     /* worth knowing; the gate is healthy */
    TROUBLE_DEGRADED, /* mail goes on, with less than it should have: `status` exits 1, /healthz 503 */
    TROUBLE_DOWN,     /* recipients are answered 451: `status` exits 2 */
};

/* "counters", "policy-entries" ...: for status, metrics and log. */
const char *trouble_name(enum trouble trouble);

/* How bad it is that the counter store does not answer. */
enum trouble_grade trouble_counters_grade(const struct policy *policy);

struct trouble_row {
    bool set;
    enum trouble_grade grade;
    int64_t since_ms, cleared_ms; /* Unix time; 0: never */
    uint64_t times;               /* it was set after having been clear */
    char text[512];               /* what is wrong and what to do; kept after it was cleared: the last error */
};

struct troubles {
    pthread_mutex_t lock;
    struct trouble_row rows[TROUBLES];
    /* Told of each change, outside the lock; may be NULL. For the stream of events. */
    void (*changed)(void *arg, enum trouble trouble, bool set, const char *text);
    void *arg;
};

void troubles_init(struct troubles *troubles);
void troubles_done(struct troubles *troubles);

void trouble_set(struct troubles *troubles, enum trouble trouble, enum trouble_grade grade, int64_t now_ms,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));
void trouble_clear(struct troubles *troubles, enum trouble trouble, int64_t now_ms);

/* set or clear by whether a text is there: for modules that tell their trouble as a struct error. */
void trouble_follow(struct troubles *troubles, enum trouble trouble, enum trouble_grade grade, int64_t now_ms,
                    const struct error *err);

/* A copy of the row. */
struct trouble_row trouble_get(struct troubles *troubles, enum trouble trouble);

#endif
