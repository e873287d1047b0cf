/* redis_config: names of what a configuration points at. Writes into buffers of the caller; cannot fail. */
#include "base/redis_config.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* False: out of memory. */
static bool copy(struct pool *pool, const char **string)
{
    if (*string == NULL)
        return true;
    *string = pool_strdup(pool, *string);
    return *string != NULL;
}

static bool copy_all(struct pool *pool, struct redis_config *config)
{
    const char **const strings[] = {&config->path,
                                    &config->master,
                                    &config->user,
                                    &config->password,
                                    &config->prefix,
                                    &config->tls_ca,
                                    &config->tls_cert,
                                    &config->tls_key,
                                    &config->tls_name,
                                    &config->password_file,
                                    &config->sentinel_password_file};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++)
        if (!copy(pool, strings[i]))
            return false;
    return true;
}

int redis_config_copy(struct pool *pool, const struct redis_config *config, struct redis_config *out)
{
    struct redis_config made = *config;
    struct redis_address *addresses = pool_alloc(pool, (config->n_addresses + 1) * sizeof *addresses);
    bool good = addresses != NULL && copy_all(pool, &made);
    for (size_t i = 0; good && i < config->n_addresses; i++) {
        addresses[i] = config->addresses[i];
        good = copy(pool, &addresses[i].host);
    }
    made.addresses = addresses;
    if (good)
        *out = made;
    return good ? 0 : -1;
}

struct redis_config redis_config_at(const struct redis_config *config, const struct redis_address *address)
{
    struct redis_config at = *config;
    at.addresses = address;
    at.n_addresses = 1;
    return at;
}

const char *redis_config_address(const struct redis_address *address, char *out, size_t size)
{
    bool v6 = strchr(address->host, ':') != NULL;
    snprintf(out, size, "%s%s%s:%d", v6 ? "[" : "", address->host, v6 ? "]" : "", address->port);
    return out;
}

const char *redis_config_name(const struct redis_config *config, char *out, size_t size)
{
    static const char *const of[] = {"", " of the Sentinels ", "the cluster of "};
    char address[300];
    struct text text;
    text_init(&text, out, size);
    if (config->path != NULL)
        text_add(&text, config->path);
    if (config->master != NULL)
        text_add(&text, config->master);
    text_add(&text, of[config->topology]);
    for (size_t i = 0; i < config->n_addresses; i++) {
        text_add(&text, i > 0 ? ", " : "");
        text_add(&text, redis_config_address(&config->addresses[i], address, sizeof address));
    }
    return out;
}
