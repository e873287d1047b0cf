/* node: one Redis, with an absolute deadline for every call. For client.c alone, or cluster.c, which has several.
 *
 * A few pipelines (2), each one connection. In a pipeline a waiting thread becomes the leader, writes the commands of
 * everybody who waits at once and hands out the answers: no hop to another thread when idle, batches when
 * busy. A deadline that is missed closes that pipeline's connection and all its waiters get REDIS_LOST, so that
 * nobody ever reads another's answer. What may join others (redis_client_eval()) goes over the first, the rest over the one
 * with less to do.
 *
 * A connector thread resolves the name, connects, authenticates and probes, jittered and at most 2 s apart, so
 * that no session waits for it. While the node is known to be down, calls return REDIS_DOWN at once. */
#ifndef RCPTGATE_REDIS_NODE_H
#define RCPTGATE_REDIS_NODE_H

#include "base/error.h"
#include "base/redis_config.h"
#include "encoder.h"
#include "redis/state.h"

#include <stdbool.h>

struct redis_node;

/* Who is called, from the connector thread, outside all locks of this module; must not wait. NULL: nobody. */
struct redis_node_watcher {
    redis_event_fn *event;
    void (*restarted)(void *arg, struct redis_node *node); /* before it is up again */
    void *arg;
};

/* config as for redis_client_new(), with a prefix; of a cluster's node: REDIS_TOPOLOGY_CLUSTER, and one address. */
struct redis_node *redis_node_new(const struct redis_config *config, const struct redis_node_watcher *watcher,
                                  struct error *err);
void redis_node_free(struct redis_node *node); /* no call may be under way; NULL is harmless */

/* REDIS_ANSWERED also where a node of a cluster says whose a slot is (MOVED, ASK, TRYAGAIN, CLUSTERDOWN Hash slot ...). */
enum redis_status redis_node_call(struct redis_node *node, const struct redis_request *request,
                                  int64_t deadline, redisReply **reply);

enum { REDIS_NODE_NAME = 512 };
const char *redis_node_name(struct redis_node *node,
                            char out[REDIS_NODE_NAME]); /* for people: "192.0.2.1:6379"; returns out */

/* Until it is up, or (probed) it is known whether it is, at most until that moment (CLOCK_MONOTONIC, ns); true when up. */
bool redis_node_wait(struct redis_node *node, int64_t until_ns, bool probed);

bool redis_node_is_up(const struct redis_node *node);
void redis_node_condition(struct redis_node *node, struct error *out); /* as redis_client_condition() */
unsigned redis_node_restarts(const struct redis_node *node);           /* as redis_client_restarts() */
int64_t redis_node_certificate_s(const struct redis_node *node);       /* as in struct redis_shard */

/* Calls each() once, for this one, or for whom its Sentinels name. */
void redis_node_shard(struct redis_node *node, redis_shard_fn *each, void *arg);

/* Of a cluster's node: one of its slots, in which it is probed; -1: it has none, and nobody asks it from now on. */
void redis_node_serve(struct redis_node *node, int slot);

/* Of a cluster's node that nobody asks: it is another one from now on, at that address. What is still on its way to the old one ends there. */
void redis_node_move(struct redis_node *node, const struct redis_address *address);

#endif
