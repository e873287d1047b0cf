/* error: one sentence about what went wrong, for the person who has to mend it.
 *
 * The caller owns the struct and zeroes it before the first use. The first error wins: a later
 * error_set() leaves it alone, so the cause is kept and not its consequences. A text says what is
 * wrong, where, and what to do; it carries no newline and no trailing full stop. */
#ifndef RCPTGATE_BASE_ERROR_H
#define RCPTGATE_BASE_ERROR_H

#include <stdbool.h>

struct error {
    char text[512]; /* "" while nothing went wrong; cut, never overrun */
};

/* Sets the text if err is not NULL and still empty. Control characters become '?'. */
void error_set(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
