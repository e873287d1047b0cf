/* action: the names of the actions, in the order of their enum. Owns nothing and cannot fail: what is no action has the
 * name "none". */
#include "base/action.h"

#include <stddef.h>
#include <string.h>

static const char *const names[] = {"none", "accept", "defer", "discard", "reject"};

const char *action_name(enum action action)
{
    return (unsigned)action < sizeof names / sizeof names[0] ? names[action] : names[ACTION_NONE];
}

enum action action_from_name(const char *name)
{
    for (unsigned i = ACTION_ACCEPT; name != NULL && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return (enum action)i;
    return ACTION_NONE;
}
