/* limiter: the counter stores against limiter_model, operation by operation, at random: clocks that are stale, differ or are stepped, changed
 * limits, refunds, settles by slot and by age, holds, shares, overflow keys, numbers that are as large as they get. Redis is also asked by several at once, who
 * come together in one call.
 *
 * usage: limiter [--seed N] [--keep-going] [--as-found] memory|redis|window OPERATIONS
 *
 * A round that ends in another answer, or another state, is cut down to what it takes and printed in the words of
 * test/data/counts.txt, with the answers of the model (--as-found: it is not). Exit 1 then. */
#include "limiter_model.h"
#include "redis_store.h"
#include "counters/window.h"

#include "chance.h"
#include "redis_together.h"

#include <inttypes.h>

#define START INT64_C(1732320000000)

enum { ASKS = 3, OPS = 120, KEYS = 4, LIMITS = 3, FOREVER_DAYS = 3650 };

enum verb { RESERVE, PEEK, CHARGE, CHANGE, SETTLE, SHOW, RESET };

static const char *const verb_names[] = {"reserve", "peek", "charge", "change", "settle", "show", "reset"};

/* One operation, as it was made up: nothing in it depends on what came of others, so that any of them can be left out. */
struct op {
    enum verb verb;
    int64_t now;
    struct count_ask asks[ASKS];
    size_t n;
    size_t of; /* CHANGE, SETTLE: the RESERVE whose charges are meant */
    int64_t amount, open, late, max, age;
    enum count_check check;
    int key, limit;  /* SHOW, RESET */
    unsigned spills; /* the keys that have an overflow key, a bit each */
    bool gone;       /* left out */
    unsigned group;  /* RESERVE: comes together with those of the same group before and behind it; 0: alone */
};

struct round {
    struct op ops[OPS];
    size_t n;
    char keys[2 * KEYS][32]; /* and their overflow keys */
    char new_key[32];
    bool forgets;
};

static const char *const limits[LIMITS] = {"one", "two", "three"};
static struct redis_store redis;
static redisContext *cli; /* beside it */
static uint64_t grouped;  /* operations that were to come together */
static uint64_t operations;

/* ---- chance ---- */

static int64_t any_window(void)
{
    static const int64_t windows[] = {1000,  1000,  1777,    10000,    60000,
                                      60000, 61111, 3600000, 86400000, 2678400000};
    return pick(windows);
}

static int64_t any_max(void)
{
    static const int64_t most[] = {0, 1, 2, 3, 5, 10, 1000, 1000000, INT64_C(1000000000000000)};
    return one_in(4) ? pick(most) : 1 + below(6);
}

/* ---- a round is made up ---- */

struct weather {        /* of a round */
    int64_t now, other; /* the clock, and how far that of another caller is off */
    int64_t windows[LIMITS], max[LIMITS], hold[LIMITS], step;
    enum count_unit units[LIMITS];
    bool hard[LIMITS], stale, jumps, changes, plain;
};

static int64_t clock_of(struct weather *w)
{
    w->now += one_in(3) ? 0 : one_in(10) ? below(w->windows[below(LIMITS)] * 2) : below(w->step);
    if (w->jumps && one_in(40))
        w->now += one_in(2) ? -below(one_in(2) ? 100000 : 20000000) : below(100000000);
    if (w->now < START - INT64_C(100000000000))
        w->now = START;
    int64_t now = w->now;
    if (w->stale && one_in(3))
        now -= below(one_in(8) ? 12000 : one_in(2) ? 1500 : 200);
    return w->other != 0 && one_in(3) ? now + w->other : now;
}

static void make_weather(struct weather *w, bool forgets)
{
    *w = (struct weather){.now = START + below(1000000000), .step = pick(((int64_t[]){3, 100, 2000, 20000}))};
    w->stale = !forgets && one_in(2);
    w->jumps = !forgets && one_in(3);
    w->other = !forgets && one_in(4) ? pick(((int64_t[]){-70000, 70000, -5000, 3000})) : 0;
    w->changes = one_in(2);
    w->plain = one_in(4);
    for (int i = 0; i < LIMITS; i++) {
        w->windows[i] = any_window();
        w->max[i] = any_max();
        w->hold[i] = !w->plain && one_in(4) ? 1 + below(w->windows[i] * 2) : 0;
        w->units[i] = one_in(3) ? COUNT_UNIT_BYTES : COUNT_UNIT_RECIPIENTS;
        w->hard[i] = one_in(2);
    }
}

