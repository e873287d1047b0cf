/* top: which subjects are refused most, and which are nearest to their limits: the flooded and the flooding. */
#ifndef RCPTGATE_ADMIN_TOP_H
#define RCPTGATE_ADMIN_TOP_H

#include "counters/counters.h"

#include <jansson.h>
#include <stdio.h>

enum { TOP_MOST = 1000 };

/* {"refused": [...], "busiest": [...], "held": [...] (the longest first)}, each of at most n counters as in show_report(). limit: only that one;
 * NULL: all. Looks at every counter: not for the path of a RCPT. NULL: the store could not answer. */
json_t *top_report(struct counters *counters, const char *limit, size_t n, int64_t now_ms);

/* What this gate counts in the place of a part of the store that is away. */
struct top_fallback {
    struct counters *counters;
    bool (*is_wanted)(void *arg, const char *key);
    void *arg;
};

/* The same, with the counters of the fallback that are wanted; they have "local": true. */
json_t *top_report_with(struct counters *counters, const struct top_fallback *fallback, const char *limit,
                        size_t n, int64_t now_ms);

#endif
