/* The store that stands on two: local counts along, is the fallback, and what it admitted meanwhile reaches remote once. remote is an
 * embedded store behind a switch that makes it fail, lose answers, restart. */
#include "memory.h"
#include "counters/stores.h"
#include "patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START INT64_C(1732320000000)

static const char *const everything[] = {"*"};

struct remote {
    struct counters counters;
    struct counters *inner; /* NULL: lost its data */
    atomic_int status;      /* what it answers instead, after doing it where that is COUNTERS_UNSURE */
    atomic_uint restarts;
    atomic_bool refuse;     /* one ask */
    atomic_int lose;        /* of the next sync, once: */
    atomic_bool gone;       /* and then it is down */
    bool late;              /* it comes after the next one */
    int64_t sequence;       /* of the last sync */
    atomic_size_t notified; /* deferrals */
    atomic_int hears_ms;    /* it hears of them so much later */
    atomic_bool hears;
    atomic_int slow_ms;    /* a sync takes so long */
    _Atomic int64_t ahead; /* its clock, of ours */
};

enum { LOSE_ANSWER = 1, LOSE_CHANGE, LATE_CHANGE };

static struct remote *the_remote;
static struct counters *local, *pair;
static _Atomic int64_t now = START;

static enum counters_status remote_ask(struct counters *counters, enum counters_mode mode,
                                       const struct count_request *request, int64_t now_ms,
                                       struct count_answer *answers)
{
    struct remote *remote = (struct remote *)counters;
    enum counters_status status = (enum counters_status)atomic_load(&remote->status);
    if (atomic_exchange(&remote->refuse, false))
        status = COUNTERS_DOWN;
    if (status != COUNTERS_DOWN &&
        remote->inner->ops->ask(remote->inner, mode, request, now_ms + atomic_load(&remote->ahead),
                                answers) != COUNTERS_OK)
        status = COUNTERS_DOWN;
    if (status != COUNTERS_OK && answers != NULL)
        memset(answers, 0, request->n * sizeof *answers);
    return status;
}

/* By its own clock: only ages are told. */
static void change_inner(struct remote *remote, const struct count_change *changes, size_t n, int64_t now_ms)
{
    int64_t ahead = atomic_load(&remote->ahead);
    for (size_t i = 0; i < n; i++) {
        struct count_change change = changes[i];
        change.at_ms += change.at_ms > 0 ? ahead : 0;
        (void)counters_change(remote->inner, &change, 1, now_ms + ahead);
    }
}

static enum counters_status remote_settle(struct counters *counters, const struct count_change *changes,
                                          size_t n, int64_t now_ms, int64_t deadline,
                                          struct count_answer *answers)
{
    struct remote *remote = (struct remote *)counters;
    enum counters_status status = (enum counters_status)atomic_load(&remote->status);
    if (status != COUNTERS_DOWN)
        (void)counters_settle(remote->inner, changes, n, now_ms + atomic_load(&remote->ahead), deadline,
                              answers);
    return status;
}

static enum counters_status remote_change(struct counters *counters, struct count_change *changes, size_t n,
                                          int64_t now_ms)
{
    struct remote *remote = (struct remote *)counters;
    enum counters_status status = (enum counters_status)atomic_load(&remote->status);
    if (status == COUNTERS_DOWN)
        return status;
    change_inner(remote, changes, n, now_ms);
    for (size_t i = 0; i < n; i++)
        store_mark_synced(&changes[i]);
    return COUNTERS_OK;
}

static void remote_take(struct remote *remote, const struct count_change *changes, size_t n, int64_t now_ms,
                        int64_t sequence)
{
    if (sequence > remote->sequence)
        change_inner(remote, changes, n, now_ms);
    remote->sequence = sequence > remote->sequence ? sequence : remote->sequence;
}

static enum counters_status remote_sync(struct counters *counters, const struct count_change *changes,
                                        size_t n, int64_t now_ms, int64_t sequence)
{
    struct remote *remote = (struct remote *)counters;
    enum counters_status status = (enum counters_status)atomic_load(&remote->status);
    if (status == COUNTERS_DOWN)
        return status;
    (void)usleep((useconds_t)atomic_load(&remote->slow_ms) * 1000);
    int lose = atomic_exchange(&remote->lose, 0);
    if (lose == 0 || lose == LOSE_ANSWER)
        remote_take(remote, changes, n, now_ms, sequence);
    if (remote->late) /* what was said again is the same: here comes the first of the two */
        remote_take(remote, changes, n, now_ms, sequence);
    remote->late = lose == LATE_CHANGE;
    if (lose != 0 && atomic_exchange(&remote->gone, false))
        atomic_store(&remote->status, COUNTERS_DOWN);
    return lose != 0 ? COUNTERS_UNSURE : COUNTERS_OK;
}

static bool remote_up(struct counters *counters, unsigned site, unsigned *restarts)
{
    assert_int_equal(site, 0);
    struct remote *remote = (struct remote *)counters;
    *restarts = atomic_load(&remote->restarts);
    return atomic_load(&remote->status) != COUNTERS_DOWN;
}

static enum counters_status remote_reset(struct counters *counters, const char *const *keys, size_t n,
                                         const char *limit, size_t *n_reset)
{
    return counters_reset(((struct remote *)counters)->inner, keys, n, limit, n_reset);
}

static enum counters_status remote_deferred(struct counters *counters, struct count_deferral *deferrals,
                                            size_t n, int64_t now_ms)
{
    struct remote *remote = (struct remote *)counters;
    if (atomic_load(&remote->status) == COUNTERS_DOWN)
        return COUNTERS_DOWN;
    atomic_store(&remote->hears, true);
    (void)usleep((useconds_t)atomic_load(&remote->hears_ms) * 1000);
    for (size_t i = 0; i < n; i++)
        atomic_fetch_add(&remote->notified, (size_t)deferrals[i].n);
    return counters_deferred(remote->inner, deferrals, n, now_ms);
}

static void remote_free(struct counters *counters)
{
    counters_free(((struct remote *)counters)->inner);
    free(counters);
}

