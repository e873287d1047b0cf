/* refused: what a decision refuses or drops, for who asks whom it hits (gate/refusals). */
#ifndef RCPTGATE_MILTER_REFUSED_H
#define RCPTGATE_MILTER_REFUSED_H

#include "milter/decide.h"

/* Harmless where nothing was refused. */
void refused_add(struct gate *gate, const struct decision *decision);

/* A client that was refused when it connected (sender NULL), or a message at its end. */
void refused_add_whole(struct gate *gate, const struct policy *policy, const struct network *client,
                       const char *sender, const struct verdict *verdict);

#endif
