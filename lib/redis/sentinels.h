/* sentinels: who says which Redis is the master. All of them are asked, one after the other on a connection each; one that is dead
 * costs a bounded wait, and then rests. Used by the connector's thread, so that no session waits.
 *
 * The answer with the highest config-epoch wins, and is never left for one with a lower. Under an equal epoch the address may
 * still change, once: the Sentinel that leads a failover shows the new epoch beside the old address for a moment. */
#ifndef RCPTGATE_REDIS_SENTINELS_H
#define RCPTGATE_REDIS_SENTINELS_H

#include "base/error.h"
#include "base/redis_config.h"
#include "host.h"
#include "tls.h"

#include <hiredis/hiredis.h>

struct redis_sentinels;

struct redis_master {
    char host[256]; /* a name, or an address without brackets; "": none is known */
    int port;
    int64_t epoch;
    bool leaving;  /* a failover is under way: another will be the master */
    bool disputed; /* they only name others now, under lower epochs: they may have been set up anew */
};

/* config is borrowed, and has a master and addresses. NULL: out of memory. */
struct redis_sentinels *redis_sentinels_new(const struct redis_config *config, int wake_fd);
void redis_sentinels_free(struct redis_sentinels *sentinels); /* NULL is harmless */

/* Asks them, over TLS unless that is NULL, and writes the master as far as it is known now, or was known: when none answers. How many
 * answered; err says why where that is none. */
int redis_sentinels_ask(struct redis_sentinels *sentinels, struct redis_tls *tls, struct redis_master *out,
                        struct error *err);

size_t redis_sentinels_count(const struct redis_sentinels *sentinels);
const struct redis_host *redis_sentinels_host(const struct redis_sentinels *sentinels, size_t i);
const char *redis_sentinels_reason(const struct redis_sentinels *sentinels,
                                   size_t i); /* why it did not answer; "": it did */

/* Reads what one answers to SENTINEL MASTER and GET-MASTER-ADDR-BY-NAME, in that order. False: it names no master. For
 * redis_sentinels_ask(), and a test. */
bool redis_sentinels_read(redisReply *const *replies, struct redis_master *out);

struct redis_sentinels_choice { /* zeroed: nothing is known */
    struct redis_master now;
    char former[300]; /* the address that was left for that; "": none */
};

/* Takes in what n Sentinels say at once. For redis_sentinels_ask(), and a test. */
void redis_sentinels_choose(struct redis_sentinels_choice *choice, const struct redis_master *said, size_t n);

#endif
