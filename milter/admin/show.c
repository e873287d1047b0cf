/* show: what is counted for a subject (see show.h). Owns nothing. A store that cannot answer is NULL, never an
 * empty list. */
#include "show.h"

#include "config/json_get.h"
#include "policy/address.h"
#include "base/network.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static void keys_add(json_t *keys, const char *format, const char *per, const char *subject)
{
    char safe[1024], key[1200];
    struct text text;
    text_init(&text, safe, sizeof safe);
    text_add_percent(&text, subject);
    struct text out;
    text_init(&out, key, sizeof key);
    for (const char *c = format; *c != '\0'; c++) {
        if (*c == 'P')
            text_add(&out, per);
        else if (*c == 'S')
            text_add(&out, safe);
        else
            text_add_bytes(&out, c, 1);
    }
    json_array_append_new(keys, json_string(key));
}

/* The canonical form of what a person typed. */
static void subject_canonical(const struct policy *policy, const char *typed, char out[512])
{
    struct address address;
    struct network network;
    char domain[ADDRESS_DOMAIN_MAX + 1], text[NETWORK_TEXT];
    snprintf(out, 512, "%s", typed);
    if (network_parse(typed, &network, NULL) == 0) {
        struct network subject = network;
        if (network.bits == 128)
            subject = network_mask(&network, policy->counters.ipv4_bits, policy->counters.ipv6_bits);
        snprintf(out, 512, "%s", network_format(&subject, text));
    } else if (strchr(typed, '@') != NULL && typed[0] != '@' &&
               address_parse(typed, policy->aliases.subaddress, &address, NULL) == ADDRESS_MAILBOX) {
        snprintf(out, 512, "%s", address.bare);
    } else if (strchr(typed, '.') != NULL && strchr(typed, '@') == NULL &&
               address_domain(typed, domain, NULL) == 0) {
        snprintf(out, 512, "%s", domain);
    }
}

/* "owner:bob": the subject kind before the colon; SUBJECTS where there is none. */
static enum subject subject_kind(const char *typed, const char **rest)
{
    for (int s = 0; s < SUBJECTS; s++) {
        size_t n = strlen(policy_subject_name((enum subject)s));
        if (strncmp(typed, policy_subject_name((enum subject)s), n) == 0 && typed[n] == ':') {
            *rest = typed + n + 1;
            return (enum subject)s;
        }
    }
    *rest = typed;
    return strcmp(typed, "all") == 0 ? SUBJECT_ALL : SUBJECTS;
}

/* Owners and hosts are counted as they are written, logins in lower case, all else in its canonical form. */
static bool is_verbatim(enum subject subject)
{
    return subject == SUBJECT_OWNER || subject == SUBJECT_USER || subject == SUBJECT_HOST;
}

static bool counters_combinations(const struct policy *policy)
{
    for (size_t i = 0; i < policy->n_limits; i++)
        if (policy->limits[i].n_per > 1 || policy->limits[i].share.set)
            return true;
    return false;
}

static void keys_add_combinations(json_t *keys, const char *subject)
{
    keys_add(keys, "*:{S}|*", "", subject);
    keys_add(keys, "*|S", "", subject);
    keys_add(keys, "*|S|*", "", subject);
}

const char *show_whole_key(const struct policy *policy, const char *subject)
{
    size_t n = strlen(policy->counters.redis.prefix);
    bool prefixed = strncmp(subject, policy->counters.redis.prefix, n) == 0 && subject[n] == ':';
    return strstr(subject, ":{") == NULL ? NULL : prefixed ? subject + n + 1 : subject;
}

