/* aliases: the alias rules in SQLite, read-only, and what answers for them when the file cannot.
 *
 * A reading is one read transaction: everything that one RCPT looks up is of one moment, and a commit by
 * another process holds for the next reading. Data is taken only when it has passed its checks, and its last
 * good copy answers when it does not:
 *
 *   LIVE        The file has passed its checks. Rows come from it.
 *   UNVERIFIED  The same while the file has changed since the copy was made, and has not been judged yet.
 *   COPY        The file is missing, damaged, locked, not yet checked, was refused, or lies beside the -wal of the one
 *               that it replaced: the copy answers (ROWS_COPY) until max_stale after the last time the file was well.
 *   NOTHING     No copy either, or too old: ROWS_UNKNOWN to everything.
 *
 * Rows that were lost from the live file a moment ago leave the field to wider ones, or to absence. So what must not stand
 * on the live file alone is asked a second time, of the copy (aliases_begin_copy()). Where the two differ, nobody can
 * tell until the file has passed its checks and is the new copy: aliases_recheck() asks for that at once, and it takes
 * milliseconds for a small file.
 *
 * Until aliases_start() nothing is copied or checked but version and columns, and the file is believed: for
 * programs that look once. */
#ifndef RCPTGATE_ALIASES_H
#define RCPTGATE_ALIASES_H

#include "aliases/types.h"
#include "base/error.h"
#include "base/network.h"
#include "base/pool.h"
#include "base/rows.h"

#include <stdbool.h>
#include <stdint.h>

struct aliases;
struct aliases_checkout;

struct aliases_reading {                  /* for aliases.c alone to look into; on the caller's stack */
    struct aliases *db;                   /* NULL: no rules are configured */
    struct aliases_checkout *live, *copy; /* NULL: cannot be read, or not asked yet */
    bool second;                          /* of the copy alone, */
    bool unverified;                      /* or of the file alone, whether it is believed or not */
    bool copy_asked;
    bool live_slow, copy_slow; /* one slow look-up is enough for one RCPT */
};

/* Never creates the file. One that is missing or cannot be used is not an error here. NULL only when out of memory. */
struct aliases *aliases_new(const struct aliases_config *config);
void aliases_free(struct aliases *db);

/* Starts what keeps the copy, in a thread of its own, and returns when the file has been judged: after
 * wait_ms at most, or wait_copy_ms where there is a copy. Once. Nothing to do without a copy_path. -1 with
 * err set. */
int aliases_start(struct aliases *db, int wait_ms, int wait_copy_ms, struct error *err);

/* Puts other bounds in force, and has the file looked at. NULL db is harmless. */
void aliases_configure(struct aliases *db, int64_t max_stale_ms, int max_shrink);

/* Cannot fail: a reading of a database that cannot be read answers ROWS_UNKNOWN to everything.
 * NULL db: no rules are configured; every look-up answers ROWS_LIVE with no row. */
struct aliases_reading aliases_begin(struct aliases *db);
void aliases_end(struct aliases_reading *reading);

/* For a second reading, of the last good copy alone: what it has and what it has not is ROWS_LIVE. Where there is none,
 * ROWS_UNKNOWN. */
struct aliases_reading aliases_begin_copy(struct aliases *db);

/* Of the file alone, as it is, though its data was refused: what it has is ROWS_LIVE, and a hint at most. Where it cannot be read, ROWS_UNKNOWN. */
struct aliases_reading aliases_begin_unverified(struct aliases *db);

/* Needs what is read here no second reading? There are no rules, or nobody keeps a copy; or none can be kept,
 * and the live data passed its checks and has not changed since. */
bool aliases_is_proof(const struct aliases_reading *reading);

/* File and copy differ: has the file checked at once. True: a new copy was taken within a moment, and can be asked. */
bool aliases_recheck(struct aliases *db);

/* The same, by order, and without waiting for it. */
void aliases_reload(struct aliases *db);

/* Strings of the rows are copied to the pool. Only SQLITE_DONE means absent; every other failure gives
 * ROWS_COPY or ROWS_UNKNOWN, and out of memory too. */
void aliases_alias(struct aliases_reading *reading, const struct alias_query *query, struct pool *pool,
                   struct alias_rows *out);

/* False: there are no sender rules, or client rules, so that nobody needs to ask for them. */
bool aliases_has_senders(struct aliases_reading *reading);
bool aliases_has_clients(struct aliases_reading *reading);
void aliases_sender(struct aliases_reading *reading, const struct sender_query *query, struct pool *pool,
                    struct sender_rows *out);
void aliases_client(struct aliases_reading *reading, const struct network *client, int64_t now_s,
                    struct pool *pool, struct client_row *out);

/* Changes whenever the data may have changed; what was read under the same generation still holds. */
uint64_t aliases_generation(struct aliases_reading *reading);

/* As of now, also where no mail has come yet. NULL db: LIVE. */
void aliases_status(struct aliases *db, struct aliases_status *out);
const char *aliases_mode_name(enum aliases_mode mode); /* "live", "unverified", "copy", "nothing" */

/* What is wrong with the file or its data, "" while well: the first of the status's texts. */
void aliases_condition(struct aliases *db, struct error *out);

/* Counts what accepts mail and has no mailbox for it, by reading all; sets homeless and homeless_name. False: it cannot be read. */
bool aliases_count_homeless(struct aliases *db, struct aliases_status *out);

/* Takes the present data although it lost more than max_shrink. 0 when it is in force; -1 with err set when
 * it fails its other checks, or wait_ms were not enough. */
int aliases_accept(struct aliases *db, int wait_ms, struct error *err);

/* The same for the next start, where no process runs: leaves a mark beside the copy. */
int aliases_accept_at_start(const char *copy_path, struct error *err);

#endif
