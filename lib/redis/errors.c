/* errors: a table of the codes in Redis' src/server.c, cluster.c and acl.c. Redis 7 passes the code of a failed command in a
 * script through as it is; Redis 6 wraps it: "ERR Error running script (call to f_...): @user_script:1: ... -OOM ...". */
#include "errors.h"

#include "rights.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define CLUSTER "it is a node of a cluster: use redis+cluster:// in counters.url"
#define PASSWORD                                                                                             \
    "check user and password in counters.url or counters.password_file (of a Sentinel: "                     \
    "counters.sentinel_password_file)"

static const struct row {
    const char *code; /* the first words of the reply */
    enum redis_error node_error;
    const char *advice;
} rows[] = {
    {"NOAUTH", REDIS_ERROR_NODE,
     "it asks for a password: set one in counters.url or counters.password_file (for a Sentinel: "
     "counters.sentinel_password_file)"},
    {"WRONGPASS", REDIS_ERROR_NODE, PASSWORD},
    {"ERR invalid password", REDIS_ERROR_NODE, PASSWORD},
    {"NOPERM", REDIS_ERROR_COMMAND,
     "the ACL of this user is too narrow: see ACL SETUSER in rcptgate(8) for all it needs; ACL LOG there "
     "names the "
     "command that is missing"},
    {"OOM", REDIS_ERROR_NODE, "it is full: raise its maxmemory"},
    {"READONLY", REDIS_ERROR_NODE,
     "it is a replica: let counters.url point at the master, or use redis+sentinel://"},
    {"LOADING", REDIS_ERROR_NODE, "it is used as soon as it has loaded its data"},
    {"MASTERDOWN", REDIS_ERROR_NODE,
     "it is a replica without its master: let counters.url point at the master, or use redis+sentinel://"},
    {"MISCONF", REDIS_ERROR_NODE, "it cannot save to disk: look at its log, disk space and permissions"},
    {"BUSY", REDIS_ERROR_NODE, "a script is running in it: SCRIPT KILL ends it"},
    {"NOREPLICAS", REDIS_ERROR_NODE, "mend its replicas or lower its min-replicas-to-write"},
    {"CLUSTERDOWN Hash slot not served", REDIS_ERROR_SLOT, CLUSTER},
    {"CLUSTERDOWN", REDIS_ERROR_NODE,
     "its cluster has lost the masters of some slots: see CLUSTER INFO there (a redis+cluster:// URL asks "
     "the others)"},
    {"MOVED", REDIS_ERROR_SLOT, CLUSTER},
    {"ASK", REDIS_ERROR_SLOT, CLUSTER},
    {"TRYAGAIN", REDIS_ERROR_SLOT, CLUSTER},
    {"CROSSSLOT", REDIS_ERROR_SLOT, CLUSTER},
    {"DENIED", REDIS_ERROR_NODE, "it is in protected mode: set a password or its bind address"},
    {"ERR max number of clients", REDIS_ERROR_NODE,
     "raise its maxclients, or find who holds its connections"},
    {"ERR max clients", REDIS_ERROR_NODE, "raise its maxclients, or find who holds its connections"},
};

static const struct row *row_find(const char *text)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len = strlen(rows[i].code);
        if (strncmp(text, rows[i].code, len) == 0 && (text[len] == ' ' || text[len] == '\0'))
            return &rows[i];
    }
    return NULL;
}

/* Within a script Redis 6 and 7 word a missing right in their own ways, without a code. */
static const char *const refusals_in_scripts[] = {
    "can't run this command or subcommand",
    "no permissions to run the",
    "can't access at least one of the keys",
    "No permissions to access a key",
};

static bool is_refusal(const char *text)
{
    for (size_t i = 0; i < sizeof refusals_in_scripts / sizeof refusals_in_scripts[0]; i++)
        if (strstr(text, refusals_in_scripts[i]) != NULL)
            return true;
    return false;
}

/* How much of it is said on: Redis 7 adds which script it was. */
static int said(const char *text)
{
    enum { MOST = 160 };
    const char *script = strstr(text, " script: ");
    return script != NULL && script - text < MOST ? (int)(script - text) : MOST;
}

enum redis_error redis_errors_find(const char *text, const char *who, struct error *out)
{
    const struct row *row = row_find(text);
    if (row == NULL && strncmp(text, "ERR Error running script", 24) == 0) {
        const char *inner = strstr(text, ": -");
        row = inner != NULL ? row_find(inner + 3) : NULL;
    }
    if (row == NULL && is_refusal(text))
        row = row_find("NOPERM");
    if (row == NULL)
        return REDIS_ERROR_NONE;
    char right[40];
    if (row->node_error == REDIS_ERROR_COMMAND && rights_find(text, right, sizeof right))
        error_set(out,
                  "Redis at %s says \"%.*s\": the ACL of this user lacks +%s; see ACL SETUSER in "
                  "rcptgate(8) for all it needs",
                  who, said(text), text, right);
    else
        error_set(out, "Redis at %s says \"%.*s\": %s", who, said(text), text, row->advice);
    return row->node_error;
}

/* Redis 6, 7.0 and 7.2, in this order. */
static bool is_of_script(const char *text)
{
    return strstr(text, "Error running script") != NULL || strstr(text, "executing the script") != NULL ||
           strstr(text, "ACL failure in script") != NULL;
}

bool redis_errors_is_midway(const char *text)
{
    static const char *const first[] = {"time", "hget", "hmget", "hlen", "exists", "del", "hdel", "hset"};
    char right[40];
    if (!is_of_script(text))
        return false;
    bool named = rights_find(text, right, sizeof right);
    for (size_t i = 0; i < sizeof first / sizeof first[0] && named; i++)
        if (strcmp(right, first[i]) == 0)
            return false;
    return true;
}
