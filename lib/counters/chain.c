/* chain: see chain.h. Owns a copy of the asks, as they are to be asked by now. Short of memory nothing is asked: COUNTERS_DOWN. */
#include "chain.h"

#include "counters/window.h"

#include <stdlib.h>
#include <string.h>

enum { FEW = 16 }; /* asks for which no memory is allocated */

struct link {                    /* one ask */
    struct count_ask ask, local; /* as the store, and as this process are asked */
    unsigned site;
    bool done;
    bool alone;      /* its key is on its way to another node: no other is in the same call */
    bool overflowed; /* it is the overflow key by now */
};

struct part { /* the links that are asked together, and what for */
    size_t n;
    size_t *at; /* indices of links */
    struct count_ask *asks, *locals;
    struct count_answer *answers;
};

struct chain {
    struct counters *store;
    const struct chain_ops *ops;
    void *arg;
    enum counters_mode mode;
    const struct count_request *request;
    int64_t now;
    struct count_answer *answers;
    struct link *links; /* request->n */
    struct part part;   /* with room for as many */
    bool refused;
    enum counters_status status;
};

/* ---- links ---- */

/* Its overflow key cannot be in the same call. */
static void link_part_overflow(struct link *link)
{
    if (link->ask.overflow == NULL)
        return;
    link->ask.overflow = link->ask.new_key = NULL;
    link->ask.flags |= COUNT_EXISTING;
}

static void link_make(struct chain *chain, size_t i)
{
    struct link *link = &chain->links[i];
    const struct count_ask *ask = &chain->request->asks[i];
    *link = (struct link){.ask = *ask, .site = store_site(chain->store, ask->key)};
    link->local = chain->request->local != NULL ? chain->request->local[i] : *ask;
    if (ask->overflow == NULL || (store_site(chain->store, ask->overflow) == link->site &&
                                  store_site(chain->store, ask->new_key) == link->site))
        return;
    link_part_overflow(link);
}

static bool is_hard(const struct link *link)
{
    return (link->ask.flags & (COUNT_HARD | COUNT_ATTEMPT)) == COUNT_HARD;
}

/* The ask of which it is a share is answered, or there is none. */
static bool is_ready(const struct chain *chain, const struct link *link)
{
    return link->ask.share_of < 0 || chain->links[link->ask.share_of].done;
}

/* Strangers' key is not there: may there be one more? What is not known is let through. */
static void link_resolve(struct chain *chain, size_t i)
{
    const struct count_ask *asked = &chain->request->asks[i];
    const struct count_ask new_ask = {.key = asked->new_key,
                                      .limit = COUNTERS_NEW_LIMIT,
                                      .max = asked->new_max,
                                      .window_ms = COUNTERS_NEW_WINDOW_MS,
                                      .amount = 1,
                                      .need = 1,
                                      .ttl_ms = 2 * COUNTERS_NEW_WINDOW_MS,
                                      .share_of = -1};
    const struct count_request request = {.asks = &new_ask,
                                          .n = 1,
                                          .deadline = chain->request->deadline,
                                          .local = chain->request->local != NULL ? &new_ask : NULL};
    struct count_answer answer = {0};
    bool one = chain->ops->ask(chain->arg, store_site(chain->store, new_ask.key), chain->mode, &request,
                               false, chain->now, &answer) == COUNTERS_OK;
    if (one && chain->mode == COUNTERS_RESERVE)
        chain->ops->record(chain->arg, &request, chain->now, &answer);
    bool over = answer.result == COUNT_OVER;
    for (size_t k = i; k < chain->request->n; k++) { /* one key, however many limits are on it */
        struct link *link = &chain->links[k];
        if (link->done || (link->ask.flags & COUNT_EXISTING) == 0 || strcmp(link->ask.key, asked->key) != 0)
            continue;
        link->ask.flags &= ~(unsigned)COUNT_EXISTING;
        if (!over)
            continue;
        link->overflowed = true; /* strangers share it: nobody holds it, and it answers for nobody for good */
        link->ask.key = link->local.key = chain->request->asks[k].overflow;
        link->ask.hold_ms = link->local.hold_ms = 0;
        link->ask.flags &= ~(unsigned)COUNT_HARD;
        link->local.flags &= ~(unsigned)COUNT_HARD;
        link->local.overflow = link->local.new_key = NULL;
        link->site = store_site(chain->store, link->ask.key);
    }
}

/* ---- parts ---- */

/* Does a link belong to the part that begins with the other one? A share goes with what it is a share of, unless that was asked. */
static bool belongs(const struct chain *chain, size_t i, size_t first)
{
    const struct link *link = &chain->links[i], *leader = &chain->links[first];
    if (link->done || link->site != leader->site)
        return false;
    if (!is_ready(chain, link))
        return !link->alone && (size_t)link->ask.share_of >= first &&
               belongs(chain, (size_t)link->ask.share_of, first);
    return !(link->alone || leader->alone) || strcmp(link->ask.key, leader->ask.key) == 0;
}

