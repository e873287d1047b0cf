/* program: runs a program, without a shell, and reads what it prints line by line while it runs. It has a
 * deadline, after which it and its children are killed: whatever it does, the caller is back in time. */
#ifndef RCPTGATE_SYS_PROGRAM_H
#define RCPTGATE_SYS_PROGRAM_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { PROGRAM_LINE_MAX = 8 << 20 }; /* a longer line is given as one of no bytes */

/* line has n bytes and a NUL behind them; no newline. It may be written to. */
typedef void program_line_fn(void *arg, char *line, size_t n);

struct program {
    const char *const *argv; /* ends with NULL; argv[0] is an absolute path */
    int64_t timeout_ms;
    int stop_fd; /* readable: give up at once; -1: none */
    program_line_fn *line;
    void *arg;
};

/* 0: it ended by itself with status 0. -1 with err set; lines may have been given all the same. */
int program_run(const struct program *program, struct error *err);

#endif
