/* limit: the members of `limits`. A limit is read into a draft, completed, and taken as a whole or
 * not at all: half a limit would refuse mail that nobody wanted refused. Only a bad reply or share that says
 * nothing, or a key without which it refuses less, leaves it in force. */
#include "limit.h"

#include "json.h"

#include "policy/address.h"
#include "policy/verdict.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

static const enum subject share_subjects[] = {SUBJECT_CLIENT, SUBJECT_SENDER, SUBJECT_SENDER_DOMAIN,
                                              SUBJECT_RECIPIENT}; /* as in the choices of its row */

static bool has_subject(const struct limit *limit, enum subject subject)
{
    for (size_t i = 0; i < limit->n_per; i++)
        if (limit->per[i] == subject)
            return true;
    return false;
}

/* ---- per ---- */

static const char per_wanted[] = "one or a list of \"recipient\", \"mailbox\", \"mailbox_domain\", "
                                 "\"owner\", \"recipient_domain\", \"sender\", "
                                 "\"sender_domain\", \"client\", \"user\", \"host\", \"all\"";

static bool add_subject(struct loader *loader, const struct place *place, const struct key *key,
                        struct limit *limit)
{
    const char *names[SUBJECTS + 1] = {NULL}, *string = json_string_value(place->value);
    if (string == NULL)
        return loader_mistyped(loader, place, key, per_wanted);
    for (int s = 0; s < SUBJECTS; s++)
        names[s] = policy_subject_name((enum subject)s);
    unsigned i = 0;
    while (i < SUBJECTS && strcmp(names[i], string) != 0)
        i++;
    if (i == SUBJECTS) {
        const char *nearest = text_nearest(string, names);
        return loader_bad(loader, place, key, "must be %s%s%s%s", per_wanted,
                          nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
                          nearest != NULL ? "\"?" : "");
    }
    if (has_subject(limit, (enum subject)i))
        return loader_bad(loader, place, key, "names \"%s\" twice", string);
    limit->per[limit->n_per++] = (enum subject)i;
    return true;
}

bool limit_per(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct draft *draft = field;
    draft->has_per = true;
    if (json_is_string(place->value))
        return add_subject(loader, place, key, &draft->limit);
    if (!json_is_array(place->value) || json_array_size(place->value) == 0)
        return loader_mistyped(loader, place, key, per_wanted);
    bool good = true;
    const struct jsonmap *map = place->map->first;
    for (size_t i = 0; i < json_array_size(place->value); i++, map = map->next) {
        const struct place element = config_json_element(place, i, map);
        good = add_subject(loader, &element, key, &draft->limit) && good;
    }
    return good;
}

/* ---- when ---- */

typedef bool condition_adder(struct loader *loader, const struct place *place, const struct key *key,
                             void *list);

/* One or a list; an empty list could never hold, so it is no condition. */
static bool parse_condition(struct loader *loader, const struct place *place, const struct key *key,
                            condition_adder *add, void *list, const char *wanted)
{
    if (json_is_string(place->value))
        return add(loader, place, key, list);
    if (!json_is_array(place->value))
        return loader_mistyped(loader, place, key, wanted);
    if (json_array_size(place->value) == 0)
        return loader_bad(loader, place, key,
                          "is an empty list, which nothing can match; name %s, or leave it out", wanted);
    bool good = true;
    const struct jsonmap *map = place->map->first;
    for (size_t i = 0; i < json_array_size(place->value); i++, map = map->next) {
        const struct place element = config_json_element(place, i, map);
        if (json_is_string(element.value))
            good = add(loader, &element, key, list) && good;
        else
            good = loader_mistyped(loader, &element, key, wanted);
    }
    return good;
}

static size_t count_of(const struct place *place)
{
    return json_is_array(place->value) ? json_array_size(place->value) : 1;
}

static bool add_string(struct loader *loader, struct strings *list, const char *string)
{
    list->at[list->n] = pool_strdup(loader->pool, string);
    loader->failed = loader->failed || list->at[list->n] == NULL;
    list->n += !loader->failed;
    return !loader->failed;
}

static bool new_strings(struct loader *loader, const struct place *place, struct strings *list)
{
    list->n = 0;
    list->at = pool_alloc(loader->pool, (count_of(place) + 1) * sizeof *list->at);
    loader->failed = loader->failed || list->at == NULL;
    return list->at != NULL;
}

