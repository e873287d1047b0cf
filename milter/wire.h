/* wire: libmilter's connections: what it calls accept(), poll(), read() and close() for. The functions themselves are
 * libmilter's to call; here is what they tell. */
#ifndef RCPTGATE_MILTER_WIRE_H
#define RCPTGATE_MILTER_WIRE_H

#include <stdbool.h>

enum {
    ACCEPT_RESERVE = 48,   /* descriptors that no session gets */
    WIRE_TIMEOUT_S = 7210, /* for the other side to send or to take something */
};

bool wire_paused(void); /* the last one who knocked was left waiting */

#endif
