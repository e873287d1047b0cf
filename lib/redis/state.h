/* state: what is told of a Redis without being asked for a key: whether it answers, and of a cluster who has what. */
#ifndef RCPTGATE_REDIS_STATE_H
#define RCPTGATE_REDIS_STATE_H

#include <stdbool.h>

/* Called at each change between up and down (of all slots together) in their order, from a thread of the client, outside all
 * its locks; must not wait, since nothing is mended meanwhile. text: what is wrong and what to do; when up: where it is connected
 * to. */
typedef void redis_event_fn(void *arg, bool down, const char *text);

struct redis_shard {
    const char *master; /* "192.0.2.1:6379"; NULL: nobody */
    unsigned slots;
    bool up;
};
typedef void redis_shard_fn(void *arg, const struct redis_shard *shard);

#endif