static const struct counters_ops remote_ops = {.ask = remote_ask,
                                               .change = remote_change,
                                               .sync = remote_sync,
                                               .settle = remote_settle,
                                               .deferred = remote_deferred,
                                               .up = remote_up,
                                               .reset = remote_reset,
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
    the_remote->inner = counters_memory_new(100000);
    local = counters_memory_new(100000);
    pair = failover_new(&the_remote->counters, local, the_now, NULL, NULL);
    return pair != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    counters_free(pair);
    return 0;
}

static void remote_is(enum counters_status status)
{
    atomic_store(&the_remote->status, (int)status);
}

static void remote_restarts(bool empty)
{
    size_t n;
    if (empty)
        assert_int_equal(counters_reset(the_remote->inner, everything, 1, NULL, &n), COUNTERS_OK);
    atomic_fetch_add(&the_remote->restarts, 1);
}

static struct count_ask ask_for(const char *key, int64_t max)
{
    return (struct count_ask){.key = key,
                              .limit = "l",
                              .max = max,
                              .window_ms = 60000,
                              .amount = 1,
                              .need = 1,
                              .ttl_ms = 70000,
                              .share_of = -1};
}

struct charge {
    struct count_answer answer;
    struct count_change change;
    int64_t open;
    bool local;
};

/* What the gate does for one RCPT with one limit. */
static struct charge rcpt_ask(const struct count_ask *ask)
{
    struct charge charge = {0};
    const struct count_request request = {.asks = ask, .n = 1, .local = ask};
    enum counters_status status = counters_reserve(pair, &request, now, &charge.answer);
    charge.local = status != COUNTERS_OK;
    assert_int_equal(charge.answer.local, charge.local);
    charge.open = (ask->flags & COUNT_HARD) != 0 ? ask->amount : 0;
    charge.change = (struct count_change){.key = ask->key,
                                          .limit = ask->limit,
                                          .unit = ask->unit,
                                          .window_ms = ask->window_ms,
                                          .slot = charge.answer.slot,
                                          .created = charge.answer.created,
                                          .amount = ask->amount,
                                          .here = charge.answer.here,
                                          .unsynced = charge.answer.unsynced};
    return charge;
}

static struct charge rcpt(const char *key, int64_t max)
{
    const struct count_ask ask = ask_for(key, max);
    return rcpt_ask(&ask);
}

static int admitted(const char *key, int64_t max, int n)
{
    int got = 0;
    for (int i = 0; i < n; i++)
        got += rcpt(key, max).answer.result == COUNT_ADMITTED;
    return got;
}

static void change(const struct charge *charge, int64_t amount)
{
    struct count_change change = charge->change;
    change.amount = amount;
    counters_change_here(pair, &change, now);
    if (!store_is_synced(&change))
        (void)counters_change(pair, &change, 1, now);
}

static void use(void *arg, const struct count_view *view)
{
    *(int64_t *)arg += view->used;
}

/* By the clock of remote. */
static int64_t used_there(const char *key)
{
    int64_t sum = 0;
    assert_int_equal(
        counters_show(the_remote->inner, &key, 1, now + atomic_load(&the_remote->ahead), use, &sum),
        COUNTERS_OK);
    return sum;
}

static int64_t used(struct counters *counters, const char *key)
{
    int64_t sum = 0;
    assert_int_equal(counters_show(counters, &key, 1, now, use, &sum), COUNTERS_OK);
    return sum;
}

/* Until remote is asked again. */
static void wait_merged(void)
{
    struct count_ask ask = ask_for("nobody", 1);
    struct count_answer answer;
    for (int i = 0; i < PATIENCE_MS; i++) {
        if (counters_peek(pair, &(struct count_request){.asks = &ask, .n = 1}, now, &answer) == COUNTERS_OK)
            return;
        usleep(1000);
    }
    fail_msg("remote is not asked again");
}

/* It comes back, loses of the next sync what that says, and is away again. */
static void remote_loses_and_goes(int what)
{
    atomic_store(&the_remote->lose, what);
    atomic_store(&the_remote->gone, true);
    remote_is(COUNTERS_OK);
    for (int i = 0; i < PATIENCE_MS && atomic_load(&the_remote->status) == COUNTERS_OK; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&the_remote->status), COUNTERS_DOWN);
}

static void test_counters_along(void **state)
{
    (void)state;
    assert_int_equal(admitted("k", 10, 7), 7);
    assert_int_equal(used(local, "k"), 7);
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 10), 3);
}

static void test_given_back(void **state)
{
    (void)state;
    struct charge charge = rcpt("k", 10);
    assert_false(charge.local);
    change(&charge, -1);
    assert_int_equal(used(local, "k"), 0);
    assert_int_equal(used(the_remote->inner, "k"), 0);
}

static void test_merged_once(void **state)
{
    (void)state;
    assert_int_equal(admitted("k", 10, 4), 4);
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 3), 3);
    assert_int_equal(admitted("new", 10, 2), 2);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 7);
    assert_int_equal(used(the_remote->inner, "new"), 2);
    assert_int_equal(failover_synced(pair), 2);
    assert_int_equal(admitted("k", 10, 10), 3);
    remote_is(COUNTERS_DOWN); /* a second time: nothing of the first fault comes again */
    assert_int_equal(admitted("other", 10, 1), 1);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 10);
    assert_int_equal(used(the_remote->inner, "new"), 2);
}

static void test_not_asked_before(void **state)
{
    (void)state;
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 5, 5), 5);
    remote_is(COUNTERS_OK);
    for (int i = 0; i < 2000; i++) /* whoever is asked while it comes back */
        assert_int_equal(rcpt("k", 5).answer.result, COUNT_OVER);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 5);
}

static void test_given_back_while_unsynced(void **state)
{
    (void)state;
    remote_is(COUNTERS_DOWN);
    struct charge before = rcpt("k", 10), after = rcpt("k", 10);
    assert_true(before.local && before.answer.unsynced);
    change(&before, -1);
    assert_int_equal(used(local, "k"), 1);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 1);
    change(&after, -1); /* it was synced */
    assert_int_equal(used(local, "k"), 0);
    assert_int_equal(used(the_remote->inner, "k"), 0);
}

