/* queue_parse: counts the messages of Postfix's queue, as `postqueue -j` prints them: a JSON object a line
 * (postqueue(1)). Only numbers are kept, by the subjects that limits ask for. No I/O. */
#ifndef RCPTGATE_GATE_QUEUE_PARSE_H
#define RCPTGATE_GATE_QUEUE_PARSE_H

#include "gate/srs.h"
#include "policy/policy.h"
#include "base/table.h"

struct queue_number { /* by subject */
    struct table_row row;
    int64_t waiting; /* messages */
    int64_t counted; /* the number of the message that was counted last */
};

struct queue_oldest { /* of the oldest message; "" where it is not known */
    char id[32], sender[160], recipient[160], reason[256];
};

struct queue_parse {
    const char *host, *subaddress; /* borrowed */
    struct srs srs;                /* whose sender rewriting is undone */
    struct table *of[SUBJECTS];    /* of struct queue_number; NULL: nobody asks for it */
    int64_t messages;
    int64_t oldest_s; /* Unix time; 0: the queue is empty */
    struct queue_oldest oldest;
    int64_t bad; /* lines that are no message: counted, for `host` and `all` alone */
};

/* pers: bits of enum subject. rules: borrowed; they know which domains are ours; NULL: there are none. -1: out of memory. */
int queue_parse_init(struct queue_parse *count, unsigned pers, const char *host, const char *subaddress,
                     struct aliases *rules);
void queue_parse_done(struct queue_parse *count);

/* line may be written to. */
void queue_parse_line(struct queue_parse *count, char *line, size_t n);

/* How many wait for that subject; of no table: 0. */
int64_t queue_parse_of(const struct table *numbers, const char *subject);

#endif
