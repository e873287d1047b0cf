/* compare: what two good policies tell of each other. A file can be right in every entry and still let a flood
 * in, or shut the door: that shows only against what was in force. */
#include "config/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MUCH = 10 }; /* a max that changes by this factor is worth a line */

static void warn(struct problems *problems, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void warn(struct problems *problems, const char *pointer, const char *format, ...)
{
    struct problem *problem = problems_append(problems);
    if (problem == NULL)
        return;
    problem->kind = PROBLEM_WARNING;
    snprintf(problem->pointer, sizeof problem->pointer, "%s", pointer);
    va_list args;
    va_start(args, format);
    vsnprintf(problem->text, sizeof problem->text, format, args);
    va_end(args);
}

static const struct limit *same_limit(const struct policy *policy, const char *name)
{
    for (size_t i = 0; i < policy->n_limits; i++)
        if (strcmp(policy->limits[i].name, name) == 0)
            return &policy->limits[i];
    return NULL;
}

static size_t limits_gone(const struct policy *old, const struct policy *new, const char **first)
{
    size_t gone = 0;
    for (size_t i = 0; i < old->n_limits; i++) {
        if (same_limit(new, old->limits[i].name) != NULL)
            continue;
        if (gone++ == 0)
            *first = old->limits[i].name;
    }
    return gone;
}

static void compare_limit(const struct limit *old, const struct limit *new, struct problems *problems)
{
    if (new->max < old->max / MUCH || (new->max == 0 && old->max > 0))
        warn(problems, "/limits", "limit \"%s\" allows %lld now and allowed %lld before: %s", new->name,
             (long long)new->max, (long long)old->max,
             new->max == 0 ? "it refuses all that it applies to"
                           : "most of what was accepted will be refused");
    else if (old->max > 0 && new->max / MUCH > old->max)
        warn(problems, "/limits",
             "limit \"%s\" allows %lld now and allowed %lld before: it may not act any more", new->name,
             (long long)new->max, (long long)old->max);
    if (old->over == ACTION_DEFER && new->over != ACTION_DEFER && !new->shadow)
        warn(problems, "/limits",
             "limit \"%s\" now answers \"%s\" and deferred before: what it refuses does not "
             "come back",
             new->name, action_name(new->over));
    if (old->shadow && !new->shadow)
        warn(problems, "/limits", "limit \"%s\" was in shadow and refuses from now on", new->name);
}

static void compare_limits(const struct policy *old, const struct policy *new, struct problems *problems)
{
    const char *first = "";
    size_t gone = limits_gone(old, new, &first), none = 0;
    if (old->n_limits > 0 && new->n_limits == 0)
        warn(problems, "/limits", "all %zu limits are gone: no flood is held back any more", old->n_limits);
    else if (gone > 0)
        warn(problems, "/limits", "%zu of %zu limits are gone, \"%s\" is the first", gone, old->n_limits,
             first);
    for (size_t i = 0; i < new->n_limits; i++) {
        const struct limit *before = same_limit(old, new->limits[i].name);
        none += new->limits[i].max == 0;
        if (before != NULL)
            compare_limit(before, &new->limits[i], problems);
    }
    if (none > 0 && none == new->n_limits)
        warn(problems, "/limits", "every limit has a max of 0: all mail that a limit applies to is refused");
}

void config_compare(const struct policy *old, const struct policy *new, struct problems *problems)
{
    if (old->shadow != new->shadow)
        warn(problems, "/mode",
             new->shadow ? "is shadow now: nothing is refused or dropped any more"
                         : "is enforce now: what was only logged in shadow is refused");
    if (old->aliases.database != NULL && new->aliases.database == NULL)
        warn(problems, "/aliases",
             "is gone: no alias rule applies any more, and unknown recipients are accepted");
    if (old->aliases.database == NULL && new->aliases.database != NULL)
        warn(problems, "/aliases", "is new: recipients in our domains that it does not know are refused");
    if (new->exempt.authenticated && !old->exempt.authenticated)
        warn(problems, "/exempt/authenticated",
             "is true now: limits do not hold for logged-in users any more");
    if (old->counters.when_down != WHEN_DOWN_ACCEPT && new->counters.when_down == WHEN_DOWN_ACCEPT)
        warn(problems, "/counters/when_down", "is accept now: without Redis there is no limit at all");
    compare_limits(old, new, problems);
}
