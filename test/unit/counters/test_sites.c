/* A store of several sites below the store that stands on two: a request is a chain over them, one that is away is answered here and
 * told later, the others notice nothing. Each site is an embedded store behind a switch; a key's is its second letter. */
#include "memory.h"
#include "counters/stores.h"
#include "base/clock.h"
#include "patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START INT64_C(1732320000000)

enum { SITES = 4 };

struct remote {
    struct counters counters;
    struct counters *inner[SITES];
    atomic_int status[SITES]; /* what it answers instead, after doing it where that is COUNTERS_UNSURE */
    atomic_uint restarts[SITES];
    atomic_bool split[SITES]; /* keys are answered for alone */
    int64_t sequence[SITES];
    char asked[64]; /* the sites that were asked, in their order */
};

static struct remote *the_remote;
static struct counters *pair, *local;
static _Atomic int64_t now = START;
static int64_t crossed; /* charges of local's that were given back when remote was just being told of them */
static const char *const everything[] = {"*"};

static unsigned remote_site(struct counters *counters, const char *key)
{
    (void)counters;
    return (unsigned)(key[1] - 'a') % SITES;
}

static void count_view(void *arg, const struct count_view *view)
{
    (void)view;
    ++*(int *)arg;
}

static bool exists(struct counters *counters, const char *key)
{
    int n = 0;
    assert_int_equal(counters_show(counters, &key, 1, now, count_view, &n), COUNTERS_OK);
    return n > 0;
}

/* All keys are of one site; which has each of them alone where it is split. */
static unsigned site_of_request(const struct count_request *request, bool *one)
{
    unsigned site = remote_site(NULL, request->asks[0].key);
    *one = true;
    for (size_t i = 0; i < request->n; i++) {
        const struct count_ask *ask = &request->asks[i];
        assert_int_equal(remote_site(NULL, ask->key), site);
        *one = *one && strcmp(ask->key, request->asks[0].key) == 0 && ask->overflow == NULL;
        if (ask->overflow != NULL)
            assert_int_equal(remote_site(NULL, ask->overflow), site);
    }
    return site;
}

static bool any_absent(struct counters *inner, const struct count_request *request,
                       struct count_answer *answers)
{
    bool any = false;
    for (size_t i = 0; i < request->n; i++) {
        bool absent = (request->asks[i].flags & COUNT_EXISTING) != 0 && !exists(inner, request->asks[i].key);
        answers[i] = (struct count_answer){.result = absent ? COUNT_ABSENT : COUNT_ADMITTED, .slot = -1};
        any = any || absent;
    }
    return any;
}

static enum counters_status remote_ask(struct counters *counters, enum counters_mode mode,
                                       const struct count_request *request, int64_t now_ms,
                                       struct count_answer *answers)
{
    struct remote *remote = (struct remote *)counters;
    bool one;
    unsigned site = site_of_request(request, &one);
    size_t n =
        mode != COUNTERS_CHARGE ? strlen(remote->asked) : sizeof remote->asked; /* charges are the worker's */
    if (n + 1 < sizeof remote->asked)
        remote->asked[n] = (char)('a' + site);
    if (remote->split[site] && !one)
        return COUNTERS_SPLIT;
    enum counters_status status = (enum counters_status)atomic_load(&remote->status[site]);
    assert_null(request->pair);
    if (status == COUNTERS_OK && any_absent(remote->inner[site], request, answers))
        return COUNTERS_OK;
    if (status != COUNTERS_DOWN)
        assert_int_equal(remote->inner[site]->ops->ask(remote->inner[site], mode, request, now_ms, answers),
                         COUNTERS_OK);
    if (status != COUNTERS_OK)
        memset(answers, 0, request->n * sizeof *answers);
    return status;
}

