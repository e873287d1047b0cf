/* maillog: what a line of Postfix, or a decision of rcptgate's, says. Pure: no clock, no memory of lines before; log.h puts messages
 * together by their queue ids. */
#ifndef RCPTGATE_REPLAY_MAILLOG_H
#define RCPTGATE_REPLAY_MAILLOG_H

#include "base/action.h"
#include "frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum maillog_kind {
    MAILLOG_OTHER,   /* says nothing about a RCPT */
    MAILLOG_CLIENT,  /* QUEUE, CLIENT, USER, ORIGIN: the first RCPT of a message was accepted */
    MAILLOG_PROXIED, /* PID, CLIENT, USER: its message goes on to a filter, which gives it its queue id */
    MAILLOG_PROXY_ACCEPT,   /* PID, QUEUED_AS: and here that is */
    MAILLOG_REFUSED,        /* a RCPT that Postfix refused by itself: no milter saw it */
    MAILLOG_MILTER_REFUSED, /* QUEUE (if any), CLIENT, FROM, TO, USER: a RCPT that a milter refused */
    MAILLOG_ABORTED,        /* QUEUE: refused after its RCPTs; nothing of it was taken */
    MAILLOG_QUEUED,         /* QUEUE, FROM, size: the message is in the queue, or a queue run begins */
    MAILLOG_DELIVERY, /* QUEUE, TO: what was said at RCPT TO, before aliases were expanded. QUEUED_AS: what the next
                               server called it */
    MAILLOG_DROPPED,     /* QUEUE: a milter dropped the whole message */
    MAILLOG_REMOVED,     /* QUEUE: the id is free again */
    MAILLOG_TURNED_AWAY, /* a connection that a milter refused: no RCPT of it is in the log */
    MAILLOG_DECISION,    /* ours: QUEUE (if any), CLIENT, FROM, TO, USER, action, through */
    MAILLOG_OUR_END, /* ours: QUEUE, CLIENT, FROM, TO (if any), USER, size: that message has ended; through: it was taken */
};

enum maillog_text {
    MAILLOG_HOST,
    MAILLOG_PID,
    MAILLOG_QUEUE,
    MAILLOG_CLIENT_ADDRESS,
    MAILLOG_USER,
    MAILLOG_FROM, /* without <>; of a decision percent-encoded, as TO and USER are */
    MAILLOG_TO,
    MAILLOG_ORIGIN,    /* the queue id that it had before (XFORWARD) */
    MAILLOG_QUEUED_AS, /* the one that it has now */
    MAILLOG_TEXTS
};

struct maillog_line {
    enum maillog_kind kind;
    struct span text[MAILLOG_TEXTS]; /* those that the kind names, and HOST; the others are empty */
    int64_t size;                    /* -1: not told */
    enum action action;
    bool through;   /* not refused: the RCPT, or the whole message at its end */
    bool forwarded; /* MAILLOG_CLIENT: the client is the one that a filter or proxy named (XFORWARD) */
    unsigned repeats;
};

/* frame: of a FRAME_LINE. */
enum maillog_kind maillog_parse(const struct frame *frame, struct maillog_line *out);

/* Copies a text of a decision line without its percent codes; false where it does not fit (nothing is written
 * but a NUL). */
bool maillog_decode(struct span text, char *out, size_t room);

#endif
