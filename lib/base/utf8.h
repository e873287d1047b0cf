/* utf8: is it UTF-8? RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef RCPTGATE_BASE_UTF8_H
#define RCPTGATE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* n bytes, none of them a NUL, and one behind them. */
bool utf8_valid(const char *string, size_t n);

/* What comes from outside and is shown: each byte that is no UTF-8, or of a control character (one for
 * directions or lines, too), becomes a "?". */
void utf8_clean(char *string);

#endif
