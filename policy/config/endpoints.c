/* endpoints: the parsers of what names a place: sockets, commands, networks, address patterns. A value lives in the pool of the policy;
 * what is bad is said, and costs its key. */
#include "endpoints.h"

#include "json.h"

#include "policy/address.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *keep(struct loader *loader, const char *bytes, size_t n)
{
    const char *copy = pool_strndup(loader->pool, bytes, n);
    loader->failed = loader->failed || copy == NULL;
    return copy;
}

bool endpoints_read_port(const char *at, size_t n, int *out)
{
    if (n < 1 || n > 5 || strspn(at, "0123456789") < n)
        return false;
    long port = strtol(at, NULL, 10);
    if (port < 1 || port > 65535)
        return false;
    *out = (int)port;
    return true;
}

bool endpoints_is_host(const char *at, size_t n)
{
    if (n < 1 || n > 255)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)at[i]) && strchr(".-_:%", at[i]) == NULL)
            return false;
    return true;
}

bool endpoints_is_socket_path(const char *path)
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
        good = endpoints_is_socket_path(string + 5);
    } else if (strncmp(string, "inet:", 5) == 0 || strncmp(string, "inet6:", 6) == 0) {
        const char *at = strchr(string, ':') + 1, *sign = strchr(at, '@');
        good = sign != NULL && endpoints_read_port(at, (size_t)(sign - at), &port) &&
               endpoints_is_host(sign + 1, strlen(sign + 1));
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
    if (colon == NULL || !endpoints_read_port(colon + 1, strlen(colon + 1), &port) ||
        strchr(host, '/') != NULL || network_parse(host, &address, NULL) < 0 ||
        bracketed != (strchr(host, ':') != NULL))
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
    } else if (address_domain(string, host, NULL) != 0 || host[0] == '[' ||
               !endpoints_is_host(host, strlen(host))) {
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
