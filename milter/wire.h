/* wire: new connections wait while there are too few descriptors to serve them. The function itself is libmilter's
 * to call; here is what it says. */
#ifndef RCPTGATE_MILTER_WIRE_H
#define RCPTGATE_MILTER_WIRE_H

#include <stdbool.h>

enum { ACCEPT_RESERVE = 48 }; /* descriptors that no session gets */

bool wire_paused(void); /* the last one who knocked was left waiting */

#endif