static void test_settled_while_unsynced(void **state)
{
    (void)state;
    remote_is(COUNTERS_DOWN);
    struct charge during = rcpt("k", 100), after = rcpt("k", 100);
    change(&during, 20);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 22);
    change(&after, 30);
    assert_int_equal(used(the_remote->inner, "k"), 52);
    assert_int_equal(used(local, "k"), 52);
}

static void test_lost_answer(void **state)
{
    (void)state;
    assert_int_equal(admitted("k", 10, 1), 1);
    remote_is(COUNTERS_UNSURE);
    struct charge charge = rcpt("k", 10); /* remote has it */
    assert_true(charge.local && !charge.answer.unsynced);
    remote_is(COUNTERS_OK);
    assert_int_equal(used(the_remote->inner, "k"), 2);
    assert_int_equal(used(local, "k"), 2);
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 1), 1);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 3);
}

static void test_restarts_empty(void **state)
{
    (void)state;
    assert_int_equal(admitted("k", 10, 6), 6);
    assert_int_equal(admitted("gone", 10, 1), 1);
    remote_restarts(true);
    assert_int_equal(admitted("k", 10, 10), 4); /* whoever answers */
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 10);
    assert_int_equal(used(the_remote->inner, "gone"), 1);
    remote_restarts(true);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 10);
}

/* A session that was sent away by remote, which is up and told all while local is asked: remote must not admit
 * behind its back. */
static void test_back_between(void **state)
{
    (void)state;
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 9), 9);
    remote_is(COUNTERS_OK);
    wait_merged();
    atomic_store(&the_remote->slow_ms, 50);
    atomic_store(&the_remote->refuse, true);
    assert_int_equal(admitted("k", 10, 6),
                     1); /* whoever answers: remote may be told all before local is asked */
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 10);
}

static void test_restarts_with_its_data(void **state)
{
    (void)state;
    assert_int_equal(admitted("k", 10, 6), 6);
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 1), 1);
    remote_restarts(false);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 7);
}

static void test_restart_of_two_hosts(void **state)
{
    (void)state;
    assert_int_equal(admitted("k", 20, 6), 6);
    remote_restarts(true);
    now += 10;
    const struct count_ask ask = ask_for("k", 20);
    struct count_answer answer;
    for (int i = 0; i < 3; i++) /* another host was there first */
        assert_int_equal(
            counters_reserve(the_remote->inner, &(struct count_request){.asks = &ask, .n = 1}, now, &answer),
            COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 9);
}

static void test_cleared_stays_cleared(void **state)
{
    (void)state;
    size_t n;
    assert_int_equal(admitted("k", 10, 6), 6);
    assert_int_equal(counters_reset(the_remote->inner, everything, 1, NULL, &n), COUNTERS_OK); /* FLUSHALL */
    now += 10;
    assert_int_equal(admitted("k", 10, 1), 1);
    assert_int_equal(used(local, "k"), 1);
    assert_int_equal(admitted("k", 10, 1), 1);
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 1), 1);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 3);
}

static void test_cleared_meanwhile(void **state)
{
    (void)state;
    size_t n;
    assert_int_equal(admitted("k", 10, 6), 6);
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 2), 2);
    assert_int_equal(counters_reset(the_remote->inner, everything, 1, NULL, &n), COUNTERS_OK);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 2); /* only what it does not know */
}

static void test_reset(void **state)
{
    (void)state;
    static const char *const keys[] = {"k"};
    size_t n = 0;
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 6), 6);
    assert_int_equal(counters_reset(pair, keys, 1, NULL, &n), COUNTERS_OK);
    assert_int_equal(used(local, "k"), 0);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 0);
}

static void test_holds(void **state)
{
    (void)state;
    struct count_ask ask = ask_for("client", 1);
    ask.hold_ms = 600000;
    assert_int_equal(rcpt_ask(&ask).answer.result, COUNT_ADMITTED);
    assert_int_equal(rcpt_ask(&ask).answer.result, COUNT_OVER);
    now += 120000; /* its window is over, its hold is not */
    remote_is(COUNTERS_DOWN);
    assert_int_equal(rcpt_ask(&ask).answer.result, COUNT_HELD);
    remote_is(COUNTERS_OK);
    remote_restarts(true);
    wait_merged();
    struct charge held = rcpt_ask(&ask);
    assert_false(held.local);
    assert_int_equal(held.answer.result, COUNT_HELD);
    assert_int_equal(held.answer.wait_ms, 480000);
}

/* ---- open and taken ---- */

static struct count_ask hard_ask(const char *key, int64_t max)
{
    struct count_ask ask = ask_for(key, max);
    ask.flags = COUNT_HARD;
    return ask;
}

static void settle(const struct charge *charge)
{
    struct count_change change = charge->change;
    change.amount = 0;
    change.open = -charge->open;
    counters_change_here(pair, &change, now);
    if (!store_is_synced(&change))
        (void)counters_change(pair, &change, 1, now);
}

/* Whoever answers. */
static bool is_hard(const struct count_ask *ask)
{
    struct charge charge = rcpt_ask(ask);
    assert_int_equal(charge.answer.result, COUNT_OVER);
    return charge.answer.hard;
}

/* local echoes what is open, and settles at once. */
static void test_echoes_carry_open(void **state)
{
    (void)state;
    struct count_ask ask = hard_ask("k", 2);
    struct charge one = rcpt_ask(&ask), two = rcpt_ask(&ask);
    assert_false(is_hard(&ask));
    settle(&one);
    assert_false(is_hard(&ask));
    remote_is(COUNTERS_DOWN);
    assert_false(is_hard(&ask));
    settle(&two);
    assert_true(is_hard(&ask));
}

