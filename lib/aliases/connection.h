/* connection: one read-only connection to the alias rules, with its prepared statements. Owns them; says of each failure what
 * kind of fault it is.
 *
 * Used by one thread at a time; a pool keeps several. Every look-up is bounded in time (CONNECTION_QUERY_MS),
 * and ends with its statement reset. */
#ifndef RCPTGATE_ALIASES_CONNECTION_H
#define RCPTGATE_ALIASES_CONNECTION_H

#include "base/error.h"
#include "base/network.h"
#include "base/pool.h"
#include "base/rows.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CONNECTION_QUERY_MS = 50, /* a look-up that takes longer is given up; 250 where it could hardly run */
    CONNECTION_BUSY_MS = 20,  /* how long it waits for a lock, in the whole */
};

enum aliases_connection_fault { /* why a look-up has no answer; beyond FAULT_NONE no output may be believed */
                                FAULT_NONE = 0,
                                FAULT_ROW,    /* a row holds what no row may hold; the connection is well */
                                FAULT_SLOW,   /* given up after CONNECTION_QUERY_MS; the connection is well */
                                FAULT_MEMORY, /* out of memory; the connection is well */
                                FAULT_BUSY,   /* somebody holds the lock; the connection is well */
                                FAULT_BROKEN, /* nothing good can be expected of this connection: close it */
};

struct aliases_connection;

/* Never creates a file. immutable: the file is never changed in place, so that nothing is locked or looked at again.
 * NULL with err and *fault set. */
struct aliases_connection *aliases_connection_open(const char *path, bool immutable, struct error *err,
                                                   enum aliases_connection_fault *fault);
void aliases_connection_close(struct aliases_connection *connection);

/* Starts the read transaction. *changed: the data may have changed since the last aliases_connection_begin() of this
 * connection (always true the first time). */
enum aliases_connection_fault aliases_connection_begin(struct aliases_connection *connection, bool *changed);
enum aliases_connection_fault aliases_connection_end(struct aliases_connection *connection);

/* In the place of aliases_connection_end(), for a connection that is not lent: the transaction stays open, and the next
 * aliases_connection_begin() costs next to nothing as long as nobody commits. False: it has to end. One that rests is to be
 * ended within half a second: checkpoints may have to wait for it. */
bool aliases_connection_rest(struct aliases_connection *connection);
bool aliases_connection_rests(const struct aliases_connection *connection);

/* What commits and checkpoints by SQLite leave behind them, as of now. */
struct aliases_connection_marks {
    unsigned char index[104]; /* of the WAL-index; zeros in another mode */
    bool busy;                /* a checkpoint is under way, or its process was killed */
};
void aliases_connection_look(const struct aliases_connection *connection,
                             struct aliases_connection_marks *out);

/* Lends the connection for work that takes long, such as copying or checking it all: cancelled() is asked now
 * and then, and ends what is under way when it returns not 0 (SQLITE_INTERRUPT). Look-ups only after
 * aliases_connection_reclaim(). */
struct sqlite3 *aliases_connection_lend(struct aliases_connection *connection, int (*cancelled)(void *),
                                        void *arg);
void aliases_connection_reclaim(struct aliases_connection *connection);
enum aliases_connection_fault aliases_connection_fault_of(int rc); /* an SQLite result code */

/* What was last said by a fault. */
const struct error *aliases_connection_error(const struct aliases_connection *connection);

/* Within a transaction: has the table any row? */
bool aliases_connection_has_senders(const struct aliases_connection *connection);
bool aliases_connection_has_clients(const struct aliases_connection *connection);

/* Within a transaction. *out is zeroed by the caller, and half filled after a fault; state is the caller's. */
enum aliases_connection_fault aliases_connection_alias(struct aliases_connection *connection,
                                                       const struct alias_query *query, struct pool *pool,
                                                       struct alias_rows *out);
enum aliases_connection_fault aliases_connection_sender(struct aliases_connection *connection,
                                                        const struct sender_query *query, struct pool *pool,
                                                        struct sender_rows *out);
enum aliases_connection_fault aliases_connection_client(struct aliases_connection *connection,
                                                        const struct network *client, int64_t now_s,
                                                        struct pool *pool, struct client_row *out);

#endif
