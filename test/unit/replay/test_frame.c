/* frame: the corpus of test/data/frames.txt, every cut of its lines, and records that do not end. */
#include "frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 8192 };

static size_t unescape(const char *text, size_t n, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned byte = (unsigned char)text[i];
        if (text[i] == '\\' && i + 3 < n && text[i + 1] == 'x' && sscanf(text + i + 2, "%2x", &byte) == 1)
            i += 3;
        out[used++] = (char)byte;
    }
    return used;
}

static size_t add_date(char *out, const struct date *date)
{
    size_t n = (size_t)(date->year != 0 ? sprintf(out, "%04d-", date->year) : sprintf(out, "----"));
    n += (size_t)sprintf(out + n, "%02d-%02dT%02d:%02d:%02d", date->month, date->day, date->hour,
                         date->minute, date->second);
    if (date->ms != 0)
        n += (size_t)sprintf(out + n, ".%03d", date->ms);
    if (date->zoned && date->offset_s == 0)
        n += (size_t)sprintf(out + n, "Z");
    else if (date->zoned)
        n += (size_t)sprintf(out + n, "%c%02d:%02d", date->offset_s < 0 ? '-' : '+',
                             abs(date->offset_s) / 3600, abs(date->offset_s) / 60 % 60);
    if (date->zone[0] != '\0')
        n += (size_t)sprintf(out + n, "(%s)", date->zone);
    return n;
}

/* One line, in memory of its own size, so that a read beyond its end is seen. */
static enum frame_kind read_line(struct frame_reader *reader, const char *line, size_t n, struct frame *frame,
                                 char **memory)
{
    free(*memory);
    *memory = malloc(n);
    assert_non_null(*memory);
    memcpy(*memory, line, n);
    return frame_read(reader, (struct span){*memory, n}, frame);
}

static size_t describe(enum frame_kind kind, const struct frame *frame, char *out)
{
    static const char *const kinds[] = {
        [FRAME_NOTHING] = "nothing",  [FRAME_EMPTY] = "empty",     [FRAME_PART] = "part",
        [FRAME_OTHER] = "other",      [FRAME_UNDATED] = "undated", [FRAME_LINE] = "line",
        [FRAME_REPEATED] = "repeated"};
    static const char *const unread[] = {"unknown",   "journal-file", "verbose", "pretty",
                                         "monotonic", "unit",         "utf16",   "cut"};
    size_t n = (size_t)sprintf(out, "%s", kinds[kind]);
    if (kind == FRAME_NOTHING || frame->unread != FRAME_UNREAD_UNKNOWN)
        n += (size_t)sprintf(out + n, " %s", unread[frame->unread]);
    if (kind == FRAME_REPEATED)
        n += (size_t)sprintf(out + n, " %u", frame->repeats);
    if (frame->date.set) {
        out[n++] = ' ';
        n += add_date(out + n, &frame->date);
    }
    if (kind == FRAME_LINE || kind == FRAME_UNDATED || kind == FRAME_REPEATED)
        n += (size_t)sprintf(out + n, " host=%.*s", (int)frame->host.n, frame->host.at);
    if (kind != FRAME_LINE && kind != FRAME_UNDATED)
        return n;
    n += (size_t)sprintf(out + n, " daemon=%.*s pid=%.*s", (int)frame->daemon.n, frame->daemon.at,
                         (int)frame->pid.n, frame->pid.at);
    if (frame->repeats != 1)
        n += (size_t)sprintf(out + n, " times=%u", frame->repeats);
    if (frame->outer.set) {
        n += (size_t)sprintf(out + n, " outer=");
        n += add_date(out + n, &frame->outer);
    }
    n += (size_t)sprintf(out + n, " text=");
    if (frame->text.n > 0) /* at may be NULL then */
        memcpy(out + n, frame->text.at, frame->text.n);
    return n + frame->text.n;
}