static enum counters_status remote_change(struct counters *counters, struct count_change *changes, size_t n,
                                          int64_t now_ms)
{
    struct remote *remote = (struct remote *)counters;
    enum counters_status worst = COUNTERS_OK;
    for (size_t i = 0; i < n; i++) {
        unsigned site = remote_site(counters, changes[i].key);
        enum counters_status status = (enum counters_status)atomic_load(&remote->status[site]);
        worst = store_worse(worst, status);
        if (status != COUNTERS_DOWN)
            (void)counters_change(remote->inner[site], &changes[i], 1, now_ms);
    }
    return worst;
}

static enum counters_status remote_sync(struct counters *counters, const struct count_change *changes,
                                        size_t n, int64_t now_ms, int64_t sequence)
{
    struct remote *remote = (struct remote *)counters;
    unsigned site = remote_site(counters, changes[0].key);
    enum counters_status status = (enum counters_status)atomic_load(&remote->status[site]);
    if (status == COUNTERS_DOWN)
        return status;
    for (size_t i = 0; i < n && sequence > remote->sequence[site]; i++) {
        struct count_change change = changes[i];
        assert_int_equal(remote_site(counters, change.key), site);
        (void)counters_change(remote->inner[site], &change, 1, now_ms);
    }
    remote->sequence[site] = sequence;
    return status;
}

static enum counters_status remote_deferred(struct counters *counters, struct count_deferral *deferrals,
                                            size_t n, int64_t now_ms)
{
    struct remote *remote = (struct remote *)counters;
    if (atomic_load(&remote->status[0]) == COUNTERS_DOWN)
        return COUNTERS_DOWN;
    return counters_deferred(remote->inner[0], deferrals, n, now_ms);
}

/* Retries are all at site 0. */
static enum counters_status remote_retry(struct counters *counters, const struct count_request *request,
                                         bool look, int64_t now_ms, bool *out)
{
    struct remote *remote = (struct remote *)counters;
    struct memory *memory = (struct memory *)remote->inner[0];
    if (atomic_load(&remote->status[0]) != COUNTERS_OK)
        return COUNTERS_DOWN;
    if (request->deferred != NULL)
        retries_note(memory->retries, request->deferred, now_ms);
    *out = retries_take(memory->retries, request->pair, now_ms, look);
    return COUNTERS_OK;
}

static bool remote_up(struct counters *counters, unsigned site, unsigned *restarts)
{
    struct remote *remote = (struct remote *)counters;
    *restarts = atomic_load(&remote->restarts[site]);
    return atomic_load(&remote->status[site]) != COUNTERS_DOWN;
}

static void remote_free(struct counters *counters)
{
    for (int i = 0; i < SITES; i++)
        counters_free(((struct remote *)counters)->inner[i]);
    free(counters);
}

static const struct counters_ops remote_ops = {.ask = remote_ask,
                                               .change = remote_change,
                                               .sync = remote_sync,
                                               .deferred = remote_deferred,
                                               .retry = remote_retry,
                                               .site = remote_site,
                                               .up = remote_up,
                                               .free = remote_free};

static int64_t the_now(void *arg)
{
    (void)arg;
    return atomic_load(&now);
}

static int setup(void **state)
{
    (void)state;
    now = START;
    the_remote = calloc(1, sizeof *the_remote);
    the_remote->counters.ops = &remote_ops;
    the_remote->counters.n_sites = SITES;
    for (int i = 0; i < SITES; i++)
        the_remote->inner[i] = counters_memory_new(10000);
    local = counters_memory_new(10000);
    pair = failover_new(&the_remote->counters, local, the_now, NULL, NULL);
    return pair != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    counters_free(pair);
    return 0;
}

static struct count_ask ask_for(const char *key, int64_t max, unsigned flags)
{
    return (struct count_ask){.key = key,
                              .limit = "l",
                              .max = max,
                              .window_ms = 3600000,
                              .amount = 1,
                              .need = 1,
                              .ttl_ms = 4000000,
                              .flags = flags,
                              .share_of = -1};
}

