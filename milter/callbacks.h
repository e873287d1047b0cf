/* callbacks: what libmilter calls. A few lines each: facts in, session function, answer out. */
#ifndef RCPTGATE_CALLBACKS_H
#define RCPTGATE_CALLBACKS_H

#include "gate.h"

/* Registers the callbacks with libmilter, for this gate (there is one in a process: libmilter has no other
 * way to hand it over). -1 with err set. */
int callbacks_register(struct gate *gate, struct error *err);

#endif
