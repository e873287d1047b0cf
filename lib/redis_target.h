/* redis_target: where to connect and as whom. Never changes once made; shared by counting references, so that the
 * lanes go on with the old one while the keeper makes the next. */
#ifndef RCPTGATE_REDIS_TARGET_H
#define RCPTGATE_REDIS_TARGET_H

#include <stdatomic.h>
#include <sys/socket.h>

struct redis_target {
    atomic_int refs;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    int db;
    char *user, *password; /* NULL: none */
    char *name;            /* for people: "192.0.2.1:6379", "[2001:db8::1]:6379", "/run/redis.sock" */
};

/* With one reference; NULL when out of memory. */
struct redis_target *redis_target_new(const struct sockaddr *addr, socklen_t addr_len, int db,
                                      const char *user, const char *password);
struct redis_target *redis_target_ref(struct redis_target *target);
void redis_target_unref(struct redis_target *target); /* NULL is harmless */

#endif
