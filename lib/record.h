/* record: a counter of this process, and what it knows of the same counter in another store; packed while it
 * rests. There is one for each limit on each subject: most of its numbers are small or 0, so that packed it
 * takes some 30 bytes instead of 150. Pure; owns nothing. */
#ifndef RCPTGATE_RECORD_H
#define RCPTGATE_RECORD_H

#include "counter.h"

#include <stddef.h>
#include <stdint.h>

struct record { /* zeroed: does not exist yet */
    struct counter counter;
    /* Where it counts along with another store: */
    int64_t far_born; /* the other's counter.born; 0: not known */
    int64_t owed;     /* so much of the count the other does not know; it is the newest */
};

enum { RECORD_MOST = 200 }; /* bytes, packed */

size_t record_pack(const struct record *record, uint8_t bytes[RECORD_MOST]); /* how many bytes */
void record_unpack(const uint8_t *bytes, struct record *out);                /* what record_pack() wrote */

#endif
