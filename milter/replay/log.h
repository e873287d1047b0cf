/* log: mail logs as the RCPTs that a gate would have been asked about, in the order of time.
 *
 * Where a host's log has decision lines of rcptgate, these are the source: every RCPT, with its own time; also for a Postfix of
 * another name whose queue ids they name. Else Postfix's lines are put together by their queue ids: a RCPT that was accepted is the
 * first delivery line for what the client had said (orig_to before to), at the time of the message's "client=" line; one that a milter
 * refused has a line of its own. RCPTs that Postfix refused by itself reach no milter; mail that did not come by SMTP has no "client="
 * line.
 *
 * A message that a content filter gives back is not another one: known by the queue id before it (XFORWARD), or by the one that the
 * filter's answer names ("queued as"). A client that a proxy or filter names (XFORWARD, or the smtpd before it) counts, not the proxy.
 *
 * Lines are sorted by their time, REPLAY_LINES at once. Deliveries are logged later than their RCPT, in a queue that stands still hours
 * later. So RCPTs are held back and sorted, as many as REPLAY_HELD at once; one that comes later still is replayed late, and counted. */
#ifndef RCPTGATE_REPLAY_LOG_H
#define RCPTGATE_REPLAY_LOG_H

#include "replay/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REPLAY_HELD = 262144, /* RCPTs that are sorted at once */
    REPLAY_LINES = 32768, /* lines */
    REPLAY_HOSTS = 64,
    REPLAY_REPEATS = 10000, /* of one line, that a syslogd says it left out */
    REPLAY_UNREAD = 8,      /* frames that cannot be read */
};

struct replay_numbers {
    uint64_t lines, garbage;
    uint64_t unread
        [REPLAY_UNREAD]; /* of the garbage, by enum frame_unread; and what could not be told for its frame */
    uint64_t undated;
    uint64_t repeated; /* that a syslogd left out and counted */

    uint64_t local, other_zone, yearless, twice, skipped; /* lines, see timeline.h */
    uint64_t back;
    int64_t back_most_s, back_at_ms;
    int moved_years;
    bool leap;
    bool backwards; /* a file begins before the one before it ended */
    uint64_t late;

    uint64_t decisions, deliveries, milter_refused; /* RCPTs, by where they were found */
    uint64_t refused;                               /* RCPTs that Postfix refused by itself */
    uint64_t unknown;                               /* deliveries of mail without "client=" line */
    uint64_t given_back;                            /* messages */
    uint64_t given_back_late;      /* RCPTs of those that had been replayed when it was seen */
    uint64_t forwarded;            /* messages whose client a filter or proxy named */
    uint64_t this_host;            /* RCPTs of messages from a loopback address */
    uint64_t no_sender, no_client; /* RCPTs whose message\'s is not in the log */
    uint64_t turned_away;          /* connections that a milter refused */
    uint64_t dropped;              /* messages that a milter dropped, of Postfix's lines */
    uint64_t unfinished; /* messages of Postfix's lines that had a RCPT accepted, and never came to an end */
    uint64_t unended;    /* RCPTs of a gate's lines that were accepted, and their message never ended */
    uint64_t queued_senders; /* messages whose sender is known from the queue alone */

    uint64_t long_lines, too_long, recipients, repeats, hosts, forgotten; /* what was dropped, see notes.c */

    int64_t first_ms, last_ms; /* of the RCPTs, as replay_log_shown() has them; 0 where there are none */
};

struct replay_log;

struct replay_log *replay_log_new(replay_each *each, void *arg); /* NULL: out of memory */
void replay_log_free(struct replay_log *log);

/* Before the first line of a file. modified_s: its last change, for dates without a year. */
void replay_log_file(struct replay_log *log, int64_t modified_s);

/* Lines of that file that were too long to be handed over. */
void replay_log_skipped(struct replay_log *log, uint64_t lines);

/* False: out of memory, or each() gave up. */
bool replay_log_line(struct replay_log *log, const char *line, size_t n);

/* What is still held back. */
bool replay_log_end(struct replay_log *log);

/* Whole only after replay_log_end(). */
const struct replay_numbers *replay_log_numbers(const struct replay_log *log);

/* The date of an event for people: its own time, but where a year was guessed wrong at first. */
int64_t replay_log_shown(const struct replay_log *log, int64_t time_ms);

#endif
