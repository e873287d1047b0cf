/* endpoints: the parsers of what names a place: sockets, URLs, commands, networks, address patterns. No
 * text here repeats a URL: it can carry a password. */
#include "endpoints.h"

#include "json.h"

#include "policy/address.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOCKET_PATH_MAX = 107 }; /* sun_path less its NUL, unix(7) */

static const char *keep(struct loader *loader, const char *bytes, size_t n)
{
    const char *copy = pool_strndup(loader->pool, bytes, n);
    loader->failed = loader->failed || copy == NULL;
    return copy;
}

static bool read_port(const char *at, size_t n, int *out)
{
    if (n < 1 || n > 5 || strspn(at, "0123456789") < n)
        return false;
    long port = strtol(at, NULL, 10);
    if (port < 1 || port > 65535)
        return false;
    *out = (int)port;
    return true;
}

/* A host name, or an IP address without brackets. */
static bool is_host(const char *at, size_t n)
{
    if (n < 1 || n > 255)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)at[i]) && strchr(".-_:%", at[i]) == NULL)
            return false;
    return true;
}

static bool is_socket_path(const char *path)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)path[i] < 0x20 || path[i] == 0x7f)
            return false;
    return path[0] == '/' && n > 1 && n <= SOCKET_PATH_MAX;
}

/* libmilter's own form, so that it can be copied from and to other milters. */
bool endpoints_socket(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    const char *string = json_string_value(place->value);
    int port;
    bool good = false;
    if (string == NULL)
        return loader_mistyped(loader, place, key, "a socket in quotes, such as \"inet:8893@127.0.0.1\"");
    if (strncmp(string, "unix:", 5) == 0) {
        good = is_socket_path(string + 5);
    } else if (strncmp(string, "inet:", 5) == 0 || strncmp(string, "inet6:", 6) == 0) {
        const char *at = strchr(string, ':') + 1, *sign = strchr(at, '@');
        good =
            sign != NULL && read_port(at, (size_t)(sign - at), &port) && is_host(sign + 1, strlen(sign + 1));
    }
    if (!good)
        return loader_bad(loader, place, key,
                          "must be unix:/path (at most %d bytes), inet:port@host or inet6:port@host, such as "
                          "\"inet:8893@127.0.0.1\"",
                          SOCKET_PATH_MAX);
    *(const char **)field = keep(loader, string, strlen(string));
    return !loader->failed;
}

/* The same, or "" for none. */
bool endpoints_maps(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    const char *string = json_string_value(place->value);
    if (string == NULL || string[0] != '\0')
        return endpoints_socket(loader, place, key, field);
    *(const char **)field = "";
    return true;
}

/* Where mail goes: with a domain, or without for one that Postfix completes. */
bool endpoints_mailbox(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct error err = {0};
    struct address address;
    const char *string = json_string_value(place->value);
    if (string == NULL)
        return loader_mistyped(loader, place, key, "an address in quotes, such as \"postmaster\"");
    enum address_kind kind = address_parse(string, "", &address, &err);
    if (kind != ADDRESS_MAILBOX && kind != ADDRESS_BARE)
        return loader_bad(loader, place, key, "must be an address, such as \"admin@example.net\"%s%s",
                          err.text[0] != '\0' ? ": " : "", err.text);
    *(const char **)field = keep(loader, string, strlen(string));
    return !loader->failed;
}

/* address:port or [address]:port, or "" for none. No names: a name service that hangs must not hold up a start. */
bool endpoints_listen(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct http_config *http = field;
    const char *string = json_string_value(place->value);
    if (string == NULL)
        return loader_mistyped(loader, place, key,
                               "an address and port in quotes, such as \"127.0.0.1:9627\"");
    if (string[0] == '\0') {
        http->host = "";
        return true;
    }
    const char *colon = strrchr(string, ':');
    size_t n = colon != NULL ? (size_t)(colon - string) : 0;
    bool bracketed = n > 2 && string[0] == '[' && string[n - 1] == ']';
    char host[NETWORK_TEXT] = "";
    struct network address;
    int port;
    if (n - 2 * (size_t)bracketed < sizeof host)
        memcpy(host, string + bracketed, n - 2 * (size_t)bracketed);
    if (strcmp(host, "localhost") == 0)
        memcpy(host, "127.0.0.1", sizeof "127.0.0.1");
    if (colon == NULL || !read_port(colon + 1, strlen(colon + 1), &port) || strchr(host, '/') != NULL ||
        network_parse(host, &address, NULL) < 0 || bracketed != (strchr(host, ':') != NULL))
        return loader_bad(loader, place, key,
                          "must be an address and a port, such as \"127.0.0.1:9627\" or \"[::1]:9627\", "
                          "or \"\" for none");
    network_format(&address, host);
    http->host = keep(loader, host, strlen(host));
    http->port = port;
    return !loader->failed;
}

