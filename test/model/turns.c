/* turns: a limit that is turned from soft to hard and back at random, at each gate by itself, beside open messages and leases; and the books
 * of what really became of each charge. A hard answer must stand on messages that have ended, nobody admits more than max, nothing that was
 * given back stays, and once all is hard for longer than a window the store knows to the last what is taken.
 *
 * usage: turns [--seed N] memory|redis|failover OPERATIONS
 *
 * failover: each gate stands on a store of its own beside one that fails, loses answers and restarts empty; then only hard answers are looked at,
 * as a fault may miscount, and threads of their own have a hand in it: a seed is no proof there.
 *
 * What is otherwise is printed, with the operations before it. Exit 1 then. */
#include "redis_store.h"
#include "counters/window.h"
#include "store.h"

#include "chance.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#define START INT64_C(1732320000000)

enum { GATES = 3, OPS = 400, WINDOW = 10000 };

enum fate { OPEN, TAKEN, GONE, LEASED };

struct charge {
    int64_t at, amount;
    size_t gate;
    struct count_change receipt; /* amount and open are to be set */
    bool hard;
    enum fate fate;
};

struct waiting { /* a change that the store did not take */
    size_t gate;
    struct count_change change;
};

struct world {
    struct counters *stores[GATES]; /* one and the same, but for failover */
    char key[32];
    int64_t now, max, soft_at; /* the last soft charge */
    bool hard[GATES];
    struct charge charges[OPS];
    size_t n, n_waiting;
    struct waiting waiting[2 * OPS];
    char *story;
    size_t length;
};

enum { STORY = 64 * OPS };

static struct redis_store redis;
static bool fails; /* failover */
static uint64_t operations;

static void __attribute__((format(printf, 2, 3))) note(struct world *world, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(world->story + world->length, STORY - world->length, format, list);
    va_end(list);
    if (n > 0 && world->length + (size_t)n < STORY)
        world->length += (size_t)n;
}

/* ---- a store that fails ---- */

static struct {
    struct counters *inner;
    atomic_int status; /* what it answers instead, after doing it where that is COUNTERS_UNSURE */
    atomic_uint restarts;
    _Atomic int64_t now;
} other;

struct remote_of { /* one gate's */
    struct counters counters;
    int64_t sequence;
};

static enum counters_status other_status(void)
{
    return (enum counters_status)atomic_load(&other.status);
}

static enum counters_status other_ask(struct counters *counters, enum counters_mode mode,
                                      const struct count_request *request, int64_t now_ms,
                                      struct count_answer *answers)
{
    (void)counters;
    enum counters_status status = other_status();
    if (status != COUNTERS_DOWN)
        (void)other.inner->ops->ask(other.inner, mode, request, now_ms, answers);
    if (status != COUNTERS_OK && answers != NULL)
        memset(answers, 0, request->n * sizeof *answers);
    return status;
}

static enum counters_status other_change(struct counters *counters, struct count_change *changes, size_t n,
                                         int64_t now_ms)
{
    (void)counters;
    enum counters_status status = other_status();
    return status == COUNTERS_DOWN ? status : counters_change(other.inner, changes, n, now_ms);
}

static enum counters_status other_sync(struct counters *counters, const struct count_change *changes,
                                       size_t n, int64_t now_ms, int64_t sequence)
{
    struct remote_of *remote = (struct remote_of *)counters;
    enum counters_status status = other_status();
    if (status == COUNTERS_DOWN)
        return status;
    for (size_t i = 0; i < n && sequence > remote->sequence; i++) {
        struct count_change change = changes[i];
        (void)counters_change(other.inner, &change, 1, now_ms);
    }
    remote->sequence = sequence > remote->sequence ? sequence : remote->sequence;
    return status;
}

static enum counters_status other_deferred(struct counters *counters, struct count_deferral *deferrals,
                                           size_t n, int64_t now_ms)
{
    (void)counters;
    return other_status() == COUNTERS_DOWN ? COUNTERS_DOWN
                                           : counters_deferred(other.inner, deferrals, n, now_ms);
}

static bool other_up(struct counters *counters, unsigned site, unsigned *restarts)
{
    (void)counters;
    (void)site;
    *restarts = atomic_load(&other.restarts);
    return other_status() != COUNTERS_DOWN;
}

static void other_free(struct counters *counters)
{
    free(counters);
}