static bool add_class(struct loader *loader, const struct place *place, const struct key *key, void *list)
{
    const char *string = json_string_value(place->value);
    if (string[0] == '\0' || strlen(string) > 255)
        return loader_bad(loader, place, key, "must be the name of a class, of 1 to 255 bytes");
    return add_string(loader, list, string);
}

static bool add_domain(struct loader *loader, const struct place *place, const struct key *key, void *list)
{
    char domain[ADDRESS_DOMAIN_MAX + 1];
    struct error err = {{0}};
    if (address_domain(json_string_value(place->value), domain, &err) != 0)
        return loader_bad(loader, place, key, "%s", err.text);
    return add_string(loader, list, domain);
}

static bool add_network(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct networks *list = field;
    struct error err = {{0}};
    if (network_parse(json_string_value(place->value), &list->at[list->n], &err) != 0)
        return loader_bad(loader, place, key, "%s", err.text);
    list->n++;
    return true;
}

bool limit_classes(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    return new_strings(loader, place, field) &&
           parse_condition(loader, place, key, add_class, field, "the name of a class, or a list of names");
}

bool limit_domains(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    return new_strings(loader, place, field) &&
           parse_condition(loader, place, key, add_domain, field, "a domain in quotes, or a list of domains");
}

bool limit_clients(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct networks *list = field;
    list->n = 0;
    list->at = pool_alloc(loader->pool, (count_of(place) + 1) * sizeof *list->at);
    loader->failed = loader->failed || list->at == NULL;
    return list->at != NULL &&
           parse_condition(loader, place, key, add_network, list,
                           "a network in quotes, such as \"192.0.2.0/24\", or a list of networks");
}

bool limit_when(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    bool costs = false;
    if (!json_is_object(place->value))
        return loader_mistyped(loader, place, key, "an object, such as { \"class\": \"free\" }");
    return config_json_members(loader, place, key, field, &costs) && !costs;
}

/* ---- reply and share: read now, put together when all of the limit is known ---- */

bool limit_reply(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    (void)loader, (void)place, (void)key, (void)field; /* complete_reply() reads it, when `over` is known */
    return true;
}

bool limit_share(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct draft *draft = field;
    if (!json_is_object(place->value))
        return loader_mistyped(loader, place, key,
                               "an object, such as { \"of\": \"client\", \"max\": \"33%\" }");
    draft->share_of = UINT32_MAX;
    bool costs = false;
    draft->has_share = config_json_members(loader, place, key, field, &costs) && !costs;
    if (draft->has_share && (draft->share_of == UINT32_MAX || draft->share_max == 0)) {
        draft->has_share = false;
        return loader_bad(loader, place, key, "needs both \"of\" and \"max\"");
    }
    return draft->has_share;
}

static void complete_reply(struct loader *loader, const struct place *place, struct limit *limit)
{
    const struct place reply = config_json_member(place, "reply");
    const char *string = json_string_value(reply.value), *limit_instead = loader->instead;
    struct error err = {{0}};
    if (reply.value == NULL || reply.map->repeated)
        return;
    loader->instead = "the default text; the limit is in force";
    if (string == NULL)
        loader_mistyped(loader, &reply, NULL, "a reply in quotes, such as \"450 4.2.1 try again later\"");
    else if (reply_parse(string, limit->over, reply_default(verdict_limit_reply(limit, limit->over))->dsn,
                         &limit->reply, &err) != 0)
        loader_bad(loader, &reply, NULL, "%s", err.text);
    loader->instead = limit_instead;
}

static const char *join_per(struct loader *loader, const struct limit *limit)
{
    const char *name = policy_subject_name(limit->per[0]);
    for (size_t i = 1; i < limit->n_per && name != NULL; i++)
        name = pool_printf(loader->pool, "%s+%s", name, policy_subject_name(limit->per[i]));
    loader->failed = loader->failed || name == NULL;
    return name;
}

