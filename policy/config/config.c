/* config: from the bytes of a policy file to a policy (see config.h): the defaults, the walk over the table of
 * keys, and what only the file as a whole tells. Fails only where there is no JSON object, or no memory. */
#include "config/config.h"

#include "json.h"
#include "keys.h"
#include "limit.h"
#include "warnings.h"

#include <assert.h>
#include <string.h>

/* Where the table has no default there is none (password_file, limits), or it is built in (replies). */
static void set_defaults(struct loader *loader)
{
    for (int i = 0; i < REPLY_KEYS; i++)
        loader->policy->replies[i] = *reply_default((enum reply_key)i);
    for (size_t i = 0; i < config_keys_n && !loader->failed; i++) {
        const struct key *key = &config_keys[i];
        if (key->otherwise == NULL)
            continue;
        json_t *json = json_loads(key->otherwise, JSON_DECODE_ANY, NULL);
        const struct place place = {.name = key->pointer, .value = json};
        loader->failed = loader->failed || json == NULL;
        bool good = !loader->failed && key->parse(loader, &place, key, (char *)loader->policy + key->offset);
        assert(good || loader->failed);
        json_decref(json);
    }
}

/* What a mistake in these keys leaves in force, since it must refuse nothing; a good value is written over it. */
static void set_cautious(struct loader *loader, const struct place *root)
{
    const struct place aliases = config_json_member(root, "aliases");
    if (json_object_get(root->value, "mode") != NULL)
        loader->policy->shadow = true;
    if (!json_is_object(aliases.value) || aliases.map->repeated ||
        json_object_get(aliases.value, "database") != NULL)
        loader->policy->aliases.database = NULL;
}

/* Was it misspelt? */
static bool is_meant(const struct loader *loader, const char *pointer)
{
    for (size_t i = loader->first_problem; i < loader->problems->n; i++) {
        const char *meant = loader->problems->at[i].meant;
        if (meant != NULL && strcmp(meant, pointer) == 0)
            return true;
    }
    return false;
}

/* Beside the milter's socket, where Postfix finds it the same way; none where that is no file, or its path would be too long. */
static void complete_maps(struct loader *loader)
{
    static const char name[] = "map.sock";
    struct policy *policy = loader->policy;
    const char *socket = policy->milter.socket;
    if (policy->maps.socket == NULL && strncmp(socket, "unix:", 5) == 0) {
        size_t n = (size_t)(strrchr(socket, '/') + 1 - socket);
        const char *directory = pool_strndup(loader->pool, socket, n);
        policy->maps.socket = directory != NULL ? pool_join(loader->pool, directory, name, "") : NULL;
        loader->failed = loader->failed || policy->maps.socket == NULL;
    }
    if (policy->maps.socket != NULL && policy->maps.socket[0] == '\0')
        policy->maps.socket = NULL;
}

/* What only the file as a whole tells. */
static void complete(struct loader *loader, const struct place *root)
{
    struct policy *policy = loader->policy;
    const struct place counters = config_json_member(root, "counters"),
                       url = config_json_member(&counters, "url");
    if (is_meant(loader, "/mode") || (loader_is_full(loader) && json_object_get(root->value, "mode") == NULL))
        policy->shadow = true;
    if (is_meant(loader, "/aliases/database"))
        policy->aliases.database = NULL;
    if (url.map != NULL && url.map->repeated && !counters.map->repeated) {
        policy->counters.kind = COUNTERS_NONE;
        policy->counters.url = "";
    }
    if (policy->counters.redis.password_file != NULL) {
        loader->url_password = policy->counters.redis.password != NULL;
        policy->counters.redis.password = NULL;
    }
    for (size_t i = 0; i < policy->n_limits; i++) {
        policy->needs_bytes = policy->needs_bytes || policy->limits[i].count == LIMIT_BYTES;
        if (policy->limits[i].count == LIMIT_BACKLOG)
            policy->backlog_pers |= 1u << policy->limits[i].per[0];
        if (policy->longest_ramp_ms < policy->limits[i].ramp_ms)
            policy->longest_ramp_ms = policy->limits[i].ramp_ms;
        policy->needs_attempts = policy->needs_attempts || policy->limits[i].count == LIMIT_ATTEMPTS;
    }
    limit_ttl(policy);
    complete_maps(loader);
}

static const struct key root_section = {.pointer = "", .choices = ""};

static void read_policy(struct loader *loader, const json_t *json, const struct jsonmap *map)
{
    const struct place root = {.value = json, .map = map};
    set_defaults(loader);
    if (loader->failed)
        return;
    set_cautious(loader, &root);
    config_json_members(loader, &root, &root_section, loader->policy, NULL);
    if (loader->failed)
        return;
    complete(loader, &root);
    warnings_add(loader, &root);
    problems_sort(loader->problems, loader->first_problem);
}

const struct policy *config_load(const char *json, size_t n, struct problems *problems)
{
    struct pool scratch = {0};
    struct loader loader = {.keys = config_keys,
                            .misspelt = config_keys_misspelt,
                            .n_keys = config_keys_n,
                            .scratch = &scratch,
                            .problems = problems,
                            .first_problem = problems->n};
    loader.policy = policy_new(&loader.pool);
    if (loader.policy == NULL)
        return NULL;
    json_t *root = config_json_read(json, n, &loader);
    const struct jsonmap *map = root != NULL ? jsonmap_new(&scratch, json, n) : NULL;
    if (map != NULL)
        read_policy(&loader, root, map);
    json_decref(root);
    pool_done(&scratch);
    if (map != NULL && !loader.failed)
        return loader.policy;
    policy_unref(loader.policy);
    return NULL;
}
