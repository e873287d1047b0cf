/* connector: owns copies of the configuration, the addresses that the name had last, one connection and the endpoint it
 * goes to. A look-up that hangs is left to itself, at most one at a time; meanwhile the addresses of the last
 * one are tried. */
#include "base/clock.h"
#include "connector.h"
#include "resolver.h"
#include "slots.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { ADDRESSES = 8, PASSWORD_MAX = 4096, RESOLVE_MS = 1500, PROBE_KEY = 128 };

struct address {
    struct sockaddr_storage addr;
    socklen_t len;
};

struct redis_connector {
    struct pool pool;           /* of the */
    struct redis_config config; /* copy */
    char probe_key[PROBE_KEY];
    int wake_fd;
    int64_t timeout_ns;
    struct address addresses[ADDRESSES];
    int n_addresses;
    struct resolver *resolver; /* a look-up under way */
    struct redis_connection *connection;
    struct redis_endpoint *endpoint;
    struct error warning; /* of the connection */
};

/* ---- where to ---- */

static bool address_literal(struct redis_connector *connector, struct address *out)
{
    *out = (struct address){0};
    if (connector->config.path != NULL) {
        struct sockaddr_un *un = (void *)&out->addr;
        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof un->sun_path, "%s", connector->config.path);
        out->len = sizeof *un;
        return true;
    }
    const struct redis_address *node = &connector->config.addresses[0];
    struct sockaddr_in *in = (void *)&out->addr;
    if (inet_pton(AF_INET, node->host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)node->port);
        out->len = sizeof *in;
        return true;
    }
    struct sockaddr_in6 *in6 = (void *)&out->addr;
    *out = (struct address){0};
    if (inet_pton(AF_INET6, node->host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)node->port);
        out->len = sizeof *in6;
        return true;
    }
    return false;
}

static void connector_take_result(struct redis_connector *connector, struct error *err)
{
    const struct addrinfo *info = resolver_result(connector->resolver, err);
    if (info != NULL)
        connector->n_addresses = 0;
    for (; info != NULL && connector->n_addresses < ADDRESSES; info = info->ai_next) {
        struct address *address = &connector->addresses[connector->n_addresses++];
        memcpy(&address->addr, info->ai_addr, info->ai_addrlen);
        address->len = info->ai_addrlen;
    }
    resolver_free(connector->resolver);
    connector->resolver = NULL;
}

/* err says why the name could not be looked up; that is no failure as long as there are addresses from before. */
static int connector_resolve(struct redis_connector *connector, struct error *err)
{
    const char *path = connector->config.path;
    if (path != NULL && strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path) {
        error_set(err, "the path %s is too long for a unix socket", path);
        return -1;
    }
    if (address_literal(connector, &connector->addresses[0])) {
        connector->n_addresses = 1;
        return 0;
    }
    if (connector->resolver == NULL)
        connector->resolver =
            resolver_new(connector->config.addresses[0].host, connector->config.addresses[0].port, err);
    if (connector->resolver != NULL) {
        struct pollfd fds[] = {{.fd = resolver_fd(connector->resolver), .events = POLLIN},
                               {.fd = connector->wake_fd, .events = POLLIN}};
        (void)poll(fds, 2, RESOLVE_MS); /* what counts is whether it is done */
        if (resolver_done(connector->resolver))
            connector_take_result(connector, err);
        else
            error_set(err, "the look-up of %s has not ended yet: see the name service of this host",
                      connector->config.addresses[0].host);
    }
    return connector->n_addresses > 0 ? 0 : -1;
}

/* ---- as whom ---- */

/* The first line of the file, into password (PASSWORD_MAX bytes). */
static int read_password(const char *file, char *password, struct error *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n = fd >= 0 ? read(fd, password, PASSWORD_MAX - 1) : -1;
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0) {
        error_set(err, "cannot read counters.password_file %s: %s", file, strerror(error));
        return -1;
    }
    password[n] = '\0';
    password[strcspn(password, "\r\n")] = '\0';
    if (password[0] == '\0') {
        error_set(err, "counters.password_file %s is empty", file);
        return -1;
    }
    return 0;
}