static void complete_share(struct loader *loader, const struct place *place, struct draft *draft)
{
    struct limit *limit = &draft->limit;
    if (!draft->has_share)
        return;
    enum subject of = share_subjects[draft->share_of];
    const struct place share = config_json_member(place, "share");
    if (has_subject(limit, of)) {
        loader_problem(
            loader, &share, PROBLEM_SKIPPED, "the limit without a share",
            "shares out what is counted for one %s among %ss; take another \"of\", or a smaller max",
            policy_subject_name(of), policy_subject_name(of));
        return;
    }
    const char *per = pool_printf(loader->pool, "%s+%s", limit->per_name, policy_subject_name(of));
    loader->failed = loader->failed || per == NULL;
    int64_t max = (limit->max * draft->share_max + 50) / 100;
    limit->share = (struct share){
        .set = true,
        .of = of,
        .max = max > 0 ? max : 1,
        .above = (limit->max * draft->share_above + 99) / 100,
        .per = per,
    };
}

/* ---- the limit as a whole ---- */

static bool check_backlog(struct loader *loader, const struct place *place, const struct draft *draft)
{
    static const enum subject seen[] = {SUBJECT_MAILBOX,       SUBJECT_MAILBOX_DOMAIN, SUBJECT_SENDER,
                                        SUBJECT_SENDER_DOMAIN, SUBJECT_HOST,           SUBJECT_ALL};
    bool good = draft->limit.n_per == 1;
    const struct place per = config_json_member(place, "per"), window = config_json_member(place, "window");
    if (good) {
        size_t i = 0;
        while (i < sizeof seen / sizeof seen[0] && seen[i] != draft->limit.per[0])
            i++;
        good = i < sizeof seen / sizeof seen[0];
    }
    if (!good)
        loader_bad(
            loader, &per, NULL,
            "must be one of mailbox, mailbox_domain, sender, sender_domain, host and all where \"count\" is "
            "\"backlog\": the queue shows nothing else");
    if (draft->has_window)
        loader_bad(loader, &window, NULL,
                   "has no meaning where \"count\" is \"backlog\", which is what waits now; "
                   "leave it out");
    return good && !draft->has_window;
}

/* What waits now cannot be held, nor told by source: the limit is in force without. */
static void complete_backlog(struct loader *loader, const struct place *place, struct draft *draft)
{
    const char *limit_instead = loader->instead;
    const struct place hold = config_json_member(place, "hold"), share = config_json_member(place, "share");
    loader->instead = "the limit without it";
    if (draft->limit.hold_ms > 0)
        loader_bad(
            loader, &hold, NULL,
            "has no meaning where \"count\" is \"backlog\": the limit acts for as long as the queue is full");
    if (draft->has_share)
        loader_bad(loader, &share, NULL,
                   "has no meaning where \"count\" is \"backlog\": the queue does not tell who filled it");
    draft->limit.hold_ms = 0;
    draft->has_share = false;
    loader->instead = limit_instead;
}

static bool check_required(struct loader *loader, const struct place *place, const struct draft *draft)
{
    const struct {
        const char *name;
        bool there;
    } keys[] = {
        {"name", draft->has_name},
        {"per", draft->has_per},
        {"max", draft->has_max},
        {"window", json_object_get(place->value, "window") != NULL || draft->limit.count == LIMIT_BACKLOG},
    };
    bool good = true;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (!keys[i].there && json_object_get(place->value, keys[i].name) == NULL)
            good = loader_bad(loader, place, NULL, "has no \"%s\"", keys[i].name);
    return good;
}

/* What the keys of one limit must be to each other; all are well-formed by now. */
static bool check_together(struct loader *loader, const struct place *place, const struct draft *draft)
{
    bool good = true;
    if (draft->size_text && draft->limit.count != LIMIT_BYTES) {
        const struct place max = config_json_member(place, "max");
        good = loader_bad(
            loader, &max, NULL,
            "is a string, but must be a whole number without quotes; sizes are for \"count\": \"bytes\"");
    }
    if (draft->limit.when.unknown != ANY && draft->limit.count != LIMIT_ATTEMPTS) {
        const struct place when = config_json_member(place, "when"),
                           unknown = config_json_member(&when, "unknown");
        good = loader_bad(loader, &unknown, NULL,
                          "needs \"count\": \"attempts\": nothing else is counted for an unknown recipient");
    }
    if (draft->limit.count == LIMIT_BACKLOG)
        good = check_backlog(loader, place, draft) && good;
    return good;
}

static bool name_is_taken(struct loader *loader, const struct place *place, const char *name)
{
    for (size_t i = 0; i < loader->policy->n_limits; i++) {
        if (strcmp(loader->policy->limits[i].name, name) != 0)
            continue;
        const struct place at = config_json_member(place, "name");
        loader_bad(loader, &at, NULL, "is the name of an earlier limit, too; the first \"%s\" is in force",
                   name);
        return true;
    }
    return false;
}

