/* lease: some units of one hot counter that this process has charged in the store ahead of the RCPTs that will use them. Pure: owns
 * nothing, looks at no clock.
 *
 * A counter is hot that is asked LEASE_HOT times a second by this process. What is leased is some LEASE_AHEAD_MS of that, and used before
 * the slot ends in which it was charged (by the clock of the store), and within LEASE_MS: then a RCPT never counts in a slot that is
 * older than itself, as if it had been charged by itself. The rest goes back. All times are of the monotonic clock, in ns, but for what a
 * grant says. */
#ifndef RCPTGATE_COUNTERS_LEASE_H
#define RCPTGATE_COUNTERS_LEASE_H

#include "base/count.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LEASE_HOT = 200,        /* asks a second */
    LEASE_PERIOD_MS = 250,  /* in which they are counted */
    LEASE_AHEAD_MS = 50,    /* it is meant to last so long, */
    LEASE_MS = 1000,        /* and ends after that */
    LEASE_PAUSE_MS = 100,   /* where none was granted, until it is asked for again */
    LEASE_LEAST_MAX = 1000, /* no counter with a lower max has a lease: it would be full before it is hot */
};

struct lease_grant { /* the store's answer */
    int64_t units;   /* charged; 0: none */
    int64_t used;    /* before that */
    int64_t slot, created;
    int64_t left_ms; /* until that slot ends */
};

struct lease_rest { /* what is left of a lease, to be given back */
    int64_t units;  /* 0: nothing */
    int64_t slot, created;
};

struct lease {                     /* zeroed: never asked for */
    int64_t period, asked, before; /* so many asks in this period, and in the one before */
    bool asking;                   /* somebody asks the store for units */
    int64_t again_ns;              /* not before */
    int64_t units;                 /* left */
    int64_t max;                   /* by which they were granted */
    int64_t used, slot, created;
    int64_t until_ns;
};

/* May the counter of an ask of a request have a lease? Only one that answers 4xx at most and counts one by one: it holds nothing, is no
 * share, has none, and has no overflow key. */
bool lease_is_for(const struct count_request *request, size_t i);

/* Counts one ask. */
void lease_count(struct lease *lease, int64_t now_ns);

/* How many units to ask the store for now; 0: none, as the counter is not hot, or has some, or somebody asks for them. */
int64_t lease_wanted(const struct lease *lease, int64_t now_ns);

/* Somebody begins to ask, and takes back to the store what is left of the last one. */
void lease_ask(struct lease *lease, struct lease_rest *rest);

/* Takes a unit for an ask with that max. *out is then its answer, with a receipt. False: there is none that is good for it. */
bool lease_take(struct lease *lease, int64_t max, int64_t now_ns, struct count_answer *out);

/* Gives a unit back, by its receipt. False: it is of another lease, or that has ended. */
bool lease_put_back(struct lease *lease, const struct count_answer *answer, int64_t now_ns);

/* What was granted to who asked at asked_ns, for that max; NULL: nobody knows. */
void lease_grant(struct lease *lease, const struct lease_grant *grant, int64_t max, int64_t asked_ns);

/* Takes out the units that nobody will use, if the lease has ended. False: there are none. */
bool lease_rest(struct lease *lease, int64_t now_ns, struct lease_rest *rest);

/* It ends now: what is left is a rest, or (void) nothing, as the store may have lost it. */
void lease_end(struct lease *lease, bool is_void);

/* Nothing is known that would be missed. */
bool lease_is_idle(const struct lease *lease, int64_t now_ns);

#endif