static bool has_hard(const struct chain *chain, size_t first)
{
    for (size_t i = 0; i < chain->request->n; i++)
        if (belongs(chain, i, first) && is_hard(&chain->links[i]))
            return true;
    return false;
}

/* The first of the next part: one without hard asks where there is any. SIZE_MAX: all is done. */
static size_t chain_next(const struct chain *chain)
{
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < chain->request->n; i++) {
        if (chain->links[i].done || !is_ready(chain, &chain->links[i]))
            continue;
        if (!has_hard(chain, i))
            return i;
        if (first == SIZE_MAX)
            first = i;
    }
    return first;
}

/* The index within the part of what the ask is a share of. What was asked before is no part of it: the share then binds or does
 * not, by what that answered. */
static void part_share(const struct chain *chain, struct count_ask *ask)
{
    const struct part *part = &chain->part;
    int whole = ask->share_of;
    if (whole < 0)
        return;
    ask->share_of = -1;
    for (size_t k = 0; k < part->n; k++)
        if (part->at[k] == (size_t)whole)
            ask->share_of = (int)k;
    if (ask->share_of < 0 && chain->answers[whole].used < ask->share_above)
        ask->max = WINDOW_MOST;
}

static void part_make(struct chain *chain, size_t first)
{
    struct part *part = &chain->part;
    part->n = 0;
    for (size_t i = 0; i < chain->request->n; i++) {
        if (!belongs(chain, i, first))
            continue;
        part->asks[part->n] = chain->links[i].ask;
        part->locals[part->n] = chain->links[i].local;
        part_share(chain, &part->asks[part->n]);
        part_share(chain, &part->locals[part->n]);
        part->at[part->n++] = i;
    }
}

static bool refuses(const struct count_ask *ask, const struct count_answer *answer)
{
    return (answer->result == COUNT_OVER || answer->result == COUNT_HELD) && (ask->flags & COUNT_SHADOW) == 0;
}

/* Is it a share of what is taken less than where it binds, or is strangers'? */
static bool share_is_soft(const struct count_ask *ask, const struct count_answer *whole)
{
    return whole->overflowed || whole->taken < ask->share_above;
}

/* Link i's answer, k of the part: what the store did not know of it when it called it hard, is known here. How long that of a
 * share stays so is not: nobody remembers it. */
static void part_answer(struct chain *chain, size_t i, size_t k)
{
    const struct count_ask *ask = &chain->request->asks[i];
    struct count_answer *answer = &chain->answers[i];
    *answer = chain->part.answers[k];
    answer->overflowed = chain->links[i].overflowed || answer->overflowed;
    const bool apart = ask->share_of >= 0 && chain->part.asks[k].share_of < 0;
    if (answer->overflowed || apart)
        answer->hard_ms = 0;
    if (answer->overflowed || (apart && share_is_soft(ask, &chain->answers[ask->share_of])))
        answer->hard = false;
}

/* The answers of a part. False: nothing was charged, as some of its keys are not there; what is to be asked for is known now. */
static bool part_take(struct chain *chain)
{
    struct part *part = &chain->part;
    bool absent = false;
    for (size_t k = 0; k < part->n; k++) {
        bool unresolved = (chain->links[part->at[k]].ask.flags & COUNT_EXISTING) != 0;
        if (part->answers[k].result != COUNT_ABSENT)
            continue;
        absent = true;
        if (unresolved)
            link_resolve(chain, part->at[k]);
    }
    for (size_t k = 0; k < part->n && !absent; k++) {
        struct link *link = &chain->links[part->at[k]];
        link->done = true;
        if (chain->answers != NULL)
            part_answer(chain, part->at[k], k);
        chain->refused = chain->refused || refuses(&part->asks[k], &part->answers[k]);
    }
    return !absent;
}

static void part_ask(struct chain *chain, size_t first)
{
    struct part *part = &chain->part;
    part_make(chain, first);
    const struct count_request request = {.asks = part->asks,
                                          .n = part->n,
                                          .local = chain->request->local != NULL ? part->locals : NULL,
                                          .deadline = chain->request->deadline,
                                          .refused = chain->refused,
                                          .retry = chain->request->retry};
    memset(part->answers, 0, part->n * sizeof *part->answers);
    enum counters_status status = chain->ops->ask(chain->arg, chain->links[first].site, chain->mode, &request,
                                                  !chain->links[first].alone, chain->now, part->answers);
    if (status == COUNTERS_SPLIT) {
        for (size_t k = 0; k < part->n; k++) {
            chain->links[part->at[k]].alone = true;
            link_part_overflow(&chain->links[part->at[k]]);
        }
        return;
    }
    if (part_take(chain))
        chain->status = store_worse(chain->status, status);
}