/* Asks, and what was charged though it refused is given back, as a gate does. True: admitted. */
static bool rcpt(const struct count_ask *asks, size_t n, struct count_answer *answers)
{
    const struct count_request request = {.asks = asks, .n = n, .local = asks};
    bool admitted = true;
    memset(the_remote->asked, 0, sizeof the_remote->asked);
    (void)counters_reserve(pair, &request, now, answers);
    for (size_t i = 0; i < n; i++)
        admitted = admitted && (answers[i].result == COUNT_ADMITTED || (asks[i].flags & COUNT_SHADOW) != 0);
    for (size_t i = 0; i < n && !admitted; i++) {
        struct count_change change = {.key = answers[i].overflowed ? asks[i].overflow : asks[i].key,
                                      .limit = asks[i].limit,
                                      .window_ms = asks[i].window_ms,
                                      .slot = answers[i].slot,
                                      .created = answers[i].created,
                                      .amount = -asks[i].amount,
                                      .here = answers[i].here,
                                      .unsynced = answers[i].unsynced};
        if ((answers[i].slot < 0 && answers[i].here < 0) || (asks[i].flags & COUNT_ATTEMPT) != 0)
            continue;
        counters_change_here(pair, &change, now);
        if (store_is_synced(&change))
            continue;
        crossed += change.unsynced;
        (void)counters_change(pair, &change, 1, now);
    }
    return admitted;
}

static void add_used(void *arg, const struct count_view *view)
{
    *(int64_t *)arg += view->used;
}

static int64_t used_in(struct counters *counters, const char *key)
{
    int64_t sum = 0;
    assert_int_equal(counters_show(counters, &key, 1, now, add_used, &sum), COUNTERS_OK);
    return sum;
}

static int64_t used(const char *key)
{
    return used_in(the_remote->inner[remote_site(NULL, key)], key);
}

static void wait_synced(void)
{
    for (int i = 0; i < PATIENCE_MS && failover_behind(pair) > 0; i++)
        usleep(1000);
    assert_int_equal(failover_behind(pair), 0);
}

/* Soft ones first, whatever their order; one site is one call. */
static void test_order(void **state)
{
    (void)state;
    const struct count_ask asks[] = {ask_for("xa1", 9, COUNT_HARD), ask_for("xb1", 9, 0),
                                     ask_for("xc1", 9, 0), ask_for("xa2", 9, 0), ask_for("xb2", 9, 0)};
    struct count_answer answers[5];
    assert_true(rcpt(asks, 5, answers));
    assert_string_equal(the_remote->asked, "bca");
    for (int i = 0; i < 5; i++) {
        assert_int_equal(used(asks[i].key), 1);
        assert_int_equal(used_in(local, asks[i].key), 1);
        assert_false(answers[i].local);
    }
    assert_true(rcpt(asks + 3, 1, answers));
    assert_string_equal(the_remote->asked, "a");
}

/* All is asked, nothing stays charged but attempts, and the hard limit never held room. */
static void test_refused(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("xa", 9, COUNT_HARD), ask_for("xb", 0, 0), ask_for("xc", 9, 0),
                               ask_for("xd", 9, COUNT_ATTEMPT)};
    struct count_answer answers[4];
    assert_false(rcpt(asks, 4, answers));
    assert_string_equal(the_remote->asked, "bcda");
    assert_int_equal(answers[1].result, COUNT_OVER);
    for (int i = 0; i < 4; i++)
        assert_int_equal(used(asks[i].key), i == 3);
    asks[2].max = 0; /* after one that admitted */
    asks[1].max = 9;
    assert_false(rcpt(asks, 4, answers));
    assert_int_equal(used("xb"), 0);
    assert_int_equal(used_in(local, "xb"), 0);
    assert_int_equal(used("xd"), 2);
    assert_int_equal(used_in(local, "xd"), 2);
    asks[0].max = 0; /* the hardest answer is heard, too */
    assert_false(rcpt(asks, 4, answers));
    assert_int_equal(answers[0].result, COUNT_OVER);
    assert_true(answers[0].hard || answers[0].taken == 0);
    const struct count_request look = {.asks = asks, .n = 4};
    assert_int_equal(counters_peek(pair, &look, now, answers), COUNTERS_OK);
    assert_int_equal(answers[3].used, 3);
    assert_int_equal(used("xd"), 3);
}

