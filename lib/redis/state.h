/* state: what is told of a Redis without being asked for a key: whether it answers, and of a cluster who has what. */
#ifndef RCPTGATE_REDIS_STATE_H
#define RCPTGATE_REDIS_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Called at each change between up and down (of all slots together) in their order, from a thread of the client, outside all
 * its locks; must not wait, since nothing is mended meanwhile. text: what is wrong and what to do; when up: where it is connected
 * to. */
typedef void redis_event_fn(void *arg, bool down, const char *text);

enum { REDIS_SHARD_HANGING = 8 };

/* A certificate that is valid for less long, in seconds, is to be renewed. */
enum { REDIS_CERTIFICATE_SOON_S = 14 * 86400 };

struct redis_shard {
    const char *master; /* "192.0.2.1:6379", as long as the call lasts; NULL: nobody */
    size_t node;        /* its number, as of redis_client_node_of() */
    int64_t
        since_ns; /* since when it is the master (CLOCK_MONOTONIC), as far as is known here; 0: it always was */
    unsigned slots; /* 0: there is no cluster */
    bool up;
    int64_t certificate_s; /* Unix time of its certificate's end; 0: plain text, or none was seen */
    unsigned
        hanging[REDIS_SHARD_HANGING]; /* some of its slots that are between it and another node for long */
    size_t n_hanging;
};
typedef void redis_shard_fn(void *arg, const struct redis_shard *shard);

#endif
