/* monitor: watches over the live file of the alias rules and keeps its last good copy, in a thread of its own. Cannot fail once
 * it runs: what it cannot check is not believed, and its status says why.
 *
 * A round copies the live file, checks the copy, and takes both as good: the copy into its place, the live
 * file as what answers. So what was checked is what is kept, nothing of the live file is locked meanwhile,
 * and its WAL is pinned only while it is copied. Where no copy can be written the live file is checked
 * itself. Rounds follow changes, at once while they are cheap and rarer the longer they take; but within a second where a
 * session met what changed, or rows are gone. Data that did not change is checked again every few minutes. */
#ifndef RCPTGATE_ALIASES_MONITOR_H
#define RCPTGATE_ALIASES_MONITOR_H

#include "base/error.h"
#include "aliases/types.h"
#include "pool.h"

struct monitor;

/* config, live and copies outlive the monitor. Does nothing until aliases_monitor_start(). NULL: out of memory. */
struct monitor *aliases_monitor_new(const struct aliases_config *config, struct aliases_pool *live,
                                    struct aliases_pool *copies);
void aliases_monitor_free(struct monitor *monitor);

/* New bounds, and a look at the live file. */
void aliases_monitor_configure(struct monitor *monitor, int64_t max_stale_ms, int max_shrink);

/* Starts the thread, and waits until the live file has been judged or cannot be read, at most wait_ms, or
 * wait_copy_ms where a copy can answer meanwhile. -1 with err set: no thread. */
int aliases_monitor_start(struct monitor *monitor, int wait_ms, int wait_copy_ms, struct error *err);

/* May what is read of this epoch be believed? And is, where no copy can be kept, this the data that passed the checks? */
bool aliases_monitor_trusts(const struct monitor *monitor, unsigned epoch);
bool aliases_monitor_proves(const struct monitor *monitor, const struct aliases_checkout *live);

bool aliases_monitor_has_copy(const struct monitor *monitor);
bool aliases_monitor_copy_is_fresh(const struct monitor *monitor); /* younger than max_stale */

/* The live data is not what the copy says: checks it now, and copies it anew. Waits up to wait_ms for the copy to be
 * taken, where a round is that cheap. True when one was. */
bool aliases_monitor_recheck(struct monitor *monitor, int wait_ms);

/* Takes the next data that passes all other checks, however much it lost. 0, or -1 with err set where it does
 * not within wait_ms. */
int aliases_monitor_accept(struct monitor *monitor, int wait_ms, struct error *err);

void aliases_monitor_status(struct monitor *monitor, struct aliases_status *out);

#endif