/* What is settled while remote is away is taken there, too, when it is back; what is open stays so. */
static void test_open_is_merged(void **state)
{
    (void)state;
    struct count_ask ask = hard_ask("k", 3);
    remote_is(COUNTERS_DOWN);
    struct charge one = rcpt_ask(&ask), two = rcpt_ask(&ask), three = rcpt_ask(&ask);
    settle(&one);
    settle(&two);
    assert_false(is_hard(&ask));
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 3);
    assert_false(is_hard(&ask));
    settle(&three); /* remote put it into a slot of its own: it stays open there */
    assert_false(is_hard(&ask));
    change(&three, -1);
    assert_int_equal(used(the_remote->inner, "k"), 2);
}

/* What is known to be taken stays so where remote has lost it and is told anew. */
static void test_taken_is_merged(void **state)
{
    (void)state;
    struct count_ask ask = hard_ask("k", 2);
    struct charge one = rcpt_ask(&ask), two = rcpt_ask(&ask);
    settle(&one);
    settle(&two);
    remote_restarts(true);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 2);
    assert_true(is_hard(&ask));
}

/* What was charged while the limit was soft is no proof, whoever answers: not where it came along, was told later, or was lost. */
static void test_soft_is_no_proof(void **state)
{
    (void)state;
    const struct count_ask ask = hard_ask("k", 4);
    assert_int_equal(admitted("k", 4, 2), 2);
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 4, 2), 2);
    assert_false(is_hard(&ask));
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_false(is_hard(&ask));
    remote_restarts(true);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 4);
    assert_false(is_hard(&ask));
    remote_is(COUNTERS_DOWN);
    assert_false(is_hard(&ask));
}

/* The same of what this process was soft for, and another one hard. */
static void test_soft_here_and_hard_there(void **state)
{
    (void)state;
    const struct count_ask ask = hard_ask("k", 4);
    const struct count_request request = {.asks = &ask, .n = 1};
    struct count_answer answer;
    assert_int_equal(counters_reserve(the_remote->inner, &request, now, &answer), COUNTERS_OK);
    struct count_change taken = {.key = "k",
                                 .limit = "l",
                                 .window_ms = ask.window_ms,
                                 .slot = answer.slot,
                                 .created = answer.created,
                                 .open = -1,
                                 .here = -1};
    assert_int_equal(counters_change(the_remote->inner, &taken, 1, now), COUNTERS_OK);
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 4, 3), 3);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 4);
    assert_int_equal(counters_peek(the_remote->inner, &request, now, &answer), COUNTERS_OK);
    assert_int_equal(answer.result, COUNT_OVER);
    assert_int_equal(answer.taken, 1);
    assert_false(answer.hard);
}

/* A soft answer ends when what it stood on is settled, also where it is remembered. */
static void test_settled_is_not_remembered_soft(void **state)
{
    (void)state;
    struct count_ask ask = hard_ask("k", 1);
    struct charge one = rcpt_ask(&ask);
    assert_false(is_hard(&ask));
    assert_false(is_hard(&ask));
    settle(&one);
    assert_true(is_hard(&ask));
    now += 65000;
    assert_true(is_hard(&ask));
    now += 999; /* remembered, but what was taken is about to leave */
    assert_true(is_hard(&ask));
    now += 1;
    assert_int_equal(rcpt_ask(&ask).answer.result, COUNT_ADMITTED);
}

/* What is hard by a slot that leaves is soft by what is still open then, and not remembered as hard. */
static void test_hard_is_not_remembered_longer(void **state)
{
    (void)state;
    struct count_ask ask = hard_ask("k", 2);
    struct charge one = rcpt_ask(&ask), two = rcpt_ask(&ask);
    settle(&one);
    settle(&two);
    now += 65500;
    assert_true(is_hard(&ask));
    now += 500;
    rcpt_ask(&ask);
    rcpt_ask(&ask);
    assert_false(is_hard(&ask));
}

/* A share's refusal is remembered no longer than its parent is as full as that. */
static void test_share_is_not_remembered_longer(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("all", 9), ask_for("all|one", 1)};
    struct count_answer answers[2];
    const struct count_request request = {.asks = asks, .n = 2};
    asks[1].share_of = 0;
    asks[1].share_above = 2;
    assert_int_equal(admitted("all", 9, 1), 1);
    now += 6000;
    assert_int_equal(counters_reserve(pair, &request, now, answers), COUNTERS_OK);
    now += 59500;
    assert_int_equal(counters_reserve(pair, &request, now, answers), COUNTERS_OK);
    assert_int_equal(answers[1].result, COUNT_OVER);
    assert_int_equal(answers[1].wait_ms, 500);
    now += 500; /* one of the parent's two has left */
    assert_int_equal(counters_reserve(pair, &request, now, answers), COUNTERS_OK);
    assert_int_equal(answers[1].result, COUNT_ADMITTED);
}

/* remote's clock is another: slots are never compared with ours. */
static void test_two_clocks(void **state)
{
    (void)state;
    static const int64_t aheads[] = {-70000, 70000, 3000, -3000};
    for (int i = 0; i < 4; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        atomic_store(&the_remote->ahead, aheads[i]);
        struct count_ask ask = hard_ask(key, 100);
        struct charge bytes = rcpt_ask(&ask), back = rcpt_ask(&ask), open = rcpt_ask(&ask);
        change(&bytes, 9); /* settled with more than was declared */
        change(&back, -1);
        settle(&open);
        assert_int_equal(used_there(key), 11);
        assert_int_equal(used(local, key), 11);
        remote_is(COUNTERS_DOWN);
        struct charge away = rcpt_ask(&ask), second = rcpt_ask(&ask);
        change(&away, -1);
        remote_is(COUNTERS_OK);
        wait_merged();
        assert_int_equal(used_there(key), 12);
        now += 30000;
        change(&second, -1); /* looked for by its age: it may stand one slot beside, and stays then */
        int64_t left = used_there(key);
        assert_in_range(left, 11, 12);
        now += 30000;
        assert_int_equal(used_there(key), left); /* never gone before its window */
        now += 12000;
        assert_int_equal(used_there(key), 0);
        assert_int_equal(used(local, key), 0);
    }
}

/* Where the clocks nearly agree, and a call takes its time, what was merged leaves with the slot in which it was charged: no subject is refused
 * after 1.1 windows of silence. */