/* The policy changes. */
static void change_weather(struct weather *w)
{
    if (!w->changes || !one_in(25))
        return;
    int i = (int)below(LIMITS);
    switch (below(4)) {
    case 0:
        w->windows[i] = any_window();
        break;
    case 1:
        w->max[i] = any_max();
        break;
    case 2:
        w->units[i] = one_in(2) ? COUNT_UNIT_MESSAGES : COUNT_UNIT_RECIPIENTS;
        w->now += 1; /* counters are told apart by the millisecond */
        break;
    default:
        w->hard[i] = !w->hard[i];
    }
}

static void make_ask(struct round *round, const struct weather *w, struct op *op, size_t i)
{
    int key = (int)below(KEYS), limit = (int)below(LIMITS);
    int64_t amount = w->plain ? 1 : one_in(8) ? 0 : one_in(10) ? below(w->max[limit] / 2 + 2) : 1 + below(2);
    struct count_ask *ask = &op->asks[i];
    *ask = (struct count_ask){.key = round->keys[key],
                              .limit = limits[limit],
                              .unit = w->units[limit],
                              .max = w->max[limit],
                              .window_ms = w->windows[limit],
                              .amount = amount,
                              .need = w->plain || one_in(2) ? amount : amount + below(3),
                              .hold_ms = w->hold[limit],
                              .headroom = !w->plain && one_in(8) ? below(4) : 0,
                              .ttl_ms = round->forgets ? 1 : FOREVER_DAYS * INT64_C(86400000),
                              .flags = w->hard[limit] ? COUNT_HARD : 0,
                              .share_of = -1};
    if (!w->plain && one_in(10))
        ask->flags |= COUNT_ATTEMPT;
    if (!w->plain && one_in(15))
        ask->flags |= COUNT_SHADOW;
    if (!w->plain && one_in(20))
        ask->flags |= COUNT_HOLD_ONLY;
    if (i > 0 && !w->plain && one_in(4)) {
        ask->share_of = (int)below((int64_t)i);
        ask->share_above = below(5);
    }
    if ((op->spills >> key & 1) != 0) {
        ask->overflow = round->keys[KEYS + key];
        ask->new_key = round->new_key;
        ask->new_max = below(3);
    }
}

static void make_asks(struct round *round, const struct weather *w, struct op *op)
{
    op->n = 1 + (size_t)below(ASKS);
    /* In memory a counter of new keys may be forgotten or not where the clock goes back by more than its two minutes. */
    op->spills = redis.client == NULL && (w->jumps || w->other != 0) ? 0 : (unsigned)below(4);
    for (size_t i = 0; i < op->n; i++)
        make_ask(round, w, op, i);
}

/* A refund, a settle, or anything. */
static void make_change(const struct round *round, struct op *op)
{
    for (int tries = 0; tries < 20; tries++) {
        op->of = (size_t)below((int64_t)round->n);
        if (round->ops[op->of].verb == RESERVE)
            break;
    }
    const struct op *of = &round->ops[op->of];
    if (of->verb != RESERVE) {
        op->verb = SHOW;
        return;
    }
    int64_t amount = of->asks[0].amount;
    bool open = (of->asks[0].flags & COUNT_HARD) != 0;
    op->amount = one_in(3) ? -amount : one_in(3) ? below(9) - 4 : one_in(2) ? 0 : below(1000);
    op->open = one_in(8) ? below(5) - 2 : open ? -amount : 0;
    if (one_in(5))
        op->age = 1 + below(of->asks[0].window_ms * 2);
    if (one_in(3)) {
        op->late = amount + op->amount;
        op->late = op->late > 0 ? op->late : 0;
    }
    op->max = 1 + below(10);
    if (op->verb == SETTLE)
        op->check = one_in(2) ? COUNT_CHECK_FULL : COUNT_CHECK_FIT;
}

