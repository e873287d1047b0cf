/* forward: see forward.h. Owns nothing. */
#include "policy/forward.h"

#include <string.h>

static enum forward deferred(const char *reason, const char **text)
{
    *text = reason;
    return FORWARD_DEFER;
}

static bool is_role(const struct address *address)
{
    return strcmp(address->local_bare, "postmaster") == 0 || strcmp(address->local_bare, "abuse") == 0;
}

/* Where accepted mail goes. */
static enum forward deliver(const struct policy *policy, const struct address *address,
                            const struct alias *alias, struct pool *pool, const char **text)
{
    struct strings mailboxes;
    if (rules_mailboxes(policy, alias, pool, &mailboxes) != 0)
        return deferred("out of memory", text);
    if (mailboxes.n > 0)
        *text = alias->mailbox_text;
    else if (is_role(address))
        *text = policy->aliases.role_mailbox;
    else
        return FORWARD_NOWHERE;
    return FORWARD_TO;
}

/* A discarded recipient is there: it is the gate that drops it, once Postfix has the message. */
static enum forward keep(const struct policy *policy, const struct address *address,
                         const struct alias *alias, struct pool *pool, const char **text)
{
    enum forward forward = deliver(policy, address, alias, pool, text);
    if (forward != FORWARD_NOWHERE)
        return forward;
    *text = address->full;
    return FORWARD_TO;
}

/* What the row says. */
static enum forward follow_row(const struct policy *policy, const struct address *address,
                               const struct alias *alias, struct pool *pool, const char **text)
{
    switch (alias->action) {
    case ACTION_ACCEPT:
        return deliver(policy, address, alias, pool, text);
    case ACTION_DISCARD:
        return keep(policy, address, alias, pool, text);
    case ACTION_REJECT:
        return FORWARD_NOWHERE;
    case ACTION_DEFER:
        return deferred("the alias rules defer mail to this address", text);
    case ACTION_NONE:
        break;
    }
    return deferred("the alias rules cannot tell now what becomes of this address", text);
}

enum forward forward_alias(const struct policy *policy, const struct address *address,
                           const struct alias *alias, struct pool *pool, const char **text)
{
    switch (alias->state) {
    case ALIAS_FOUND: /* shadow refuses and drops nothing */
        return policy->shadow ? deliver(policy, address, alias, pool, text)
                              : follow_row(policy, address, alias, pool, text);
    case ALIAS_EXPIRED:
        if (policy->shadow || is_role(address))
            return deliver(policy, address, alias, pool, text);
        return FORWARD_NOWHERE;
    case ALIAS_UNKNOWN:
        return is_role(address) ? deliver(policy, address, alias, pool, text) : FORWARD_NOWHERE;
    case ALIAS_INVALID:
    case ALIAS_NOT_OURS:
        return FORWARD_NOWHERE;
    case ALIAS_STALE:
    case ALIAS_UNASKED:
        break;
    }
    return deferred("the alias database cannot tell now what becomes of this address", text);
}
