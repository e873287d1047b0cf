/* progress: writes to stderr five times a second at most, and nothing where that is no terminal. Owns nothing; a line
 * that cannot be written is not missed. */
#include "progress.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { EVERY_NS = 200000000 };

void progress_begin(struct progress *progress)
{
    *progress =
        (struct progress){.on = isatty(STDERR_FILENO) == 1, .next_ns = clock_monotonic_ns() + EVERY_NS};
}

bool progress_due(struct progress *progress)
{
    if (!progress->on || clock_monotonic_ns() < progress->next_ns)
        return false;
    progress->next_ns = clock_monotonic_ns() + EVERY_NS;
    return true;
}

void progress_show(struct progress *progress, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("\r", stderr);
    vfprintf(stderr, format, args);
    fputs("\033[K", stderr);
    va_end(args);
    progress->shown = true;
}

void progress_wipe(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
