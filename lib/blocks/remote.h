/* remote: the blocks in Redis (blocks.lua): what changed there since the last look, and what changed here.
 *
 * Only changes are transferred. Not for several threads at once. Each call is bounded by the client's timeout
 * for every few hundred networks; while Redis is down all return at once. */
#ifndef RCPTGATE_BLOCKS_REMOTE_H
#define RCPTGATE_BLOCKS_REMOTE_H

#include "blocks/blocklist.h"
#include "base/error.h"
#include "redis/client.h"

struct blocks_remote;

enum blocks_remote_status {
    BLOCKS_REMOTE_OK = 0,
    BLOCKS_REMOTE_DOWN,  /* not now; err is set where Redis answers, but not as it should */
    BLOCKS_REMOTE_OTHER, /* what is there is not what it was (restarted, flushed, or the first time): push all that you know, pull again */
};

/* Borrows the client. NULL: out of memory. */
struct blocks_remote *blocks_remote_new(struct redis_client *redis);
void blocks_remote_free(struct blocks_remote *blocks);

/* Calls take for every change since the last pull, each text as in blocklist_parse(). */
typedef void blocks_remote_take_fn(void *arg, const char *network, const char *text);
enum blocks_remote_status blocks_remote_pull(struct blocks_remote *blocks, blocks_remote_take_fn *take,
                                             void *arg, struct error *err);

enum { BLOCKS_REMOTE_MOST = 250 }; /* that one push or drop takes */

/* The next pull gives all, as the first one does; is it so? */
void blocks_remote_again(struct blocks_remote *blocks);
bool blocks_remote_is_new(const struct blocks_remote *blocks);

/* Of each network the newer one stays; one from after latest_ms is nothing. */
enum blocks_remote_status blocks_remote_push(struct blocks_remote *blocks, const struct block *const *list,
                                             size_t n, int64_t latest_ms, struct error *err);

/* Forgets entries that have ended, unless they changed since. */
enum blocks_remote_status blocks_remote_drop(struct blocks_remote *blocks, const struct block *list, size_t n,
                                             struct error *err);

#endif