/* The same of other keys: what is one key stays one, what are two stay two. */
static void exchange_keys(struct round *round, struct op *op)
{
    int to[KEYS];
    for (int i = 0; i < KEYS; i++) {
        int other = (int)below(i + 1);
        to[i] = to[other];
        to[other] = i;
    }
    for (size_t i = 0; i < op->n; i++) {
        struct count_ask *ask = &op->asks[i];
        int key = 0;
        while (ask->key != round->keys[key])
            key++;
        ask->key = round->keys[to[key]];
        if (ask->overflow != NULL)
            ask->overflow = round->keys[KEYS + to[key]];
    }
}

/* Only what is plain comes together: each ask charges 1 of a counter of its own. */
static void make_plain(struct op *op)
{
    for (size_t i = 0; i < op->n; i++) {
        struct count_ask *ask = &op->asks[i];
        ask->amount = ask->need = 1;
        ask->flags &= ~(unsigned)COUNT_HOLD_ONLY;
        if (ask->max > 1000000)
            ask->max = 1000000;
        for (size_t k = 0; k < i; k++)
            if (op->asks[k].key == ask->key && op->asks[k].limit == ask->limit)
                op->n = i;
    }
}

/* Others who come with the last one. */
static void make_group(struct round *round)
{
    struct op *first = &round->ops[round->n - 1];
    int64_t more = 1 + below(one_in(12) ? 40 : 4);
    make_plain(first);
    first->group = (unsigned)round->n;
    for (; more > 0 && round->n < OPS; more--) {
        struct op *op = &round->ops[round->n++];
        *op = *first;
        if (one_in(2))
            exchange_keys(round, op);
    }
}

static void make_op(struct round *round, struct weather *w)
{
    static const enum verb verbs[] = {RESERVE, RESERVE, RESERVE, RESERVE, RESERVE, RESERVE, PEEK,
                                      CHARGE,  CHANGE,  CHANGE,  CHANGE,  SETTLE,  SHOW,    RESET};
    struct op *op = &round->ops[round->n];
    change_weather(w);
    *op = (struct op){
        .verb = pick(verbs), .now = clock_of(w), .key = (int)below(2 * KEYS), .limit = (int)below(LIMITS)};
    if (op->verb == RESET && !one_in(3))
        op->verb = RESERVE;
    if (op->verb == CHANGE || op->verb == SETTLE)
        make_change(round, op);
    if (op->verb <= CHARGE)
        make_asks(round, w, op);
    round->n++;
    if (op->verb == RESERVE && one_in(6))
        make_group(round);
}

static void make_round(struct round *round, bool forgets)
{
    struct weather w;
    *round = (struct round){.forgets = forgets};
    make_weather(&w, forgets);
    while (round->n < OPS)
        make_op(round, &w);
}

/* Keys of their own, so that what another round left does not matter. */
static void name_keys(struct round *round)
{
    static unsigned long number;
    number++;
    for (int i = 0; i < 2 * KEYS; i++)
        snprintf(round->keys[i], sizeof round->keys[i], "k%lu:{%c}", number, 'a' + i);
    snprintf(round->new_key, sizeof round->new_key, "new:{%lu}", number);
}

/* ---- a round is run ---- */

struct run {
    const struct round *round;
    struct limiter_model *model;
    struct counters *counters;
    struct count_answer receipts[OPS][ASKS];
    bool charged[OPS];
    size_t n_changes; /* of the last operation */
    bool print;       /* print each operation */
    int64_t printed_now;
    char why[256];
};

/* What is admitted in the short way does not say how much is taken. */
static bool same_answer(const struct count_answer *a, const struct count_answer *b, bool settle)
{
    bool refused = a->result != COUNT_ADMITTED;
    return a->result == b->result && a->used == b->used && a->wait_ms == b->wait_ms &&
           (a->taken == b->taken || !(refused || settle)) &&
           (settle || (a->hard == b->hard && a->hard_ms == b->hard_ms && a->slot == b->slot &&
                       a->created == b->created && a->overflowed == b->overflowed));
}