static const struct counters_ops other_ops = {.ask = other_ask,
                                              .change = other_change,
                                              .sync = other_sync,
                                              .deferred = other_deferred,
                                              .up = other_up,
                                              .free = other_free};

static int64_t other_now(void *arg)
{
    (void)arg;
    return atomic_load(&other.now);
}

static struct counters *gate_store(void)
{
    struct error err = {0};
    struct remote_of *remote = calloc(1, sizeof *remote);
    if (remote == NULL)
        abort();
    remote->counters.ops = &other_ops;
    return failover_new(&remote->counters, counters_memory_new(100), other_now, NULL, &err);
}

/* ---- the books ---- */

static bool is_in_window(const struct world *world, int64_t at)
{
    return window_slot(WINDOW, world->now) - window_slot(WINDOW, at) <= 10;
}

/* What is counted in the window: all that was not given back, or what of it is taken. */
static int64_t counted(const struct world *world, bool taken)
{
    int64_t sum = 0;
    for (size_t i = 0; i < world->n; i++)
        if (is_in_window(world, world->charges[i].at) && world->charges[i].fate != GONE &&
            (!taken || world->charges[i].fate == TAKEN))
            sum += world->charges[i].amount;
    return sum;
}

static bool otherwise(struct world *world, const char *why, int64_t got, int64_t want)
{
    note(world, "%s: %" PRId64 ", not %" PRId64 "\n", why, got, want);
    return false;
}

static bool check(struct world *world, const struct count_ask *ask, const struct count_answer *answer)
{
    int64_t used = counted(world, false), taken = counted(world, true);
    bool hard = (ask->flags & COUNT_HARD) != 0, fits = used + ask->need <= world->max;
    bool proved = answer->hard && (!answer->local || answer->taken >= world->max); /* as judge() has it */
    if (fails && hard && answer->result == COUNT_OVER && proved && taken + ask->need <= world->max)
        return otherwise(world, answer->local ? "a hard answer here; taken" : "a hard answer; taken",
                         answer->taken, taken);
    if (fails)
        return true;
    if (answer->used != used)
        return otherwise(world, "used", answer->used, used);
    if (fits != (answer->result == COUNT_ADMITTED))
        return otherwise(world, "result", (int64_t)answer->result, fits ? COUNT_ADMITTED : COUNT_OVER);
    if (fits || !hard)
        return true;
    if (answer->hard && taken + ask->need <= world->max)
        return otherwise(world, "a hard answer; taken", answer->taken, taken);
    if (!is_in_window(world, world->soft_at) && answer->taken != taken)
        return otherwise(world, "it was hard for a window; taken", answer->taken, taken);
    return true;
}

/* ---- what happens ---- */

static struct charge *charge_new(struct world *world, size_t gate, int64_t amount,
                                 const struct count_answer *answer, enum fate fate, bool hard)
{
    struct charge *charge = &world->charges[world->n++];
    *charge = (struct charge){.at = world->now,
                              .amount = amount,
                              .gate = gate,
                              .receipt = {.key = world->key,
                                          .limit = "l",
                                          .window_ms = WINDOW,
                                          .slot = answer->slot,
                                          .created = answer->created,
                                          .here = answer->here,
                                          .unsynced = answer->unsynced},
                              .fate = fate,
                              .hard = hard};
    if (!hard)
        world->soft_at = world->now;
    return charge;
}

static struct count_ask ask_of(const struct world *world, bool hard, int64_t amount)
{
    return (struct count_ask){.key = world->key,
                              .limit = "l",
                              .max = world->max,
                              .window_ms = WINDOW,
                              .amount = amount,
                              .need = amount,
                              .ttl_ms = INT64_C(86400000),
                              .flags = hard ? COUNT_HARD : 0,
                              .share_of = -1};
}

static bool rcpt(struct world *world)
{
    size_t gate = (size_t)below(GATES);
    struct count_ask ask = ask_of(world, world->hard[gate], one_in(5) ? 1 + below(3) : 1);
    const struct count_request request = {.asks = &ask, .n = 1, .local = fails ? &ask : NULL};
    struct count_answer answer;
    bool peek = one_in(10);
    enum counters_status status =
        (peek ? counters_peek : counters_reserve)(world->stores[gate], &request, world->now, &answer);
    note(world, "%s%s %" PRId64 " at %zu: %d%s used %" PRId64 " taken %" PRId64 "\n", peek ? "peek " : "",
         world->hard[gate] ? "hard" : "soft", ask.amount, gate, (int)answer.result,
         answer.local ? " here" : "", answer.used, answer.taken);
    if (status != COUNTERS_OK && !fails)
        return otherwise(world, "status", (int64_t)status, 0);
    bool good = check(world, &ask, &answer);
    if (!peek && answer.result == COUNT_ADMITTED)
        (void)charge_new(world, gate, ask.amount, &answer, OPEN, world->hard[gate]);
    return good;
}

