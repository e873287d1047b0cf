/* event: what a mail log comes down to: RCPTs, and the ends of their messages, in the order of time. */
#ifndef RCPTGATE_REPLAY_EVENT_H
#define RCPTGATE_REPLAY_EVENT_H

#include "base/network.h"

#include <stdbool.h>
#include <stdint.h>

struct replay_message { /* shared by its events */
    uint64_t number;
    struct network client;
    const char *user, *sender; /* NULL: not logged in, not known */
    bool sender_queued;        /* the sender as the queue shows it, where SRS may have rewritten it */
    const char *host;
    int64_t size;  /* -1: not known */
    bool ends;     /* its end is in the log; else what is accepted counts as taken at once */
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
};

/* false ends the replay: something failed. */
typedef bool replay_each(void *arg, const struct replay_event *event);

#endif