static void print_answer(const struct count_answer *a, bool settle)
{
    static const char *const results[] = {"unknown", "admitted", "over", "held"};
    printf("%s %" PRId64, results[a->result], a->used);
    if (a->wait_ms != 0)
        printf(" wait %" PRId64, a->wait_ms);
    printf("%s%s%s", a->result != COUNT_ADMITTED && !a->hard && !settle ? " soft" : "",
           a->overflowed ? " spilled" : "", a->slot >= 0 ? " charged" : "");
}

static void print_ask(const struct count_ask *ask, size_t op, size_t i)
{
    if (ask->overflow != NULL)
        printf("new %s %" PRId64 "\n", ask->new_key, ask->new_max);
    printf("ask o%zu%c key=%s limit=%s max=%" PRId64 " window=%" PRId64 " amount=%" PRId64 " need=%" PRId64,
           op, 'a' + (char)i, ask->key, ask->limit, ask->max, ask->window_ms, ask->amount, ask->need);
    if (ask->hold_ms > 0)
        printf(" hold=%" PRId64, ask->hold_ms);
    if (ask->headroom > 0)
        printf(" slack=%" PRId64, ask->headroom);
    if (ask->unit != COUNT_UNIT_RECIPIENTS)
        printf(" unit=%s", count_unit_name(ask->unit));
    if (ask->share_of >= 0)
        printf(" share=o%zu%c/%" PRId64, op, 'a' + (char)ask->share_of, ask->share_above);
    if (ask->overflow != NULL)
        printf(" spill=%s", ask->overflow);
    static const char *const names[] = {"attempt", "shadow", "look", "hard"};
    const char *before = " flags=";
    for (int bit = 0; bit < 4; bit++)
        if ((ask->flags >> bit & 1) != 0) {
            printf("%s%s", before, names[bit]);
            before = ",";
        }
    printf("\n");
}

static void print_op(struct run *run, size_t at, const struct count_answer *answers)
{
    const struct op *op = &run->round->ops[at];
    for (size_t i = 0; op->verb <= CHARGE && i < op->n; i++)
        print_ask(&op->asks[i], at, i);
    if (op->now != run->printed_now)
        printf("%c %" PRId64 "\n", op->now > run->printed_now ? '+' : '-',
               op->now > run->printed_now ? op->now - run->printed_now : run->printed_now - op->now);
    run->printed_now = op->now;
    printf("%s", verb_names[op->verb]);
    for (size_t i = 0; op->verb <= CHARGE && i < op->n; i++)
        printf(" o%zu%c", at, 'a' + (char)i);
    if (op->verb == RESERVE)
        printf(" as r%zu", at);
    if (op->verb == CHANGE || op->verb == SETTLE)
        printf(" r%zu %" PRId64 " %" PRId64, op->of, op->amount, op->open);
    if (op->late > 0)
        printf(" late=%" PRId64, op->late);
    if (op->age > 0)
        printf(" ago=%" PRId64, op->age);
    if (op->check != COUNT_CHECK_NOTHING)
        printf(" %s=%" PRId64, op->check == COUNT_CHECK_FULL ? "full" : "fit", op->max);
    if (op->verb == SHOW || op->verb == RESET)
        printf(" %s %s", run->round->keys[op->key], limits[op->limit]);
    size_t n = op->verb == SETTLE ? run->n_changes : op->verb <= PEEK ? op->n : 0;
    for (size_t i = 0; i < n; i++) {
        printf("%s", i > 0 ? "; " : " -> ");
        print_answer(&answers[i], op->verb == SETTLE);
    }
    printf("\n");
}