/* As the gate's refunds do it. */
static bool change(struct world *world, const struct charge *charge, int64_t amount, int64_t open)
{
    struct waiting *waiting = &world->waiting[world->n_waiting];
    struct counters *store = world->stores[charge->gate];
    *waiting = (struct waiting){.gate = charge->gate, .change = charge->receipt};
    waiting->change.amount = amount;
    waiting->change.open = open;
    if (waiting->change.slot >= 0)
        waiting->change.at_ms = world->now;
    if (fails)
        counters_change_here(store, &waiting->change, world->now);
    if (!store_is_synced(&waiting->change) &&
        counters_change(store, &waiting->change, 1, world->now) == COUNTERS_DOWN)
        world->n_waiting++;
    return fails || world->n_waiting == 0;
}

static void change_waiting(struct world *world)
{
    size_t kept = 0;
    for (size_t i = 0; i < world->n_waiting; i++)
        if (counters_change(world->stores[world->waiting[i].gate], &world->waiting[i].change, 1,
                            world->now) == COUNTERS_DOWN)
            world->waiting[kept++] = world->waiting[i];
    world->n_waiting = kept;
}

static struct charge *any(struct world *world, enum fate fate)
{
    for (int tries = 0; tries < 20 && world->n > 0; tries++) {
        struct charge *charge = &world->charges[below((int64_t)world->n)];
        if (charge->fate == fate)
            return charge;
    }
    return NULL;
}

/* A message ends, or is given up. Nobody tells of the end of a soft one. */
static bool message(struct world *world)
{
    struct charge *charge = any(world, OPEN);
    if (charge == NULL)
        return true;
    bool ends = !one_in(3);
    note(world, "%s %zu\n", ends ? "end" : "abort", (size_t)(charge - world->charges));
    charge->fate = ends ? TAKEN : GONE;
    return ends && !charge->hard ? true : change(world, charge, ends ? 0 : -charge->amount, -charge->amount);
}

/* A soft gate leases units, and gives some back with that. */
static bool lease(struct world *world)
{
    const struct count_ask ask = ask_of(world, false, 1);
    struct charge *back = any(world, LEASED);
    struct lease_rest rest = {0};
    struct lease_grant grant;
    if (world->stores[0]->ops->lease == NULL)
        return true;
    if (back != NULL && is_in_window(world, back->at)) {
        rest = (struct lease_rest){
            .units = back->amount, .slot = back->receipt.slot, .created = back->receipt.created};
        back->fate = GONE;
    }
    if (world->stores[0]->ops->lease(world->stores[0], &ask, 2 + below(6), &rest, world->now, 0, &grant) !=
        COUNTERS_OK)
        return otherwise(world, "status", 0, 0);
    note(world, "lease %" PRId64 ", back %" PRId64 "\n", grant.units, rest.units);
    const struct count_answer answer = {.slot = grant.slot, .created = grant.created, .here = -1};
    if (grant.units > 0)
        (void)charge_new(world, 0, grant.units, &answer, LEASED, false);
    return true;
}

/* A leased unit is a message's, or all are given back. */
static bool leased(struct world *world)
{
    struct charge *charge = any(world, LEASED);
    if (charge == NULL)
        return true;
    if (one_in(3)) {
        note(world, "back %" PRId64 "\n", charge->amount);
        charge->fate = GONE;
        return change(world, charge, -charge->amount, -charge->amount);
    }
    note(world, "used one\n");
    const struct count_answer answer = {
        .slot = charge->receipt.slot, .created = charge->receipt.created, .here = -1};
    struct charge *one = charge_new(world, 0, 1, &answer, OPEN, false);
    one->at = charge->at;
    if (--charge->amount == 0)
        charge->fate = GONE;
    return true;
}

static bool reload(struct world *world)
{
    bool hard = one_in(2), all = one_in(2);
    for (size_t gate = 0; gate < GATES; gate++)
        if (all || one_in(GATES))
            world->hard[gate] = hard;
    note(world, "reload: %d %d %d\n", world->hard[0], world->hard[1], world->hard[2]);
    return true;
}

