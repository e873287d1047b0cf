/* client: one process-wide client for all threads, with an absolute deadline for every call: of one Redis (node.h), or of
 * a cluster of them (cluster.h), which nobody else need know.
 *
 * A key belongs to a slot, and what is asked of the keys of one slot is answered by one node; keys of several slots cannot be in
 * one call. A single Redis is one slot. Each slot is up or down, and restarts, on its own. */
#ifndef RCPTGATE_REDIS_CLIENT_H
#define RCPTGATE_REDIS_CLIENT_H

#include "base/error.h"
#include "base/redis_config.h"
#include "redis/command.h"
#include "redis/script.h"
#include "redis/state.h"

#include <stdbool.h>
#include <stdint.h>

struct redis_client;

/* Copies the strings, returns at once and connects in the background. NULL with err set only when out of memory or threads. */
struct redis_client *redis_client_new(const struct redis_config *config, redis_event_fn *event, void *arg,
                                      struct error *err);
void redis_client_free(struct redis_client *redis); /* no call may be under way; NULL is harmless */

/* What all keys of ours begin with, before a ':'. Lives as long as the client. */
const char *redis_client_prefix(const struct redis_client *redis);

/* The moment (CLOCK_MONOTONIC, ns) until which everything may take that one caller asks from now_ns on: timeout_ms of the
 * config. It is handed down, so that several calls together wait no longer than one. */
int64_t redis_client_deadline(const struct redis_client *redis, int64_t now_ns);

/* One command, one answer, by its deadline. Its second word is its key. *reply is untouched unless REDIS_ANSWERED. */
enum redis_status redis_client_call(struct redis_client *redis, const struct redis_command *command,
                                    redisReply **reply);

/* A Lua script: EVALSHA; keys, at least one and all of one slot, come first in args. On NOSCRIPT asks again with EVAL, which loads
 * the script too, within the same deadline.
 *
 * What joins (args->joins; it has lens) may become one call with what other threads ask at the same moment, where nothing but the
 * keys differs: up to REDIS_JOINT_MOST, with the keys of each, one after the other. The script then answers a list, an element for
 * each, and each caller gets its own; an error of the whole call is everybody's. In a cluster nothing joins. */
enum redis_status redis_client_eval(struct redis_client *redis, const struct redis_script *script, int n_keys,
                                    const struct redis_command *args, redisReply **reply);

/* What has no key (TIME, SCAN) is asked of a node, by its number, from 0; REDIS_DOWN also where that is no master now. */
size_t redis_client_nodes(struct redis_client *redis);
enum redis_status redis_client_call_node(struct redis_client *redis, size_t node,
                                         const struct redis_command *command, redisReply **reply);
size_t redis_client_node_of(struct redis_client *redis, unsigned slot); /* SIZE_MAX: nobody has it */

/* Until connected, to all that there is; true when some of it is. */
bool redis_client_wait(struct redis_client *redis, int64_t timeout_ms);

/* How many slots there are: 1, or REDIS_CLIENT_SLOTS. The slot of a key (prefix and all). A key that is in that slot, with the
 * prefix and some more text, for what belongs beside others; as for snprintf(). */
enum { REDIS_CLIENT_SLOTS = 16384 };
unsigned redis_client_slots(const struct redis_client *redis);
unsigned redis_client_slot(const struct redis_client *redis, const char *key);
int redis_client_key_beside(const struct redis_client *redis, unsigned slot, const char *name, char *out,
                            size_t size);

bool redis_client_is_up(struct redis_client *redis); /* any of it, as far as is known; costs nothing */
bool redis_client_slot_is_up(struct redis_client *redis, unsigned slot);

/* How often the server's run_id changed since the first connection: it restarted, or is another server now. */
unsigned redis_client_restarts(struct redis_client *redis, unsigned slot);

/* "" while well, else what is wrong and what to do, in words. Also warns of an evicting maxmemory-policy. */
void redis_client_condition(struct redis_client *redis, struct error *out);

/* "" while all slots are served, else which nodes and slots are not, and why; slots that hang between two nodes, too. */
void redis_client_missing(struct redis_client *redis, struct error *out);

/* Calls each() for every master of a cluster, and at last (master NULL) for slots that have none; else for the one that there is:
 * where Sentinels name it, whom they name. */
void redis_client_shards(struct redis_client *redis, redis_shard_fn *each, void *arg);

#endif
