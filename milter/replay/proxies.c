/* proxies: owns a table by host and process id. Where it is full, or memory is short, it begins anew: what is unknown keeps the client
 * that the filter had. */
#include "proxies.h"

#include "base/table.h"

#include <stdlib.h>
#include <string.h>

enum { PROCESSES_MAX = 4096, PID_MAX = 20 };

struct process {
    struct table_row row;
    struct proxy_client client;
};

struct proxies {
    struct table *table;
};

struct proxies *proxies_new(void)
{
    struct proxies *proxies = calloc(1, sizeof *proxies);
    if (proxies != NULL && (proxies->table = table_new(sizeof(struct process), PROCESSES_MAX)) == NULL) {
        free(proxies);
        return NULL;
    }
    return proxies;
}

void proxies_free(struct proxies *proxies)
{
    if (proxies == NULL)
        return;
    table_free(proxies->table);
    free(proxies);
}

/* The length of the key; 0: no process id. */
static size_t key_of(int host, struct span pid, char key[sizeof(int) + PID_MAX])
{
    if (pid.n == 0 || pid.n > PID_MAX)
        return 0;
    memcpy(key, &host, sizeof host);
    memcpy(key + sizeof host, pid.at, pid.n);
    return sizeof host + pid.n;
}

void proxies_put(struct proxies *proxies, int host, struct span pid, const struct network *client,
                 struct span user)
{
    char key[sizeof(int) + PID_MAX];
    size_t n = key_of(host, pid, key);
    if (n == 0)
        return;
    if (table_rows(proxies->table) >= PROCESSES_MAX && table_find(proxies->table, key, n) == NULL) {
        table_free(proxies->table);
        proxies->table = table_new(sizeof(struct process), PROCESSES_MAX);
    }
    struct process *process = proxies->table != NULL ? table_add(proxies->table, key, n) : NULL;
    if (process == NULL)
        return;
    process->client = (struct proxy_client){.client = *client};
    if (user.n > 0 && user.n < sizeof process->client.user)
        memcpy(process->client.user, user.at, user.n);
}

const struct proxy_client *proxies_find(const struct proxies *proxies, int host, struct span pid)
{
    char key[sizeof(int) + PID_MAX];
    size_t n = key_of(host, pid, key);
    const struct process *process = n > 0 ? table_find(proxies->table, key, n) : NULL;
    return process != NULL ? &process->client : NULL;
}