static struct redis_endpoint *connector_make_endpoint(struct redis_connector *connector,
                                                      const struct address *address, struct error *err)
{
    char from_file[PASSWORD_MAX];
    const char *password = connector->config.password;
    if (connector->config.password_file != NULL) {
        if (read_password(connector->config.password_file, from_file, err) != 0)
            return NULL;
        password = from_file;
    }
    struct redis_endpoint *endpoint =
        redis_endpoint_new((const struct sockaddr *)&address->addr, address->len, connector->config.db,
                           connector->config.user, password);
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
        redis_probe_run(connector->connection, connector->probe_key, endpoint->name,
                        connector->config.topology == REDIS_TOPOLOGY_CLUSTER, deadline, out, err);
    if (status != REDIS_CONNECTION_OK)
        redis_connection_close(connector->connection);
    else if (out->warning.text[0] == '\0')
        out->warning = connector->warning;
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

static int connector_try(struct redis_connector *connector, const struct address *address,
                         struct redis_probe *out, struct error *err)
{
    int64_t deadline = clock_monotonic_ns() + connector->timeout_ns;
    struct redis_endpoint *endpoint = connector_make_endpoint(connector, address, err);
    if (endpoint == NULL)
        return -1;
    connector->warning = (struct error){0};
    if (redis_connection_open(connector->connection, endpoint, deadline, err, &connector->warning) !=
            REDIS_CONNECTION_OK ||
        connector_ask(connector, endpoint, deadline, out, err) != REDIS_CONNECTION_OK) {
        redis_endpoint_unref(endpoint);
        return -1;
    }
    redis_endpoint_unref(connector->endpoint);
    connector->endpoint = endpoint;
    return 0;
}

int redis_connector_probe(struct redis_connector *connector, struct redis_probe *out, struct error *err)
{
    enum redis_connection_status status = connector_ask_again(connector, out, err);
    if (status != REDIS_CONNECTION_CLOSED)
        return status == REDIS_CONNECTION_OK ? 0 : -1;
    struct error lookup = {0};
    int rc = connector_resolve(connector, &lookup);
    if (rc != 0)
        error_set(err, "%s", lookup.text);
    for (int i = 0; rc == 0 && i < connector->n_addresses; i++) {
        struct error why = {0};
        if (connector_try(connector, &connector->addresses[i], out, &why) == 0)
            return 0;
        error_set(err, "%s", why.text); /* the first address says it: it is the one that was meant */
    }
    return -1;
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

struct redis_connection *redis_connector_open(struct redis_connector *connector, struct error *err)
{
    struct error lookup = {0};
    struct redis_connection *connection = NULL;
    if (connector_resolve(connector, &lookup) != 0)
        error_set(err, "%s", lookup.text);
    for (int i = 0; connection == NULL && i < connector->n_addresses; i++) {
        struct redis_endpoint *endpoint = connector_make_endpoint(connector, &connector->addresses[i], err);
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

struct redis_connection *redis_connector_connect(struct redis_connector *connector, struct error *err)
{
    return connector_dial(connector, connector->endpoint, err);
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

struct redis_connector *redis_connector_new(const struct redis_config *config, const char *prefix,
                                            int wake_fd)
{
    struct redis_connector *connector = calloc(1, sizeof *connector);
    if (connector == NULL)
        return NULL;
    connector->wake_fd = wake_fd;
    connector->timeout_ns = config->timeout_ms * 1000000;
    connector->connection = redis_connection_new();
    snprintf(connector->probe_key, PROBE_KEY, "%s:probe", prefix);
    if (connector->connection == NULL ||
        redis_config_copy(&connector->pool, config, &connector->config) != 0) {
        redis_connector_free(connector);
        return NULL;
    }
    return connector;
}

void redis_connector_free(struct redis_connector *connector)
{
    if (connector == NULL)
        return;
    pool_done(&connector->pool);
    resolver_free(connector->resolver);
    redis_connection_free(connector->connection);
    redis_endpoint_unref(connector->endpoint);
    free(connector);
}
