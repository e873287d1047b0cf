/* message: one message under way, from MAIL FROM to its end: what it holds in the counters, and who was let through.
 *
 * Ends, and is reset, at message_end() or message_abort(). Belongs to one session, whose
 * callbacks come one after the other. Where memory runs out, nothing is said of it but "later". */
#ifndef RCPTGATE_MILTER_MESSAGE_H
#define RCPTGATE_MILTER_MESSAGE_H

#include "milter/decide.h"

struct accepted {       /* a recipient that was answered 250 */
    const char *full;   /* canonical, or the raw argument where that is no address */
    char *raw;          /* RCPT argument as received */
    bool discard;       /* to be dropped at end of message */
    const char *folded; /* then: what Postfix made of it; NULL: it is not known, or said before */
    struct accepted *next;
};

struct message {
    /* Borrowed from the session, for as long as it lives. */
    struct gate *gate;
    const struct network *client;
    uint64_t *no_client_rule; /* as in struct facts */
    struct pool pool;         /* of everything below */

    /* Of this message; all zero between two, but for size and sender. */
    bool open;
    const struct policy *policy; /* borrowed, while open */
    const char *sender_raw;
    const char *user; /* SASL login; NULL: none */
    bool unknown;     /* memory ran out for those: nothing may be said of this message but "later" */
    bool unsure;      /* of the letters of sender, as in struct facts */
    int64_t size;     /* declared, -1: not */
    int64_t bytes;    /* seen: headers and body */
    struct accepted *accepted;
    size_t n_accepted;
    size_t n_decided[ACTION_REJECT + 1], n_duplicate; /* by the action of their verdicts; the others */
    const char *first;  /* the first that was let through: at its RCPT there was no queue id; NULL: none */
    bool first_usual;   /* as in struct address */
    bool client_exempt; /* as the rules said last */
    struct receipt *receipts;
    struct address sender; /* the last: it is long, and message_begin() fills it */
};

struct outcome {
    struct decision decision;
    struct reply_line line; /* code "" where there is nothing to say */
    bool duplicate;         /* accepted before in this message: nothing was counted */
    bool enforced;          /* false in mode shadow: the answer is "go on", whatever the verdict */
};

/* MAIL FROM, with no message open. raw: the argument as received; resolved: what Postfix made of it, NULL if that is not known. policy
 * is borrowed until the message ends. */
void message_begin(struct message *message, const struct policy *policy, const char *raw,
                   const char *resolved, const char *user, int64_t size);

/* RCPT TO of an open message; raw and resolved as above. Strings in the outcome live until the message ends. */
void message_rcpt(struct message *message, const char *raw, const char *resolved, struct outcome *out);

/* Of its headers and body. Harmless without an open message. */
void message_bytes(struct message *message, size_t n);

struct ending {    /* what became of a message at its end */
    bool refused;  /* for all its recipients: it has more bytes than fit, or nobody could tell */
    bool enforced; /* as in struct outcome */
    struct verdict verdict;
    struct reply_line line;
};

/* The message reached its end: what was reserved is taken, with the bytes that came. Waits for the store only where they may not
 * fit: without a SIZE=, or where there are more than that. Refused: all was given back. */
void message_end(struct message *message, struct ending *out);

/* It did not: what was charged is given back, in the background. Harmless without an open message. */
void message_abort(struct message *message);

/* message_abort(), and frees what is kept for the next one. */
void message_done(struct message *message);

#endif