json_t *show_keys(const struct policy *policy, const char *subject)
{
    json_t *keys = json_array();
    const char *key = show_whole_key(policy, subject);
    if (key != NULL) {
        json_array_append_new(keys, json_string(key));
        return keys;
    }
    const char *rest;
    char canonical[512], login[512];
    enum subject kind = subject_kind(subject, &rest);
    subject_canonical(policy, kind == SUBJECT_ALL ? "*" : rest, canonical);
    snprintf(login, sizeof login, "%s", rest);
    text_lower(login);
    if (kind == SUBJECT_USER)
        rest = login;
    for (int s = 0; s < SUBJECTS; s++)
        if (kind == SUBJECTS || kind == (enum subject)s)
            keys_add(keys, "P:{S}", policy_subject_name((enum subject)s),
                     s == SUBJECT_USER              ? login
                     : is_verbatim((enum subject)s) ? rest
                                                    : canonical);
    if (!counters_combinations(policy) || kind == SUBJECT_ALL)
        return keys;
    bool verbatim = kind == SUBJECTS ? strcmp(rest, canonical) != 0 : is_verbatim(kind);
    if (verbatim)
        keys_add_combinations(keys, rest);
    if (!verbatim || kind == SUBJECTS)
        keys_add_combinations(keys, canonical);
    if (kind == SUBJECTS && strcmp(login, rest) != 0 && strcmp(login, canonical) != 0)
        keys_add_combinations(keys, login);
    return keys;
}

static const char **key_list(const json_t *keys)
{
    size_t n = json_array_size(keys);
    const char **list = calloc(n + 1, sizeof *list);
    for (size_t i = 0; list != NULL && i < n; i++)
        list[i] = json_string_value(json_array_get(keys, i));
    return list;
}

json_t *show_counter(const struct count_view *v)
{
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "key", json_get_clean(v->key), "limit",
                     json_get_clean(v->limit), "used", (json_int_t)v->used, "max", (json_int_t)v->max,
                     "window_ms", (json_int_t)v->window_ms, "refused", (json_int_t)v->refused, "held_ms",
                     (json_int_t)v->held_ms, "reset_ms", (json_int_t)v->reset_ms);
}

static void show_add(void *arg, const struct count_view *v)
{
    json_array_append_new(arg, show_counter(v));
}

json_t *show_report(struct counters *counters, const json_t *keys, int64_t now_ms)
{
    const char **list = key_list(keys);
    json_t *found = json_array();
    bool ok = list != NULL &&
              counters_show(counters, list, json_array_size(keys), now_ms, show_add, found) == COUNTERS_OK;
    free(list);
    if (ok)
        return json_pack("{s:o}", "counters", found);
    json_decref(found);
    return NULL;
}

void show_backlog(struct queue_monitor *backlog, const struct policy *policy, const char *subject,
                  json_t *list)
{
    const char *rest;
    char canonical[512];
    enum subject kind = subject_kind(subject, &rest);
    subject_canonical(policy, kind == SUBJECT_ALL ? "*" : rest, canonical);
    for (size_t i = 0; i < policy->n_limits; i++) {
        const struct limit *limit = &policy->limits[i];
        const char *text = is_verbatim(limit->per[0]) ? rest : canonical;
        int64_t waiting, age_ms;
        if (limit->count != LIMIT_BACKLOG || (kind != SUBJECTS && kind != limit->per[0]) ||
            !queue_monitor_find(backlog, limit->per[0], text, &waiting, &age_ms) ||
            (waiting == 0 && kind == SUBJECTS))
            continue;
        json_array_append_new(list, json_pack("{s:s++, s:s, s:I, s:I, s:I}", "key", limit->per_name, ":",
                                              text, "limit", limit->name, "waiting", (json_int_t)waiting,
                                              "max", (json_int_t)limit->max, "age_ms", (json_int_t)age_ms));
    }
}

json_t *show_reset(struct counters *counters, const json_t *keys, const char *limit)
{
    const char **list = key_list(keys);
    size_t n = 0;
    bool ok = list != NULL && counters_reset(counters, list, json_array_size(keys), limit, &n) == COUNTERS_OK;
    free(list);
    return ok ? json_pack("{s:I}", "reset", (json_int_t)n) : NULL;
}
