/* log: lines to syslog or stderr that can never hold up a session.
 *
 * log_line() copies the line into a bounded ring and returns; a thread of its own writes. When the reader of the log
 * stands still and the ring is full, lines are dropped and counted, and the count is logged when writing goes on. Before
 * log_start() and after log_stop() lines go straight to stderr. One log for the process: it is the
 * only global of the library, since libmilter's callbacks and all threads write to it. */
#ifndef RCPTGATE_SYS_LOG_H
#define RCPTGATE_SYS_LOG_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_priority { LOG_AT_ERROR, LOG_AT_WARNING, LOG_AT_INFO, LOG_AT_DEBUG };

enum { LOG_LINE_MAX = 2048 }; /* longer lines are cut */

/* 0, or -1 with err set when out of memory or threads (logging to stderr then goes on directly). */
int log_start(bool to_stderr, enum log_priority level, struct error *err);

/* Writes what is left, waiting at most a second for a reader that stands still. */
void log_stop(void);

void log_set_level(enum log_priority level);
bool log_wants(enum log_priority priority);

/* One line, without newline. Controls and bytes above 0x7e become '?': whatever a client sent cannot
 * break a line in two. */
void log_line(enum log_priority priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for a line that is there already; and for one of n bytes, LOG_LINE_MAX - 1 at most, that are all printable, and a NUL. */
void log_text(enum log_priority priority, const char *line);
void log_printable(enum log_priority priority, const char *line, size_t n);

bool log_goes_to_stderr(void);
uint64_t log_dropped(void); /* lines since the start */

#endif
