/* proxies: owns a table by host and process id. Where it is full, or memory is short, it begins anew: what is unknown keeps the client
 * that the filter had. */
#include "proxies.h"

#include "base/table.h"

#include <stdlib.h>
#include <string.h>

enum { PROCESSES_MAX = 4096, KEY_MAX = 32 };

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

/* The length of the whole key; 0: none of its kind. */
static size_t key_of(int host, struct span text, char key[sizeof(int) + KEY_MAX])
{
    if (text.n == 0 || text.n > KEY_MAX)
        return 0;
    memcpy(key, &host, sizeof host);
    memcpy(key + sizeof host, text.at, text.n);
    return sizeof host + text.n;
}

void proxies_put(struct proxies *proxies, int host, struct span text, const struct proxy_client *client)
{
    char key[sizeof(int) + KEY_MAX];
    size_t n = key_of(host, text, key);
    struct proxy_client copy = *client; /* which may lie in the table that is freed now */
    if (n == 0)
        return;
    if (table_rows(proxies->table) >= PROCESSES_MAX && table_find(proxies->table, key, n) == NULL) {
        table_free(proxies->table);
        proxies->table = table_new(sizeof(struct process), PROCESSES_MAX);
    }
    struct process *process = proxies->table != NULL ? table_add(proxies->table, key, n) : NULL;
    if (process != NULL)
        process->client = copy;
}

const struct proxy_client *proxies_find(const struct proxies *proxies, int host, struct span text)
{
    char key[sizeof(int) + KEY_MAX];
    size_t n = key_of(host, text, key);
    const struct process *process = n > 0 ? table_find(proxies->table, key, n) : NULL;
    return process != NULL ? &process->client : NULL;
}
