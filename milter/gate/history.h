/* history: what was answered in the last hour, minute by minute, for the plots of the page. */
#ifndef RCPTGATE_GATE_HISTORY_H
#define RCPTGATE_GATE_HISTORY_H

#include "gate/metrics.h"

#include <pthread.h>

enum { HISTORY_MINUTES = 60 };

struct history_minute {
    int64_t minute;                     /* since 1970; 0: not known */
    uint32_t answered[METRICS_ACTIONS]; /* recipients, by action; of connections those that were refused */
    uint32_t refused[METRICS_BYS];      /* of those all that were refused or dropped, by whom */
    uint32_t decisions;
    uint64_t sum_ns, max_ns; /* of those */
    int64_t queue;           /* messages that waited, the last time it was read; -1: not known */
};

struct history {
    pthread_mutex_t lock; /* of all */
    struct history_minute ring[HISTORY_MINUTES];
    struct history_minute seen; /* totals at the last look */
    bool begun;
};

void history_init(struct history *history);
void history_done(struct history *history);

/* What came since the last look belongs to this minute. For housekeeping; queue as above. */
void history_look(struct history *history, struct metrics *metrics, int64_t queue, int64_t now_ms);

/* The last hour, the oldest minute first; a minute that is not known has minute 0 and no numbers. */
void history_get(struct history *history, int64_t now_ms, struct history_minute out[HISTORY_MINUTES]);

#endif
