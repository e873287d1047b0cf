/* forward: where Postfix is told that mail for one of our addresses goes. Pure. */
#ifndef RCPTGATE_POLICY_FORWARD_H
#define RCPTGATE_POLICY_FORWARD_H

#include "policy/rules.h"

enum forward {
    FORWARD_DEFER = 0, /* it is deferred, or nobody can tell now; out of memory too */
    FORWARD_NOWHERE, /* there is no such address, or it has no mailbox: what Postfix has accepted for it bounces */
    FORWARD_TO,
};

/* alias: what rules_alias() says of the address. *text: of TO the mailboxes, as the row has them; of DEFER the reason. It is the row's,
 * the policy's, the address's or constant. */
enum forward forward_alias(const struct policy *policy, const struct address *address,
                           const struct alias *alias, struct pool *pool, const char **text);

#endif
