/* ruledb: the alias rules in SQLite, read-only.
 *
 * A pool of handles with prepared statements, shared by all threads: the callbacks of one session hop threads. A snapshot
 * is one read transaction on a borrowed handle: everything that one RCPT looks up is of one moment, and a commit by another
 * process holds for the next snapshot. */
#ifndef RCPTGATE_RULEDB_H
#define RCPTGATE_RULEDB_H

#include "error.h"
#include "network.h"
#include "pool.h"
#include "rows.h"

#include <stdint.h>

struct ruledb;
struct ruledb_snapshot;

enum { RULEDB_VERSION = 1 }; /* PRAGMA user_version */

/* Never creates a file. A file that is missing or cannot be used is not an error here: look-ups then answer ROWS_UNKNOWN until it can.
 * NULL only when out of memory. */
struct ruledb *ruledb_new(const char *path);
void ruledb_free(struct ruledb *db);

/* Never NULL-checked by the caller: a snapshot of a database that cannot be read answers ROWS_UNKNOWN to everything.
 * NULL db: no rules are configured; every look-up answers ROWS_LIVE with no row. */
struct ruledb_snapshot *ruledb_begin(struct ruledb *db);
void ruledb_end(struct ruledb_snapshot *snapshot);

/* Strings of the rows are copied to the pool. Only SQLITE_DONE means absent; every other failure gives
 * ROWS_UNKNOWN, and out of memory too. */
void ruledb_alias(struct ruledb_snapshot *snapshot, const struct alias_query *query, struct pool *pool,
                  struct alias_rows *out);
void ruledb_sender(struct ruledb_snapshot *snapshot, const struct sender_query *query, struct pool *pool,
                   struct sender_rows *out);
void ruledb_client(struct ruledb_snapshot *snapshot, const struct network *client, int64_t now_s,
                   struct pool *pool, struct client_row *out);

/* Changes whenever the data may have changed; what was read under the same generation still holds. */
uint64_t ruledb_generation(struct ruledb_snapshot *snapshot);

/* "" while well, else what is wrong with the file and what to do. */
void ruledb_trouble(struct ruledb *db, struct error *out);

#endif
