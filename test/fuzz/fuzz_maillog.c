/* fuzz_maillog: whatever a log holds, every text that is found lies inside the line or the reader, numbers are in their ranges, and
 * time goes on. */
#include "maillog.h"
#include "replay/log.h"
#include "timeline.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool truth)
{
    if (!truth)
        abort();
}

/* Reads every byte, so that one beyond its memory is seen. */
static void check_text(struct span text)
{
    char out[64], *copy = malloc(text.n + 1);
    demand(copy != NULL);
    if (text.n > 0)
        memcpy(copy, text.at, text.n);
    free(copy);
    if (maillog_decode(text, out, sizeof out))
        demand(strlen(out) <= text.n);
}

static void check_date(const struct date *date)
{
    if (date->set)
        demand(date->month >= 1 && date->month <= 12 && date->day >= 1 && date->day <= 31 &&
               date->hour <= 23 && date->minute <= 59 && date->second <= 60 && date->ms <= 999);
}

static void check_line(struct timeline *timeline, const struct frame *frame)
{
    struct maillog_line line;
    enum maillog_kind kind = maillog_parse(frame, &line);
    for (int i = 0; i < MAILLOG_TEXTS; i++)
        check_text(line.text[i]);
    demand(line.size >= -1 && (line.size == -1) == (kind != MAILLOG_QUEUED));
    demand(kind != MAILLOG_DELIVERY || (line.text[MAILLOG_TO].n > 0 && line.text[MAILLOG_QUEUE].n > 0));
    int64_t ms = timeline_of(timeline, &frame->date, &frame->outer);
    demand(ms > -INT64_C(100000) * 366 * 86400 * 1000 && ms < INT64_C(100000) * 366 * 86400 * 1000);
}

static bool in_order(void *arg, const struct replay_event *event)
{
    int64_t *last = arg;
    demand(event->what == REPLAY_FREE || event->time_ms >= *last);
    if (event->what != REPLAY_FREE)
        *last = event->time_ms;
    return true;
}

/* The same lines as a whole log. */
static void check_log(const uint8_t *data, size_t size)
{
    int64_t last = INT64_MIN;
    struct replay_log *log = replay_log_new(in_order, &last);
    demand(log != NULL);
    replay_log_file(log, 1795399704);
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t n = end != NULL ? (size_t)(end - data) - at : size - at;
        demand(replay_log_line(log, (const char *)data + at, n));
        at += n + 1;
    }
    demand(replay_log_end(log));
    replay_log_free(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct frame_reader *reader;
    struct timeline timeline;
    struct frame frame;
    if (reader == NULL)
        demand((reader = frame_reader_new()) != NULL);
    timeline_init(&timeline);
    timeline_file(&timeline, 1795399704);
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t n = end != NULL ? (size_t)(end - data) - at : size - at;
        char *line = malloc(n); /* of its own, so that a read beyond its end is seen */
        demand(line != NULL);
        memcpy(line, data + at, n);
        enum frame_kind kind = frame_read(reader, (struct span){line, n}, &frame);
        check_date(&frame.date);
        check_date(&frame.outer);
        check_text(frame.host);
        demand(kind != FRAME_LINE || (frame.date.set && frame.daemon.n > 0));
        if (kind == FRAME_LINE)
            check_line(&timeline, &frame);
        free(line);
        at += n + 1;
    }
    (void)frame_end(reader, &frame);
    if (size > 0 && data[size - 1] % 4 == 0) /* it takes longer than all the rest */
        check_log(data, size);
    return 0;
}