/* What is refused from memory charged nothing, and gives nothing back. A part that rejects is answer enough. */
static void test_refused_again(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("xa", 1, COUNT_REJECT), ask_for("xb", 9, 0), ask_for("xc", 1, 0)};
    struct count_answer answers[3];
    assert_true(rcpt(asks, 2, answers)); /* taken at once: not COUNT_HARD */
    assert_false(rcpt(asks, 2, answers));
    assert_true(answers[0].hard);
    for (int i = 0; i < 3; i++) {
        assert_false(rcpt(asks, 2, answers));
        assert_true(answers[0].result == COUNT_OVER && answers[0].hard);
        assert_int_equal(answers[1].result, COUNT_UNKNOWN);
        assert_string_equal(the_remote->asked, "");
    }
    assert_int_equal(used("xb"), 1);
    assert_int_equal(used_in(local, "xb"), 1);
    assert_true(rcpt(asks + 2, 1, answers));
    asks[1].max = 8; /* soft ones are known together */
    assert_false(rcpt(asks + 1, 2, answers));
    assert_false(rcpt(asks + 1, 2, answers));
    assert_false(rcpt(asks + 1, 2, answers));
    assert_int_equal(used("xb"), 1);
    assert_int_equal(used("xc"), 1);
}

/* Only what is counted there goes on here, from what is known; the rest is asked as ever. */
static void test_one_away(void **state)
{
    (void)state;
    const struct count_ask asks[] = {ask_for("xa", 6, COUNT_HARD), ask_for("xb", 100, 0)};
    struct count_answer answers[2];
    for (int i = 0; i < 4; i++)
        assert_true(rcpt(asks, 2, answers));
    atomic_store(&the_remote->status[0], COUNTERS_DOWN);
    assert_true(rcpt(asks, 2, answers));
    assert_true(answers[0].local);
    assert_false(answers[1].local);
    assert_true(rcpt(asks, 2, answers));
    assert_false(rcpt(asks, 2, answers));
    assert_int_equal(used("xa"), 4);
    assert_int_equal(used("xb"), 6);
    assert_true(failover_behind(pair) == 1);
    usleep(100000); /* nobody opens what is away */
    assert_true(failover_behind(pair) == 1);
    const struct count_request request = {.asks = asks, .n = 2}; /* nobody stands in */
    assert_int_equal(counters_reserve(pair, &request, now, answers), COUNTERS_DOWN);
    assert_int_equal(answers[0].result, COUNT_UNKNOWN);
    assert_int_equal(answers[1].result, COUNT_ADMITTED);
    atomic_store(&the_remote->status[0], COUNTERS_OK);
    wait_synced();
    assert_int_equal(used("xa"), 6);
    assert_int_equal(used("xb"), 7);
    assert_int_equal(failover_synced(pair), 1);
    assert_int_equal(counters_back_ms(pair, "xa"), now);
    assert_int_equal(counters_back_ms(pair, "xb"), 0);
    assert_false(rcpt(asks, 2, answers));
    assert_false(answers[0].local);
}

/* What one site lost, and an answer that one lost, concern that one alone. */
static void test_one_restarts(void **state)
{
    (void)state;
    const struct count_ask asks[] = {ask_for("xa", 100, 0), ask_for("xb", 100, 0)};
    struct count_answer answers[2];
    size_t n;
    for (int i = 0; i < 5; i++)
        assert_true(rcpt(asks, 2, answers));
    assert_int_equal(counters_reset(the_remote->inner[0], everything, 1, NULL, &n), COUNTERS_OK);
    assert_int_equal(counters_reset(the_remote->inner[1], everything, 1, NULL, &n), COUNTERS_OK);
    atomic_fetch_add(&the_remote->restarts[0], 1);
    assert_true(rcpt(asks, 2, answers));
    wait_synced();
    assert_int_equal(used("xa"), 6);
    assert_int_equal(used("xb"), 1); /* that was cleared */
    atomic_store(&the_remote->status[1], COUNTERS_UNSURE);
    assert_true(rcpt(asks, 2, answers)); /* it counts as made */
    assert_true(answers[1].local);
    atomic_store(&the_remote->status[1], COUNTERS_OK);
    wait_synced();
    assert_int_equal(used("xa"), 7);
    assert_int_equal(used("xb"), 2);
}

