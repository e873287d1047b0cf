/* client: one process-wide client for all threads, with an absolute deadline for every call.
 *
 * A few pipelines (2), each one connection. In a pipeline a waiting thread becomes the leader, writes the commands of
 * everybody who waits at once and hands out the answers: no hop to another thread when idle, batches when
 * busy. A deadline that is missed closes that pipeline's connection and all its waiters get REDIS_LOST, so that
 * nobody ever reads another's answer.
 *
 * A connector thread resolves the name, connects, authenticates and probes, jittered and at most 2 s apart, so
 * that no session pays for it. While the node is known to be down, calls return REDIS_DOWN at once. */
#ifndef RCPTGATE_REDIS_CLIENT_H
#define RCPTGATE_REDIS_CLIENT_H

#include "base/error.h"
#include "base/redis_config.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_client;

enum redis_status {
    REDIS_ANSWERED = 0, /* *reply is the answer (of any type, REDIS_REPLY_ERROR too) and the caller's to free.
                           Not called REDIS_OK: hiredis has a macro of that name (and of the same value) */
    REDIS_DOWN, /* nothing was done: not connected, not sent, or refused because of the node's state (LOADING,
                   OOM, READONLY, MASTERDOWN, MISCONF, BUSY, NOAUTH, NOPERM, NOREPLICAS, CLUSTERDOWN, MOVED, ASK,
                   TRYAGAIN, max clients ...) */
    REDIS_LOST, /* sent, but no answer came in time, or none that makes sense: it may have been done */
};

struct redis_command {
    int argc;
    const char *const *argv;
    const size_t *lens;
    int64_t deadline; /* of redis_client_deadline(), or an earlier one; 0: the timeout from now on */
};

/* Told of each change between up and down in their order, from the connector thread, outside all locks of this
 * module; must not wait, since nothing is mended meanwhile. text: what is wrong and what to do; when up:
 * where it is connected to. */
typedef void redis_event_fn(void *arg, bool down, const char *text);

/* Copies the strings, returns at once and connects in the background. NULL with err set only when out of memory or threads. */
struct redis_client *redis_client_new(const struct redis_config *config, redis_event_fn *event, void *arg,
                                      struct error *err);
void redis_client_free(struct redis_client *redis); /* no call may be under way; NULL is harmless */

/* What all keys of ours begin with, before a ':'. Lives as long as the client. */
const char *redis_client_prefix(const struct redis_client *redis);

/* The moment (CLOCK_MONOTONIC, ns) until which everything may take that one caller asks from now on: timeout_ms of the
 * config. It is handed down, so that several calls together wait no longer than one. */
int64_t redis_client_deadline(const struct redis_client *redis);

/* One command, one answer, by its deadline. *reply is untouched unless REDIS_ANSWERED. */
enum redis_status redis_client_call(struct redis_client *redis, const struct redis_command *command,
                                    redisReply **reply);

/* A Lua script by its source; its SHA1 is computed once by the caller's redis_script_init. */
struct redis_script {
    const char *source;
    char sha[41];
};
void redis_script_init(struct redis_script *script, const char *source);

/* EVALSHA; keys come first in args. On NOSCRIPT asks again with EVAL, which loads the script too, within the
 * same deadline. */
enum redis_status redis_client_eval(struct redis_client *redis, const struct redis_script *script, int n_keys,
                                    const struct redis_command *args, redisReply **reply);

bool redis_client_wait(struct redis_client *redis, int64_t timeout_ms); /* until connected; true when it is */

bool redis_client_is_up(struct redis_client *redis); /* as far as is known; costs nothing */

/* "" while well, else what is wrong and what to do, in words. Also warns of an evicting maxmemory-policy. */
void redis_client_condition(struct redis_client *redis, struct error *out);

/* How often the server's run_id changed since the first connection: it restarted, or is another server now. */
unsigned redis_client_restarts(struct redis_client *redis);

#endif
