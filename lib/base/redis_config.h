/* redis_config: which Redis, and how to speak to it. The policy reads it, the client (lib/redis/client.h) takes it as it is. */
#ifndef RCPTGATE_BASE_REDIS_CONFIG_H
#define RCPTGATE_BASE_REDIS_CONFIG_H

#include <stdint.h>

struct redis_config {
    const char *host; /* or */
    const char *path; /* of a unix socket */
    int port, db;
    const char *user, *password; /* NULL: none */
    const char *password_file;   /* read at every connect, so that a change needs no restart; NULL: none */
    const char *prefix;          /* of all our keys, with a ':' behind it; NULL: "rcptgate" */
    int64_t timeout_ms;          /* for one call, connect, AUTH and answer together */
};

#endif
