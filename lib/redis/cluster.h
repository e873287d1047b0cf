/* cluster: a Redis Cluster: its masters, and which of them has which slot. For client.c alone.
 *
 * A call goes to the master of its slot, with at most two redirections within its one deadline: MOVED mends that slot's entry,
 * ASK does not. The map is refreshed in the background, at most once a second, from a random node, and taken only from one that
 * finds its cluster well and knows of no older epoch than the map in force. A master that is down costs nobody but the callers of
 * its slots anything, and they are told at once. */
#ifndef RCPTGATE_REDIS_CLUSTER_H
#define RCPTGATE_REDIS_CLUSTER_H

#include "node.h"
#include "redis/state.h"

struct redis_cluster;

/* As redis_client_new(); config with a prefix. */
struct redis_cluster *redis_cluster_new(const struct redis_config *config, redis_event_fn *event, void *arg,
                                        struct error *err);
void redis_cluster_free(struct redis_cluster *cluster);

enum redis_status redis_cluster_call(struct redis_cluster *cluster, unsigned slot,
                                     const struct redis_request *request, int64_t deadline,
                                     redisReply **reply);

/* Of the i-th node, whatever its slots: REDIS_DOWN also where it is no master now. */
size_t redis_cluster_nodes(struct redis_cluster *cluster);
enum redis_status redis_cluster_call_node(struct redis_cluster *cluster, size_t i,
                                          const struct redis_request *request, int64_t deadline,
                                          redisReply **reply);
size_t redis_cluster_node_of(struct redis_cluster *cluster, unsigned slot); /* SIZE_MAX: nobody's */

/* Until all masters are up, at most until that moment (CLOCK_MONOTONIC, ns); true: some are. */
bool redis_cluster_wait(struct redis_cluster *cluster, int64_t until_ns);

bool redis_cluster_is_up(struct redis_cluster *cluster); /* any of it */
bool redis_cluster_slot_is_up(struct redis_cluster *cluster, unsigned slot);

/* How often the master of the slot restarted, or gave way to one of its replicas. A slot that is moved keeps the number. */
unsigned redis_cluster_restarts(struct redis_cluster *cluster, unsigned slot);

/* As of struct redis_client. */
void redis_cluster_condition(struct redis_cluster *cluster, struct error *out);
void redis_cluster_missing(struct redis_cluster *cluster, struct error *out);
void redis_cluster_shards(struct redis_cluster *cluster, redis_shard_fn *each, void *arg);

#endif
