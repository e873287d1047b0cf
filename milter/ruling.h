/* ruling: what the alias rules have to say, read from the database, and what of it is proved. */
#ifndef RCPTGATE_MILTER_RULING_H
#define RCPTGATE_MILTER_RULING_H

#include "gate/gate.h"
#include "policy/rules.h"

struct ruling_question { /* borrowed */
    struct gate *gate;
    const struct policy *policy;
    const struct envelope *envelope;
    bool client_only; /* at connect: no recipient is known */
    bool alias_only;  /* Postfix's maps: no client or sender is known */
    struct pool *pool;

    /* The generation of the alias data in which the client is known to have no rule, 0: not known. The caller keeps it
     * as long as the client is the same; NULL: nobody does. */
    uint64_t *no_client_rule;
};

/* All that is read is of one moment. What refuses, drops or is not ours for want of a more specific row is asked of the last
 * good copy too, and "cannot tell" where that says otherwise. -1: out of memory. */
int ruling_read(const struct ruling_question *question, struct ruling *out);

/* A limit refuses or drops, or (NULL) the hold of a client: does the copy say the same of what it asks of client and
 * recipient? */
bool ruling_confirms_limit(const struct ruling_question *question, const struct ruling *ruling,
                           const struct limit *limit);

/* Has the last good copy, however old, no such domain, nor the file, where that can be read and is not believed? For who must tell strange
 * domains from ours while nobody can tell what is new. False where there is no copy. */
bool ruling_disowns(const struct ruling_question *question);

/* Where a message goes stands on the alias alone: does the copy know it by the same row? */
bool ruling_confirms_alias(const struct ruling_question *question, const struct ruling *ruling);

#endif