static void test_merged_into_its_slot(void **state)
{
    (void)state;
    static const int64_t aheads[] = {5, 0, -5, 2000, -2000};
    const int64_t slot_ms = 6000;
    for (int i = 0; i < 5; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        now += slot_ms - now % slot_ms; /* a slot begins */
        int64_t began = now;
        atomic_store(&the_remote->ahead, aheads[i]);
        remote_is(COUNTERS_DOWN);
        assert_int_equal(admitted(key, 10, 1), 1);
        now += slot_ms - 1;
        assert_int_equal(admitted(key, 10, 1), 1);
        now += slot_ms;
        remote_is(COUNTERS_OK);
        wait_merged();
        now = began + 66000 - 1 - aheads[i];
        assert_int_equal(used_there(key), 2);
        now++;
        assert_int_equal(used_there(key), 0);
    }
}

/* The bytes of a message at its end: asked for, and echoed; alone where remote is away, and told later, once. */
static void test_settle_bytes(void **state)
{
    (void)state;
    struct count_ask ask = hard_ask("k", 1000);
    ask.amount = 0;
    ask.unit = COUNT_UNIT_BYTES;
    struct charge one = rcpt_ask(&ask), two = rcpt_ask(&ask), three = rcpt_ask(&ask);
    struct count_answer answer;
    struct count_change end = one.change;
    end.amount = end.late = 900;
    end.max = 1000;
    end.ttl_ms = 70000;
    end.check = COUNT_CHECK_FULL;
    assert_int_equal(counters_settle(pair, &end, 1, now, 0, &answer), COUNTERS_OK);
    assert_int_equal(answer.result, COUNT_ADMITTED);
    assert_int_equal(used(the_remote->inner, "k"), 900);
    assert_int_equal(used(local, "k"), 900);
    remote_is(COUNTERS_DOWN);
    end.here = two.change.here;
    end.slot = two.change.slot;
    assert_int_equal(counters_settle(pair, &end, 1, now, 0, &answer), COUNTERS_DOWN);
    assert_int_equal(counters_settle_here(pair, COUNTERS_DOWN, &end, 1, now, &answer), COUNTERS_OK);
    assert_int_equal(answer.result, COUNT_ADMITTED);
    assert_int_equal(used(local, "k"), 1800);
    assert_false(store_is_synced(&end));
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(counters_change(pair, &end, 1, now), COUNTERS_OK);
    assert_int_equal(used(the_remote->inner, "k"), 1800);
    end = three.change;
    end.amount = end.late = 1;
    end.max = 1000;
    end.check = COUNT_CHECK_FULL;
    assert_int_equal(counters_settle(pair, &end, 1, now, 0, &answer), COUNTERS_OK);
    assert_int_equal(answer.result, COUNT_OVER);
    assert_int_equal(used(local, "k"), 1800);
}

/* Bytes reach no counter of remote that counts something else by then: not those of a message that was on its way when the policy
 * changed, nor what a sync adds whose answer was lost. */
static void test_another_unit(void **state)
{
    (void)state;
    struct count_ask ask = hard_ask("k", 1000), other = ask;
    struct count_answer answer;
    ask.amount = 500;
    ask.unit = COUNT_UNIT_BYTES;
    remote_is(COUNTERS_DOWN);
    struct charge open = rcpt_ask(&ask), back = rcpt_ask(&ask);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used_there("k"), 1000);
    const struct count_request request = {.asks = &other, .n = 1};
    assert_int_equal(counters_reserve(the_remote->inner, &request, now, &answer),
                     COUNTERS_OK); /* another host */
    assert_int_equal(used_there("k"), 1);
    struct count_change end = open.change;
    end.amount = 400;
    end.open = -500;
    end.late = 900;
    counters_change_here(pair, &end, now);
    assert_int_equal(counters_change(pair, &end, 1, now), COUNTERS_OK);
    change(&back, -500);
    assert_int_equal(used_there("k"), 1);
    ask.key = other.key = "lost";
    remote_is(COUNTERS_DOWN);
    (void)rcpt_ask(&ask);
    remote_loses_and_goes(LOSE_CHANGE);
    assert_int_equal(counters_reserve(the_remote->inner, &request, now, &answer), COUNTERS_OK);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used_there("lost"), 1);
}

/* What was admitted here alone and is given back when its counter was cleared in remote is not taken from what was counted there since. */
static void test_refund_of_what_was_cleared(void **state)
{
    (void)state;
    static const char *const keys[] = {"k"};
    const struct count_ask ask = ask_for("k", 10);
    const struct count_request request = {.asks = &ask, .n = 1};
    struct count_answer answer;
    size_t n;
    remote_is(COUNTERS_DOWN);
    struct charge away = rcpt("k", 10);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used_there("k"), 1);
    assert_int_equal(counters_reset(the_remote->inner, keys, 1, NULL, &n), COUNTERS_OK);
    now += 1;
    assert_int_equal(counters_reserve(the_remote->inner, &request, now, &answer), COUNTERS_OK);
    change(&away, -1);
    assert_int_equal(used_there("k"), 1);
}

/* A charge whose answer was lost, of a counter that remote never answered for, is not added to the one that remote saved. */
static void test_lost_charge_and_restart(void **state)
{
    (void)state;
    remote_is(COUNTERS_UNSURE);
    assert_int_equal(admitted("k", 10, 1), 1);
    assert_int_equal(used(the_remote->inner, "k"), 1);
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 2), 2);
    remote_restarts(false);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 3);
}

/* A sync that is still to be made is not added to a counter that remote made after it was looked at: another host has told that of all it
 * has, and so does this one. */
static void test_lost_merge_and_another_counter(void **state)
{
    (void)state;
    const struct count_ask ask = ask_for("k", 10);
    const struct count_request request = {.asks = &ask, .n = 1};
    struct count_answer answer;
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 6), 6);
    remote_loses_and_goes(LOSE_CHANGE);
    now += 1;
    remote_restarts(true);
    the_remote->sequence = 0;
    assert_int_equal(counters_reserve(the_remote->inner, &request, now, &answer), COUNTERS_OK);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 7);
}

