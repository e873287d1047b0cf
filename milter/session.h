/* session: one SMTP session as the gate sees it, and the list of all that are open. Knows nothing of libmilter.
 *
 * A session belongs to one milter connection, whose callbacks come one after the other, on changing threads. Each
 * callback that needs the gate is between session_enter() and session_leave(), so that session_list_stop() knows who is
 * under way. */
#ifndef RCPTGATE_MILTER_SESSION_H
#define RCPTGATE_MILTER_SESSION_H

#include "gate/gate.h"
#include "milter/message.h"

#include <pthread.h>
#include <stdatomic.h>

struct session_list {
    struct gate *gate;
    pthread_mutex_t lock;  /* of: */
    struct session *first; /* doubly linked, through session->next and ->previous */
    atomic_bool stopping;
};

struct session {
    struct session_list *list;
    struct session *next, *previous; /* under the list's lock */
    atomic_bool busy;                /* in a callback now */
    const struct policy *policy;     /* as last seen; with a reference, so that a message costs no lock */
    int64_t entered_ns;              /* since when; clock_monotonic_ns() */
    struct network client;
    char client_text[NETWORK_TEXT];
    uint64_t no_client_rule; /* as in struct facts */
    bool not_smtpd;          /* connected from non_smtpd_milters (port 0): nothing may be refused */
    struct message message;
};

/* No sessions yet. There is nothing to free: whoever comes too late still asks whether it may enter. */
void session_list_init(struct session_list *list, struct gate *gate);

/* Lets no new callback in, waits up to wait_ms for those under way, then gives back what open sessions have
 * reserved; a session that is still in use then keeps its reservations until their windows end. False: some
 * are under way still, and gate_done() would free what they use. */
bool session_list_stop(struct session_list *list, int wait_ms);

/* Puts it into the list. NULL: out of memory. */
struct session *session_new(struct session_list *list);

/* Gives back what is reserved, in the background, and ends the session; never blocks. NULL is harmless. */
void session_free(struct session *session);

/* Around every callback that needs the gate: false when the list is stopping and the callback must answer
 * "later" at once. Who frees the session does not leave. */
bool session_enter(struct session *session);
void session_leave(struct session *session);

/* Can any client be refused when it connects: by a block, a client rule or a hold? Else nobody needs to wait
 * for the answer. */
bool session_may_refuse(struct gate *gate, const struct policy *policy);

/* The client is known. */
void session_connect(struct session *session, const struct network *client);

/* Is it to be refused at once? An undecided or accepting verdict: go on. proof_pool holds the verdict's proof. */
struct verdict session_judge(struct session *session, struct pool *proof_pool);

/* message_begin() under the policy that is in force now; a message that is still open is aborted first. */
void session_mail(struct session *session, const char *raw, const char *resolved, const char *user,
                  int64_t size);

/* message_rcpt(), also where there was no MAIL: only a broken or hostile MTA does that. */
void session_rcpt(struct session *session, const char *raw, const char *resolved, struct outcome *out);

#endif
