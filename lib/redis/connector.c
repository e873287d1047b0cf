/* connector: owns a copy of the configuration, the Sentinels where there are some, one connection and the endpoint it goes to, and what TLS
 * read from its files. */
#include "base/clock.h"
#include "connector.h"
#include "password.h"
#include "sentinels.h"
#include "host.h"
#include "slots.h"

#include <stdlib.h>
#include <string.h>

enum { PROBE_KEY = 128, SPREAD_MS = 1000 /* many gates do not all turn to a new master at once */ };

struct redis_connector {
    struct pool pool;           /* of the */
    struct redis_config config; /* copy */
    char probe_key[PROBE_KEY];
    int wake_fd;
    int64_t timeout_ns;
    struct redis_sentinels *sentinels; /* who name the host; NULL: config does */
    struct redis_master master; /* as they did, or where it was moved to; its host is borrowed by the */
    struct redis_host host;
    int64_t not_before;    /* it is connected to */
    struct redis_tls *tls; /* NULL: plain text, or not read yet */
    struct redis_connection *connection;
    struct redis_endpoint *endpoint;
    struct error warning; /* of the connection */
};

/* ---- where to ---- */

static void connector_turn(struct redis_connector *connector, const struct redis_master *master)
{
    bool first = connector->master.host[0] == '\0';
    redis_connection_close(connector->connection);
    redis_host_done(&connector->host);
    connector->master = *master;
    connector->host = (struct redis_host){.name = connector->master.host, .port = connector->master.port};
    connector->not_before =
        first ? 0 : clock_monotonic_ns() + (int64_t)arc4random_uniform(SPREAD_MS) * 1000000;
}

void redis_connector_move(struct redis_connector *connector, const struct redis_address *address)
{
    struct redis_master to = {.port = address->port};
    snprintf(to.host, sizeof to.host, "%s", address->host);
    connector_turn(connector, &to);
}

int redis_connector_follow(struct redis_connector *connector, struct error *err)
{
    struct redis_master said = {0};
    struct error why = {0};
    char address[300];
    if (connector->sentinels == NULL)
        return 0;
    (void)redis_sentinels_ask(connector->sentinels, connector->tls, &said, &why); /* none: as it was */
    if (said.host[0] == '\0') {
        error_set(err, "no Sentinel names a master: %s", why.text);
        return -1;
    }
    if (said.port != connector->master.port || strcmp(said.host, connector->master.host) != 0)
        connector_turn(connector, &said);
    connector->master.disputed = said.disputed;
    redis_config_address(&(struct redis_address){said.host, said.port}, address, sizeof address);
    if (said.leaving)
        error_set(err, "the Sentinels are about to replace Redis at %s, the master \"%s\"", address,
                  connector->config.master);
    else if (clock_monotonic_ns() < connector->not_before)
        error_set(err,
                  "the Sentinels say that the master \"%s\" is now Redis at %s: it is used within a second",
                  connector->config.master, address);
    else
        return 0;
    return -1;
}

struct redis_sentinels *redis_connector_sentinels(struct redis_connector *connector)
{
    return connector->sentinels;
}

const struct redis_master *redis_connector_master(const struct redis_connector *connector)
{
    return &connector->master;
}

/* ---- as whom ---- */

/* Files that changed are read again; where they are no good, what was read before goes on. */
static int connector_read_tls(struct redis_connector *connector, struct error *warning, struct error *err)
{
    if (!connector->config.tls || (connector->tls != NULL && redis_tls_is_fresh(connector->tls)))
        return 0;
    struct redis_tls *tls = redis_tls_new(&connector->config, connector->tls != NULL ? warning : err);
    if (tls == NULL)
        return connector->tls != NULL ? 0 : -1;
    redis_tls_unref(connector->tls);
    connector->tls = tls;
    redis_connection_close(connector->connection);
    return 0;
}

