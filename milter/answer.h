/* answer: the one place from which a reply goes to Postfix.
 *
 * libmilter sends whatever was set last with whatever status is returned: 450 set and REJECT returned is a
 * 550 bounce. So the status is derived from the first digit of the line, here and nowhere else. */
#ifndef RCPTGATE_MILTER_ANSWER_H
#define RCPTGATE_MILTER_ANSWER_H

#include "policy/reply.h"

#include <libmilter/mfapi.h>

/* SMFIS_CONTINUE for an empty line (nothing is set then), else sets the reply and returns SMFIS_TEMPFAIL or
 * SMFIS_REJECT. A line that libmilter refuses becomes a bare 451. */
sfsistat answer(SMFICTX *ctx, const struct reply_line *line);

#endif
