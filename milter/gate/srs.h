/* srs: the sender as he was before our own SRS rewrote him. The queue and the log show him after that; limits count him before.
 *
 * Ours is a domain of the alias rules, or one below it; where there are no rules, or they cannot tell now, every one. A sender that
 * another forwarder rewrote is a sender as he is. */
#ifndef RCPTGATE_GATE_SRS_H
#define RCPTGATE_GATE_SRS_H

#include "aliases/aliases.h"
#include "policy/address.h"

#include <stdbool.h>
#include <stdint.h>

enum { SRS_TEXT = 1024 };

struct srs {                             /* for one look at many senders; zeroed but for rules */
    struct aliases *rules;               /* borrowed; NULL: there are none */
    uint64_t undone;                     /* senders that srs_original() found */
    uint64_t opaque;                     /* of ours, but only a database knows who it was */
    uint64_t foreign;                    /* another forwarder's */
    char domain[ADDRESS_DOMAIN_MAX + 1]; /* what was asked for last, */
    bool ours;                           /* and the answer */
    char text[SRS_TEXT];
};

/* The sender behind raw, or raw; until the next call. */
const char *srs_original(struct srs *srs, const char *raw);

#endif
