/* ruledb_keeper: watches over the live file of alias rules and keeps its last good copy, in a thread of its own.
 *
 * A round copies the live file, checks the copy, and takes both as good: the copy into its place, the live
 * file as what answers. So what was checked is what is kept, nothing of the live file is locked meanwhile,
 * and its WAL is pinned only while it is copied. Where no copy can be written the live file is checked
 * itself. Rounds follow changes, at once while they are cheap and rarer the longer they take; data that did
 * not change is checked again every few minutes. */
#ifndef RCPTGATE_RULEDB_KEEPER_H
#define RCPTGATE_RULEDB_KEEPER_H

#include "error.h"
#include "ruledb.h"
#include "ruledb_handles.h"

struct keeper;

/* config, live and copies outlive the keeper. Does nothing until keeper_start(). NULL: out of memory. */
struct keeper *keeper_new(const struct ruledb_config *config, struct handles *live, struct handles *copies);
void keeper_free(struct keeper *keeper);

/* New bounds, and a look at the live file. */
void keeper_configure(struct keeper *keeper, int64_t max_stale_ms, int max_shrink);

/* Starts the thread, and waits until the live file has been judged or cannot be read, at most wait_ms, or
 * wait_copy_ms where a copy can answer meanwhile. -1 with err set: no thread. */
int keeper_start(struct keeper *keeper, int wait_ms, int wait_copy_ms, struct error *err);

/* May what is read of this epoch be believed? And is, where no copy can be kept, this the data that passed the checks? */
bool keeper_trusts(const struct keeper *keeper, unsigned epoch);
bool keeper_proves(const struct keeper *keeper, const struct lease *live);

bool keeper_has_copy(const struct keeper *keeper);
bool keeper_copy_is_fresh(const struct keeper *keeper); /* younger than max_stale */

/* The live data is not what the copy says: checks it now, and copies it anew. Waits up to wait_ms for the copy to be
 * taken, where a round is that cheap. True when one was. */
bool keeper_recheck(struct keeper *keeper, int wait_ms);

/* Takes the next data that passes all other checks, however much it lost. 0, or -1 with err set where it does
 * not within wait_ms. */
int keeper_accept(struct keeper *keeper, int wait_ms, struct error *err);

void keeper_status(struct keeper *keeper, struct ruledb_status *out);

#endif
