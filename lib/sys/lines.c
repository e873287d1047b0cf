/* lines: zlib reads files that are not compressed as they are. The buffer holds at least one whole line at a time:
 * what is left of the last one is moved to its beginning before more is read. */
#include "sys/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

enum { BUFFER = 4 * LINES_MAX };

struct lines {
    gzFile gz;
    struct stat st;
    size_t at, end; /* what is in the buffer and not handed out yet */
    bool ended;
    char buffer[BUFFER];
};

struct lines *lines_open(const char *file, struct error *err)
{
    struct lines *lines = calloc(1, sizeof *lines);
    if (lines == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    int fd = strcmp(file, "-") == 0 ? dup(STDIN_FILENO) : open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &lines->st) < 0) {
        error_set(err, "%s cannot be read: %s", file, strerror(errno));
    } else if (S_ISDIR(lines->st.st_mode)) {
        error_set(err, "%s cannot be read: it is a directory", file);
    } else if ((lines->gz = gzdopen(fd, "r")) == NULL || gzbuffer(lines->gz, LINES_MAX) < 0) {
        error_set(err, "%s cannot be read: out of memory", file);
    } else {
        return lines;
    }
    if (lines->gz != NULL)
        (void)gzclose_r(lines->gz); /* nothing was read */
    else if (fd >= 0)
        (void)close(fd);
    free(lines);
    return NULL;
}

void lines_close(struct lines *lines)
{
    if (lines == NULL)
        return;
    (void)gzclose_r(lines->gz); /* only read: nothing can be lost */
    free(lines);
}

/* Reads more into the buffer. False with err set when it failed. */
static bool fill(struct lines *lines, struct error *err)
{
    memmove(lines->buffer, lines->buffer + lines->at, lines->end - lines->at);
    lines->end -= lines->at;
    lines->at = 0;
    int got = gzread(lines->gz, lines->buffer + lines->end, (unsigned)(BUFFER - lines->end));
    int number = Z_OK;
    const char *text = gzerror(lines->gz, &number);
    if (got < 0 || (got == 0 && number == Z_BUF_ERROR)) {
        error_set(err, "%s",
                  number == Z_ERRNO       ? strerror(errno)
                  : number == Z_BUF_ERROR ? "the compressed file ends in its middle"
                                          : text);
        return false;
    }
    lines->end += (size_t)got;
    lines->ended = got == 0;
    return true;
}

enum lines_status lines_next(struct lines *lines, const char **at, size_t *n, struct error *err)
{
    bool cut = false;
    for (;;) {
        const char *begin = lines->buffer + lines->at;
        size_t left = lines->end - lines->at;
        const char *newline = memchr(begin, '\n', left);
        if (newline != NULL || (lines->ended && left > 0)) {
            size_t length = newline != NULL ? (size_t)(newline - begin) : left;
            lines->at += length + (newline != NULL ? 1 : 0);
            if (cut) { /* the end of a line whose beginning was dropped */
                cut = false;
                continue;
            }
            *at = begin;
            *n = length < LINES_MAX ? length : LINES_MAX;
            return LINES_LINE;
        }
        if (lines->ended)
            return LINES_END;
        if (left == BUFFER) { /* longer than any line of a log; its beginning is dropped with the rest */
            cut = true;
            lines->at = lines->end = 0;
        }
        if (!fill(lines, err))
            return LINES_FAILED;
    }
}

int64_t lines_modified_s(const struct lines *lines)
{
    return S_ISREG(lines->st.st_mode) ? (int64_t)lines->st.st_mtime : (int64_t)time(NULL);
}

int lines_percent(struct lines *lines)
{
    if (!S_ISREG(lines->st.st_mode) || lines->st.st_size <= 0)
        return -1;
    long long done = gzoffset(lines->gz);
    return done < 0 ? -1 : (int)(done * 100 / lines->st.st_size);
}
