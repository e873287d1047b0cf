/* report: what a replay has found, as JSON, and as a person reads it. */
#ifndef RCPTGATE_REPLAY_REPORT_H
#define RCPTGATE_REPLAY_REPORT_H

#include "replay/log.h"
#include "replay/run.h"
#include "replay/totals.h"

#include <jansson.h>
#include <stdio.h>

enum { REPLAY_ACTIONS = 5 }; /* enum action */

struct replay_report {
    char *const *files;
    int n_files;
    const struct replay_log *log;
    struct replay *policy, *against;                /* against NULL: one policy only */
    uint64_t moved[REPLAY_ACTIONS][REPLAY_ACTIONS]; /* RCPTs: from against's answer to policy's */
    struct totals *changes;                         /* "accept defer limit alias-minute" by subject */
    size_t most;                                    /* rows of a list; 0: all */
};

/* NULL: out of memory. */
json_t *replay_report_make(const struct replay_report *report);
void replay_report_print(FILE *out, const json_t *report);

#endif
