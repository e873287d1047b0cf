#include "changes.h"

#include "counts.h"
#include "later.h"

void changes_begin(struct changes *changes, struct gate *gate, bool may_wait)
{
    changes->gate = gate; /* not the list: most have one in it */
    changes->may_wait = may_wait;
    changes->n = 0;
}

void changes_add(struct changes *changes, const struct count_change *change)
{
    struct gate *gate = changes->gate;
    struct count_change rest = *change;
    if (rest.amount == 0)
        return;
    counts_change_here(gate->counts, &rest, context_now(&gate->context));
    if (rest.slot < 0)
        return;
    if (changes->n == CHANGES_MOST)
        changes_end(changes);
    changes->list[changes->n++] = rest;
}

void changes_end(struct changes *changes)
{
    struct gate *gate = changes->gate;
    if (changes->n > 0 && (!changes->may_wait || counts_change(gate->counts, changes->list, changes->n,
                                                               context_now(&gate->context)) == COUNTS_DOWN))
        for (size_t i = 0; i < changes->n; i++)
            later_change(gate->later, gate->counts, &changes->list[i]);
    changes->n = 0;
}