static bool compare(struct run *run, const struct count_answer *want, const struct count_answer *got,
                    size_t n, bool settle)
{
    for (size_t i = 0; i < n; i++)
        if (!same_answer(&want[i], &got[i], settle)) {
            snprintf(run->why, sizeof run->why,
                     "number %zu: result %d used %" PRId64 " taken %" PRId64 " wait %" PRId64
                     " hard %d %" PRId64 " slot %" PRId64 " created %" PRId64 " spilled %d",
                     i + 1, (int)got[i].result, got[i].used, got[i].taken, got[i].wait_ms, got[i].hard,
                     got[i].hard_ms, got[i].slot, got[i].created, got[i].overflowed);
            return false;
        }
    return true;
}

static bool run_request(struct run *run, size_t at)
{
    const struct op *op = &run->round->ops[at];
    const struct count_request request = {.asks = op->asks, .n = op->n};
    struct count_answer want[ASKS], got[ASKS];
    limiter_model_ask(run->model,
                      op->verb == PEEK     ? COUNTERS_PEEK
                      : op->verb == CHARGE ? COUNTERS_CHARGE
                                           : COUNTERS_RESERVE,
                      &request, op->now, want);
    if (run->print)
        print_op(run, at, want);
    if (op->verb == CHARGE)
        return counters_charge(run->counters, &request, op->now) == COUNTERS_OK;
    enum counters_status status =
        (op->verb == PEEK ? counters_peek : counters_reserve)(run->counters, &request, op->now, got);
    if (status != COUNTERS_OK)
        return false;
    memcpy(run->receipts[at], want, sizeof want);
    run->charged[at] = true;
    return compare(run, want, got, op->n, false);
}

struct asking {
    const struct op *op;
    struct count_answer want[ASKS], got[ASKS];
    enum counters_status status;
};

static void ask_one(void *arg)
{
    struct asking *asking = arg;
    const struct count_request request = {.asks = asking->op->asks, .n = asking->op->n};
    asking->status = counters_reserve(redis.counters, &request, asking->op->now, asking->got);
}

/* The operations from `at` to before `end`, at once. */
static bool run_group(struct run *run, size_t at, size_t end)
{
    static struct asking all[OPS];
    struct together together;
    bool same = true;
    together_begin(&together, redis.client, cli);
    for (size_t i = at; i < end; i++) {
        const struct op *op = &run->round->ops[i];
        if (op->gone)
            continue;
        all[i].op = op;
        limiter_model_ask(run->model, COUNTERS_RESERVE, &(struct count_request){.asks = op->asks, .n = op->n},
                          op->now, all[i].want);
        together_call(&together, ask_one, &all[i]);
        grouped++;
    }
    together_go(&together);
    for (size_t i = at; i < end && same; i++) {
        if (run->round->ops[i].gone)
            continue;
        if (run->print)
            print_op(run, i, all[i].want);
        memcpy(run->receipts[i], all[i].want, sizeof all[i].want);
        run->charged[i] = true;
        same = all[i].status == COUNTERS_OK && compare(run, all[i].want, all[i].got, all[i].op->n, false);
        operations++;
    }
    return same;
}

/* Where the group of an operation ends; behind itself where it comes alone. */
static size_t group_end(const struct round *round, size_t at)
{
    size_t end = at + 1;
    while (redis.client != NULL && round->ops[at].group != 0 && end < round->n &&
           round->ops[end].group == round->ops[at].group)
        end++;
    return end;
}

static bool is_again(const struct op *of, const struct run *run, size_t op, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (of->asks[k].key == of->asks[i].key && strcmp(of->asks[k].limit, of->asks[i].limit) == 0 &&
            run->receipts[op][k].overflowed == run->receipts[op][i].overflowed)
            return true;
    return false;
}

/* A charge that was never made is never changed. One change of a counter at a time: of two that the script makes in one call, and of which
 * the first empties a slot that is ahead of the clock, the second still finds it. */
