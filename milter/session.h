/* session: one SMTP session as the gate sees it, and the message under way in it. Knows nothing of libmilter.
 *
 * A session belongs to one milter connection, whose callbacks come one after the other, on changing threads.
 * The message's state is reset in one place, message_begin(), and ends at message_end() or
 * message_abort(). */
#ifndef RCPTGATE_SESSION_H
#define RCPTGATE_SESSION_H

#include "decide.h"
#include "gate.h"

struct accepted { /* a recipient that was answered 250 */
    const char *full; /* canonical, or the raw argument where that is no address */
    const char *raw;  /* RCPT argument as received */
    bool discard;     /* to be dropped at end of message */
    struct accepted *next;
};

struct message {
    bool open;
    const struct policy *policy; /* the session's, while open */
    struct pool pool;            /* of everything below */
    struct address sender;
    const char *sender_raw;
    const char *user; /* SASL login; NULL: none */
    bool unknown;     /* memory ran out for those: nothing may be said of this message but "later" */
    int64_t size;     /* declared, -1: not */
    int64_t bytes;    /* seen: headers and body */
    struct accepted *accepted;
    size_t n_accepted, n_discard;
    struct receipt *receipts;
};

struct session {
    struct gate *gate;
    struct session *next, *previous; /* of the gate's list, under its lock */
    atomic_bool busy;                /* in a callback now */
    const struct policy *policy;     /* as last seen; with a reference, so that a message costs no lock */
    int64_t entered_ns;              /* since when; clock_monotonic_ns() */
    struct network client;
    char client_text[NETWORK_TEXT];
    uint64_t no_client_rule; /* as in struct facts */
    bool not_smtpd; /* connected from non_smtpd_milters (port 0): nothing may be refused */
    struct message message;
};

/* Registers with the gate. NULL: out of memory. */
struct session *session_new(struct gate *gate);

/* Gives back what is reserved, in the background, and ends the session; never blocks. NULL is harmless. */
void session_free(struct session *session);

/* Can any client be refused when it connects: by a block, a client rule or a hold? Else nobody needs to wait
 * for the answer. */
bool session_may_refuse(struct gate *gate, const struct policy *policy);

/* The client is known. */
void session_connect(struct session *session, const struct network *client);

/* Is it to be refused at once? An undecided or accepting verdict: go on. proof_pool holds the verdict's proof. */
struct verdict session_judge(struct session *session, struct pool *proof_pool);

/* MAIL FROM. A message that is still open is aborted first. */
void message_begin(struct session *session, const char *sender, const char *user, int64_t size);

struct outcome {
    struct decision decision;
    struct reply_line line; /* code "" where there is nothing to say */
    bool duplicate;         /* accepted before in this message: nothing was counted */
    bool enforced;          /* false in mode shadow: the answer is "go on", whatever the verdict */
};

/* RCPT TO. raw: the argument as received; resolved: what Postfix made of it, NULL if that is not known. Strings in the
 * outcome live until the message ends. */
void message_rcpt(struct session *session, const char *raw, const char *resolved, struct outcome *out);

void message_bytes(struct session *session, size_t n);

/* The message reached its end: reservations become charges, bytes are settled. */
void message_end(struct session *session);

/* It did not: what was charged is given back, at once. Harmless without an open message. */
void message_abort(struct session *session);

/* The same in the background: never waits. */
void message_leave(struct session *session);

#endif