/* The last line of the text counts. */
static size_t render(struct frame_reader *reader, const char *text, size_t n, char *out)
{
    struct frame frame;
    enum frame_kind kind = FRAME_EMPTY;
    char *memory = NULL;
    size_t length = 0;
    for (const char *at = text; at <= text + n;) {
        const char *end = memchr(at, '\n', (size_t)(text + n - at));
        size_t line = end != NULL ? (size_t)(end - at) : (size_t)(text + n - at);
        kind = read_line(reader, at, line, &frame, &memory);
        length = describe(kind, &frame, out);
        at += line + 1;
    }
    if (kind == FRAME_PART)
        length = describe(frame_end(reader, &frame), &frame, out);
    free(memory);
    return length;
}

static void each_row(void (*check)(struct frame_reader *reader, const char *line, size_t n, const char *want,
                                   size_t n_want))
{
    char *row = NULL;
    size_t size = 0, rows = 0;
    FILE *file = fopen(SOURCE_DIR "/test/data/frames.txt", "r");
    struct frame_reader *reader = frame_reader_new();
    assert_non_null(file);
    assert_non_null(reader);
    while (getline(&row, &size, file) > 0) {
        char line[ROOM], want[ROOM];
        row[strcspn(row, "\n")] = '\0';
        const char *tab = strchr(row, '\t');
        if (row[0] == '#' || tab == NULL)
            continue;
        size_t n = unescape(row, (size_t)(tab - row), line),
               n_want = unescape(tab + 1, strlen(tab + 1), want);
        check(reader, line, n, want, n_want);
        rows++;
    }
    assert_true(rows >= 80);
    frame_reader_free(reader);
    assert_int_equal(fclose(file), 0);
    free(row);
}

static void check_row(struct frame_reader *reader, const char *line, size_t n, const char *want,
                      size_t n_want)
{
    char got[ROOM];
    size_t length = render(reader, line, n, got);
    if (length != n_want || memcmp(got, want, n_want) != 0)
        fail_msg("%.*s\n gave %.*s\n not  %.*s", (int)n, line, (int)length, got, (int)n_want, want);
}

static void test_corpus(void **state)
{
    (void)state;
    each_row(check_row);
}

/* Whatever is cut off, nothing is read beyond the end, and the next line is read as ever. */
static void cut_row(struct frame_reader *reader, const char *line, size_t n, const char *want, size_t n_want)
{
    static const char plain[] = "Nov 23 02:08:24 mx postfix/smtpd[1]: x";
    char got[ROOM];
    (void)want;
    (void)n_want;
    for (size_t end = 0; end < n; end++) {
        struct frame frame;
        (void)render(reader, line, end, got);
        (void)describe(frame_end(reader, &frame), &frame, got);
        assert_int_equal(frame_read(reader, (struct span){plain, sizeof plain - 1}, &frame), FRAME_LINE);
    }
}

static void test_cuts(void **state)
{
    (void)state;
    each_row(cut_row);
}

/* An export's field that claims more bytes than there is room: named, and given up. */
static void test_endless_record(void **state)
{
    (void)state;
    static char line[60000];
    struct frame frame;
    struct frame_reader *reader = frame_reader_new();
    assert_non_null(reader);
    memset(line, 'x', sizeof line);
    assert_int_equal(frame_read(reader, (struct span){"__CURSOR=a", 10}, &frame), FRAME_PART);
    assert_int_equal(frame_read(reader, (struct span){"MESSAGE", 7}, &frame), FRAME_PART);
    memset(line, '\x7f', 8);
    enum frame_kind kind = FRAME_PART;
    for (int i = 0; i < 10 && kind == FRAME_PART; i++)
        kind = frame_read(reader, (struct span){line, sizeof line}, &frame);
    assert_int_equal(kind, FRAME_NOTHING);
    assert_int_equal(frame.unread, FRAME_UNREAD_CUT);
    assert_int_equal(frame_read(reader, (struct span){"Nov 23 02:08:24 mx postfix/smtpd[1]: x", 38}, &frame),
                     FRAME_LINE);
    frame_reader_free(reader);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < FRAMES_UNREAD; i++) {
        assert_non_null(frame_unread_name((enum frame_unread)i));
        assert_non_null(frame_unread_help((enum frame_unread)i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_endless_record),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
