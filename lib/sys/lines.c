/* lines: libarchive recognises what a file is compressed with, and reads one that is not as it is. The buffer holds at least one whole line at a time:
 * what is left of the last one is moved to its beginning before more is read. */
#include "sys/lines.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 4 * LINES_MAX };

struct lines {
    struct archive *archive;
    int fd;
    bool begun; /* the first bytes were looked at */
    struct stat st;
    size_t at, end; /* what is in the buffer and not handed out yet */
    bool ended;
    uint64_t skipped;
    char buffer[BUFFER];
};

/* All that log files are compressed with, and no archive: a file is one log. */
static struct archive *archive_make(void)
{
    static int (*const support[])(struct archive *) = {
        archive_read_support_filter_gzip, archive_read_support_filter_bzip2, archive_read_support_filter_xz,
        archive_read_support_filter_lzma, archive_read_support_filter_zstd,  archive_read_support_filter_lz4,
        archive_read_support_format_raw,  archive_read_support_format_empty};
    struct archive *archive = archive_read_new();
    for (size_t i = 0; archive != NULL && i < sizeof support / sizeof support[0]; i++)
        (void)support[i](archive); /* without one of them such a file is refused as it is opened */
    return archive;
}

struct lines *lines_open(const char *file, struct error *err)
{
    struct lines *lines = calloc(1, sizeof *lines);
    if (lines == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    lines->fd = strcmp(file, "-") == 0 ? dup(STDIN_FILENO) : open(file, O_RDONLY | O_CLOEXEC);
    if (lines->fd < 0 || fstat(lines->fd, &lines->st) < 0)
        error_set(err, "%s cannot be read: %s", file, strerror(errno));
    else if (S_ISDIR(lines->st.st_mode))
        error_set(err, "%s cannot be read: it is a directory", file);
    else if ((lines->archive = archive_make()) == NULL)
        error_set(err, "%s cannot be read: out of memory", file);
    else
        return lines;
    lines_close(lines);
    return NULL;
}

void lines_close(struct lines *lines)
{
    if (lines == NULL)
        return;
    (void)archive_read_free(lines->archive); /* only read: nothing can be lost */
    if (lines->fd >= 0)
        (void)close(lines->fd);
    free(lines);
}

static bool failed(const struct lines *lines, struct error *err)
{
    const char *text = archive_error_string(lines->archive);
    if (text != NULL && strcasestr(text, "truncated") != NULL)
        text = "the compressed file ends in its middle";
    error_set(err, "%s", text != NULL ? text : "it is damaged");
    return false;
}

/* Finds out what the file is compressed with. */
static bool begin(struct lines *lines, struct error *err)
{
    struct archive_entry *entry;
    lines->begun = true;
    if (archive_read_open_fd(lines->archive, lines->fd, LINES_MAX) != ARCHIVE_OK)
        return failed(lines, err);
    int rc = archive_read_next_header(lines->archive, &entry);
    lines->ended = rc == ARCHIVE_EOF;
    return rc == ARCHIVE_OK || rc == ARCHIVE_WARN || rc == ARCHIVE_EOF || failed(lines, err);
}

/* Reads more into the buffer. False with err set when it failed. */
static bool fill(struct lines *lines, struct error *err)
{
    if (!lines->begun && !begin(lines, err))
        return false;
    memmove(lines->buffer, lines->buffer + lines->at, lines->end - lines->at);
    lines->end -= lines->at;
    lines->at = 0;
    la_ssize_t got =
        lines->ended ? 0 : archive_read_data(lines->archive, lines->buffer + lines->end, BUFFER - lines->end);
    if (got < 0)
        return failed(lines, err);
    lines->end += (size_t)got;
    lines->ended = got == 0;
    return true;
}

enum lines_status lines_next(struct lines *lines, const char **at, size_t *n, struct error *err)
{
    bool cut = false;
    for (;;) {
        const char *line = lines->buffer + lines->at;
        size_t left = lines->end - lines->at;
        const char *newline = memchr(line, '\n', left);
        if (newline != NULL || (lines->ended && left > 0)) {
            size_t length = newline != NULL ? (size_t)(newline - line) : left;
            lines->at += length + (newline != NULL ? 1 : 0);
            if (cut) { /* the end of a line whose beginning was dropped */
                cut = false;
                continue;
            }
            *at = line;
            *n = length < LINES_MAX ? length : LINES_MAX;
            return LINES_LINE;
        }
        if (lines->ended)
            return LINES_END;
        if (left == BUFFER) { /* longer than any line of a log; its beginning is dropped with the rest */
            lines->skipped += !cut;
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
    int64_t done = archive_filter_bytes(lines->archive, -1), size = (int64_t)lines->st.st_size;
    return done < 0 ? -1 : (int)((done < size ? done : size) * 100 / size);
}

uint64_t lines_skipped(const struct lines *lines)
{
    return lines->skipped;
}
