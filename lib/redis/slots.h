/* slots: the hash slots of a Redis Cluster: which slot a key is in, and which master has which slots
 * (https://redis.io/docs/reference/cluster-spec/). Pure. */
#ifndef RCPTGATE_REDIS_SLOTS_H
#define RCPTGATE_REDIS_SLOTS_H

#include "base/error.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REDIS_SLOTS = 16384,
    REDIS_SLOTS_NODES = 256,   /* masters, at most */
    REDIS_SLOTS_REPLICAS = 8,  /* of one that are remembered */
    REDIS_SLOTS_NONE = 0xffff, /* no master */
    REDIS_SLOTS_ID = 40 + 1,   /* of a node, as the cluster names it */
    REDIS_SLOTS_HOST = 255 + 1,
};

/* Of a key of n bytes: by what stands between its first '{' and the next '}', where that is something, else by all of it. */
unsigned redis_slots_of(const char *key, size_t n);

/* A number that, in decimal digits between braces, is in that slot. */
unsigned redis_slots_tag(unsigned slot);

struct redis_slots_node {
    char id[REDIS_SLOTS_ID], host[REDIS_SLOTS_HOST];
    int port;
};

struct redis_slots_master {
    struct redis_slots_node node, replicas[REDIS_SLOTS_REPLICAS];
    size_t n_replicas;
};

struct redis_slots {
    struct redis_slots_master masters[REDIS_SLOTS_NODES]; /* each has some slots */
    size_t n;
    uint16_t owner[REDIS_SLOTS]; /* an index of masters, or REDIS_SLOTS_NONE */
};

/* Reads the answer to CLUSTER SLOTS. asked: the host that gave it, which is meant where it names none. False with err set, and
 * *out is worth nothing: it makes no sense. */
bool redis_slots_read(const redisReply *reply, const char *asked, struct redis_slots *out, struct error *err);

/* May that node be a replica of the master, which then takes its place? Of the same id, or at the same address. */
bool redis_slots_is_replica(const struct redis_slots_master *master, const struct redis_slots_node *node);

/* What is known of a master (seen; id "": nothing yet) after another map. Replicas that a map does not name any more, as a node that is cut
 * off does not, stay known as far as there is room, until they are masters themselves. */
void redis_slots_see(struct redis_slots_master *seen, const struct redis_slots_master *now,
                     const struct redis_slots *map);

/* Reads the answer to CLUSTER INFO. False with err set: that node does not think the cluster is well. */
bool redis_slots_read_info(const redisReply *reply, int64_t *epoch, struct error *err);

/* Reads "MOVED 3999 192.0.2.1:6381" or "ASK ...". An empty host is the one that was asked. False: it is none of them. */
struct redis_slots_redirection {
    bool ask;
    char host[REDIS_SLOTS_HOST]; /* "": the one that was asked */
    int port;
};
bool redis_slots_read_redirection(const char *text, struct redis_slots_redirection *out);

#endif
