/* maps: owns the socket of Postfix's tables and those who answer there. A socket that cannot be had, or was lost, is a
 * condition; a look-up that fails is TEMP. */
#include "admin/maps.h"

#include "base/hash.h"
#include "milter/ruling.h"
#include "policy/forward.h"
#include "sys/listener.h"
#include "sys/socketmap.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    PREDECESSOR_MS = 1000, /* an instance that is just ending */
    REMEMBER_MS = 60000,   /* a socket that had to be mended stays a condition so long */
    SEEN = 4096,           /* domains that are remembered */
};

struct maps {
    struct gate *gate;
    struct listener listener; /* fd -1: not open yet */
    struct socketmap *socketmap;
    int64_t mended_ms; /* when it had to be mended last */

    /* Hashes of domains that were ours when they were asked for last. Without the live file the copy tells whose domain it is:
     * one that was added after the copy was made must not be a stranger's. */
    uint64_t seed[2];
    _Atomic uint64_t seen[SEEN];
};

struct lookup {
    struct maps *maps;
    struct ruling_question question;
    struct envelope envelope;
    struct address address;
    struct ruling ruling;
    const char **text;
};

/* ---- one look-up ---- */

static enum socketmap_answer temp(const struct lookup *l, const char *reason)
{
    *l->text = reason;
    return SOCKETMAP_TEMP;
}

static enum socketmap_answer found(const struct lookup *l, const char *value)
{
    *l->text = pool_strdup(l->question.pool, value);
    return SOCKETMAP_FOUND;
}

/* Reads the rules for the address. -1: out of memory. */
static int look_up(struct lookup *l)
{
    static const struct network nowhere;
    static const struct address nobody = {.kind = ADDRESS_NULL};
    l->envelope = (struct envelope){.client = &nowhere,
                                    .sender = &nobody,
                                    .sender_raw = "<>",
                                    .recipient = &l->address,
                                    .recipient_raw = l->address.full,
                                    .resolved = true,
                                    .size = -1,
                                    .host = l->question.gate->context.host,
                                    .now_ms = context_now(&l->question.gate->context)};
    l->question.envelope = &l->envelope;
    l->question.alias_only = true;
    return ruling_read(&l->question, &l->ruling);
}

enum whose { WHOSE_UNKNOWN = 0, WHOSE_OURS, WHOSE_FOREIGN };

/* Mail on its way out asks this too, for each mailbox: a database that is away must not hold it up. So what the copy does not
 * know is a stranger's, unless it was ours a moment ago. */
static enum whose whose_domain(struct lookup *l)
{
    const struct alias *alias = &l->ruling.alias;
    uint64_t hash = hash_string(l->maps->seed, l->address.domain);
    _Atomic uint64_t *seen = &l->maps->seen[hash % SEEN];
    if (alias->ours) {
        atomic_store(seen, hash);
        return WHOSE_OURS;
    }
    if (alias->state == ALIAS_NOT_OURS) {
        if (atomic_load(seen) == hash)
            atomic_store(seen, 0);
        return WHOSE_FOREIGN;
    }
    return atomic_load(seen) != hash && ruling_disowns(&l->question) ? WHOSE_FOREIGN : WHOSE_UNKNOWN;
}

static enum socketmap_answer look_up_domain(struct lookup *l, const char *key)
{
    l->address = (struct address){.kind = ADDRESS_INVALID};
    if (address_domain(key, l->address.domain, NULL) != 0)
        return SOCKETMAP_ABSENT;
    if (look_up(l) < 0)
        return temp(l, "out of memory");
    switch (whose_domain(l)) {
    case WHOSE_OURS:
        return found(l, key);
    case WHOSE_FOREIGN:
        return SOCKETMAP_ABSENT;
    case WHOSE_UNKNOWN:
        break;
    }
    return temp(l, "the alias database cannot tell now whose domain this is");
}

static enum socketmap_answer follow_rules(const struct lookup *l)
{
    const char *text = NULL;
    switch (forward_alias(l->question.policy, &l->address, &l->ruling.alias, l->question.pool, &text)) {
    case FORWARD_TO:
        return found(l, text);
    case FORWARD_NOWHERE:
        return SOCKETMAP_ABSENT;
    case FORWARD_DEFER:
        break;
    }
    return temp(l, text);
}

