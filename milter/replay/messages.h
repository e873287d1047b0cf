/* messages: the messages of a log by host and queue id, as many as MESSAGES_MAX; who was used least goes when it is full. A message
 * lives as long as the table or somebody else refers to it. */
#ifndef RCPTGATE_REPLAY_MESSAGES_H
#define RCPTGATE_REPLAY_MESSAGES_H

#include "replay/event.h"
#include "span.h"

#include <stddef.h>

enum {
    MESSAGES_MAX = 131072,
    MESSAGES_TEXT = 2048,  /* bytes of an address or login; Postfix lets long ones pass */
    MESSAGES_SEEN = 10000, /* recipients of a message that are told apart */
};

struct mail {
    struct replay_message known; /* first: what the events show */
    unsigned references;
    int host;
    bool from_postfix; /* made of Postfix's lines, not of a gate's */
    bool ended;        /* it was queued */
    bool gone;         /* its queue id may be another one's from now on */
    bool named;        /* had its queue id, which it may have lost to another */
    bool forwarded;    /* its client is the one that a proxy or filter named */
    bool given_back;   /* by a content filter: its RCPTs are another message's */
    unsigned released; /* RCPTs of it that were handed out */
    int64_t time_ms;
    char *user, *sender; /* own copies behind known */
    uint64_t *seen;      /* hashes of the recipients that had their event */
    size_t n_seen, room;
    struct slot *slot;          /* NULL: not in the table */
    struct mail *newer, *older; /* in the order of use */
};

struct messages;

/* gone: called with a message that nobody refers to any more. NULL: out of memory. */
struct messages *messages_new(void (*gone)(void *arg, struct replay_message *message), void *arg);
void messages_free(struct messages *messages); /* nobody but the table refers to any; NULL is harmless */

/* With one reference, the caller's. NULL: out of memory. */
struct mail *messages_make(struct messages *messages, int host, int64_t time_ms);
void messages_unref(struct messages *messages, struct mail *message); /* NULL is harmless */

/* NULL: not known under that id. */
struct mail *messages_find(struct messages *messages, int host, struct span id);

/* Gives a message its id, which may have been another one's. False: out of memory. */
bool messages_name(struct messages *messages, struct mail *message, struct span id);

/* Was there an event for this recipient of the message? Remembers it. SEEN_LOST: it cannot be remembered. */
enum messages_seen { SEEN_NEW, SEEN_BEFORE, SEEN_LOST };
enum messages_seen messages_see(struct messages *messages, struct mail *message, const char *recipient);

/* How many were forgotten to make room while something could still have come. */
uint64_t messages_forgotten(const struct messages *messages);

#endif
