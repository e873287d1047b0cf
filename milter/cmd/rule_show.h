/* rule_show: `rcptgate alias show ADDRESS`: what the alias rules say of one address, read from the database as it is; no gate is
 * asked. */
#ifndef RCPTGATE_CMD_RULE_SHOW_H
#define RCPTGATE_CMD_RULE_SHOW_H

#include "aliases/edit.h"
#include "base/pool.h"
#include "policy/policy.h"

#include <stdbool.h>

struct rule_show {
    const char *database;
    const struct policy *policy; /* NULL, or without alias rules: the defaults */
    const char *address;         /* as typed */
    bool json;
    struct pool *pool;
};

/* Reads everything in the transaction of `edit` but the alias itself, which the gate's own look-up reads. */
enum edit_status rule_show(const struct rule_show *of, struct aliases_edit *edit, struct error *err);

#endif