/* A program and its arguments; it is run without a shell. */
bool endpoints_command(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    size_t n = json_array_size(place->value);
    if (!json_is_array(place->value) || n == 0)
        return loader_bad(
            loader, place, key,
            "must be a list of the program and its arguments, such as [\"/usr/sbin/postqueue\", \"-j\"]");
    for (size_t i = 0; i < n; i++)
        if (!json_is_string(json_array_get(place->value, i)))
            return loader_bad(loader, place, key, "has something else than strings in its list");
    if (json_string_value(json_array_get(place->value, 0))[0] != '/')
        return loader_bad(loader, place, key,
                          "must begin with the absolute path of a program; no shell looks it up");
    const char **command = pool_alloc(loader->pool, (n + 1) * sizeof *command);
    for (size_t i = 0; command != NULL && i < n; i++)
        if ((command[i] = pool_strdup(loader->pool, json_string_value(json_array_get(place->value, i)))) ==
            NULL)
            command = NULL;
    loader->failed = loader->failed || command == NULL;
    *(const char ***)field = command;
    return !loader->failed;
}

/* ---- counters.url ---- */

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
        out[used++] = at[i] == '%' ? (char)(high << 4 | low) : at[i];
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

/* user:password or :password. */
static const char *url_login(struct loader *loader, struct counters_config *out, const char *at, size_t n)
{
    const char *colon = memchr(at, ':', n);
    if (colon == NULL)
        return "has a user but no password; write user:password@ or :password@ before the host";
    size_t user = (size_t)(colon - at);
    out->redis.user = user > 0 ? decode(loader, at, user) : NULL;
    out->redis.password = decode(loader, colon + 1, n - user - 1);
    if ((user > 0 && out->redis.user == NULL) || out->redis.password == NULL)
        return "has a percent sign in its user or password that is no escape; write %25 for a percent sign";
    return NULL;
}

/* host, host:port, [v6] or [v6]:port. */
static const char *url_host(struct loader *loader, struct counters_config *out, const char *at, size_t n)
{
    const char *close = n > 0 && at[0] == '[' ? memchr(at, ']', n) : NULL;
    const char *host = close != NULL ? at + 1 : at;
    const char *from = close != NULL ? close + 1 : at;
    const char *colon = memchr(from, ':', n - (size_t)(from - at));
    const char *end = colon != NULL ? colon : at + n;
    size_t length = (size_t)((close != NULL ? close : end) - host);
    if (!is_host(host, length) || (close != NULL && end != close + 1) ||
        (close == NULL && memchr(host, ':', length) != NULL))
        return "has no good host; write redis://127.0.0.1:6379/0, an IPv6 address in brackets";
    out->redis.port = 6379;
    if (colon != NULL && !read_port(colon + 1, (size_t)(at + n - colon - 1), &out->redis.port))
        return "has a bad port: from 1 to 65535, an IPv6 address in brackets";
    out->redis.host = keep(loader, host, length);
    return NULL;
}

static const char *url_redis(struct loader *loader, struct counters_config *out, const char *at)
{
    size_t n = strcspn(at, "/?#");
    const char *host = memrchr(at, '@', n), *wrong = NULL;
    if (host != NULL)
        wrong = url_login(loader, out, at, (size_t)(host - at));
    host = host != NULL ? host + 1 : at;
    if (wrong == NULL)
        wrong = url_host(loader, out, host, n - (size_t)(host - at));
    if (wrong != NULL)
        return wrong;
    if (at[n] != '\0' && strcmp(at + n, "/") != 0 && (at[n] != '/' || !read_db(at + n + 1, &out->redis.db)))
        return "must end with the host, the port or the number of a database, as in "
               "redis://127.0.0.1:6379/0; write a "
               "\"/\", \"?\" or \"#\" of the password as %2F, %3F or %23";
    out->kind = COUNTERS_REDIS_TCP;
    return NULL;
}

