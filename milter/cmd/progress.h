/* progress: one line on a terminal that is written over while work goes on. Nothing where stderr is no terminal. */
#ifndef RCPTGATE_CMD_PROGRESS_H
#define RCPTGATE_CMD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress { /* zeroed: not begun */
    bool on, shown;
    int64_t next_ns;
};

void progress_begin(struct progress *progress);

/* Time for another line? Cheap; a few times a second. */
bool progress_due(struct progress *progress);
void progress_show(struct progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Wipes the line, so that something else can be printed. */
void progress_wipe(struct progress *progress);

#endif
