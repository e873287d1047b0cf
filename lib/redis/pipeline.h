/* pipeline: one connection that many threads share.
 *
 * A thread that finds no leader becomes the leader: it writes the commands of everybody who waits at once,
 * reads, and hands each answer to its thread, in order. When its own has come it hands the lead to the next
 * who waits. No thread is between a caller and Redis when the pipeline is idle; when it is busy, commands travel
 * in batches. Of a batch, calls of a script that may join (redis_client_eval()) are one command, and its answer is a list, an
 * element for each.
 *
 * A caller whose deadline passes before its command was written leaves the queue (nothing was done). After it was written
 * the connection is given up, and everybody whose answer is still out gets REDIS_LOST. */
#ifndef RCPTGATE_REDIS_PIPELINE_H
#define RCPTGATE_REDIS_PIPELINE_H

#include "connection.h"

#include <stdatomic.h>

struct redis_pipeline;

/* The pipeline gave its connection up: called without any lock, before the callers get their status. */
typedef void redis_pipeline_failed_fn(void *arg, const char *text);

/* down: while it is true, calls get REDIS_DOWN at once. NULL when out of memory. */
struct redis_pipeline *redis_pipeline_new(const atomic_bool *down, redis_pipeline_failed_fn *failed,
                                          void *arg);
void redis_pipeline_free(struct redis_pipeline *pipeline);

enum redis_status redis_pipeline_call(struct redis_pipeline *pipeline, const struct redis_request *request,
                                      int64_t deadline, redisReply **reply);

/* How many calls are under way. */
int redis_pipeline_load(struct redis_pipeline *pipeline);

/* Everybody whose command is not yet written gets REDIS_DOWN now. */
void redis_pipeline_drop(struct redis_pipeline *pipeline);

/* Keeps no connection: closes it now, or when the calls under way have their answers. */
void redis_pipeline_rest(struct redis_pipeline *pipeline);

/* For the connector: whether an idle pipeline has lost its connection. */
bool redis_pipeline_needs_connection(struct redis_pipeline *pipeline);

/* Takes connection over, and endpoint for reconnecting by itself. A pipeline that is busy finishes what it has on the old connection,
 * and then makes its own. */
void redis_pipeline_renew(struct redis_pipeline *pipeline, struct redis_connection *connection,
                          struct redis_endpoint *endpoint);

#endif
