/* glob: '*' is any bytes, also none; '?' is one character; every other byte is itself, '[' and '\' too.
 *
 * One character is one UTF-8 sequence, or one byte where the text is not UTF-8. Time is at most the product of both
 * lengths, whatever the pattern: no pattern that somebody can write makes the gate hang. */
#ifndef RCPTGATE_BASE_GLOB_H
#define RCPTGATE_BASE_GLOB_H

#include <stdbool.h>

bool glob_match(const char *pattern, const char *text);

/* True where the string has a '*' or a '?'. */
bool glob_is(const char *string);

#endif
