/* redis_keeper: the connection that the keeper thread owns: resolves, connects, authenticates and probes, so
 * that no session pays for it. Used by one thread. */
#ifndef RCPTGATE_REDIS_KEEPER_H
#define RCPTGATE_REDIS_KEEPER_H

#include "redis_probe.h"

struct redis_keeper;

/* config is copied; wake_fd: becomes readable when waiting is to end. NULL when out of memory. */
struct redis_keeper *redis_keeper_new(const struct redis_config *config, const char *prefix, int wake_fd);
void redis_keeper_free(struct redis_keeper *keeper);

/* Probes on the connection there is, if it is still there, else on a fresh one: looks the name up, reads the
 * password, tries each address. 0, or -1 with err set. May wait some seconds for a name, unless wake_fd is
 * readable. */
int redis_keeper_probe(struct redis_keeper *keeper, struct redis_probe *out, struct error *err);

/* Another connection to where the last probe succeeded. NULL with err set. */
struct redis_link *redis_keeper_connect(struct redis_keeper *keeper, struct error *err);

struct redis_target *
redis_keeper_target(struct redis_keeper *keeper);     /* borrowed; NULL before the first success */
void redis_keeper_close(struct redis_keeper *keeper); /* the next probe starts from the name */
bool redis_keeper_quiet(struct redis_keeper *keeper); /* the connection is there and silent */
int redis_keeper_fd(
    struct redis_keeper *keeper); /* readable when the connection has gone; -1: there is none */

#endif
