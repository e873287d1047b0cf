/* Owns copies of the configuration, the addresses that the name had last, one connection and the target it
 * goes to. A look-up that hangs is left to itself, at most one at a time; meanwhile the addresses of the last
 * one are tried. */
#include "clock.h"
#include "redis_keeper.h"
#include "resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { ADDRESSES = 8, PASSWORD_MAX = 4096, RESOLVE_MS = 1500 };

struct address {
    struct sockaddr_storage addr;
    socklen_t len;
};

struct redis_keeper {
    char *host, *path, *user, *password, *password_file, *probe_key;
    int port, db, wake_fd;
    int64_t timeout_ns;
    struct address addresses[ADDRESSES];
    int n_addresses;
    struct resolver *resolver; /* a look-up under way */
    struct redis_link *link;
    struct redis_target *target;
    struct error warning; /* of the connection */
};

/* ---- where to ---- */

static bool address_literal(struct redis_keeper *keeper, struct address *out)
{
    *out = (struct address){0};
    if (keeper->path != NULL) {
        struct sockaddr_un *un = (void *)&out->addr;
        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof un->sun_path, "%s", keeper->path);
        out->len = sizeof *un;
        return true;
    }
    struct sockaddr_in *in = (void *)&out->addr;
    if (inet_pton(AF_INET, keeper->host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)keeper->port);
        out->len = sizeof *in;
        return true;
    }
    struct sockaddr_in6 *in6 = (void *)&out->addr;
    *out = (struct address){0};
    if (inet_pton(AF_INET6, keeper->host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)keeper->port);
        out->len = sizeof *in6;
        return true;
    }
    return false;
}

static void keeper_take_result(struct redis_keeper *keeper, struct error *err)
{
    const struct addrinfo *info = resolver_result(keeper->resolver, err);
    if (info != NULL)
        keeper->n_addresses = 0;
    for (; info != NULL && keeper->n_addresses < ADDRESSES; info = info->ai_next) {
        struct address *address = &keeper->addresses[keeper->n_addresses++];
        memcpy(&address->addr, info->ai_addr, info->ai_addrlen);
        address->len = info->ai_addrlen;
    }
    resolver_free(keeper->resolver);
    keeper->resolver = NULL;
}