static struct redis_endpoint *connector_make_endpoint(struct redis_connector *connector,
                                                      const struct redis_host_address *address,
                                                      struct error *err)
{
    char from_file[PASSWORD_MAX];
    const struct redis_config *config = &connector->config;
    struct redis_login login = {.db = config->db,
                                .user = config->user,
                                .password = config->password,
                                .host = connector->host.name,
                                .tls = connector->tls};
    if (config->password_file != NULL) {
        if (redis_password_read(config->password_file, "counters.password_file", from_file, err) != 0)
            return NULL;
        login.password = from_file;
    }
    struct redis_endpoint *endpoint =
        redis_endpoint_new((const struct sockaddr *)&address->addr, address->len, &login);
    if (endpoint == NULL)
        error_set(err, "out of memory");
    explicit_bzero(from_file, sizeof from_file);
    return endpoint;
}

/* ---- connecting and probing ---- */

static enum redis_connection_status connector_ask(struct redis_connector *connector,
                                                  struct redis_endpoint *endpoint, int64_t deadline,
                                                  struct redis_probe *out, struct error *err)
{
    enum redis_connection_status status =
        redis_probe_run(connector->connection, connector->probe_key, connector->config.topology,
                        endpoint->name, deadline, out, err);
    if (status != REDIS_CONNECTION_OK)
        redis_connection_close(connector->connection);
    else if (out->warning.text[0] == '\0')
        out->warning = connector->warning;
    if (status == REDIS_CONNECTION_OK && connector->sentinels != NULL && out->run_id[0] == '\0')
        snprintf(out->run_id, sizeof out->run_id, "%.63s",
                 endpoint->name); /* another master is another life */
    return status;
}

/* On the connection there is. REDIS_CONNECTION_CLOSED: there is none, or it ended; what it says about the server is for a fresh
 * one to find out. */
static enum redis_connection_status connector_ask_again(struct redis_connector *connector,
                                                        struct redis_probe *out, struct error *err)
{
    struct error why = {0};
    enum redis_connection_status status = REDIS_CONNECTION_CLOSED;
    if (redis_connection_is_quiet(connector->connection, true))
        status = connector_ask(connector, connector->endpoint, clock_monotonic_ns() + connector->timeout_ns,
                               out, &why);
    if (status != REDIS_CONNECTION_OK)
        redis_connection_close(connector->connection);
    if (status != REDIS_CONNECTION_CLOSED)
        *err = why;
    return status;
}

static int connector_try(struct redis_connector *connector, const struct redis_host_address *address,
                         struct redis_probe *out, struct error *err)
{
    int64_t deadline = clock_monotonic_ns() + connector->timeout_ns;
    struct redis_endpoint *endpoint = connector_make_endpoint(connector, address, err);
    if (endpoint == NULL)
        return -1;
    connector->warning = (struct error){0};
    if (redis_connection_open(connector->connection, endpoint, deadline, err, &connector->warning) !=
        REDIS_CONNECTION_OK) {
        redis_endpoint_unref(endpoint);
        return -1;
    }
    redis_endpoint_unref(connector->endpoint);
    connector->endpoint = endpoint;
    return connector_ask(connector, endpoint, deadline, out, err) == REDIS_CONNECTION_OK ? 0 : -1;
}

static int connector_probe_fresh(struct redis_connector *connector, struct redis_probe *out,
                                 struct error *err)
{
    struct redis_host *host = &connector->host;
    struct error lookup = {0};
    if (redis_host_resolve(host, connector->wake_fd, &lookup) != 0) {
        error_set(err, "%s", lookup.text);
        return -1;
    }
    for (int i = 0; i < host->n_addresses; i++) {
        struct error why = {0};
        if (connector_try(connector, &host->addresses[i], out, &why) == 0)
            return 0;
        error_set(err, "%s", why.text); /* the first address says it: it is the one that was meant */
    }
    return -1;
}

int redis_connector_probe(struct redis_connector *connector, struct redis_probe *out, struct error *err)
{
    struct error renewal = {0};
    if (connector_read_tls(connector, &renewal, err) != 0 || redis_connector_follow(connector, err) != 0)
        return -1;
    struct error why = {0};
    enum redis_connection_status status = connector_ask_again(connector, out, &why);
    int rc = status == REDIS_CONNECTION_OK ? 0 : -1;
    if (status == REDIS_CONNECTION_CLOSED)
        rc = connector_probe_fresh(connector, out, &why);
    if (rc != 0 && connector->master.disputed)
        error_set(err,
                  "%.300s; the Sentinels name another, under an older epoch: if they were set up anew, "
                  "restart the gate",
                  why.text);
    else if (rc != 0)
        error_set(err, "%s", why.text);
    if (rc == 0 && renewal.text[0] != '\0')
        out->warning = renewal;
    return rc;
}

