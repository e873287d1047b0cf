/* lines: the lines of a file, plain or compressed (gzip, bzip2, xz, zstd, lz4), or of standard input, one at a time. */
#ifndef RCPTGATE_SYS_LINES_H
#define RCPTGATE_SYS_LINES_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
    LINES_MAX = 65536
}; /* bytes of a line: more of it is left out; one that is four times as long is skipped, and counted */

struct lines;

/* file: "-" is standard input. NULL with err set. */
struct lines *lines_open(const char *file, struct error *err);
void lines_close(struct lines *lines);

enum lines_status { LINES_LINE, LINES_END, LINES_FAILED };

/* The next line without its newline, valid until the next call. LINES_FAILED: it cannot be read on (err says why). */
enum lines_status lines_next(struct lines *lines, const char **at, size_t *n, struct error *err);

int64_t lines_modified_s(
    const struct lines *lines); /* Unix time of the file's last change; now for what is no file */

/* How many lines were skipped. */
uint64_t lines_skipped(const struct lines *lines);

/* How much of the file has been read, 0 to 100; -1 where its size is not known. */
int lines_percent(struct lines *lines);

#endif
