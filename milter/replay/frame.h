/* frame: what a log line is wrapped in. Finds NAME/DAEMON[pid]: (RFC 5424: NAME/DAEMON pid - -) anywhere in a line, the date that
 * stands nearest before it, and the host; undoes JSON (docker, journald and others) and journald's export format, whose records
 * have a line for each field.
 *
 * The first program of a line counts, and what stands before it must look like a frame: neither Postfix's lines nor those of
 * another program can be made to say something by the text that a client sent. */
#ifndef RCPTGATE_REPLAY_FRAME_H
#define RCPTGATE_REPLAY_FRAME_H

#include "date.h"

#include <stdint.h>

enum frame_kind {
    FRAME_NOTHING, /* no line of a log that is known */
    FRAME_EMPTY,
    FRAME_PART,    /* of a record: the next lines tell */
    FRAME_OTHER,   /* dated, of another program */
    FRAME_UNDATED, /* of Postfix or rcptgate, but when? */
    FRAME_LINE,    /* all is filled */
    FRAME_REPEATED /* "last message repeated 3 times": date, host, repeats */
};

/* Frames that cannot be read, by their looks. */
enum frame_unread {
    FRAME_UNREAD_UNKNOWN, /* nothing known of it */
    FRAME_UNREAD_BINARY_JOURNAL,
    FRAME_UNREAD_VERBOSE,
    FRAME_UNREAD_PRETTY,
    FRAME_UNREAD_MONOTONIC,
    FRAME_UNREAD_UNIT,
    FRAME_UNREAD_UTF16,
    FRAME_UNREAD_CUT, /* JSON or an export that ends in its middle, or is too long */
    FRAMES_UNREAD
};

struct frame {
    enum frame_unread unread; /* of FRAME_NOTHING, and of FRAME_OTHER where a program cannot be told */
    struct date date;         /* the nearest one */
    struct date outer;  /* another one of the line that has a zone where the nearest has none, else not set */
    struct span host;   /* empty: not named */
    struct span daemon; /* "smtpd", "rcptgate" */
    struct span pid;    /* empty: not named */
    struct span text;   /* what was logged */
    unsigned repeats;   /* how often; 1, or what a syslogd says that it left out */
};

struct frame_reader;

struct frame_reader *frame_reader_new(void); /* NULL: out of memory */
void frame_reader_free(struct frame_reader *reader);

/* line without its newline; any bytes. What is found lies in the line or in the reader, until the next call. */
enum frame_kind frame_read(struct frame_reader *reader, struct span line, struct frame *out);

/* Behind the last line of a file: a record that nothing has ended; FRAME_EMPTY: there is none. */
enum frame_kind frame_end(struct frame_reader *reader, struct frame *out);

/* The name of such a frame, and the command that makes a readable one ("" where there is none). */
const char *frame_unread_name(enum frame_unread unread);
const char *frame_unread_help(enum frame_unread unread);

#endif