static struct redis_connection *connector_dial(struct redis_connector *connector,
                                               struct redis_endpoint *endpoint, struct error *err)
{
    struct redis_connection *connection = redis_connection_new();
    if (connection == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    if (redis_connection_open(connection, endpoint, clock_monotonic_ns() + connector->timeout_ns, err,
                              NULL) == REDIS_CONNECTION_OK)
        return connection;
    redis_connection_free(connection);
    return NULL;
}

struct redis_connection *redis_connector_connect(struct redis_connector *connector, struct error *err)
{
    return connector_dial(connector, connector->endpoint, err);
}

struct redis_connection *redis_connector_open(struct redis_connector *connector, struct error *err)
{
    struct redis_host *host = &connector->host;
    struct redis_connection *connection = NULL;
    struct error lookup = {0}, renewal = {0};
    if (connector_read_tls(connector, &renewal, err) != 0)
        return NULL;
    if (redis_host_resolve(host, connector->wake_fd, &lookup) != 0)
        error_set(err, "%s", lookup.text);
    for (int i = 0; connection == NULL && i < host->n_addresses; i++) {
        struct redis_endpoint *endpoint = connector_make_endpoint(connector, &host->addresses[i], err);
        connection = endpoint != NULL ? connector_dial(connector, endpoint, err) : NULL;
        redis_endpoint_unref(endpoint);
    }
    return connection;
}

void redis_connector_probe_slot(struct redis_connector *connector, int slot)
{
    char tag[16] = "";
    if (connector->config.topology != REDIS_TOPOLOGY_CLUSTER)
        return;
    if (slot >= 0)
        snprintf(tag, sizeof tag, ":{%u}", redis_slots_tag((unsigned)slot));
    snprintf(connector->probe_key, PROBE_KEY, "%s:probe%s", connector->config.prefix, tag);
}

struct redis_endpoint *redis_connector_endpoint(struct redis_connector *connector)
{
    return connector->endpoint;
}

bool redis_connector_quiet(struct redis_connector *connector)
{
    return redis_connection_is_quiet(connector->connection, true);
}

void redis_connector_close(struct redis_connector *connector)
{
    redis_connection_close(connector->connection);
}

int redis_connector_fd(struct redis_connector *connector)
{
    return redis_connection_fd(connector->connection);
}

struct redis_connector *redis_connector_new(const struct redis_config *config, int wake_fd)
{
    struct redis_connector *connector = calloc(1, sizeof *connector);
    if (connector == NULL)
        return NULL;
    connector->wake_fd = wake_fd;
    connector->timeout_ns = config->timeout_ms * 1000000;
    connector->connection = redis_connection_new();
    snprintf(connector->probe_key, PROBE_KEY, "%s:probe", config->prefix);
    bool good =
        connector->connection != NULL && redis_config_copy(&connector->pool, config, &connector->config) == 0;
    const struct redis_config *copy = &connector->config;
    if (good && copy->topology == REDIS_TOPOLOGY_SENTINEL)
        good = (connector->sentinels = redis_sentinels_new(copy, wake_fd)) != NULL;
    else if (good && copy->path != NULL)
        connector->host.path = copy->path;
    else if (good)
        connector->host =
            (struct redis_host){.name = copy->addresses[0].host, .port = copy->addresses[0].port};
    if (good)
        return connector;
    redis_connector_free(connector);
    return NULL;
}

void redis_connector_free(struct redis_connector *connector)
{
    if (connector == NULL)
        return;
    redis_sentinels_free(connector->sentinels);
    redis_host_done(&connector->host);
    redis_connection_free(connector->connection);
    redis_endpoint_unref(connector->endpoint);
    redis_tls_unref(connector->tls);
    pool_done(&connector->pool); /* what TLS and Sentinels have borrowed */
    free(connector);
}
