/* maillog: what one line of a mail log says about a RCPT: lines of Postfix 3.x, and the decision lines of rcptgate.
 *
 * Pure, keeps nothing, copies nothing: all texts point into the line. Dates are those of syslog ("Nov  3 02:08:24",
 * no year, local time; RFC 3164) and RFC 3339 in the forms that rsyslog, journalctl -o short-iso and Postfix write.
 * Who reads the lines puts messages together by their queue ids. */
#ifndef RCPTGATE_REPLAY_MAILLOG_H
#define RCPTGATE_REPLAY_MAILLOG_H

#include "base/action.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct maillog_text { /* n bytes, not terminated; n 0: absent or empty */
    const char *at;
    size_t n;
};

struct maillog_time {
    int year;                                 /* 0: the line names none */
    int month, day, hour, minute, second, ms; /* month and day from 1; within their ranges */
    bool zoned;                               /* offset_s is known; else local time */
    int offset_s;                             /* east of UTC */
};

enum maillog_kind {
    MAILLOG_GARBAGE,        /* no line of a log: no date, or nothing behind it */
    MAILLOG_OTHER,          /* says nothing about a RCPT */
    MAILLOG_CLIENT,         /* queue, client, user: the first RCPT of a message was accepted */
    MAILLOG_REFUSED,        /* a RCPT that Postfix refused by itself: no milter saw it */
    MAILLOG_MILTER_REFUSED, /* queue (if any), client, from, to, user: a RCPT that a milter refused */
    MAILLOG_ABORTED,        /* queue: refused after its RCPTs; nothing of it was taken */
    MAILLOG_QUEUED,         /* queue, from, size: the message is in the queue, or a queue run begins */
    MAILLOG_DELIVERY,       /* queue, to: what was said at RCPT TO, before aliases were expanded */
    MAILLOG_REMOVED,        /* queue: the id is free again */
    MAILLOG_DECISION,       /* ours: queue (if any), client, from, to, user, action */
};

struct maillog_line {
    struct maillog_time time;
    struct maillog_text host;
    struct maillog_text queue, client, user, from, to; /* without <>; of a decision percent-encoded */
    int64_t size;                                      /* -1: not told */
    enum action action;
    bool reinjected; /* MAILLOG_CLIENT: came back from a content filter, under another id before */
};

/* line without its newline; any bytes. Everything in *out that the kind does not name is zero. */
enum maillog_kind maillog_parse(const char *line, size_t n, struct maillog_line *out);

/* Copies a text of a decision line without its percent codes; false where it does not fit (nothing is written
 * but a NUL). */
bool maillog_decode(struct maillog_text text, char *out, size_t room);

#endif
