/* blocks: the networks that this gate blocks now: in memory, in a file, and in step with all other gates on
 * the same Redis.
 *
 * A look-up touches memory only and never waits for a change. A change holds here at once and is in the file
 * when the call returns; a thread brings it to Redis, brings what others changed (four looks a second), ends
 * what has ended, and catches up after an outage. The file and Redis may both be gone: what is in memory
 * stays in force. */
#ifndef RCPTGATE_BLOCKS_H
#define RCPTGATE_BLOCKS_H

#include "blocks/blocklist.h"
#include "base/error.h"
#include "redis/client.h"

struct blocks;

/* One difference that came into force, for the log: of many at once only the first are events one by one, then
 * how many more there were (was and is NULL). Any thread; must not call blocks_*(). */
struct blocks_event {
    const struct block *was, *is; /* as in blocklist_changed_fn */
    size_t more;
};
typedef void blocks_event_fn(void *arg, const struct blocks_event *event);

struct blocks_config {          /* strings are copied */
    struct redis_client *redis; /* borrowed; NULL: no Redis */
    const char *host;
    int64_t (*now_ms)(void *arg); /* Unix time */
    blocks_event_fn *event;       /* may be NULL */
    void *arg;                    /* of both */
};

enum {
    BLOCKS_MAX = 250000,                /* some 300 bytes each */
    BLOCKS_AHEAD_MS = 24 * 3600 * 1000, /* how far the clock of another host may be ahead */
};

/* Empty, without a thread and without a file. NULL with err set. */
struct blocks *blocks_new(const struct blocks_config *config, struct error *err);
void blocks_free(struct blocks *blocks); /* ends the thread; NULL is harmless */

/* Takes in what the file has, and from now on keeps it there; a file that does not exist yet is an empty one.
 * May be called again, where somebody else may have written it; no event tells of it. 0, or -1 with err set:
 * what could be read is in force all the same. */
int blocks_load(struct blocks *blocks, const char *path, struct error *err);

/* Starts the thread. */
int blocks_start(struct blocks *blocks, struct error *err);

/* One exchange with Redis now, where no thread runs. False: Redis does not have it all. */
bool blocks_sync(struct blocks *blocks);

struct block_found {
    char network[NETWORK_TEXT];
    enum action action; /* ACTION_REJECT or ACTION_DEFER */
    int64_t until_s;    /* 0: for good */
};

/* Is that client blocked? */
bool blocks_find(struct blocks *blocks, const struct network *client, struct block_found *out);

/* Is any network blocked? No lock. */
bool blocks_any(const struct blocks *blocks);

/* The list as it is now; the caller unrefs it. */
struct blocklist *blocks_list(struct blocks *blocks);

/* Makes the changes (ACTION_ACCEPT: unblocks), stamped with this host and time; changed_ms and host are not
 * looked at. more: others follow at once, so that the file can wait. 0: they are in force; err says where the file
 * cannot have them. -1 with err set: nothing was done. */
int blocks_change(struct blocks *blocks, const struct block *changes, size_t n, bool more, struct error *err);

/* "" while well, else what is wrong and what to do. */
void blocks_condition(struct blocks *blocks, struct error *out);

#endif
