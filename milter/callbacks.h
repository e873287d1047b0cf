/* callbacks: what libmilter calls. A few lines each: facts in, session function, answer out. */
#ifndef RCPTGATE_MILTER_CALLBACKS_H
#define RCPTGATE_MILTER_CALLBACKS_H

#include "milter/session.h"

/* Registers the callbacks with libmilter; their sessions go into that list, and use its gate (there is one in a process:
 * libmilter has no other way to hand it over). -1 with err set. */
int callbacks_register(struct session_list *list, struct error *err);

#endif
