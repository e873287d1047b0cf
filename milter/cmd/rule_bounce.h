/* rule_bounce: aliases and globs that accept mail and forward it within our own domains to where Postfix cannot deliver it: to an
 * address that is refused, expired, unknown or without a mailbox, or round to where it has been. */
#ifndef RCPTGATE_CMD_RULE_BOUNCE_H
#define RCPTGATE_CMD_RULE_BOUNCE_H

#include "rule_args.h"

#include "aliases/aliases.h"
#include "policy/address.h"
#include "policy/policy.h"

struct rule_bounces {
    int64_t n;
    char name[RULE_NAME], to[ADDRESS_MAX + 1]; /* one of them, and where it leads */
};

/* Reads all aliases and globs of the policy's database, and follows up to lookups_max addresses of ours that they forward to. db: of the
 * same database. What cannot be read, or not be told, is not counted. */
void rule_bounce_scan(struct aliases *db, const struct policy *policy, int64_t lookups_max,
                      struct rule_bounces *out);

#endif
