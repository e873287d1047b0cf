/* counts_pair: what the parts of the store that stands on two share: counts_pair.c (who is asked, and the thread),
 * counts_pair_pay.c (what near admitted is paid to far) and counts_pair_tell.c (what else far is told, in batches). */
#ifndef RCPTGATE_COUNTS_PAIR_H
#define RCPTGATE_COUNTS_PAIR_H

#include "counts_memory.h"
#include "denials.h"

enum {
    PAIR_DEBTS = COUNTS_PAY_MOST / WINDOW_SLOTS, /* paid in one call: some 100 µs of Redis' time */
};

struct batch { /* of debts that are being paid; the thread's alone */
    struct debt debts[PAIR_DEBTS];
    struct count_answer far[PAIR_DEBTS]; /* what far had before */
    int64_t due[PAIR_DEBTS];             /* what is added to it */
    size_t n;
    int64_t turn;    /* of the payment; 0: it is not known yet what is due */
    bool in_doubt;   /* the answer was lost: it may have been added */
    unsigned doubts; /* in a row */
};

struct pair {
    struct counts counts;
    struct counts *far; /* NULL: always away */
    struct memory *near;
    struct deny_cache *deny_cache; /* what far has just refused */
    counts_now_fn *now;
    void *arg;
    atomic_bool telling;         /* the thread has refusals or retries to tell */
    atomic_bool closed;          /* far failed or restarted: it is not asked before it was told all */
    atomic_bool owing;           /* near admitted something in its place */
    atomic_uint_fast64_t merged; /* counters that were brought up to date in far */
    struct batch batch;
    int64_t turns; /* payments begun; the thread's alone */
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t lock; /* no wake-up is missed */
    pthread_cond_t wake;
    bool opening;      /* under lock: the last walk is being made, or waits for those who stand in now, */
    unsigned standing; /* this many */
    pthread_cond_t opened;
    atomic_bool stop;
};

/* Sets what the thread is to look at, and wakes it when it was not set. */
void pair_note(struct pair *pair, atomic_bool *what);

/* Has far to be told what near admitted in its place? */
bool pair_owes(struct pair *pair);

/* Is far up, as far as is known? How often it restarted. */
bool pair_far_well(const struct pair *pair, unsigned *generation);

/* Can far be asked? Not before it knows what it lost. */
bool pair_is_current(struct pair *pair);

/* Tells far all that it does not know; then it may be asked again. Of the thread. */
void pair_merge(struct pair *pair);

/* The payment under way was made, or forgiven; or not: near owes it again. */
void pair_pay_end(struct pair *pair, bool paid);

/* Which RCPTs were deferred here: they may be tried again elsewhere. False: far is away. One whose
 * answer was lost may count. */
bool pair_tell_retries(struct pair *pair);

/* All that, and what was refused from memory. */
void pair_tell(struct pair *pair);

#endif