static const struct key limit_section = {.pointer = "/limits/*", .choices = "/limits/*"};

static bool read_limit(struct loader *loader, const struct place *place, struct draft *draft)
{
    if (!json_is_object(place->value))
        return loader_mistyped(loader, place, NULL,
                               "an object: { \"name\": ..., \"per\": ..., \"max\": ... }");
    draft->limit.over = ACTION_DEFER;
    bool costs = false;
    bool good = config_json_members(loader, place, &limit_section, draft, &costs) && !costs;
    draft->has_window = draft->limit.window_ms > 0;
    good = check_required(loader, place, draft) && good;
    if (!good || !check_together(loader, place, draft) || name_is_taken(loader, place, draft->limit.name))
        return false;
    draft->limit.per_name = join_per(loader, &draft->limit);
    complete_reply(loader, place, &draft->limit);
    if (draft->limit.count == LIMIT_BACKLOG)
        complete_backlog(loader, place, draft);
    if (!loader->failed)
        complete_share(loader, place, draft);
    return !loader->failed;
}

static bool is_name(const char *name)
{
    size_t n = strlen(name);
    return n >= 1 && n <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static bool parse_limit(struct loader *loader, const struct place *place, struct limit *out)
{
    struct draft draft = {0};
    char instead[128];
    const char *name = json_string_value(json_object_get(place->value, "name"));
    if (name != NULL && is_name(name))
        snprintf(instead, sizeof instead, "nothing: limit \"%s\" is skipped, the others are in force", name);
    else
        snprintf(instead, sizeof instead, "nothing: this limit is skipped, the others are in force");
    loader->instead = instead;
    bool good = read_limit(loader, place, &draft);
    loader->instead = NULL;
    if (!good)
        return false;
    *out = draft.limit;
    return true;
}

bool limit_list(struct loader *loader, const struct place *place, const struct key *key, void *field)
{
    struct policy *policy = loader->policy;
    (void)field;
    if (!json_is_array(place->value))
        return loader_mistyped(loader, place, key, "a list of limits");
    size_t n = json_array_size(place->value);
    if (n > POLICY_LIMITS_MAX) {
        loader_bad(loader, place, key, "has more than %d limits, each of which costs time at every RCPT",
                   POLICY_LIMITS_MAX);
        return false;
    }
    policy->limits = pool_alloc(loader->pool, (n + 1) * sizeof *policy->limits);
    loader->origins = pool_alloc(loader->scratch, (n + 1) * sizeof *loader->origins);
    loader->failed = loader->failed || policy->limits == NULL || loader->origins == NULL;
    const struct jsonmap *map = place->map != NULL ? place->map->first : NULL;
    for (size_t i = 0; !loader->failed && map != NULL && i < n; i++, map = map->next) {
        const struct place element = config_json_element(place, i, map);
        if (!parse_limit(loader, &element, &policy->limits[policy->n_limits]))
            continue;
        loader->origins[policy->n_limits] = (struct origin){.index = i, .map = map};
        policy->n_limits++;
    }
    return true;
}

/* ---- how long a key must live ---- */

static int64_t ttl_need(const struct limit *limit)
{
    int64_t window = limit->window_ms + (limit->window_ms + 9) / 10 + 1000;
    int64_t hold = limit->hold_ms > 0 ? limit->hold_ms + 1000 : 0;
    return window > hold ? window : hold;
}

static bool same_per(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* Limits with one `per` are fields of one key, and a share can have the key of another limit: each must keep
 * the key for as long as the one that needs it longest. */
void limit_ttl(struct policy *policy)
{
    for (size_t i = 0; i < policy->n_limits; i++) {
        struct limit *limit = &policy->limits[i];
        for (size_t j = 0; j < policy->n_limits; j++) {
            const struct limit *other = &policy->limits[j];
            int64_t need = ttl_need(other);
            if (need > limit->ttl_ms &&
                (same_per(limit->per_name, other->per_name) || same_per(limit->share.per, other->per_name) ||
                 same_per(limit->per_name, other->share.per) || same_per(limit->share.per, other->share.per)))
                limit->ttl_ms = need;
        }
    }
}