/* Rows that were lost a moment ago leave the field to wider ones, which deliver elsewhere: what stands on no row of its own is
 * asked of the copy, unless that was done for the ruling. */
static bool is_proved(const struct lookup *l)
{
    return l->ruling.alias.via == VIA_FULL || l->ruling.action == ACTION_REJECT ||
           ruling_confirms_alias(&l->question, &l->ruling);
}

static enum socketmap_answer look_up_address(struct lookup *l, const char *key)
{
    if (address_parse(key, l->question.policy->aliases.subaddress, &l->address, NULL) != ADDRESS_MAILBOX)
        return SOCKETMAP_ABSENT; /* "@domain" too: globs and catch-alls answered for the whole address */
    if (look_up(l) < 0)
        return temp(l, "out of memory");
    enum whose whose = whose_domain(l);
    if (whose == WHOSE_FOREIGN)
        return SOCKETMAP_ABSENT;
    if (whose == WHOSE_UNKNOWN || l->ruling.alias.state == ALIAS_STALE || !is_proved(l))
        return temp(l, "the alias database cannot tell now what becomes of this address");
    return follow_rules(l);
}

static enum socketmap_answer answer(void *arg, const char *map, const char *key, struct pool *pool,
                                    const char **text)
{
    struct maps *maps = arg;
    struct lookup lookup = {.maps = maps, .text = text};
    const struct policy *policy = context_policy(&maps->gate->context);
    lookup.question = (struct ruling_question){.gate = maps->gate, .policy = policy, .pool = pool};
    enum socketmap_answer answer = SOCKETMAP_TEMP;
    if (maps->gate->rules == NULL || policy->aliases.database == NULL)
        answer = temp(&lookup, "the policy of the gate has no aliases");
    else if (strcmp(map, "domains") == 0)
        answer = look_up_domain(&lookup, key);
    else if (strcmp(map, "aliases") == 0)
        answer = look_up_address(&lookup, key);
    else
        answer = temp(&lookup, "the gate has two maps: domains, aliases");
    policy_unref(policy);
    return answer;
}

/* ---- the socket ---- */

static int open_socket(struct maps *maps, const struct policy *policy, int wait_ms, struct error *err)
{
    if (listener_open(&maps->listener, policy->maps.socket, policy->milter.group, policy->milter.mode,
                      wait_ms, err) < 0)
        return -1;
    maps->socketmap = socketmap_start(maps->listener.fd, answer, maps, err);
    if (maps->socketmap != NULL)
        return 0;
    listener_close(&maps->listener);
    return -1;
}

static void look(struct maps *maps, int wait_ms)
{
    struct error what = {0};
    struct conditions *conditions = &maps->gate->context.conditions;
    const struct policy *policy = context_policy(&maps->gate->context);
    int64_t now = context_now(&maps->gate->context);
    int rc = 0;
    if (maps->socketmap != NULL)
        rc = listener_mend(&maps->listener, policy->milter.group, policy->milter.mode, maps->listener.fd,
                           &what);
    else if (policy->maps.socket != NULL)
        rc = open_socket(maps, policy, wait_ms, &what);
    policy_unref(policy);
    if (rc != 0) {
        maps->mended_ms = rc > 0 ? now : 0;
        conditions_set(conditions, CONDITION_MAPS, rc > 0 ? CONDITION_NOTE : CONDITION_DEGRADED, now, "%s%s",
                       what.text, rc > 0 ? "" : "; it is maps.socket in the policy");
    } else if (now - maps->mended_ms > REMEMBER_MS) {
        conditions_clear(conditions, CONDITION_MAPS, now);
    }
}

void maps_look(struct maps *maps)
{
    if (maps != NULL)
        look(maps, 0);
}

struct maps *maps_new(struct gate *gate)
{
    struct maps *maps = calloc(1, sizeof *maps);
    if (maps == NULL)
        return NULL;
    maps->gate = gate;
    maps->listener = (struct listener){.fd = -1, .lock_fd = -1};
    hash_seed(maps->seed);
    look(maps, PREDECESSOR_MS);
    return maps;
}

bool maps_free(struct maps *maps)
{
    if (maps == NULL)
        return true;
    bool alone = socketmap_stop(maps->socketmap);
    listener_close(&maps->listener);
    if (alone)
        free(maps);
    return alone;
}
