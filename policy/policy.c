/* policy: the life of a policy, and the questions that the core asks of its lists (see policy.h). The values live
 * in one pool behind the struct; a policy is changed only while config_load() makes it. */
#include "policy/policy.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct holder { /* what is behind the pointer that policy_new() returns */
    struct policy policy;
    struct pool pool;
    atomic_int references;
};

static struct holder *holder_of(const struct policy *policy)
{
    return (struct holder *)(uintptr_t)policy; /* its first member; const to everybody else */
}

struct policy *policy_new(struct pool **pool)
{
    struct holder *holder = calloc(1, sizeof *holder);
    if (holder == NULL)
        return NULL;
    atomic_init(&holder->references, 1);
    *pool = &holder->pool;
    return &holder->policy;
}

const struct policy *policy_ref(const struct policy *policy)
{
    atomic_fetch_add(&holder_of(policy)->references, 1);
    return policy;
}

void policy_unref(const struct policy *policy)
{
    if (policy == NULL)
        return;
    struct holder *holder = holder_of(policy);
    if (atomic_fetch_sub(&holder->references, 1) != 1)
        return;
    pool_done(&holder->pool);
    free(holder);
}

static const char *const subjects[SUBJECTS] = {
    [SUBJECT_RECIPIENT] = "recipient",
    [SUBJECT_MAILBOX] = "mailbox",
    [SUBJECT_MAILBOX_DOMAIN] = "mailbox_domain",
    [SUBJECT_OWNER] = "owner",
    [SUBJECT_RECIPIENT_DOMAIN] = "recipient_domain",
    [SUBJECT_SENDER] = "sender",
    [SUBJECT_SENDER_DOMAIN] = "sender_domain",
    [SUBJECT_CLIENT] = "client",
    [SUBJECT_USER] = "user",
    [SUBJECT_HOST] = "host",
    [SUBJECT_ALL] = "all",
};

const char *policy_subject_name(enum subject subject)
{
    return subjects[subject];
}

bool policy_holds_client(const struct limit *limit)
{
    return limit->n_per == 1 && limit->per[0] == SUBJECT_CLIENT && limit->hold_ms > 0;
}

static bool half_matches(const char *pattern, const char *value)
{
    if (value == NULL)
        value = "";
    return pattern == NULL || (*pattern == *value && strcmp(pattern, value) == 0);
}

bool policy_patterns_match(const struct patterns *patterns, const char *local, const char *domain)
{
    for (size_t i = 0; i < patterns->n; i++)
        if (half_matches(patterns->at[i].local, local) && half_matches(patterns->at[i].domain, domain))
            return true;
    return false;
}

bool policy_networks_contain(const struct networks *networks, const struct network *address)
{
    for (size_t i = 0; address->set && i < networks->n; i++)
        if (network_contains(&networks->at[i], address))
            return true;
    return false;
}
