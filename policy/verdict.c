/* verdict: the only makers of what leaves the core (see verdict.h). Owns nothing; cannot fail: a proof
 * that is missing is a bug of ours and stops the program before it can refuse mail. */
#include "policy/verdict.h"

#include <assert.h>

static bool is_for_good(enum action action)
{
    return action == ACTION_REJECT || action == ACTION_DISCARD;
}

struct verdict verdict_accept(void)
{
    return (struct verdict){.action = ACTION_ACCEPT, .proof = ""};
}

struct verdict verdict_backend(const struct policy *policy)
{
    return (struct verdict){.action = ACTION_DEFER,
                            .by = VERDICT_BY_BACKEND,
                            .proof = "",
                            .reply = &policy->replies[REPLY_BACKEND]};
}

struct verdict verdict_by_ruling(const struct policy *policy, const struct ruling *ruling)
{
    assert(ruling->action == ACTION_DEFER || is_for_good(ruling->action));
    assert(ruling->by != VERDICT_BY_NOBODY);
    assert(!is_for_good(ruling->action) || (ruling->by != VERDICT_BY_BACKEND && ruling->proof != NULL));
    struct verdict verdict = {
        .action = ruling->action, .by = ruling->by, .proof = ruling->proof != NULL ? ruling->proof : ""};
    if (ruling->action == ACTION_DISCARD)
        return verdict;
    verdict.row_reply = ruling->reply;
    verdict.reply = &policy->replies[ruling->key];
    return verdict;
}

enum reply_key verdict_limit_reply(const struct limit *limit, enum action action)
{
    if (limit->count == LIMIT_BYTES)
        return action == ACTION_REJECT ? REPLY_BYTES_REJECT : REPLY_BYTES_DEFER;
    return action == ACTION_REJECT ? REPLY_OVER_REJECT : REPLY_OVER_DEFER;
}

static struct verdict limit_verdict(const struct policy *policy, const struct limit *limit,
                                    enum action action, const struct count_ask *ask,
                                    const struct count_answer *answer)
{
    assert(answer->result == COUNT_OVER || answer->result == COUNT_HELD);
    struct verdict verdict = {.action = action,
                              .by = VERDICT_BY_LIMIT,
                              .proof = "",
                              .limit = limit,
                              .used = answer->used,
                              .max = ask->max,
                              .wait_ms = answer->wait_ms};
    if (action == ACTION_DISCARD)
        return verdict;
    bool own_fits = limit->reply.code[0] == (action == ACTION_REJECT ? '5' : '4');
    verdict.reply = own_fits ? &limit->reply : &policy->replies[verdict_limit_reply(limit, action)];
    return verdict;
}

struct verdict verdict_by_limit(const struct policy *policy, const struct limit *limit,
                                const struct count_ask *ask, const struct count_answer *answer)
{
    assert(limit->over == ACTION_DEFER || (is_for_good(limit->over) && answer->hard));
    return limit_verdict(policy, limit, limit->over, ask, answer);
}

struct verdict verdict_by_limit_soft(const struct policy *policy, const struct limit *limit,
                                     const struct count_ask *ask, const struct count_answer *answer)
{
    return limit_verdict(policy, limit, ACTION_DEFER, ask, answer);
}

struct verdict verdict_by_ramp(const struct policy *policy, const struct limit *limit,
                               const struct count_ask *ask, const struct count_answer *answer,
                               int64_t wait_ms)
{
    assert(answer->result == COUNT_OVER);
    return (struct verdict){.action = ACTION_DEFER,
                            .by = VERDICT_BY_RAMP,
                            .proof = "",
                            .limit = limit,
                            .used = answer->used,
                            .max = ask->max,
                            .wait_ms = wait_ms,
                            .reply = &policy->replies[REPLY_RAMP]};
}

/* A row that an application wrote past the commands can carry any text: what does not fit is not used. */
bool verdict_reply(const struct verdict *verdict, struct reply *out)
{
    const char *dsn = verdict->reply != NULL ? verdict->reply->dsn : NULL;
    if (verdict->row_reply != NULL && reply_parse(verdict->row_reply, verdict->action, dsn, out, NULL) == 0)
        return true;
    if (verdict->reply != NULL)
        *out = *verdict->reply;
    return verdict->reply != NULL;
}