static size_t changes_of(const struct run *run, const struct op *op, struct count_change *changes)
{
    const struct op *of = &run->round->ops[op->of];
    size_t n = 0;
    for (size_t i = 0; i < of->n; i++) {
        const struct count_ask *ask = &of->asks[i];
        const struct count_answer *answer = &run->receipts[op->of][i];
        if (answer->slot < 0 || is_again(of, run, op->of, i))
            continue;
        changes[n++] = (struct count_change){.key = answer->overflowed ? ask->overflow : ask->key,
                                             .limit = ask->limit,
                                             .unit = ask->unit,
                                             .window_ms = ask->window_ms,
                                             .slot = op->age > 0 ? -1 : answer->slot,
                                             .created = op->age > 0 ? INT64_MAX : answer->created,
                                             .amount = op->amount,
                                             .open = op->open,
                                             .here = -1,
                                             .at_ms = op->age > 0 ? op->now - op->age : 0,
                                             .late = op->late,
                                             .max = op->max,
                                             .ttl_ms = FOREVER_DAYS * INT64_C(86400000),
                                             .check = op->check};
    }
    return n;
}

static bool run_change(struct run *run, size_t at)
{
    const struct op *op = &run->round->ops[at];
    struct count_change changes[ASKS];
    struct count_answer want[ASKS], got[ASKS];
    if (!run->charged[op->of])
        return true;
    size_t n = run->n_changes = changes_of(run, op, changes);
    if (op->verb == CHANGE) {
        limiter_model_change(run->model, changes, n, op->now);
        if (run->print)
            print_op(run, at, NULL);
        return counters_change(run->counters, changes, n, op->now) == COUNTERS_OK;
    }
    limiter_model_settle(run->model, changes, n, op->now, want);
    if (run->print)
        print_op(run, at, want);
    return counters_settle(run->counters, changes, n, op->now, 0, got) == COUNTERS_OK &&
           compare(run, want, got, n, true);
}

struct seen {
    const char *limit;
    struct count_view view;
    bool there;
};

static void see(void *arg, const struct count_view *view)
{
    struct seen *seen = arg;
    if (strcmp(view->limit, seen->limit) != 0)
        return;
    seen->view = *view;
    seen->there = true;
}

static bool same_view(const struct count_view *a, const struct count_view *b)
{
    return a->unit == b->unit && a->used == b->used && a->max == b->max && a->window_ms == b->window_ms &&
           a->refused == b->refused && a->held_ms == b->held_ms && a->reset_ms == b->reset_ms;
}

static void describe(char *to, size_t size, bool there, const struct count_view *v)
{
    if (!there)
        snprintf(to, size, "nothing");
    else
        snprintf(
            to, size,
            "%" PRId64 "/%" PRId64 " of %" PRId64 " %s refused=%" PRId64 " held=%" PRId64 " rest=%" PRId64,
            v->used, v->max, v->window_ms, count_unit_name(v->unit), v->refused, v->held_ms, v->reset_ms);
}

static bool run_show(struct run *run, const char *key, const char *limit, int64_t now)
{
    struct seen seen = {.limit = limit};
    struct count_view want;
    const char *const keys[] = {key};
    bool there = limiter_model_show(run->model, key, limit, now, &want);
    if (counters_show(run->counters, keys, 1, now, see, &seen) != COUNTERS_OK)
        return false;
    if (there == seen.there && (!there || same_view(&want, &seen.view)))
        return true;
    char wanted[100], got[100];
    describe(wanted, sizeof wanted, there, &want);
    describe(got, sizeof got, seen.there, &seen.view);
    snprintf(run->why, sizeof run->why, "%s %s is %s, not %s", key, limit, got, wanted);
    return false;
}

static bool run_reset(struct run *run, size_t at)
{
    const struct op *op = &run->round->ops[at];
    const char *const keys[] = {run->round->keys[op->key]};
    size_t n = 0, want = limiter_model_reset(run->model, keys[0], limits[op->limit], op->now);
    if (run->print)
        print_op(run, at, NULL);
    if (counters_reset(run->counters, keys, 1, limits[op->limit], &n) != COUNTERS_OK)
        return false;
    snprintf(run->why, sizeof run->why, "%zu were reset, not %zu", n, want);
    return n == want || run->round->forgets; /* what has ended may still be there */
}