/* err says why the name could not be looked up; that is no failure as long as there are addresses from before. */
static int keeper_resolve(struct redis_keeper *keeper, struct error *err)
{
    if (keeper->path != NULL && strlen(keeper->path) >= sizeof((struct sockaddr_un *)NULL)->sun_path) {
        error_set(err, "the path %s is too long for a unix socket", keeper->path);
        return -1;
    }
    if (address_literal(keeper, &keeper->addresses[0])) {
        keeper->n_addresses = 1;
        return 0;
    }
    if (keeper->resolver == NULL)
        keeper->resolver = resolver_new(keeper->host, keeper->port, err);
    if (keeper->resolver != NULL) {
        struct pollfd fds[] = {{.fd = resolver_fd(keeper->resolver), .events = POLLIN},
                               {.fd = keeper->wake_fd, .events = POLLIN}};
        (void)poll(fds, 2, RESOLVE_MS); /* what counts is whether it is done */
        if (resolver_done(keeper->resolver))
            keeper_take_result(keeper, err);
        else
            error_set(err, "the look-up of %s has not ended yet: see the name service of this host",
                      keeper->host);
    }
    return keeper->n_addresses > 0 ? 0 : -1;
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

static struct redis_target *keeper_make_target(struct redis_keeper *keeper, const struct address *address,
                                               struct error *err)
{
    char from_file[PASSWORD_MAX];
    const char *password = keeper->password;
    if (keeper->password_file != NULL) {
        if (read_password(keeper->password_file, from_file, err) != 0)
            return NULL;
        password = from_file;
    }
    struct redis_target *target = redis_target_new((const struct sockaddr *)&address->addr, address->len,
                                                   keeper->db, keeper->user, password);
    if (target == NULL)
        error_set(err, "out of memory");
    explicit_bzero(from_file, sizeof from_file);
    return target;
}

/* ---- connecting and probing ---- */

static enum redis_link_status keeper_ask(struct redis_keeper *keeper, struct redis_target *target,
                                         int64_t deadline, struct redis_probe *out, struct error *err)
{
    enum redis_link_status status =
        redis_probe_run(keeper->link, keeper->probe_key, target->name, deadline, out, err);
    if (status != REDIS_LINK_OK)
        redis_link_close(keeper->link);
    else if (out->warning.text[0] == '\0')
        out->warning = keeper->warning;
    return status;
}

/* On the connection there is. REDIS_LINK_CLOSED: there is none, or it ended; what it says about the server is for a fresh
 * one to find out. */
static enum redis_link_status keeper_ask_again(struct redis_keeper *keeper, struct redis_probe *out,
                                               struct error *err)
{
    struct error why = {0};
    enum redis_link_status status = REDIS_LINK_CLOSED;
    if (redis_link_is_quiet(keeper->link, true))
        status = keeper_ask(keeper, keeper->target, clock_monotonic_ns() + keeper->timeout_ns, out, &why);
    if (status != REDIS_LINK_OK)
        redis_link_close(keeper->link);
    if (status != REDIS_LINK_CLOSED)
        *err = why;
    return status;
}

static int keeper_try(struct redis_keeper *keeper, const struct address *address, struct redis_probe *out,
                      struct error *err)
{
    int64_t deadline = clock_monotonic_ns() + keeper->timeout_ns;
    struct redis_target *target = keeper_make_target(keeper, address, err);
    if (target == NULL)
        return -1;
    keeper->warning = (struct error){0};
    if (redis_link_open(keeper->link, target, deadline, err, &keeper->warning) != REDIS_LINK_OK ||
        keeper_ask(keeper, target, deadline, out, err) != REDIS_LINK_OK) {
        redis_target_unref(target);
        return -1;
    }
    redis_target_unref(keeper->target);
    keeper->target = target;
    return 0;
}

int redis_keeper_probe(struct redis_keeper *keeper, struct redis_probe *out, struct error *err)
{
    enum redis_link_status status = keeper_ask_again(keeper, out, err);
    if (status != REDIS_LINK_CLOSED)
        return status == REDIS_LINK_OK ? 0 : -1;
    struct error lookup = {0};
    int rc = keeper_resolve(keeper, &lookup);
    if (rc != 0)
        error_set(err, "%s", lookup.text);
    for (int i = 0; rc == 0 && i < keeper->n_addresses; i++) {
        struct error why = {0};
        if (keeper_try(keeper, &keeper->addresses[i], out, &why) == 0)
            return 0;
        error_set(err, "%s", why.text); /* the first address says it: it is the one that was meant */
    }
    return -1;
}

struct redis_link *redis_keeper_connect(struct redis_keeper *keeper, struct error *err)
{
    struct redis_link *link = redis_link_new();
    if (link == NULL) {
        error_set(err, "out of memory");
        return NULL;
    }
    if (redis_link_open(link, keeper->target, clock_monotonic_ns() + keeper->timeout_ns, err, NULL) == REDIS_LINK_OK)
        return link;
    redis_link_free(link);
    return NULL;
}

struct redis_target *redis_keeper_target(struct redis_keeper *keeper)
{
    return keeper->target;
}

bool redis_keeper_quiet(struct redis_keeper *keeper)
{
    return redis_link_is_quiet(keeper->link, true);
}

void redis_keeper_close(struct redis_keeper *keeper)
{
    redis_link_close(keeper->link);
}

int redis_keeper_fd(struct redis_keeper *keeper)
{
    return redis_link_fd(keeper->link);
}

static int copy(char **out, const char *string)
{
    *out = string != NULL ? strdup(string) : NULL;
    return string != NULL && *out == NULL ? -1 : 0;
}

struct redis_keeper *redis_keeper_new(const struct redis_config *config, int wake_fd)
{
    struct redis_keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL)
        return NULL;
    keeper->wake_fd = wake_fd;
    keeper->port = config->port;
    keeper->db = config->db;
    keeper->timeout_ns = config->timeout_ms * 1000000;
    keeper->link = redis_link_new();
    if (keeper->link == NULL || copy(&keeper->host, config->host) != 0 ||
        copy(&keeper->path, config->path) != 0 || copy(&keeper->user, config->user) != 0 ||
        copy(&keeper->password, config->password) != 0 ||
        copy(&keeper->password_file, config->password_file) != 0 ||
        copy(&keeper->probe_key, config->probe_key != NULL ? config->probe_key : "rcptgate:probe") != 0) {
        redis_keeper_free(keeper);
        return NULL;
    }
    return keeper;
}

void redis_keeper_free(struct redis_keeper *keeper)
{
    if (keeper == NULL)
        return;
    if (keeper->password != NULL)
        explicit_bzero(keeper->password, strlen(keeper->password));
    free(keeper->host);
    free(keeper->path);
    free(keeper->user);
    free(keeper->password);
    free(keeper->password_file);
    free(keeper->probe_key);
    resolver_free(keeper->resolver);
    redis_link_free(keeper->link);
    redis_target_unref(keeper->target);
    free(keeper);
}
