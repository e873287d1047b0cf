/* log: mail logs as the RCPTs that a gate would have been asked about, in the order of time.
 *
 * Where a host's log has decision lines of rcptgate, these are the source: every RCPT, with its own time.
 * Else Postfix's lines are put together by their queue ids: a RCPT that was accepted is the first delivery
 * line for what the client had said (orig_to before to), at the time of the message's "client=" line; one
 * that a milter refused has a line of its own. RCPTs that Postfix refused by itself reach no milter; mail
 * that did not come by SMTP has no "client=" line.
 *
 * Deliveries are logged later than their RCPT, in a queue that stands still hours later. So RCPTs are held
 * back and sorted, as many as REPLAY_HELD at once; one that comes later still is replayed late, and
 * counted. */
#ifndef RCPTGATE_REPLAY_LOG_H
#define RCPTGATE_REPLAY_LOG_H

#include "base/action.h"
#include "base/error.h"
#include "base/network.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    REPLAY_HELD = 262144,     /* RCPTs that are sorted at once */
    REPLAY_MESSAGES = 131072, /* queue ids that are remembered at once */
    REPLAY_HOSTS = 64,
};

struct replay_message { /* shared by its events */
    uint64_t number;
    struct network client;
    const char *user, *sender; /* NULL: not logged in, not known */
    const char *host;
    int64_t size;  /* -1: not known */
    void *open[2]; /* for who replays it: two policies can */
};

enum replay_what {
    REPLAY_RCPT,
    REPLAY_END,
    REPLAY_ABORT,
    REPLAY_FREE /* the message will not be heard of again */
};

struct replay_event {
    enum replay_what what;
    int64_t time_ms; /* never less than that of the event before */
    struct replay_message *message;
    const char *recipient; /* REPLAY_RCPT */
    enum action logged;    /* what it got then; ACTION_NONE: not known */
};

/* false ends the replay: something failed. */
typedef bool replay_each(void *arg, const struct replay_event *event);

struct replay_numbers {
    uint64_t lines, garbage;
    uint64_t decisions, deliveries, milter_refused; /* RCPTs, by where they were found */
    uint64_t refused;                               /* RCPTs that Postfix refused by itself */
    uint64_t unknown;                               /* deliveries of mail without "client=" line */
    uint64_t late;
    int64_t first_ms, last_ms; /* of the RCPTs; 0 where there are none */
    bool backwards;            /* a file begins before the one before it ended */
};

struct replay_log;

struct replay_log *replay_log_new(replay_each *each, void *arg); /* NULL: out of memory */
void replay_log_free(struct replay_log *log);

/* Before the first line of a file. modified_s: its last change, for dates without a year. */
void replay_log_file(struct replay_log *log, int64_t modified_s);

/* False: out of memory, or each() gave up. */
bool replay_log_line(struct replay_log *log, const char *line, size_t n);

/* What is still held back. */
bool replay_log_end(struct replay_log *log);

const struct replay_numbers *replay_log_numbers(const struct replay_log *log);

#endif