static void add_behind(void *arg, unsigned site, size_t n, int64_t since_ns)
{
    unsigned *sites = arg;
    assert_true(since_ns > 0 && since_ns <= clock_monotonic_ns());
    assert_int_equal(n, 1);
    *sites |= 1u << site;
}

/* As soon as that is what the store says of itself, a bit for each site; false: never. */
static bool wait_behind(unsigned wanted)
{
    for (int i = 0; i < PATIENCE_MS; i++) {
        unsigned sites = 0;
        failover_each_behind(pair, add_behind, &sites);
        if (sites == wanted)
            return true;
        usleep(1000);
    }
    return false;
}

/* Two are away, one returns. */
static void test_two_away(void **state)
{
    (void)state;
    const struct count_ask asks[] = {ask_for("xa", 100, 0), ask_for("xb", 100, 0), ask_for("xc", 100, 0)};
    struct count_answer answers[3];
    atomic_store(&the_remote->status[0], COUNTERS_DOWN);
    atomic_store(&the_remote->status[1], COUNTERS_DOWN);
    for (int i = 0; i < 5; i++)
        assert_true(rcpt(asks, 3, answers));
    assert_int_equal(failover_behind(pair), 2);
    assert_true(wait_behind(1u << 0 | 1u << 1));
    atomic_store(&the_remote->status[1], COUNTERS_OK);
    assert_true(wait_behind(1u << 0));
    for (int i = 0; i < PATIENCE_MS && failover_behind(pair) > 1; i++)
        usleep(1000);
    assert_int_equal(failover_behind(pair), 1);
    assert_int_equal(used("xa"), 0);
    assert_int_equal(used("xb"), 5);
    assert_int_equal(used("xc"), 5);
    for (int i = 0; i < 5; i++)
        assert_true(rcpt(asks, 3, answers));
    assert_int_equal(used("xb"), 10);
    atomic_store(&the_remote->status[0], COUNTERS_OK);
    wait_synced();
    assert_int_equal(used("xa"), 10);
    assert_int_equal(used("xb"), 10);
    assert_int_equal(used("xc"), 10);
}

static struct count_ask made_up(const char *key)
{
    struct count_ask ask = ask_for(key, 1000, COUNT_HARD);
    ask.overflow = "xb*";
    ask.new_key = "xc-new";
    ask.new_max = 3;
    return ask;
}

/* New keys are bounded, though their number and the overflow key are at other sites. */
static void test_new_keys(void **state)
{
    (void)state;
    static const char *const keys[] = {"xa0", "xa1", "xa2", "xa3", "xa4", "xa5"};
    struct count_answer answer;
    for (size_t i = 0; i < 6; i++) {
        const struct count_ask ask = made_up(keys[i]);
        assert_true(rcpt(&ask, 1, &answer));
        assert_int_equal(answer.overflowed, i >= 3);
        assert_int_equal(used(keys[i]), i < 3);
        assert_int_equal(used_in(local, keys[i]), i < 3);
    }
    assert_int_equal(used("xb*"), 3);
    assert_int_equal(used("xc-new"), 3);
    const struct count_ask ask = made_up("xa1"); /* one call is enough for what is there */
    assert_true(rcpt(&ask, 1, &answer));
    assert_string_equal(the_remote->asked, "a");
    assert_int_equal(used("xa1"), 2);
    now += 70000;
    const struct count_ask again = made_up("xa3");
    assert_true(rcpt(&again, 1, &answer));
    assert_false(answer.overflowed);
    atomic_store(&the_remote->status[2], COUNTERS_DOWN); /* where they are counted */
    const struct count_ask other = made_up("xa4");
    assert_true(rcpt(&other, 1, &answer));
    assert_false(answer.overflowed);
}