/* A sync whose answer was lost is made once, though remote restarts with what it has saved. */
static void test_lost_merge_and_restart(void **state)
{
    (void)state;
    static const bool empty[] = {false, true};
    static const char *const keys[] = {"saved", "lost"};
    for (int i = 0; i < 2; i++) {
        remote_is(COUNTERS_DOWN);
        assert_int_equal(admitted(keys[i], 10, 6), 6);
        remote_loses_and_goes(LOSE_ANSWER);
        now += 1;
        remote_restarts(empty[i]);
        if (empty[i])
            the_remote->sequence = 0;
        remote_is(COUNTERS_OK);
        wait_merged();
        assert_int_equal(used(the_remote->inner, keys[i]), 6);
    }
}

enum { DEFERRALS = 1000 };

static struct count_pair pair_of(int i)
{
    struct count_pair of = {0};
    snprintf(of.id, sizeof of.id, "%032x", i);
    return of;
}

static void defer_all(void)
{
    for (int i = 0; i < DEFERRALS; i++) {
        struct count_deferral deferral = {.pair = pair_of(i), .at_ms = now, .n = 1};
        assert_int_equal(counters_deferred(pair, &deferral, 1, now), COUNTERS_OK);
    }
}

/* Of all that were deferred, how many count as attempts when they come again? */
static int attempts(struct counters *counters)
{
    struct count_ask ask = ask_for("attempts", 0);
    int counted = 0;
    ask.flags = COUNT_ATTEMPT;
    for (int i = 0; i < DEFERRALS; i++) {
        struct count_answer answer;
        const struct count_pair of = pair_of(i);
        const struct count_request request = {.asks = &ask, .n = 1, .pair = &of, .local = &ask};
        (void)counters_peek(counters, &request, now, &answer);
        assert_int_equal(answer.retry, answer.result == COUNT_ADMITTED);
        counted += !answer.retry;
    }
    return counted;
}

static void wait_notified(size_t n)
{
    for (int i = 0; i < PATIENCE_MS && atomic_load(&the_remote->notified) < n; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&the_remote->notified), n);
}

/* What was deferred while remote was away is no attempt when it comes again: neither meanwhile nor afterwards,
 * here or on another host, and counts from when it was deferred. */
static void test_retries_of_an_outage(void **state)
{
    (void)state;
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 5, 1), 1); /* remote is known to be away */
    defer_all();
    now += 59999;
    assert_int_equal(attempts(pair), DEFERRALS);
    now += 1;
    assert_int_equal(attempts(pair), 0);
    assert_int_equal(atomic_load(&the_remote->notified), 0);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(atomic_load(&the_remote->notified), DEFERRALS);
    assert_int_equal(attempts(the_remote->inner), 0);
}

static void test_retries_are_notified_once(void **state)
{
    (void)state;
    defer_all();
    wait_notified(DEFERRALS);
    now += 5;
    defer_all();
    wait_notified(2 * DEFERRALS);
    remote_restarts(true); /* it may have lost them */
    wait_merged();
    assert_int_equal(atomic_load(&the_remote->notified), 4 * DEFERRALS);
}

/* What remote knows as a retry, because another host had deferred it, is no attempt for local either. */
static void test_retries_of_another_host(void **state)
{
    (void)state;
    struct count_deferral deferral = {.pair = pair_of(77), .at_ms = now, .n = 1};
    struct count_ask ask = ask_for("attempts", 5);
    struct count_answer answer;
    ask.flags = COUNT_ATTEMPT;
    const struct count_request request = {.asks = &ask, .n = 1, .pair = &deferral.pair};
    assert_int_equal(counters_deferred(the_remote->inner, &deferral, 1, now), COUNTERS_OK);
    assert_int_equal(counters_reserve(pair, &request, now, &answer), COUNTERS_OK);
    assert_int_equal(used(local, "attempts"), 1);
    now += 60000;
    assert_int_equal(counters_reserve(pair, &request, now, &answer), COUNTERS_OK);
    assert_true(answer.retry);
    assert_int_equal(used(local, "attempts"), 1);
}

/* However often who was deferred here has come again at another host: what this one still remembers leaves room. */
static void test_retries_at_another_host(void **state)
{
    (void)state;
    struct count_deferral deferral = {.pair = pair_of(77), .n = 1};
    struct count_ask ask = ask_for("attempts", 100);
    ask.flags = COUNT_ATTEMPT;
    const struct count_request request = {.asks = &ask, .n = 1, .pair = &deferral.pair};
    for (size_t i = 1; i <= 40; i++) {
        struct count_answer answer;
        deferral.at_ms = now;
        deferral.n = 1;
        assert_int_equal(counters_deferred(pair, &deferral, 1, now), COUNTERS_OK);
        wait_notified(i);
        now += 60000;
        assert_int_equal(counters_reserve(the_remote->inner, &request, now, &answer), COUNTERS_OK);
        assert_true(answer.retry);
    }
}

static struct count_answer attempt_from(const char *client)
{
    struct count_pair of = pair_of(77);
    struct count_ask ask = ask_for("attempts", 100);
    struct count_answer answer;
    ask.flags = COUNT_ATTEMPT;
    const struct count_request request = {.asks = &ask, .n = 1, .pair = &of, .local = &ask};
    assert_int_equal(network_parse(client, &of.client, NULL), 0);
    (void)counters_reserve(pair, &request, now, &answer);
    struct count_deferral deferral = {.pair = of, .at_ms = now, .n = 1};
    assert_int_equal(counters_deferred(pair, &deferral, 1, now), COUNTERS_OK);
    return answer;
}

/* From another client network a retry may come at once: before remote was told in the background, and while it is away. Who
 * comes again from the same one within a minute hammers. */
static void test_retries_of_a_pool(void **state)
{
    (void)state;
    char client[32];
    assert_false(attempt_from("192.0.2.0").retry);
    for (int i = 1; i < 200; i++) {
        snprintf(client, sizeof client, "192.0.2.%d", i);
        remote_is(i >= 50 && i < 150 ? COUNTERS_DOWN : COUNTERS_OK);
        assert_true(attempt_from(client).retry);
    }
    assert_false(attempt_from("192.0.2.199").retry);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "attempts"), 2);
}

