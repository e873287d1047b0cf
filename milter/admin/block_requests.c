/* block_requests: see block_requests.h. Owns nothing. What is refused is named one by one; the rest is done. */
#include "admin/block_requests.h"

#include "config/json_get.h"
#include "gate/state_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PAGE_MOST = 10000,
    LOCK_MS = 3000,
};

static const json_int_t FOR_MOST_S = INT64_C(100) * 365 * 86400;

static json_t *failure(const char *text)
{
    return json_pack("{s:s}", "error", text);
}

/* Why that network may not be blocked without --force; false: it may. */
static bool needs_force(const struct policy *policy, const struct network *network, struct error *why)
{
    char exempt[NETWORK_TEXT];
    bool ipv4 = network_is_ipv4(network);
    if (blocklist_is_wide(network)) {
        error_set(why, "is wider than /%d; --force blocks it all the same", ipv4 ? 8 : 32);
        return true;
    }
    for (size_t i = 0; i < policy->exempt.clients.n; i++) {
        const struct network *e = &policy->exempt.clients.at[i];
        if (network_contains(e, network)) {
            error_set(why,
                      "is exempt (exempt.clients has %s), so that a block does nothing; --force makes it all "
                      "the same",
                      network_format(e, exempt));
            return true;
        }
        if (network_contains(network, e)) {
            error_set(why, "holds the exempt client %s (exempt.clients); --force blocks what is around it",
                      network_format(e, exempt));
            return true;
        }
    }
    return false;
}

/* Is there a block to take away? */
static bool is_blocked(const struct blocklist *list, const struct network *network, int64_t now_s,
                       struct error *why)
{
    char wider[NETWORK_TEXT];
    const struct block *block = blocklist_get(list, network);
    if (block != NULL && block->action != ACTION_ACCEPT && (block->until_s == 0 || block->until_s > now_s))
        return true;
    block = network->bits == 128 ? blocklist_find(list, network, now_s) : NULL;
    if (block != NULL)
        error_set(why, "is blocked by %s only: unblock that", network_format(&block->network, wider));
    else
        error_set(why, "is not blocked");
    return false;
}

struct asked { /* the networks of a request, sorted out */
    struct block *changes;
    size_t n;
    json_t *refused;
};

static void refuse(struct asked *asked, const char *network, const struct error *why)
{
    json_array_append_new(asked->refused, json_pack("{s:s, s:s}", "network", network, "text", why->text));
}

/* like: what all the changes have in common. */
static void sort_out(struct gate *gate, const json_t *networks, const struct block *like, bool force,
                     struct asked *asked)
{
    const struct policy *policy = context_policy(&gate->context);
    struct blocklist *list = blocks_list(gate->blocks);
    int64_t now_s = context_now(&gate->context) / 1000;
    for (size_t i = 0; i < json_array_size(networks); i++) {
        const char *text = json_string_value(json_array_get(networks, i));
        struct error why = {0};
        struct block change = *like;
        bool ok = text != NULL && network_parse(text, &change.network, &why) == 0;
        if (ok && like->action == ACTION_ACCEPT)
            ok = is_blocked(list, &change.network, now_s, &why);
        else if (ok && !force)
            ok = !needs_force(policy, &change.network, &why);
        change.forced = force && ok && blocklist_is_wide(&change.network);
        if (ok)
            asked->changes[asked->n++] = change;
        else
            refuse(asked, text != NULL ? text : "", &why);
    }
    blocklist_unref(list);
    policy_unref(policy);
}

static json_t *change(struct gate *gate, const json_t *request, const struct block *like)
{
    const json_t *networks = json_object_get(request, "networks");
    struct error err = {0};
    struct asked asked = {.changes = calloc(json_array_size(networks) + 1, sizeof *asked.changes),
                          .refused = json_array()};
    if (asked.changes == NULL || asked.refused == NULL) {
        free(asked.changes);
        json_decref(asked.refused);
        return failure("out of memory");
    }
    sort_out(gate, networks, like, json_is_true(json_object_get(request, "force")), &asked);
    bool more = json_is_true(json_object_get(request, "more"));
    if ((asked.n > 0 || !more) && blocks_change(gate->blocks, asked.changes, asked.n, more, &err) < 0)
        asked.n = 0; /* reported as "trouble", as are blocks that are in force and cannot be kept */
    if (asked.n > 0 && gate->local != NULL &&
        conditions_get(&gate->context.conditions, CONDITION_COUNTERS).set)
        error_set(&err, "Redis does not answer: it holds on this host, on the others when Redis is back");
    free(asked.changes);
    return json_pack("{s:I, s:o, s:s}", "done", (json_int_t)asked.n, "refused", asked.refused, "trouble",
                     err.text);
}

json_t *block_requests_block(struct gate *gate, const json_t *request)
{
    const json_t *for_s = json_object_get(request, "for_s");
    json_int_t seconds = json_is_integer(for_s) ? json_integer_value(for_s) : 0;
    enum action action = action_from_name(json_get_text(request, "action"));
    if (seconds < 0 || seconds > FOR_MOST_S)
        return failure("a block lasts up to 100 years; without a time it lasts until it is taken away");
    if (action != ACTION_REJECT && action != ACTION_DEFER)
        return failure("a block can reject or defer, nothing else");
    const struct block like = {.action = action,
                               .until_s = seconds > 0 ? context_now(&gate->context) / 1000 + seconds : 0,
                               .reason = json_get_text(request, "reason")};
    return change(gate, request, &like);
}

json_t *block_requests_unblock(struct gate *gate, const json_t *request)
{
    const struct block like = {.action = ACTION_ACCEPT, .reason = ""};
    return change(gate, request, &like);
}

static json_t *entry(const struct block *block)
{
    char network[NETWORK_TEXT], until[BLOCK_TIME], at[BLOCK_TIME];
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "network", network_format(&block->network, network),
                     "action", action_name(block->action), "until", blocklist_time(block->until_s, until),
                     "at", blocklist_time(block->changed_ms / 1000, at), "by", block->host, "reason",
                     block->reason);
}

json_t *block_requests_list(struct gate *gate, const json_t *request)
{
    struct network after;
    bool first = network_parse(json_get_text(request, "after"), &after, NULL) < 0;
    json_int_t most = json_integer_value(json_object_get(request, "most"));
    int64_t now_s = context_now(&gate->context) / 1000;
    struct blocklist *list = blocks_list(gate->blocks);
    size_t i = first ? 0 : blocklist_after(list, &after), size = blocklist_size(list);
    json_t *entries = json_array();
    if (most <= 0 || most > PAGE_MOST)
        most = PAGE_MOST;
    for (; i < size && json_array_size(entries) < (size_t)most; i++) {
        const struct block *block = blocklist_at(list, i);
        if (block->action != ACTION_ACCEPT && (block->until_s == 0 || block->until_s > now_s))
            json_array_append_new(entries, entry(block));
    }
    blocklist_unref(list);
    return json_pack("{s:o, s:b}", "blocks", entries, "more", i < size);
}

int block_requests_open(struct gate *gate, const char *state, struct error *err)
{
    char path[STATE_DIR_PATH];
    int fd = -1;
    enum state_dir_lock lock = state_dir_lock(state, LOCK_MS, &fd, err);
    if (lock == STATE_DIR_TAKEN)
        error_set(err, "a gate uses %s, but does not answer", state);
    if (lock != STATE_DIR_LOCKED)
        return -1;
    if (blocks_load(gate->blocks, state_dir_path(state, STATE_DIR_BLOCKS, path), err) == 0)
        return fd;
    close(fd);
    return -1;
}