static const char *url_unix(struct loader *loader, struct counters_config *out, const char *at)
{
    size_t n = strcspn(at, "?");
    out->redis.path = decode(loader, at, n);
    if (out->redis.path == NULL || !is_socket_path(out->redis.path))
        return "must be unix:///path or unix:///path?db=N with an absolute path of at most 107 bytes";
    if (at[n] == '?' && (strncmp(at + n, "?db=", 4) != 0 || !read_db(at + n + 4, &out->redis.db)))
        return "can only have ?db=N behind the path";
    out->kind = COUNTERS_REDIS_UNIX;
    return NULL;
}

static bool is_planned_scheme(const char *url)
{
    static const char *const schemes[] = {"rediss://", "redis+sentinel://", "redis+cluster://"};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
            return url[strlen(schemes[i])] != '\0';
    return false;
}

const char endpoints_url_instead[] = "what counters.when_down says, as if Redis were down";

static const char *url_parse(struct loader *loader, struct counters_config *out, const char *url)
{
    if (strcmp(url, "memory:") == 0) {
        out->kind = COUNTERS_MEMORY;
        return NULL;
    }
    if (strncmp(url, "redis://", 8) == 0)
        return url_redis(loader, out, url + 8);
    if (strncmp(url, "unix://", 7) == 0)
        return url_unix(loader, out, url + 7);
    return "must begin with redis://, unix:// or be \"memory:\"";
}

/* A URL that cannot be used never becomes the embedded store in silence: somebody meant a Redis. */
bool endpoints_url(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct counters_config *counters = field, parsed = *counters;
    const char *url = json_string_value(place->value);
    counters->kind = COUNTERS_NONE;
    counters->url = "";
    if (url == NULL) {
        loader_mistyped(loader, place, key, "a URL in quotes, such as \"redis://127.0.0.1:6379/0\"");
    } else if (is_planned_scheme(url)) {
        loader_problem(
            loader, place, PROBLEM_NOT_YET, endpoints_url_instead,
            "has a scheme that does not exist yet in this version; use redis://, unix:// or \"memory:\"");
    } else {
        const char *wrong = url_parse(loader, &parsed, url);
        if (wrong == NULL) {
            parsed.url = keep(loader, url, strlen(url));
            *counters = parsed;
        } else {
            loader_bad(loader, place, key, "%s", wrong);
        }
    }
    return counters->kind != COUNTERS_NONE;
}

/* ---- exempt ---- */

/* A list of which a bad element costs only itself. */
struct list_kind {
    const char *wanted; /* what an element must be */
    size_t size;        /* of an element, read */
    bool (*read)(struct loader *loader, const char *string, void *element, struct error *err);
};

/* Returns the good elements, n of them; NULL: out of memory. */
static void *list_read(struct loader *loader, const struct place *place, const struct key *key,
                       const struct list_kind *kind, size_t *n)
{
    *n = 0;
    char *at = pool_alloc(loader->pool, (json_array_size(place->value) + 1) * kind->size);
    loader->failed = loader->failed || at == NULL;
    const struct jsonmap *map = place->map != NULL ? place->map->first : NULL;
    loader->instead = "the other entries of the list";
    for (size_t i = 0; at != NULL && i < json_array_size(place->value); i++) {
        struct place element = config_json_element(place, i, map);
        struct error err = {{0}};
        const char *string = json_string_value(element.value);
        if (string == NULL)
            loader_mistyped(loader, &element, key, kind->wanted);
        else if (!kind->read(loader, string, at + *n * kind->size, &err))
            loader_bad(loader, &element, key, "%s", err.text);
        else
            (*n)++;
        map = map != NULL ? map->next : NULL;
    }
    loader->instead = NULL;
    return at;
}

