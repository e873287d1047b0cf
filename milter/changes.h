/* changes: what is changed of charges that were made, some of them together: given back, or settled.
 *
 *     struct changes changes;
 *     changes_begin(&changes, gate, may_wait);
 *     changes_add(&changes, &change); ...
 *     changes_end(&changes);
 *
 * Here they hold at once; in Redis with one call for all (for each CHANGES_MOST), or later where it is down or the
 * caller must not wait. */
#ifndef RCPTGATE_CHANGES_H
#define RCPTGATE_CHANGES_H

#include "count.h"
#include "gate.h"

#include <stdbool.h>
#include <stddef.h>

enum { CHANGES_MOST = 64 };

struct changes {
    struct gate *gate;
    bool may_wait;
    size_t n;
    struct count_change list[CHANGES_MOST];
};

void changes_begin(struct changes *changes, struct gate *gate, bool may_wait);

/* The change's strings are borrowed until changes_end(). An amount of 0 changes nothing. */
void changes_add(struct changes *changes, const struct count_change *change);

void changes_end(struct changes *changes);

#endif
