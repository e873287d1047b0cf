/* probe: whether a connection can do what calls will ask of it, found out without changing anything. */
#ifndef RCPTGATE_REDIS_PROBE_H
#define RCPTGATE_REDIS_PROBE_H

#include "base/redis_config.h"
#include "connection.h"

struct redis_probe {
    char run_id[64];      /* "": the ACL does not let us see it */
    struct error warning; /* works, but: an evicting policy, a right that is missing */
};

/* The master that Sentinels name must say by ROLE that it is one; a node of a cluster may say that another has the key. key: no other use is made of it, and it is never created. After anything but REDIS_CONNECTION_OK close the connection. */
enum redis_connection_status redis_probe_run(struct redis_connection *connection, const char *key,
                                             enum redis_topology topology, const char *who, int64_t deadline,
                                             struct redis_probe *out, struct error *err);

#endif
