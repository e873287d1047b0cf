/* error: writes the text, once: the first reason is the one to tell. Too long a text is cut, control characters become
 * "?", so that it fits a log line and a terminal. */
#include "base/error.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>

void error_set(struct error *err, const char *format, ...)
{
    if (err == NULL || err->text[0] != '\0')
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    utf8_clean(err->text); /* it may quote what others said, and be cut within a character */
}