/* ---- all ---- */

/* What the store answered is recorded at once, when it is known whether all was admitted. */
static void chain_record(struct chain *chain)
{
    struct part *part = &chain->part;
    part->n = 0;
    for (size_t i = 0; i < chain->request->n; i++) {
        if (chain->answers[i].local || chain->answers[i].result == COUNT_UNKNOWN)
            continue;
        part->asks[part->n] = chain->request->asks[i];
        part->asks[part->n].share_of = -1;
        part->answers[part->n] = chain->answers[i];
        part->at[part->n++] = i;
    }
    const struct count_request request = {
        .asks = part->asks, .n = part->n, .refused = chain->refused, .retry = chain->request->retry};
    if (part->n > 0)
        chain->ops->record(chain->arg, &request, chain->now, part->answers);
    for (size_t k = 0; k < part->n; k++)
        chain->answers[part->at[k]].here = part->answers[k].here;
}

/* Does a part that begins there say 5xx, as it did a moment ago? Then that is the answer. */
static bool chain_known(struct chain *chain, size_t first)
{
    struct part *part = &chain->part;
    bool rejects = false;
    part_make(chain, first);
    const struct count_request request = {.asks = part->asks, .n = part->n};
    if (!chain->ops->known(chain->arg, &request, chain->now, part->answers))
        return false;
    for (size_t k = 0; k < part->n; k++)
        rejects = rejects || (part->answers[k].hard && (part->asks[k].flags & COUNT_REJECT) != 0 &&
                              refuses(&part->asks[k], &part->answers[k]));
    for (size_t k = 0; k < part->n && rejects; k++)
        chain->answers[part->at[k]] = part->answers[k];
    return rejects;
}

/* The same of any part; who is to be counted as an attempt is asked for all the same. */
static bool chain_any_known(struct chain *chain)
{
    for (size_t i = 0; i < chain->request->n; i++)
        if ((chain->request->asks[i].flags & COUNT_ATTEMPT) != 0)
            return false;
    for (size_t i = 0; i < chain->request->n; i++)
        if ((chain->links[i].ask.flags & COUNT_REJECT) != 0 && is_ready(chain, &chain->links[i]) &&
            chain_known(chain, i))
            return true;
    return false;
}

static enum counters_status chain_run(struct chain *chain)
{
    size_t first;
    const bool reserves = chain->mode == COUNTERS_RESERVE && chain->answers != NULL;
    for (size_t i = 0; i < chain->request->n; i++)
        link_make(chain, i);
    if (reserves && chain_any_known(chain))
        return COUNTERS_OK;
    while ((first = chain_next(chain)) != SIZE_MAX)
        part_ask(chain, first);
    if (reserves)
        chain_record(chain);
    return chain->status;
}

/* Memory for n asks, from one block. */
static bool chain_room(struct chain *chain, void **block, size_t n)
{
    struct part *part = &chain->part;
    *block = malloc(
        n * (sizeof *chain->links + 2 * sizeof *part->asks + 2 * sizeof *part->answers + sizeof *part->at));
    if (*block == NULL)
        return false;
    chain->links = *block;
    part->asks = (struct count_ask *)(void *)(chain->links + n);
    part->locals = part->asks + n;
    part->answers = (struct count_answer *)(void *)(part->locals + n);
    part->at = (size_t *)(void *)(part->answers + 2 * n);
    return true;
}

enum counters_status chain_ask(struct counters *store, const struct chain_ops *ops, void *arg,
                               enum counters_mode mode, const struct count_request *request, int64_t now_ms,
                               struct count_answer *answers)
{
    struct link links[FEW];
    struct count_ask asks[2 * FEW];
    struct count_answer few_answers[2 * FEW];
    size_t at[FEW];
    void *block = NULL;
    struct chain chain = {.store = store,
                          .ops = ops,
                          .arg = arg,
                          .mode = mode,
                          .request = request,
                          .now = now_ms,
                          .answers = answers,
                          .links = links,
                          .part = {.at = at, .asks = asks, .locals = asks + FEW, .answers = few_answers},
                          .refused = request->refused};
    if (answers != NULL)
        memset(answers, 0, request->n * sizeof *answers);
    if (request->n > FEW && !chain_room(&chain, &block, request->n))
        return COUNTERS_DOWN;
    if (answers == NULL)
        chain.answers = memset(chain.part.answers + (request->n > FEW ? request->n : FEW), 0,
                               request->n * sizeof *answers);
    enum counters_status status = chain_run(&chain);
    free(block);
    return status;
}
