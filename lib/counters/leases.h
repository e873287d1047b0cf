/* leases: the leases of this process (lease.h), by counter.
 *
 * Bounded (a table of a fixed size: of two counters with one place, the one that is hot keeps it); any thread at any time, with a lock for
 * each part of the table. Owns the names of counters that had a lease; short of memory, there is none. */
#ifndef RCPTGATE_COUNTERS_LEASES_H
#define RCPTGATE_COUNTERS_LEASES_H

#include "lease.h"

struct leases;

struct leases *leases_new(void); /* NULL: out of memory */
void leases_free(struct leases *leases);

struct leases_ticket { /* names the counter of an ask, for which units are wanted */
    uint64_t name;
    unsigned generation;
    int64_t asked_ns;
    int64_t wanted; /* 0: none are */
    struct lease_rest rest;
};

/* Counts an ask of a counter that may have a lease (lease_is_for()), and takes a unit for it: *out is then its answer. What was leased in
 * another generation of the store is void. False: there is none; where ticket->wanted is not 0, the caller asks the store for so many, gives
 * the rest back with that, and hands the ticket to leases_grant(), whatever it is answered. */
bool leases_take(struct leases *leases, const struct count_ask *ask, unsigned generation, int64_t now_ns,
                 struct count_answer *out, struct leases_ticket *ticket);

/* What the store granted; NULL: nobody knows. True: the ask that it was asked for has one of the units: *out is its answer. */
bool leases_grant(struct leases *leases, const struct leases_ticket *ticket, const struct count_ask *ask,
                  const struct lease_grant *grant, int64_t now_ns, struct count_answer *out);

/* Gives a unit back, by its receipt. False: the receipt stays good. */
bool leases_put_back(struct leases *leases, const struct count_ask *ask, const struct count_answer *answer,
                     int64_t now_ns);

/* All leases end now, as far as they are known. */
void leases_end(struct leases *leases);

/* Calls each() with what is to be given back of leases that have ended since the last time. */
typedef void leases_rest_fn(void *arg, struct count_change *rest, unsigned generation);
void leases_each_rest(struct leases *leases, int64_t now_ns, leases_rest_fn *each, void *arg);

#endif
