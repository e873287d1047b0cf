/* redis_config: which Redis, and how to speak to it. The policy reads it, the client (lib/redis/client.h) takes it as it is. */
#ifndef RCPTGATE_BASE_REDIS_CONFIG_H
#define RCPTGATE_BASE_REDIS_CONFIG_H

#include "base/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum redis_topology {
    REDIS_TOPOLOGY_NODE,     /* one Redis */
    REDIS_TOPOLOGY_SENTINEL, /* the master that the Sentinels name */
    REDIS_TOPOLOGY_CLUSTER,  /* the masters of a Redis Cluster, by slot */
};

struct redis_address {
    const char *host; /* a name, or an IP address without brackets */
    int port;
};

struct redis_config {
    enum redis_topology topology;
    const struct redis_address
        *addresses; /* of the node, of the Sentinels, of some nodes of the cluster; or */
    size_t n_addresses;
    const char *path;   /* of the node's unix socket */
    const char *master; /* Sentinel's name of it; NULL with another topology */
    int db;
    const char *user, *password; /* NULL: none */
    const char *password_file;   /* read at every connect, so that a change needs no restart; NULL: none */
    const char *sentinel_password_file; /* the same, for the Sentinels, which have a password of their own */
    bool tls;                           /* with all of them */
    const char *tls_ca;                 /* a file of certificates; NULL: those that the system trusts */
    const char *tls_cert,
        *tls_key;         /* files: our certificate, and its key; NULL: none, and it is in tls_cert */
    const char *tls_name; /* what their certificates must name; NULL: host or address of each */
    const char *prefix;   /* of all our keys, with a ':' behind it; NULL: "rcptgate" */
    int64_t timeout_ms;   /* for one call, connect, AUTH and answer together */
};

/* Everything in the pool, so that it outlives the policy. -1: out of memory. */
int redis_config_copy(struct pool *pool, const struct redis_config *config, struct redis_config *out);

/* The same for one address; it and all else is borrowed. */
struct redis_config redis_config_at(const struct redis_config *config, const struct redis_address *address);

/* For people, without a password: "127.0.0.1:6379", "/run/redis.sock", "mymaster of the Sentinels h1:26379, h2:26379". Cut
 * where it is longer than size; returns out. */
const char *redis_config_name(const struct redis_config *config, char *out, size_t size);

/* "host:port", an IPv6 address in brackets. */
const char *redis_config_address(const struct redis_address *address, char *out, size_t size);

#endif
