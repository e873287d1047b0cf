/* check_connect: tries what `check` only reads. Owns what it finds while it runs. Where there is no systemd, or no unit of ours for this
 * file, nothing is said of it. */
#include "check_connect.h"

#include "base/network.h"
#include "redis/inspect.h"
#include "sys/program.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SYSTEMD_MS = 5000, ADDRESSES_MAX = 128 };

struct unit { /* as systemd shows it; "" where it does not say */
    char name[256], exec[1024], allow[2048], deny[256], strict[32], home[32], write[2048], state[256];
};

struct connecting {
    struct problems *problems;
    struct network addresses[ADDRESSES_MAX]; /* that the gate will speak to */
    size_t n_addresses;
    struct unit unit;
};

static void add(struct connecting *connecting, bool wrong, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void add(struct connecting *connecting, bool wrong, const char *pointer, const char *format, ...)
{
    struct problem *problem = problems_append(connecting->problems);
    if (problem == NULL)
        return;
    problem->kind = wrong ? PROBLEM_FAILED : PROBLEM_WARNING;
    snprintf(problem->pointer, sizeof problem->pointer, "%s", pointer);
    va_list args;
    va_start(args, format);
    problems_vtext(problem, format, args);
    va_end(args);
}

/* ---- Redis ---- */

static void redis_says(void *arg, bool wrong, const char *key, const char *text)
{
    add(arg, wrong, key, "%s", text);
}

static void redis_reached(void *arg, const struct sockaddr *address)
{
    struct connecting *connecting = arg;
    struct network network = {0};
    network_from_sockaddr(address, &network);
    if (network.set && connecting->n_addresses < ADDRESSES_MAX)
        connecting->addresses[connecting->n_addresses++] = network;
}

/* ---- the unit ---- */

/* A line of `systemctl show`. */
static void unit_line(void *arg, char *line, size_t n)
{
    struct unit *unit = arg;
    const struct property {
        const char *name;
        char *value;
        size_t size;
    } properties[] = {
        {"ExecStart=", unit->exec, sizeof unit->exec},
        {"IPAddressAllow=", unit->allow, sizeof unit->allow},
        {"IPAddressDeny=", unit->deny, sizeof unit->deny},
        {"ProtectSystem=", unit->strict, sizeof unit->strict},
        {"ProtectHome=", unit->home, sizeof unit->home},
        {"ReadWritePaths=", unit->write, sizeof unit->write},
        {"StateDirectory=", unit->state, sizeof unit->state},
    };
    (void)n;
    for (size_t i = 0; i < sizeof properties / sizeof properties[0]; i++) {
        size_t length = strlen(properties[i].name);
        if (strncmp(line, properties[i].name, length) == 0)
            snprintf(properties[i].value, properties[i].size, "%s", line + length);
    }
}

/* Is there a unit of that name, and does it run the gate with this file? */
static bool unit_read(struct unit *unit, const char *name, const char *file)
{
    static const char properties[] =
        "--property=ExecStart,IPAddressAllow,IPAddressDeny,ProtectSystem,ProtectHome,"
        "ReadWritePaths,StateDirectory";
    const char *const argv[] = {"/usr/bin/env", "systemctl", "show", properties, name, NULL};
    const struct program program = {
        .argv = argv, .timeout_ms = SYSTEMD_MS, .stop_fd = -1, .line = unit_line, .arg = unit};
    char option[PATH_MAX + 8];
    struct error ignored = {0};
    *unit = (struct unit){.name = ""};
    snprintf(unit->name, sizeof unit->name, "%s", name);
    snprintf(option, sizeof option, " -c %s ;", file);
    return program_run(&program, &ignored) == 0 && strstr(unit->exec, option) != NULL;
}

/* rcptgate.service, or rcptgate@NAME.service for NAME.json. */
static bool unit_find(struct unit *unit, const char *file)
{
    char real[PATH_MAX], name[300];
    const char *path = realpath(file, real) != NULL ? real : file, *base = strrchr(path, '/');
    base = base != NULL ? base + 1 : path;
    if (unit_read(unit, "rcptgate.service", path))
        return true;
    snprintf(name, sizeof name, "rcptgate@%.*s.service", (int)strcspn(base, "."), base);
    return unit_read(unit, name, path);
}

static bool is_allowed(const char *networks, const struct network *address)
{
    char copy[sizeof((struct unit *)NULL)->allow], *rest = copy;
    snprintf(copy, sizeof copy, "%s", networks);
    for (const char *word; (word = strsep(&rest, " ")) != NULL;) {
        struct network network;
        if (network_parse(word, &network, NULL) == 0 && network_contains(&network, address))
            return true;
    }
    return false;
}

static void unit_check_addresses(struct connecting *connecting)
{
    const struct unit *unit = &connecting->unit;
    for (size_t i = 0; i < connecting->n_addresses; i++) {
        char text[NETWORK_TEXT];
        const struct network *address = &connecting->addresses[i];
        if (is_allowed(unit->deny, address) && !is_allowed(unit->allow, address))
            add(connecting, true, "/counters/url",
                "%s does not let the gate speak to %s: add IPAddressAllow=%s to it, as remote-redis.conf in "
                "/usr/share/rcptgate/systemd says",
                unit->name, network_format(address, text), text);
    }
}

/* Is the path below one of the directories, which stand between spaces and may have a '-' before them? */
static bool is_below(const char *path, const char *directories, const char *base)
{
    char copy[2048], *rest = copy;
    snprintf(copy, sizeof copy, "%s", directories);
    for (const char *word; (word = strsep(&rest, " ")) != NULL;) {
        char directory[PATH_MAX];
        word += word[0] == '-';
        int n = snprintf(directory, sizeof directory, "%s%s", base, word);
        if (word[0] != '\0' && n > 0 && strncmp(path, directory, (size_t)n) == 0 &&
            (path[n] == '/' || path[n] == '\0'))
            return true;
    }
    return false;
}

static void unit_check_written(struct connecting *connecting, const char *key, const char *path)
{
    const struct unit *unit = &connecting->unit;
    if (path == NULL || path[0] != '/' || strcmp(unit->strict, "strict") != 0)
        return;
    if (!is_below(path, unit->write, "") && !is_below(path, unit->state, "/var/lib/"))
        add(connecting, true, key,
            "%s does not let the gate write to %s: add a ReadWritePaths= for its directory, as paths.conf in "
            "/usr/share/rcptgate/systemd says",
            unit->name, path);
}

static void unit_check_read(struct connecting *connecting, const char *key, const char *path)
{
    static const char homes[] = "/home /root /run/user";
    const struct unit *unit = &connecting->unit;
    if (path != NULL && unit->home[0] != '\0' && strcmp(unit->home, "no") != 0 &&
        strcmp(unit->home, "read-only") != 0 && is_below(path, homes, ""))
        add(connecting, true, key, "%s does not let the gate see %s (ProtectHome): move it to /etc/rcptgate",
            unit->name, path);
}

static void unit_check(struct connecting *connecting, const struct policy *policy)
{
    const struct redis_config *redis = &policy->counters.redis;
    const char *socket = policy->milter.socket;
    unit_check_addresses(connecting);
    unit_check_written(connecting, "/state", policy->state);
    unit_check_written(connecting, "/aliases/database", policy->aliases.database);
    unit_check_written(connecting, "/milter/socket", strncmp(socket, "unix:", 5) == 0 ? socket + 5 : NULL);
    unit_check_read(connecting, "/aliases/database", policy->aliases.database);
    unit_check_read(connecting, "/counters/password_file", redis->password_file);
    unit_check_read(connecting, "/counters/sentinel_password_file", redis->sentinel_password_file);
    unit_check_read(connecting, "/counters/tls/ca", redis->tls_ca);
    unit_check_read(connecting, "/counters/tls/cert", redis->tls_cert);
    unit_check_read(connecting, "/counters/tls/key", redis->tls_key);
}

void check_connect(const char *file, const struct policy *policy, struct problems *problems)
{
    struct connecting connecting = {.problems = problems};
    const struct redis_inspector inspector = {redis_says, redis_reached, &connecting};
    const struct counters_config *counters = &policy->counters;
    if (counters->kind == COUNTERS_REDIS_TCP || counters->kind == COUNTERS_REDIS_UNIX)
        redis_inspect(&counters->redis, &inspector);
    if (unit_find(&connecting.unit, file))
        unit_check(&connecting, policy);
}
