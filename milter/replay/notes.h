/* notes: what a replay could not know, or had to decide without knowing, in words: of the frames of the lines, of their clock, and of who
 * is who; and what it dropped. */
#ifndef RCPTGATE_REPLAY_NOTES_H
#define RCPTGATE_REPLAY_NOTES_H

#include "replay/log.h"
#include "replay/run.h"

#include <jansson.h>

/* Objects with the numbers, and "notes", an array of sentences. NULL: out of memory. */
json_t *notes_frame(const struct replay_numbers *numbers);
json_t *notes_clock(const struct replay_numbers *numbers);
json_t *notes_identity(const struct replay_numbers *numbers);
json_t *notes_dropped(const struct replay_numbers *numbers);

/* An array: of one policy's run. */
json_t *notes_run(const struct replay *replay);

/* Of a log without any RCPT: what it looks like, and what helps; "" where nothing is known of it. */
const char *notes_hint(const struct replay_numbers *numbers, char *buffer, size_t size);

#endif
