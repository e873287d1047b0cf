/* connector: the connection that the connector thread owns: asks the Sentinels, resolves, connects, authenticates and probes, so
 * that no session waits for it. Used by one thread. */
#ifndef RCPTGATE_REDIS_CONNECTOR_H
#define RCPTGATE_REDIS_CONNECTOR_H

#include "base/redis_config.h"
#include "probe.h"
#include "sentinels.h"

struct redis_connector;

/* config, with a prefix, is copied; wake_fd: becomes readable when waiting is to end. NULL when out of memory. */
struct redis_connector *redis_connector_new(const struct redis_config *config, int wake_fd);
void redis_connector_free(struct redis_connector *connector);

/* Probes on the connection there is, if it is still there, else on a fresh one: looks the name up, reads the
 * password, tries each address. 0, or -1 with err set. May wait some seconds for a name, unless wake_fd is
 * readable. */
int redis_connector_probe(struct redis_connector *connector, struct redis_probe *out, struct error *err);

/* Asks the Sentinels alone. -1 with err set: the connection there was is not to be used any more, since the master is, or will be,
 * another; redis_connector_probe() finds that. Without Sentinels 0. */
int redis_connector_follow(struct redis_connector *connector, struct error *err);

/* Without Sentinels: it is at another address from now on; the next probe goes there. */
void redis_connector_move(struct redis_connector *connector, const struct redis_address *address);

struct redis_sentinels *
redis_connector_sentinels(struct redis_connector *connector); /* borrowed; NULL: there are none */
const struct redis_master *redis_connector_master(
    const struct redis_connector *connector); /* as they said last; its host is "" where nobody did */

/* Of a node of a cluster: the slot in which the next probe writes; -1: none is known. */
void redis_connector_probe_slot(struct redis_connector *connector, int slot);

/* A connection of its own, to the first address that takes it; nothing is probed. Not with Sentinels. NULL with err set. */
struct redis_connection *redis_connector_open(struct redis_connector *connector, struct error *err);

/* Another connection to where the last probe came through to, whatever it found there. NULL with err set. */
struct redis_connection *redis_connector_connect(struct redis_connector *connector, struct error *err);

struct redis_endpoint *
redis_connector_endpoint(struct redis_connector *connector);   /* borrowed; NULL before it came through */
void redis_connector_close(struct redis_connector *connector); /* the next probe starts from the name */
bool redis_connector_quiet(struct redis_connector *connector); /* the connection is there and silent */
int redis_connector_fd(
    struct redis_connector *connector); /* readable when the connection has gone; -1: there is none */

#endif