/* The store goes, loses answers, restarts empty, or is back; sometimes until all gates ask it again. */
static bool fault(struct world *world)
{
    static const enum counters_status statuses[] = {COUNTERS_OK, COUNTERS_OK, COUNTERS_UNSURE, COUNTERS_DOWN};
    static const char *const keys[] = {"*"};
    enum counters_status status = statuses[below(4)];
    const struct count_ask ask = {
        .key = "nobody", .limit = "l", .max = 1, .window_ms = WINDOW, .share_of = -1};
    struct count_answer answer;
    size_t n;
    atomic_store(&other.status, (int)status);
    if (status == COUNTERS_OK && one_in(4)) {
        (void)counters_reset(other.inner, keys, 1, NULL, &n);
        atomic_fetch_add(&other.restarts, 1);
    }
    note(world, "the store: %d, %u restarts\n", (int)status, atomic_load(&other.restarts));
    for (size_t gate = 0; status == COUNTERS_OK && gate < GATES && !one_in(3); gate++)
        for (int tries = 0; tries < 200; tries++) {
            if (counters_peek(world->stores[gate], &(struct count_request){.asks = &ask, .n = 1}, world->now,
                              &answer) == COUNTERS_OK)
                break;
            (void)usleep(1000);
        }
    return true;
}

static bool step(struct world *world)
{
    operations++;
    if (world->n_waiting > 0 && !one_in(3))
        change_waiting(world);
    if (!one_in(3)) {
        int64_t on = one_in(100) ? below(2 * WINDOW) : below(WINDOW / 30);
        world->now += on;
        atomic_store(&other.now, world->now);
        note(world, "+ %" PRId64 "\n", on);
    }
    switch (below(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        return message(world);
    case 4:
        return lease(world);
    case 5:
        return leased(world);
    case 6:
        return one_in(4) ? reload(world) : fails && one_in(3) ? fault(world) : true;
    default:
        return rcpt(world);
    }
}

/* Of the failure: what was told. */
static bool world_run(void)
{
    static struct world world;
    static char story[STORY];
    static unsigned long number;
    world =
        (struct world){.now = START + below(1000000), .max = 1 + below(one_in(2) ? 8 : 60), .story = story};
    snprintf(world.key, sizeof world.key, "t%lu:{k}", number++);
    atomic_store(&other.now, world.now);
    atomic_store(&other.status, COUNTERS_OK);
    if (redis.client == NULL)
        other.inner = counters_memory_new(100);
    bool good = redis.client != NULL || other.inner != NULL;
    for (size_t gate = 0; gate < GATES && good; gate++) {
        world.stores[gate] = redis.client != NULL ? redis.counters : fails ? gate_store() : other.inner;
        good = world.stores[gate] != NULL;
    }
    (void)reload(&world);
    note(&world, "max %" PRId64 "\n", world.max);
    while (good && world.n < OPS - 1 && !one_in(1000))
        good = step(&world);
    if (!good)
        puts(story);
    for (size_t gate = 0; fails && gate < GATES; gate++)
        counters_free(world.stores[gate]);
    if (redis.client == NULL)
        counters_free(other.inner);
    return good;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    int at = 1;
    if (argc > 3 && strcmp(argv[1], "--seed") == 0) {
        seed = strtoull(argv[2], NULL, 10);
        at = 3;
    }
    fails = argc - at == 2 && strcmp(argv[at], "failover") == 0;
    if (argc - at != 2 || (strcmp(argv[at], "memory") != 0 && strcmp(argv[at], "redis") != 0 && !fails)) {
        fprintf(stderr, "usage: turns [--seed N] memory|redis|failover OPERATIONS\n");
        return 64;
    }
    if (strcmp(argv[at], "redis") == 0)
        redis_store_start(&redis);
    const uint64_t most = strtoull(argv[at + 1], NULL, 10);
    bool good = true;
    for (; good && operations < most; seed++) {
        chance_begin(seed);
        good = world_run();
    }
    printf("turns: %s, %" PRIu64 " operations%s", argv[at], operations, good ? "\n" : "");
    if (!good)
        printf(", otherwise: --seed %" PRIu64 "\n", seed - 1);
    if (redis.client != NULL)
        redis_store_stop(&redis);
    return !good;
}
