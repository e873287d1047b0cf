/* serials: which snapshot a database holds, in a table of its own beside the rules, so that it changes in the same transaction as they
 * do, or not at all. Read and written through an edit; a database that never met a snapshot has no such table. */
#ifndef RCPTGATE_ALIASES_SERIALS_H
#define RCPTGATE_ALIASES_SERIALS_H

#include "aliases/edit.h"

#include <stdint.h>

enum { SERIALS_DIGITS = 12 }; /* of a serial: seconds until the year 33658 */

struct serials {
    int64_t in_force;   /* the snapshot that was installed last; 0: none */
    int64_t newest;     /* the greatest that was ever installed or made here */
    int64_t generation; /* of the data: each install makes a new one, a rollback goes back to an older */
};

/* All zero where there is no table. */
enum edit_status aliases_serials_read(struct aliases_edit *edit, struct serials *out, struct error *err);
enum edit_status aliases_serials_write(struct aliases_edit *edit, const struct serials *serials,
                                       struct error *err);

/* For a snapshot that is made now: the time, unless that is not greater than all before. */
int64_t aliases_serials_next(const struct serials *serials, int64_t now_s);

#endif