/* A share of a made-up key that overflowed: it binds where what it is a share of is used that much. */
static void test_share_elsewhere(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("xa", 10, 0), ask_for("xa|s", 2, 0)};
    struct count_answer answers[2];
    asks[1].share_of = 0;
    asks[1].share_above = 4;
    asks[1].overflow = "xb*";
    asks[1].new_key = "xc-new";
    asks[1].new_max = 0;
    for (int i = 0; i < 4; i++) {
        assert_true(rcpt(asks, 2, answers));
        assert_true(answers[1].overflowed);
    }
    assert_false(rcpt(asks, 2, answers));
    assert_int_equal(answers[0].result, COUNT_ADMITTED);
    assert_int_equal(answers[1].result, COUNT_OVER);
    assert_int_equal(used("xa"), 4);
}

/* Strangers share an overflow key: it answers for nobody for good, at another site as well. */
static void test_overflow_elsewhere_is_soft(void **state)
{
    (void)state;
    struct count_ask ask = made_up("xa0");
    struct count_answer answer;
    ask.max = 2;
    ask.flags = COUNT_REJECT; /* taken at once */
    ask.new_max = 0;
    assert_true(rcpt(&ask, 1, &answer));
    assert_true(rcpt(&ask, 1, &answer));
    for (int away = 0; away < 2; away++) {
        for (int i = 0; i < 3; i++) {
            assert_false(rcpt(&ask, 1, &answer));
            assert_true(answer.overflowed && answer.result == COUNT_OVER);
            assert_int_equal(answer.taken, 2);
            assert_false(answer.hard);
            assert_int_equal(answer.local, away);
        }
        atomic_store(&the_remote->status[1], COUNTERS_DOWN);
        now += 5000; /* what was just refused is forgotten */
    }
}

/* A share of what is asked elsewhere refuses for good only where enough of that is taken, and no strangers share it. */
static void test_share_elsewhere_is_soft(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("xa", 10, COUNT_HARD), ask_for("xa|s", 2, COUNT_REJECT)};
    struct count_answer answers[2];
    asks[1].share_of = 0;
    asks[1].share_above = 2;
    the_remote->split[0] = true;
    assert_true(rcpt(asks, 2, answers));
    assert_true(rcpt(asks, 2, answers)); /* of xa both are open */
    for (int i = 0; i < 3; i++) {
        assert_false(rcpt(asks, 2, answers));
        assert_true(answers[1].result == COUNT_OVER && answers[1].taken == 2);
        assert_false(answers[1].hard);
    }
    asks[0] = ask_for("xa", 10, 0);
    assert_true(rcpt(asks, 1, answers));
    assert_true(rcpt(asks, 1, answers));
    assert_false(rcpt(asks, 2, answers));
    assert_true(answers[1].hard);
    the_remote->split[0] = false;
    asks[0] = made_up("xa7");
    asks[0].flags = 0;
    asks[0].new_max = 0;
    asks[1].key = "xa7|s";
    assert_true(rcpt(asks, 2, answers));
    assert_true(rcpt(asks, 2, answers));
    assert_false(rcpt(asks, 2, answers));
    assert_true(answers[0].overflowed && answers[0].taken >= 2);
    assert_true(answers[1].result == COUNT_OVER && answers[1].taken == 2);
    assert_false(answers[1].hard);
}

