/* rule_rights: with whose rights a command works on the alias rules.
 *
 * Who writes rules may write to their directory, and so could lead root elsewhere: root takes the rights of the
 * directory's owner first. Call these once all other files of the command are open. */
#ifndef RCPTGATE_CMD_RULE_RIGHTS_H
#define RCPTGATE_CMD_RULE_RIGHTS_H

#include "policy/policy.h"
#include "base/error.h"

#include <limits.h>
#include <stdbool.h>

/* for_good: else until ids_give_back(). safe: the name to open the database by. A directory that is missing is left to who
 * opens it. */
int rule_rights_take(const char *database, bool for_good, char safe[PATH_MAX], struct error *err);

/* The same for a database that is to be made: where root alone can make its directory, it does, and the directory
 * belongs to the gate's user (policy NULL: none is known) and to the group (NULL: that of its owner). */
int rule_rights_take_to_create(const char *database, const char *group, const struct policy *policy,
                               char safe[PATH_MAX], struct error *err);

#endif