/* Who comes again while remote is being told of his deferral may ask it before it has heard of that. */
static void test_retry_before_remote_hears(void **state)
{
    (void)state;
    atomic_store(&the_remote->hears_ms, 300);
    assert_false(attempt_from("192.0.2.0").retry);
    for (int i = 0; i < PATIENCE_MS && !atomic_load(&the_remote->hears); i++)
        usleep(1000);
    assert_true(attempt_from("192.0.2.1").retry);
    atomic_store(&the_remote->hears_ms, 0);
}

/* What is on its way goes with each that asks, until it has arrived; what has not arrived waits again. */
static void test_deferrals_on_their_way(void **state)
{
    (void)state;
    struct retries *retries = retries_new();
    const struct count_deferral deferral = {.pair = pair_of(77), .at_ms = now, .n = 2};
    const struct count_pair of = pair_of(77);
    struct count_deferral with[2], list[2];
    assert_non_null(retries);
    assert_false(retries_collect_pair(retries, &of, now, &with[0]));
    retries_note(retries, &deferral, now);
    for (int i = 0; i < 2; i++) {
        assert_true(retries_collect_pair(retries, &of, now, &with[i]));
        assert_int_equal(with[i].n, 2);
    }
    assert_int_equal(retries_collect(retries, now, list, 2), 0);
    with[1].n = 0;
    retries_arrived(retries, &with[1], 1); /* the other one still is on its way */
    assert_true(retries_collect_pair(retries, &of, now, &with[1]));
    with[1].n = 0;
    retries_arrived(retries, &with[1], 1);
    retries_arrived(retries, &with[0], 1); /* it could not be told */
    assert_int_equal(retries_collect(retries, now, list, 2), 1);
    assert_int_equal(list[0].n, 2);
    list[0].n = 0;
    assert_true(retries_collect_pair(retries, &of, now, &with[0]));
    with[0].n = 0;
    retries_arrived(retries, &with[0], 1);
    retries_arrived(retries, list, 1);
    assert_false(retries_collect_pair(retries, &of, now, &with[0]));
    assert_int_equal(retries_collect(retries, now, list, 2), 0);
    retries_free(retries);
}

/* What is ripe soon after a half-day began is not told as of the one before, where others of the pair wait. */
static void test_deferrals_of_two_half_days(void **state)
{
    (void)state;
    struct retries *retries = retries_new();
    const int64_t half = 40000, begin = half * 12 * 60 * 60 * 1000, much_after = begin + 120000;
    const struct count_pair of = pair_of(77);
    const struct count_deferral before = {.pair = of, .at_ms = begin - 5000, .n = 1};
    const struct count_deferral after = {.pair = of, .at_ms = begin + 5000, .n = 2};
    struct count_deferral list[4];
    assert_non_null(retries);
    retries_note(retries, &before, before.at_ms);
    retries_note(retries, &after, after.at_ms);
    assert_true(retries_take(retries, &of, much_after, true));
    for (int round = 0; round < 2; round++) {
        assert_int_equal(retries_collect(retries, much_after, list, 4), 2);
        for (size_t i = 0; i < 2; i++) {
            const bool is_before = list[i].n == 1;
            assert_int_equal(store_half_day(list[i].at_ms), is_before ? half - 1 : half);
            assert_true(much_after - list[i].at_ms >= COUNTERS_RETRY_AFTER_MS);
            list[i].n = round ? 0 : list[i].n;
        }
        retries_arrived(retries, list, 2);
    }
    assert_false(retries_collect_pair(retries, &of, much_after, &list[0]));
    assert_int_equal(retries_collect(retries, much_after, list, 4), 0);
    retries_free(retries);
}

/* How many waits of the pair remote knows. */
static int remote_knows(void)
{
    const struct count_pair of = pair_of(77);
    const struct count_request request = {
        .asks =
            &(struct count_ask){
                .key = "x", .limit = "l", .window_ms = 1000, .flags = COUNT_ATTEMPT, .share_of = -1},
        .n = 1,
        .pair = &of};
    struct count_answer answer;
    int n = -1;
    do {
        assert_int_equal(counters_reserve(the_remote->inner, &request, now, &answer), COUNTERS_OK);
        n++;
    } while (answer.retry);
    return n;
}

/* Remote restarts, and has its data: it is told all once more, and knows what it knew. */
static void test_retries_are_synced_once(void **state)
{
    (void)state;
    struct count_deferral deferral = {.pair = pair_of(77), .at_ms = now, .n = 3};
    assert_int_equal(counters_deferred(pair, &deferral, 1, now), COUNTERS_OK);
    wait_notified(3);
    remote_restarts(false);
    wait_merged();
    wait_notified(6);
    now += 60000;
    assert_int_equal(remote_knows(), 3);
}

/* A flood of attempts on an alias that is over: each asks remote, is counted there and here, and trips at its max. */
static void test_attempts_ask_each(void **state)
{
    (void)state;
    struct count_ask asks[] = {ask_for("k", 3), ask_for("client", 50)};
    asks[1].flags = COUNT_ATTEMPT;
    asks[1].hold_ms = 600000;
    const struct count_pair of = pair_of(77);
    const struct count_request request = {.asks = asks, .n = 2, .pair = &of};
    for (int i = 0; i < 200; i++) {
        struct count_answer answers[2];
        assert_int_equal(counters_reserve(pair, &request, now, answers), COUNTERS_OK);
        assert_int_equal(answers[1].result, i < 50 ? COUNT_ADMITTED : i == 50 ? COUNT_OVER : COUNT_HELD);
    }
    assert_int_equal(used(the_remote->inner, "client"), 200);
    assert_int_equal(used(local, "client"), 200);
}

static void test_old_is_not_merged(void **state)
{
    (void)state;
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 6), 6);
    now += 66001;
    assert_int_equal(admitted("k", 10, 1), 1);
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 1);
}