/* Keys on their way to another node: each is asked for alone, and the site stays open. */
static void test_split(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("xa1", 2, COUNT_HARD), ask_for("xa2", 9, 0), ask_for("xa1|s", 9, 0)};
    struct count_answer answers[3];
    asks[1].overflow = "xa2*";
    asks[1].new_key = "xa-new";
    asks[1].new_max = 100;
    asks[2].share_of = 0;
    the_remote->split[0] = true;
    assert_true(rcpt(asks, 3, answers));
    assert_true(rcpt(asks, 3, answers));
    assert_false(rcpt(asks, 3, answers));
    assert_int_equal(used("xa1"), 2);
    assert_int_equal(used("xa2"), 2);
    assert_int_equal(used("xa1|s"), 2);
    assert_int_equal(failover_behind(pair), 0);
    for (int i = 0; i < 3; i++)
        assert_false(answers[i].local);
}

static void test_retries(void **state)
{
    (void)state;
    const struct count_ask asks[] = {ask_for("xb", 100, COUNT_ATTEMPT), ask_for("xc", 100, 0)};
    const struct count_pair of = {.id = "00000000000000000000000000000001"};
    const struct count_request request = {.asks = asks, .n = 2, .pair = &of, .local = asks};
    struct count_answer answers[2];
    for (int i = 0; i < 4; i++) {
        if (i == 2) /* who has the retries is away: this process knows them */
            atomic_store(&the_remote->status[0], COUNTERS_DOWN);
        struct count_deferral deferral = {.pair = of, .at_ms = now, .n = 1};
        assert_int_equal(counters_reserve(pair, &request, now, answers), COUNTERS_OK);
        assert_int_equal(answers[0].retry, i > 0);
        assert_int_equal(answers[1].retry, i > 0);
        assert_int_equal(counters_deferred(pair, &deferral, 1, now), COUNTERS_OK);
        now += 61000;
    }
    assert_int_equal(used("xb"), 1);
    assert_int_equal(used_in(local, "xb"), 1);
    assert_int_equal(used("xc"), 4);
}

/* Random requests over random outages: what was admitted is there in the end, no more and no less, and never more than max. But for
 * what crossed: remote, away or without the counter, may not have had what it was to give back. That stays until its slot leaves. */
static void test_random(void **state)
{
    (void)state;
    static char keys[16][4];
    int64_t admitted[16] = {0}, stayed = 0;
    crossed = 0;
    srand48(4711);
    for (int i = 0; i < 16; i++)
        snprintf(keys[i], sizeof keys[i], "x%c%c", 'a' + i % SITES, '0' + i / SITES);
    for (int round = 0; round < 4000; round++) {
        struct count_ask asks[4];
        struct count_answer answers[4];
        size_t n = 1 + (size_t)lrand48() % 4, first = (size_t)lrand48() % 16;
        if (lrand48() % 50 == 0)
            atomic_store(&the_remote->status[lrand48() % SITES],
                         lrand48() % 2 == 0 ? COUNTERS_OK : COUNTERS_DOWN);
        if (lrand48() % 50 == 0)
            the_remote->split[lrand48() % SITES] = lrand48() % 2 == 0;
        for (size_t i = 0; i < n; i++)
            asks[i] = ask_for(keys[(first + 5 * i) % 16], 500, lrand48() % 2 == 0 ? COUNT_HARD : 0);
        if (rcpt(asks, n, answers))
            for (size_t i = 0; i < n; i++)
                admitted[(first + 5 * i) % 16]++;
    }
    for (int i = 0; i < SITES; i++) {
        atomic_store(&the_remote->status[i], COUNTERS_OK);
        the_remote->split[i] = false;
    }
    wait_synced();
    for (int i = 0; i < 16; i++) {
        int64_t more = used(keys[i]) - admitted[i];
        stayed += more;
        if (more < 0 || stayed > crossed)
            fail_msg("%s: %d there, %d admitted, %d crossed", keys[i], (int)used(keys[i]), (int)admitted[i],
                     (int)crossed);
        assert_true(admitted[i] > 100 && admitted[i] <= 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_restarts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_share_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overflow_elsewhere_is_soft, setup, teardown),
        cmocka_unit_test_setup_teardown(test_share_elsewhere_is_soft, setup, teardown),
        cmocka_unit_test_setup_teardown(test_split, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
