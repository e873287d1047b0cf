/* ruledb_handle: one read-only connection to the alias rules, with its prepared statements.
 *
 * Used by one thread at a time; lib/ruledb.c keeps a pool of them. Every look-up is bounded in time (HANDLE_QUERY_MS),
 * and ends with its statement reset. */
#ifndef RCPTGATE_RULEDB_HANDLE_H
#define RCPTGATE_RULEDB_HANDLE_H

#include "error.h"
#include "network.h"
#include "pool.h"
#include "rows.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    HANDLE_QUERY_MS = 50, /* a look-up that takes longer is given up; 250 where it could hardly run */
    HANDLE_BUSY_MS = 20,  /* how long it waits for a lock, in the whole */
};

enum handle_fault { /* why a look-up has no answer; beyond FAULT_NONE no output may be believed */
                    FAULT_NONE = 0,
                    FAULT_ROW,    /* a row holds what no row may hold; the connection is well */
                    FAULT_SLOW,   /* given up after HANDLE_QUERY_MS; the connection is well */
                    FAULT_MEMORY, /* out of memory; the connection is well */
                    FAULT_BUSY,   /* somebody holds the lock; the connection is well */
                    FAULT_BROKEN, /* nothing good can be expected of this connection: close it */
};

struct handle;

/* Never creates a file. immutable: the file is never changed in place, so that nothing is locked or looked at again.
 * NULL with err and *fault set. */
struct handle *handle_open(const char *path, bool immutable, struct error *err, enum handle_fault *fault);
void handle_close(struct handle *handle);

/* Starts the read transaction. *changed: the data may have changed since the last handle_begin() of this
 * handle (always true the first time). */
enum handle_fault handle_begin(struct handle *handle, bool *changed);
enum handle_fault handle_end(struct handle *handle);

/* Lends the connection for work that takes long, such as copying or checking it all: cancelled() is asked now
 * and then, and ends what is under way when it returns not 0 (SQLITE_INTERRUPT). Look-ups only after
 * handle_reclaim(). */
struct sqlite3 *handle_lend(struct handle *handle, int (*cancelled)(void *), void *arg);
void handle_reclaim(struct handle *handle);
enum handle_fault handle_fault_of(int rc); /* an SQLite result code */

/* What was last said by a fault. */
const struct error *handle_error(const struct handle *handle);

/* Within a transaction: has the table any row? */
bool handle_has_senders(const struct handle *handle);
bool handle_has_clients(const struct handle *handle);

/* Within a transaction. *out is zeroed by the caller, and half filled after a fault; state is the caller's. */
enum handle_fault handle_alias(struct handle *handle, const struct alias_query *query, struct pool *pool,
                               struct alias_rows *out);
enum handle_fault handle_sender(struct handle *handle, const struct sender_query *query, struct pool *pool,
                                struct sender_rows *out);
enum handle_fault handle_client(struct handle *handle, const struct network *client, int64_t now_s,
                                struct pool *pool, struct client_row *out);

#endif