/* The answer to what is merged gets lost: what was not done is done again, what was is not. */
static void test_merge_is_lost(void **state)
{
    (void)state;
    static const int lost[] = {LOSE_ANSWER, LOSE_CHANGE, LATE_CHANGE};
    static const char *const keys[] = {"one", "two", "three"};
    for (int i = 0; i < 3; i++) {
        const char *key = keys[i];
        assert_int_equal(admitted(key, 10, 2), 2);
        remote_is(COUNTERS_DOWN);
        assert_int_equal(admitted(key, 10, 5), 5);
        atomic_store(&the_remote->lose, lost[i]);
        remote_is(COUNTERS_OK);
        wait_merged();
        assert_int_equal(atomic_load(&the_remote->lose), 0);
        assert_int_equal(used(the_remote->inner, key), 7);
    }
}

/* Lost, and remote is gone again for longer than the window: nothing of it is charged to the window that is
 * under way then. */
static void test_lost_merge_grows_old(void **state)
{
    (void)state;
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 6), 6);
    remote_loses_and_goes(LOSE_CHANGE);
    now += 66001;
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(used(the_remote->inner, "k"), 0);
    assert_int_equal(admitted("k", 10, 10), 10);
}

/* Many counters, and one that remote makes no sense of: it does not keep the others away for ever. */
static void test_many(void **state)
{
    (void)state;
    remote_is(COUNTERS_DOWN);
    char key[16];
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(admitted(key, 10, 2), 2);
    }
    remote_is(COUNTERS_OK);
    wait_merged();
    assert_int_equal(failover_synced(pair), 20000);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        if (i % 100 == 0)
            assert_int_equal(used(the_remote->inner, key), 2);
    }
    remote_is(COUNTERS_DOWN);
    assert_int_equal(admitted("k", 10, 2), 2);
    remote_is(COUNTERS_UNSURE);
    for (int i = 0; i < PATIENCE_MS / 10 && failover_synced(pair) == 20000; i++)
        usleep(10000);
    assert_int_equal(failover_synced(pair), 20001);
    remote_is(COUNTERS_OK);
    wait_merged();
}

static void test_nobody_there(void **state)
{
    (void)state;
    struct counters *alone = failover_new(NULL, counters_memory_new(10), the_now, NULL, NULL);
    const struct count_ask ask = ask_for("k", 1);
    struct count_request request = {.asks = &ask, .n = 1};
    struct count_answer answer;
    struct error err = {0};
    assert_int_equal(counters_reserve(alone, &request, now, &answer), COUNTERS_DOWN);
    assert_int_equal(answer.result, COUNT_UNKNOWN);
    request.local = &ask;
    assert_int_equal(counters_reserve(alone, &request, now, &answer), COUNTERS_DOWN);
    assert_true(answer.local);
    assert_int_equal(answer.result, COUNT_ADMITTED);
    counters_condition(alone, &err);
    assert_string_not_equal(err.text, "");
    counters_free(alone);
}

/* Threads that charge and give back while remote comes and goes: in the end nothing is left in either. */
static void *worker(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3000; i++) {
        struct charge charge = rcpt("k", 1000000);
        if (charge.answer.result == COUNT_ADMITTED)
            change(&charge, -1);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker, NULL), 0);
    for (int i = 0; i < 30; i++) {
        remote_is(i % 2 == 0 ? COUNTERS_DOWN : COUNTERS_OK);
        usleep(2000);
    }
    remote_is(COUNTERS_OK);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    wait_merged();
    assert_int_equal(used(local, "k"), 0);
    /* A charge that was under way to remote while it was given back is lost in favour of the strict side: bounded. */
    assert_true(used(the_remote->inner, "k") <= 4 * 30);
}

/* However busy local is, remote is asked again soon. */
static atomic_bool busy;

static void *busy_worker(void *arg)
{
    char key[16];
    for (unsigned i = 0; atomic_load(&busy); i++) {
        snprintf(key, sizeof key, "%s%u", (const char *)arg, i % 100);
        (void)rcpt(key, 100000000);
    }
    return NULL;
}

static void test_back_under_load(void **state)
{
    (void)state;
    static char names[4][2] = {"a", "b", "c", "d"};
    pthread_t threads[4];
    int64_t remote_sum = 0, local_sum = 0;
    atomic_store(&busy, true);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, busy_worker, names[i]), 0);
    for (int i = 0; i < 5; i++) {
        remote_is(COUNTERS_DOWN);
        usleep(50000);
        remote_is(COUNTERS_OK);
        wait_merged();
    }
    atomic_store(&busy, false);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < PATIENCE_MS && (remote_sum == 0 || remote_sum != local_sum); i++) {
        usleep(1000);
        remote_sum = used(the_remote->inner, "*");
        local_sum = used(local, "*");
    }
    assert_true(remote_sum > 1000);
    assert_int_equal(remote_sum, local_sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_counters_along, setup, teardown),
        cmocka_unit_test_setup_teardown(test_echoes_carry_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_is_merged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_taken_is_merged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_soft_is_no_proof, setup, teardown),
        cmocka_unit_test_setup_teardown(test_soft_here_and_hard_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settled_is_not_remembered_soft, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hard_is_not_remembered_longer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_share_is_not_remembered_longer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_clocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merged_into_its_slot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settle_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_unit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refund_of_what_was_cleared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_charge_and_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_merge_and_another_counter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_merge_and_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merged_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_asked_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_given_back_while_unsynced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settled_while_unsynced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restarts_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_back_between, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restarts_with_its_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart_of_two_hosts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cleared_stays_cleared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cleared_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_holds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retries_of_an_outage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retries_are_notified_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retries_of_another_host, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retries_at_another_host, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retries_of_a_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retry_before_remote_hears, setup, teardown),
        cmocka_unit_test(test_deferrals_on_their_way),
        cmocka_unit_test(test_deferrals_of_two_half_days),
        cmocka_unit_test_setup_teardown(test_retries_are_synced_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attempts_ask_each, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_is_not_merged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merge_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_merge_grows_old, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_back_under_load, setup, teardown),
        cmocka_unit_test(test_nobody_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
