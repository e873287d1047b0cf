/* The store in a Redis of its own, which goes by the clock of who asks. */
#ifndef RCPTGATE_TEST_REDIS_STORE_H
#define RCPTGATE_TEST_REDIS_STORE_H

#include "remote.h"
#include "counters/stores.h"

#include "redis_server.h"

struct redis_store {
    struct redis_server server;
    struct redis_client *client; /* NULL: it was not started */
    struct counters *counters;
};

/* Or ends the program. */
static inline void redis_store_start(struct redis_store *store)
{
    struct error err = {0};
    server_start(&store->server);
    store->client = redis_client_new(
        &(struct redis_config){.path = store->server.socket, .prefix = "test", .timeout_ms = 600000}, NULL,
        NULL, &err);
    store->counters = store->client != NULL ? counters_remote_new(store->client, &err) : NULL;
    if (store->counters == NULL || !redis_client_wait(store->client, PATIENCE_MS)) {
        fprintf(stderr, "no Redis: %s\n", err.text);
        exit(2);
    }
    remote_follow_caller_clock(store->counters);
}

static inline void redis_store_stop(struct redis_store *store)
{
    counters_free(store->counters);
    redis_client_free(store->client);
    server_remove(&store->server);
}

#endif
