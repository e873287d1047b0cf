/* fuzz_policy: any bytes are a policy or one fatal problem; what is loaded keeps the promises of policy.h,
 * and loading it again gives the same. */
#include "config/config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool truth)
{
    if (!truth)
        abort();
}

static void check_problem(const struct problem *problem, bool loaded)
{
    demand(loaded == (problem->kind != PROBLEM_FATAL));
    demand(memchr(problem->pointer, '\0', sizeof problem->pointer) != NULL);
    demand(problem->pointer[0] == '/' || problem->pointer[0] == '\0');
    demand(problem->text[0] != '\0' && memchr(problem->text, '\0', sizeof problem->text) != NULL);
    for (const char *c = problem->text; *c != '\0'; c++)
        demand((unsigned char)*c >= ' ' && (unsigned char)*c <= '~');
}

static void check_limit(const struct limit *limit)
{
    demand(limit->name[0] != '\0' && limit->n_per >= 1 && limit->n_per <= SUBJECTS);
    demand(strncmp(limit->per_name, policy_subject_name(limit->per[0]),
                   strlen(policy_subject_name(limit->per[0]))) == 0);
    demand(limit->max >= 0 && limit->max <= INT64_C(1000000000000000));
    bool backlog = limit->count == LIMIT_BACKLOG;
    demand((backlog || limit->window_ms >= 1000) && limit->window_ms <= INT64_C(31) * 86400000);
    demand(limit->ttl_ms >= limit->window_ms && limit->ttl_ms > limit->hold_ms);
    demand(!backlog ||
           (limit->n_per == 1 && limit->hold_ms == 0 && !limit->share.set && limit->window_ms == 0));
    demand(limit->over >= ACTION_DEFER && limit->over <= ACTION_REJECT);
    demand(limit->reply.code[0] == '\0' || limit->reply.code[0] == (limit->over == ACTION_DEFER ? '4' : '5'));
    if (limit->share.set)
        demand(limit->share.max >= 1 && limit->share.above <= limit->max && limit->share.per != NULL);
}

static void check_policy(const struct policy *policy)
{
    demand(policy->milter.socket != NULL && policy->state[0] == '/' && policy->aliases.subaddress != NULL);
    demand(policy->counters.url != NULL && policy->counters.redis.prefix[0] != '\0');
    demand((policy->counters.kind == COUNTERS_REDIS_TCP) == (policy->counters.redis.n_addresses > 0));
    demand((policy->counters.kind == COUNTERS_REDIS_UNIX) == (policy->counters.redis.path != NULL));
    demand(policy->counters.redis.timeout_ms >= 1 && policy->counters.local_share >= 1);
    for (size_t i = 0; i < policy->n_limits; i++) {
        check_limit(&policy->limits[i]);
        for (size_t j = 0; j < i; j++)
            demand(strcmp(policy->limits[i].name, policy->limits[j].name) != 0);
    }
    for (int i = 0; i < REPLY_KEYS; i++)
        demand(policy->replies[i].code[0] ==
               (reply_key_action((enum reply_key)i) == ACTION_DEFER ? '4' : '5'));
    (void)policy_patterns_match(&policy->exempt.recipients, "a", "example.com");
    (void)policy_patterns_match(&policy->exempt.senders, "", "");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct problems problems = {0}, again = {0};
    const struct policy *policy = config_load((const char *)data, size, &problems);
    const struct policy *second = config_load((const char *)data, size, &again);
    demand(policy != NULL || problems.n == 1);
    demand((policy == NULL) == (second == NULL) && problems.n == again.n);
    for (size_t i = 0; i < problems.n; i++) {
        check_problem(&problems.at[i], policy != NULL);
        demand(strcmp(problems.at[i].text, again.at[i].text) == 0);
        demand(i == 0 || problems.at[i].line >= problems.at[i - 1].line);
    }
    if (policy != NULL)
        check_policy(policy);
    policy_unref(policy);
    policy_unref(second);
    problems_done(&problems);
    problems_done(&again);
    return 0;
}