static bool run_op(struct run *run, size_t at)
{
    const struct op *op = &run->round->ops[at];
    operations++;
    switch (op->verb) {
    case RESERVE:
    case PEEK:
    case CHARGE:
        return run_request(run, at);
    case CHANGE:
    case SETTLE:
        return run_change(run, at);
    case RESET:
        return run_reset(run, at);
    default:
        if (run->print)
            print_op(run, at, NULL);
        return run_show(run, run->round->keys[op->key], limits[op->limit], op->now);
    }
}

/* All that is there in the end. */
static bool run_last(struct run *run, int64_t now)
{
    for (int k = 0; k < 2 * KEYS; k++)
        for (int i = 0; i < LIMITS; i++)
            if (!run_show(run, run->round->keys[k], limits[i], now))
                return false;
    return true;
}

/* False: the store says, or holds, something else than the model. */
static bool run_round(struct round *round, bool print)
{
    static struct run run;
    name_keys(round);
    run = (struct run){
        .round = round, .print = print, .printed_now = START, .model = limiter_model_new(round->forgets)};
    run.counters = redis.client != NULL ? redis.counters : counters_memory_new(1000);
    bool same = run.counters != NULL;
    for (size_t i = 0, end; same && i < round->n; i = end) {
        end = group_end(round, i);
        if (end > i + 1)
            same = run_group(&run, i, end);
        else if (!round->ops[i].gone)
            same = run_op(&run, i);
    }
    same = same && run_last(&run, round->ops[round->n - 1].now);
    if (print)
        printf("%s\n", same ? "the same" : run.why);
    limiter_model_free(run.model);
    if (redis.client == NULL)
        counters_free(run.counters);
    return same;
}

/* Leaves out what the failure does not need, and prints the rest. */
static void shrink(struct round *round, uint64_t seed)
{
    for (size_t some = OPS / 2; some > 0; some /= 2)
        for (size_t i = 0; i + some <= round->n; i += some) {
            bool were[OPS];
            for (size_t k = 0; k < some; k++) {
                were[k] = round->ops[i + k].gone;
                round->ops[i + k].gone = true;
            }
            for (size_t k = 0; run_round(round, false) && k < some; k++)
                round->ops[i + k].gone = were[k];
        }
    printf("--seed %" PRIu64 "\ntest otherwise\n", seed);
    (void)run_round(round, true);
}

/* ---- window.c by itself ---- */

struct plain_window { /* slots by their number, from `first` on */
    int64_t width, now, first, have[WINDOW_SLOTS], open[WINDOW_SLOTS];
};

static void plain_move(struct plain_window *plain)
{
    for (int64_t oldest = plain->now * 10 / plain->width - 10; plain->first < oldest; plain->first++) {
        if (oldest - plain->first > WINDOW_SLOTS)
            plain->first = oldest - WINDOW_SLOTS;
        for (int i = 0; i + 1 < WINDOW_SLOTS; i++) {
            plain->have[i] = plain->have[i + 1];
            plain->open[i] = plain->open[i + 1];
        }
        plain->have[WINDOW_SLOTS - 1] = plain->open[WINDOW_SLOTS - 1] = 0;
    }
}

static void plain_add(struct plain_window *plain, int64_t at, int64_t amount, int64_t open)
{
    plain->have[at] = plain->have[at] + amount > 0 ? plain->have[at] + amount : 0;
    plain->open[at] = plain->open[at] + open > 0 ? plain->open[at] + open : 0;
    plain->open[at] = plain->open[at] < plain->have[at] ? plain->open[at] : plain->have[at];
}

/* Until no more than max of it is left; taken: what is not open alone. *all: what is there. */
static int64_t plain_wait(const struct plain_window *plain, int64_t max, bool taken, int64_t *all)
{
    int64_t left = 0, wait = 0;
    for (int i = 0; i < WINDOW_SLOTS; i++)
        left += plain->have[i] - (taken ? plain->open[i] : 0);
    *all = left;
    for (int i = 0; left > max; i++) {
        left -= plain->have[i] - (taken ? plain->open[i] : 0);
        wait = ((plain->first + i + WINDOW_SLOTS) * plain->width + 9) / 10 - plain->now;
    }
    return wait;
}

