/* counters_url: which Redis is counted in, or that none is: SCHEME://[user:password@]HOST[:PORT][,...][/...]. Values live in the
 * pool of the policy. A URL that is bad is said, and leaves COUNTERS_NONE. No text here repeats a URL: it can carry a password. */
#include "counters_url.h"

#include "endpoints.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { ADDRESSES_MAX = 64, REDIS_PORT = 6379, SENTINEL_PORT = 26379 };

const char counters_url_instead[] = "what counters.when_down says, as if Redis were down";

static const struct scheme {
    const char *name;
    enum redis_topology topology;
    bool tls;
} schemes[] = {
    {"redis://", REDIS_TOPOLOGY_NODE, false},
    {"rediss://", REDIS_TOPOLOGY_NODE, true},
    {"redis+sentinel://", REDIS_TOPOLOGY_SENTINEL, false},
    {"rediss+sentinel://", REDIS_TOPOLOGY_SENTINEL, true},
    {"redis+cluster://", REDIS_TOPOLOGY_CLUSTER, false},
    {"rediss+cluster://", REDIS_TOPOLOGY_CLUSTER, true},
};

static const char *keep(struct loader *loader, const char *bytes, size_t n)
{
    const char *copy = pool_strndup(loader->pool, bytes, n);
    loader->failed = loader->failed || copy == NULL;
    return copy;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* Percent-decoded (RFC 3986 2.1), NULL where an escape is none, or stands for NUL. */
static const char *decode(struct loader *loader, const char *at, size_t n)
{
    char *out = pool_alloc(loader->pool, n + 1);
    loader->failed = loader->failed || out == NULL;
    for (size_t i = 0, used = 0; out != NULL && i < n; i++) {
        int high = at[i] == '%' && n - i > 2 ? hex_digit(at[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(at[i + 2]) : -1;
        if (at[i] == '%' && (low < 0 || high + low == 0))
            return NULL;
        out[used++] = at[i] == '%' ? (char)((unsigned)high << 4 | (unsigned)low) : at[i];
        i += at[i] == '%' ? 2 : 0;
    }
    return out;
}

static bool read_db(const char *at, int *out)
{
    size_t n = strspn(at, "0123456789");
    if (n < 1 || n > 5 || at[n] != '\0')
        return false;
    *out = atoi(at);
    return true;
}

/* user:password, :password, or a user whose password is in a file beside the URL. */
static const char *url_login(struct loader *loader, struct redis_config *out, const char *at, size_t n)
{
    const char *colon = memchr(at, ':', n);
    size_t user = colon != NULL ? (size_t)(colon - at) : n;
    out->user = user > 0 ? decode(loader, at, user) : NULL;
    out->password = colon != NULL ? decode(loader, colon + 1, n - user - 1) : NULL;
    if ((user > 0 && out->user == NULL) || (colon != NULL && out->password == NULL))
        return "has a percent sign in its user or password that is no escape; write %25 for a percent sign";
    return NULL;
}

/* host, host:port, [v6] or [v6]:port. */
static const char *url_host(struct loader *loader, struct redis_address *out, const char *at, size_t n)
{
    const char *close = n > 0 && at[0] == '[' ? memchr(at, ']', n) : NULL;
    const char *host = close != NULL ? at + 1 : at;
    const char *from = close != NULL ? close + 1 : at;
    const char *colon = memchr(from, ':', n - (size_t)(from - at));
    const char *end = colon != NULL ? colon : at + n;
    size_t length = (size_t)((close != NULL ? close : end) - host);
    if (!endpoints_is_host(host, length) || (close != NULL && end != close + 1) ||
        (close == NULL && memchr(host, ':', length) != NULL))
        return "has no good host; write redis://127.0.0.1:6379/0, an IPv6 address in brackets";
    if (colon != NULL && !endpoints_read_port(colon + 1, (size_t)(at + n - colon - 1), &out->port))
        return "has a bad port: from 1 to 65535, an IPv6 address in brackets";
    out->host = keep(loader, host, length);
    return NULL;
}

/* One host, or several between commas. */
static const char *url_hosts(struct loader *loader, struct redis_config *out, const char *at, size_t n)
{
    size_t most = 1;
    for (size_t i = 0; i < n; i++)
        most += at[i] == ',';
    if (most > 1 && out->topology == REDIS_TOPOLOGY_NODE)
        return "has several hosts: write redis+sentinel:// for Sentinels, redis+cluster:// for the nodes of "
               "a cluster, "
               "a \",\" of the password as %2C";
    if (most > ADDRESSES_MAX)
        return "has more than 64 hosts; some of a cluster's nodes are enough, the others are found";
    struct redis_address *addresses = pool_alloc(loader->pool, most * sizeof *addresses);
    loader->failed = loader->failed || addresses == NULL;
    const char *wrong = NULL;
    for (const char *end = at + n; addresses != NULL && wrong == NULL && out->n_addresses < most;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        struct redis_address *address = &addresses[out->n_addresses++];
        address->port = out->topology == REDIS_TOPOLOGY_SENTINEL ? SENTINEL_PORT : REDIS_PORT;
        wrong = url_host(loader, address, at, (size_t)((comma != NULL ? comma : end) - at));
        at = comma != NULL ? comma + 1 : end;
    }
    out->addresses = addresses;
    return wrong;
}

static const char *node_rest(struct redis_config *out, const char *at)
{
    if (at[0] != '\0' && strcmp(at, "/") != 0 && (at[0] != '/' || !read_db(at + 1, &out->db)))
        return "must end with the host, the port or the number of a database, as in "
               "redis://127.0.0.1:6379/0; write a "
               "\"/\", \"?\" or \"#\" of the password as %2F, %3F or %23";
    return NULL;
}

/* /master or /master/N. Sentinel itself takes no other letters. */
static const char *sentinel_rest(struct loader *loader, struct redis_config *out, const char *at)
{
    size_t n = at[0] == '/'
                   ? strspn(at + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
                   : 0;
    const char *rest = at + 1 + n;
    if (n == 0 ||
        (rest[0] != '\0' && strcmp(rest, "/") != 0 && (rest[0] != '/' || !read_db(rest + 1, &out->db))))
        return "must end with the name that the Sentinels give to the master, and may have a database behind "
               "it, as in "
               "redis+sentinel://sentinel1:26379,sentinel2:26379/mymaster/0";
    out->master = keep(loader, at + 1, n);
    return NULL;
}

static const char *cluster_rest(const char *at)
{
    if (at[0] != '\0' && strcmp(at, "/") != 0)
        return "must end with the last host or port: a cluster has no databases with numbers, as in "
               "redis+cluster://redis1:6379,redis2:6379; write a \"/\", \"?\" or \"#\" of the password as "
               "%2F, %3F or %23";
    return NULL;
}

static const char *url_redis(struct loader *loader, struct counters_config *out, const struct scheme *scheme,
                             const char *at)
{
    size_t n = strcspn(at, "/?#");
    const char *host = memrchr(at, '@', n), *wrong = NULL;
    out->kind = COUNTERS_REDIS_TCP;
    out->redis.topology = scheme->topology;
    out->redis.tls = scheme->tls;
    if (host != NULL)
        wrong = url_login(loader, &out->redis, at, (size_t)(host - at));
    host = host != NULL ? host + 1 : at;
    if (wrong == NULL)
        wrong = url_hosts(loader, &out->redis, host, n - (size_t)(host - at));
    if (wrong != NULL)
        return wrong;
    if (scheme->topology == REDIS_TOPOLOGY_SENTINEL)
        return sentinel_rest(loader, &out->redis, at + n);
    return scheme->topology == REDIS_TOPOLOGY_CLUSTER ? cluster_rest(at + n) : node_rest(&out->redis, at + n);
}

static const char *url_unix(struct loader *loader, struct counters_config *out, const char *at)
{
    size_t n = strcspn(at, "?");
    out->redis.path = decode(loader, at, n);
    if (out->redis.path == NULL || !endpoints_is_socket_path(out->redis.path))
        return "must be unix:///path or unix:///path?db=N with an absolute path of at most 107 bytes";
    if (at[n] == '?' && (strncmp(at + n, "?db=", 4) != 0 || !read_db(at + n + 4, &out->redis.db)))
        return "can only have ?db=N behind the path";
    out->kind = COUNTERS_REDIS_UNIX;
    return NULL;
}

/* What is wrong with it; NULL: nothing. */
static const char *url_parse(struct loader *loader, struct counters_config *out, const char *url)
{
    if (strcmp(url, "memory:") == 0) {
        out->kind = COUNTERS_MEMORY;
        return NULL;
    }
    if (strncmp(url, "unix://", 7) == 0)
        return url_unix(loader, out, url + 7);
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (strncmp(url, schemes[i].name, strlen(schemes[i].name)) == 0)
            return url_redis(loader, out, &schemes[i], url + strlen(schemes[i].name));
    return "must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// or be "
           "\"memory:\"";
}

/* A URL that cannot be used never becomes the embedded store in silence: somebody meant a Redis. */
bool counters_url(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct counters_config *counters = field, parsed = *counters;
    const char *url = json_string_value(place->value);
    counters->kind = COUNTERS_NONE;
    counters->url = "";
    if (url == NULL)
        return loader_mistyped(loader, place, key, "a URL in quotes, such as \"redis://127.0.0.1:6379/0\"");
    const char *wrong = url_parse(loader, &parsed, url);
    if (wrong == NULL && parsed.redis.user != NULL && parsed.redis.password == NULL &&
        json_object_get(place->up->value, "password_file") == NULL)
        wrong = "has a user but no password; write user:password@ or :password@ before the host, or name a "
                "counters.password_file";
    if (wrong != NULL)
        return loader_bad(loader, place, key, "%s", wrong);
    parsed.url = keep(loader, url, strlen(url));
    *counters = parsed;
    return true;
}

bool counters_url_tls_name(struct loader *loader, const struct place *place, const struct key *key,
                           void *field)
{
    const char *string = json_string_value(place->value);
    if (string == NULL)
        return loader_mistyped(loader, place, key, "a host name or an address in quotes");
    if (!endpoints_is_host(string, strlen(string)))
        return loader_bad(
            loader, place, key,
            "must be a host name or an address, as the certificate has it, such as \"redis.example.com\"");
    *(const char **)field = keep(loader, string, strlen(string));
    return !loader->failed;
}
