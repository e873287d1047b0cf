/* span: a piece of a line, and the small steps that reading one is made of. Every look is bounded by its end. */
#ifndef RCPTGATE_REPLAY_SPAN_H
#define RCPTGATE_REPLAY_SPAN_H

#include <stdbool.h>
#include <stddef.h>

struct span { /* n bytes, not terminated; n 0: absent or empty */
    const char *at;
    size_t n;
};

bool span_is_digit(char c);
bool span_is_alnum(char c); /* ASCII */
bool span_is_number(struct span text);

bool span_begins(struct span text, const char *with);
bool span_equals(struct span text, const char *with);
bool span_has(struct span text, const char *what);

void span_skip(struct span *text, size_t n); /* n <= text->n */

/* Skips `with` where the text begins so. */
bool span_take(struct span *text, const char *with);

/* What stands before `end`, and skips both. False (nothing is skipped) where there is no `end`. */
bool span_until(struct span *text, const char *end, struct span *out);

/* What stands before the next blank or the end, and skips it and the blanks behind; empty at the end. */
struct span span_word(struct span *text);

/* A number of just that many digits, least <= number <= most. False: text is where it was, or behind some digits. */
bool span_digits(struct span *text, size_t digits, int least, int most, int *out);

#endif