static bool read_network(struct loader *loader, const char *string, void *element, struct error *err)
{
    (void)loader;
    return network_parse(string, element, err) == 0;
}

bool endpoints_networks(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    static const struct list_kind kind = {"a network in quotes, such as \"192.0.2.0/24\"",
                                          sizeof(struct network), read_network};
    struct networks *out = field;
    if (!json_is_array(place->value))
        return loader_mistyped(loader, place, key, "a list of networks, such as [\"127.0.0.0/8\", \"::1\"]");
    out->at = list_read(loader, place, key, &kind, &out->n);
    return true;
}

/* As a browser names it: no port, no scheme, and no wildcard, which would let every web page in. */
static bool read_http_host(struct loader *loader, const char *string, void *element, struct error *err)
{
    struct network address;
    char host[ADDRESS_DOMAIN_MAX + 1];
    if (strchr(string, '/') == NULL && network_parse(string, &address, NULL) == 0) {
        network_format(&address, host);
    } else if (address_domain(string, host, NULL) != 0 || host[0] == '[' || !is_host(host, strlen(host))) {
        error_set(err, "must be the name or address of a host, without scheme and port, such as "
                       "\"gate.example.com\"");
        return false;
    }
    *(const char **)element = keep(loader, host, strlen(host));
    return !loader->failed;
}

bool endpoints_hosts(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    static const struct list_kind kind = {"the name of a host in quotes, such as \"gate.example.com\"",
                                          sizeof(const char *), read_http_host};
    struct strings *out = field;
    if (!json_is_array(place->value))
        return loader_mistyped(loader, place, key,
                               "a list of names of hosts, such as [\"gate.example.com\"]");
    void *at = list_read(loader, place, key, &kind, &out->n);
    out->at = at;
    return true;
}

static const char pattern_wanted[] = "an address pattern in quotes: \"local@domain\", \"local@*\", "
                                     "\"*@domain\", \"@domain\" or \"postmaster\"";

static const char *canonical_local(struct loader *loader, const char *local, size_t n, struct error *err)
{
    struct address address;
    if (n > 1000 || memchr(local, '*', n) != NULL) {
        error_set(err, "must be %s", pattern_wanted);
        return NULL;
    }
    const char *whole = pool_printf(loader->scratch, "%.*s@example.com", (int)n, local);
    loader->failed = loader->failed || whole == NULL;
    if (whole == NULL || address_parse(whole, "", &address, err) != ADDRESS_MAILBOX)
        return NULL;
    return keep(loader, address.local_full, strlen(address.local_full));
}

/* Either half NULL: any. Empty halves match only what has none: bare "postmaster", and <>. */
static bool read_pattern(struct loader *loader, const char *string, void *element, struct error *err)
{
    struct pattern *out = element;
    const char *sign = strrchr(string, '@');
    size_t n = sign != NULL ? (size_t)(sign - string) : strlen(string);
    char domain[ADDRESS_DOMAIN_MAX + 1] = "";
    struct pattern pattern = {.local = "", .domain = ""};
    if (strcmp(string, "<>") == 0) {
        *out = pattern;
        return true;
    }
    if (sign == NULL && strcasecmp(string, "postmaster") != 0) {
        error_set(err, "has no domain; write %.64s@* or %.64s@example.com", string, string);
        return false;
    }
    if (n == 0 || (n == 1 && string[0] == '*'))
        pattern.local = NULL;
    else if ((pattern.local = canonical_local(loader, string, n, err)) == NULL)
        return false;
    if (sign != NULL && strcmp(sign + 1, "*") == 0)
        pattern.domain = NULL;
    else if (sign != NULL && address_domain(sign + 1, domain, err) != 0)
        return false;
    else if (sign != NULL)
        pattern.domain = keep(loader, domain, strlen(domain));
    *out = pattern;
    return !loader->failed;
}

bool endpoints_patterns(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    static const struct list_kind kind = {pattern_wanted, sizeof(struct pattern), read_pattern};
    struct patterns *out = field;
    if (!json_is_array(place->value))
        return loader_mistyped(loader, place, key, "a list of address patterns, such as [\"postmaster@*\"]");
    out->at = list_read(loader, place, key, &kind, &out->n);
    return true;
}
