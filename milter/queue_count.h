/* queue_count: counts the messages of Postfix's queue, as `postqueue -j` prints them: a JSON object a line
 * (postqueue(1)). Only numbers are kept, by the subjects that limits ask for. No I/O. */
#ifndef RCPTGATE_QUEUE_COUNT_H
#define RCPTGATE_QUEUE_COUNT_H

#include "policy.h"
#include "census.h"

struct queue_count {
    const char *host, *subaddress; /* borrowed */
    struct census *of[SUBJECTS];   /* NULL: nobody asks for it */
    int64_t messages;
    int64_t oldest_s; /* Unix time; 0: the queue is empty */
    int64_t bad;      /* lines that are no message: counted, for `host` and `all` alone */
};

/* pers: bits of enum subject. -1: out of memory. */
int queue_count_init(struct queue_count *count, unsigned pers, const char *host, const char *subaddress);
void queue_count_done(struct queue_count *count);

/* line may be written to. */
void queue_count_line(struct queue_count *count, char *line, size_t n);

#endif
