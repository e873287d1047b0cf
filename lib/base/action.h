/* action: what is done with a recipient, ordered by hardness, so that the harder of two is the greater. */
#ifndef RCPTGATE_BASE_ACTION_H
#define RCPTGATE_BASE_ACTION_H

enum action {
    ACTION_NONE = 0, /* undecided: never the same as accept */
    ACTION_ACCEPT,
    ACTION_DEFER,   /* 4xx */
    ACTION_DISCARD, /* 250, then dropped at end of message */
    ACTION_REJECT,  /* 5xx */
};

/* "accept", "defer", "discard", "reject"; "none" for the rest. */
const char *action_name(enum action action);

/* ACTION_NONE for NULL and for what is not a name (names are lower case). */
enum action action_from_name(const char *name);

#endif