static bool window_step(struct window *window, struct plain_window *plain)
{
    int64_t amount = below(5), open = below(amount + 1), at = below(WINDOW_SLOTS), max = below(12), used,
            taken;
    plain->now += one_in(3) ? 0 : one_in(10) ? below(2 * plain->width) : below(plain->width / 5);
    window_move(window, plain->width, plain->now);
    plain_move(plain);
    if (one_in(2)) {
        window_add(window, amount, open);
        plain_add(plain, WINDOW_SLOTS - 1, amount, open);
    } else {
        (void)window_change(window, plain->first + at, plain->width, 2 - amount, 1 - open);
        plain_add(plain, at, 2 - amount, 1 - open);
    }
    int64_t wait = plain_wait(plain, max, false, &used), hard = plain_wait(plain, max, true, &taken);
    return window_used(window) == used && window_taken(window) == taken &&
           window_wait(window, plain->now, max, 0) == wait &&
           window_hard_wait(window, plain->now, max, 0) == hard;
}

static bool window_round(void)
{
    struct window window = {0};
    struct plain_window plain = {.width = any_window(), .now = START + below(100000)};
    bool same = true;
    for (int i = 0; i < OPS && same; i++, operations++)
        same = window_step(&window, &plain);
    return same;
}

/* ---- all ---- */

/* How many of the grouped operations were no call of their own, as far as the server knows. False: hardly any. */
static bool came_together(void)
{
    redisReply *reply = redisCommand(cli, "INFO commandstats");
    const char *at =
        reply != NULL && reply->str != NULL ? strstr(reply->str, "cmdstat_evalsha:calls=") : NULL;
    uint64_t calls = at != NULL ? strtoull(at + strlen("cmdstat_evalsha:calls="), NULL, 10) : 0;
    freeReplyObject(reply);
    printf("limiter: %" PRIu64 " operations in groups, %" PRIu64 " calls of the script\n", grouped, calls);
    return calls + grouped / 2 < operations;
}

static int usage(void)
{
    fprintf(stderr, "usage: limiter [--seed N] [--keep-going] [--as-found] memory|redis|window OPERATIONS\n");
    return 64;
}

/* Rounds until there were as many operations; how many of them went otherwise. */
static int rounds(const char *what, uint64_t most, uint64_t seed, bool keep_going, bool as_found)
{
    static struct round round;
    int failed = 0;
    for (uint64_t number = seed; operations < most && (failed == 0 || keep_going); number++) {
        chance_begin(number);
        if (strcmp(what, "window") == 0) {
            bool same = window_round();
            failed += !same;
            if (!same)
                printf("--seed %" PRIu64 ": window.c says something else\n", number);
            continue;
        }
        make_round(&round, redis.client == NULL && one_in(4));
        uint64_t before = operations;
        if (run_round(&round, false))
            continue;
        failed++;
        if (!as_found)
            shrink(&round, number);
        operations = before;
    }
    return failed;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    bool keep_going = false, as_found = false;
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++)
        if (strcmp(argv[at], "--seed") == 0 && at + 1 < argc)
            seed = strtoull(argv[++at], NULL, 10);
        else if (strcmp(argv[at], "--keep-going") == 0)
            keep_going = true;
        else if (strcmp(argv[at], "--as-found") == 0)
            as_found = true;
        else
            return usage();
    if (argc - at != 2 || strspn(argv[at + 1], "0123456789") != strlen(argv[at + 1]))
        return usage();
    const char *what = argv[at];
    if (strcmp(what, "memory") != 0 && strcmp(what, "redis") != 0 && strcmp(what, "window") != 0)
        return usage();
    if (strcmp(what, "redis") == 0) {
        redis_store_start(&redis);
        cli = server_connect(&redis.server);
    }
    int failed = rounds(what, strtoull(argv[at + 1], NULL, 10), seed, keep_going, as_found);
    printf("limiter: %s, %" PRIu64 " operations, %d rounds otherwise\n", what, operations, failed);
    if (cli != NULL) {
        failed += !came_together();
        redisFree(cli);
        redis_store_stop(&redis);
    }
    return failed > 0;
}
