/* turns: a limit that is turned from soft to hard and back at random, at each gate by itself, beside open messages and leases; and the books
 * of what really became of each charge. A hard answer must stand on messages that have ended, nobody admits more than max, nothing that was
 * given back stays, and once all is hard for longer than a window the store knows to the last what is taken.
 *
 * usage: turns [--seed N] memory|redis OPERATIONS
 *
 * What is otherwise is printed, with the operations before it. Exit 1 then. */
#include "remote.h"
#include "counters/stores.h"
#include "counters/window.h"
#include "store.h"

#include "redis_server.h"

#include <inttypes.h>
#include <stdarg.h>

#define START INT64_C(1732320000000)

enum { GATES = 3, OPS = 400, WINDOW = 10000 };

enum fate { OPEN, TAKEN, GONE, LEASED };

struct charge {
    int64_t at, amount, slot, created;
    bool hard;
    enum fate fate;
};

struct world {
    struct counters *counters;
    char key[32];
    int64_t now, max, soft_at; /* the last soft charge */
    bool hard[GATES];
    struct charge charges[OPS];
    size_t n;
    char *story;
    size_t told;
};

enum { STORY = 64 * OPS };

static struct counters *redis;
static uint64_t random_state, operations;

static uint64_t next_random(void) /* xorshift64* */
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(2685821657736338717);
}

static int64_t below(int64_t n)
{
    return n < 1 ? 0 : (int64_t)(next_random() >> 11) % n;
}

static bool one_in(int64_t n)
{
    return below(n) == 0;
}

static void __attribute__((format(printf, 2, 3))) tell(struct world *world, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(world->story + world->told, STORY - world->told, format, list);
    va_end(list);
    if (n > 0 && world->told + (size_t)n < STORY)
        world->told += (size_t)n;
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
    tell(world, "%s: %" PRId64 ", not %" PRId64 "\n", why, got, want);
    return false;
}

static bool check(struct world *world, const struct count_ask *ask, const struct count_answer *answer)
{
    int64_t used = counted(world, false), taken = counted(world, true);
    bool hard = (ask->flags & COUNT_HARD) != 0, fits = used + ask->need <= world->max;
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

static struct charge *charge_new(struct world *world, int64_t amount, int64_t slot, int64_t created,
                                 enum fate fate, bool hard)
{
    struct charge *charge = &world->charges[world->n++];
    *charge = (struct charge){
        .at = world->now, .amount = amount, .slot = slot, .created = created, .fate = fate, .hard = hard};
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
    const struct count_request request = {.asks = &ask, .n = 1};
    struct count_answer answer;
    bool peek = one_in(10);
    tell(world, "%s%s %" PRId64 "\n", peek ? "peek " : "", world->hard[gate] ? "hard" : "soft", ask.amount);
    if ((peek ? counters_peek : counters_reserve)(world->counters, &request, world->now, &answer) !=
        COUNTERS_OK)
        return otherwise(world, "status", 0, 0);
    bool good = check(world, &ask, &answer);
    if (!peek && answer.result == COUNT_ADMITTED)
        (void)charge_new(world, ask.amount, answer.slot, answer.created, OPEN, world->hard[gate]);
    return good;
}

static bool change(struct world *world, const struct charge *charge, int64_t amount, int64_t open)
{
    struct count_change list[] = {{.key = world->key,
                                   .limit = "l",
                                   .window_ms = WINDOW,
                                   .slot = charge->slot,
                                   .created = charge->created,
                                   .amount = amount,
                                   .open = open,
                                   .at_ms = world->now,
                                   .here = -1}};
    return counters_change(world->counters, list, 1, world->now) == COUNTERS_OK;
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
    tell(world, "%s %zu\n", ends ? "end" : "abort", (size_t)(charge - world->charges));
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
    if (world->counters->ops->lease == NULL)
        return true;
    if (back != NULL && is_in_window(world, back->at)) {
        rest = (struct lease_rest){.units = back->amount, .slot = back->slot, .created = back->created};
        back->fate = GONE;
    }
    if (world->counters->ops->lease(world->counters, &ask, 2 + below(6), &rest, world->now, 0, &grant) !=
        COUNTERS_OK)
        return otherwise(world, "status", 0, 0);
    tell(world, "lease %" PRId64 ", back %" PRId64 "\n", grant.units, rest.units);
    if (grant.units > 0)
        (void)charge_new(world, grant.units, grant.slot, grant.created, LEASED, false);
    return true;
}

/* A leased unit is a message's, or all are given back. */
static bool leased(struct world *world)
{
    struct charge *charge = any(world, LEASED);
    if (charge == NULL)
        return true;
    if (one_in(3)) {
        tell(world, "back %" PRId64 "\n", charge->amount);
        charge->fate = GONE;
        return change(world, charge, -charge->amount, -charge->amount);
    }
    tell(world, "used one\n");
    struct charge *one = charge_new(world, 1, charge->slot, charge->created, OPEN, false);
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
    tell(world, "reload: %d %d %d\n", world->hard[0], world->hard[1], world->hard[2]);
    return true;
}

static bool step(struct world *world)
{
    operations++;
    if (!one_in(3)) {
        int64_t on = one_in(100) ? below(2 * WINDOW) : below(WINDOW / 30);
        world->now += on;
        tell(world, "+ %" PRId64 "\n", on);
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
        return one_in(4) ? reload(world) : true;
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
    world.counters = redis != NULL ? redis : counters_memory_new(100);
    bool good = world.counters != NULL;
    (void)reload(&world);
    tell(&world, "max %" PRId64 "\n", world.max);
    while (good && world.n < OPS - 1 && !one_in(1000))
        good = step(&world);
    if (!good)
        puts(story);
    if (redis == NULL)
        counters_free(world.counters);
    return good;
}

static void start_redis(struct redis_server *server, struct redis_client **client)
{
    struct error err = {0};
    server_start(server);
    *client = redis_client_new(
        &(struct redis_config){.path = server->socket, .prefix = "test", .timeout_ms = 60000}, NULL, NULL,
        &err);
    redis = *client != NULL ? counters_remote_new(*client, &err) : NULL;
    if (redis == NULL || !redis_client_wait(*client, 60000)) {
        fprintf(stderr, "turns: no Redis: %s\n", err.text);
        exit(2);
    }
    remote_follow_caller_clock(redis);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    int at = 1;
    if (argc > 3 && strcmp(argv[1], "--seed") == 0) {
        seed = strtoull(argv[2], NULL, 10);
        at = 3;
    }
    if (argc - at != 2 || (strcmp(argv[at], "memory") != 0 && strcmp(argv[at], "redis") != 0)) {
        fprintf(stderr, "usage: turns [--seed N] memory|redis OPERATIONS\n");
        return 64;
    }
    struct redis_server server;
    struct redis_client *client = NULL;
    if (strcmp(argv[at], "redis") == 0)
        start_redis(&server, &client);
    const uint64_t most = strtoull(argv[at + 1], NULL, 10);
    bool good = true;
    for (; good && operations < most; seed++) {
        random_state = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
        good = world_run();
    }
    printf("turns: %s, %" PRIu64 " operations%s", argv[at], operations, good ? "\n" : "");
    if (!good)
        printf(", otherwise: --seed %" PRIu64 "\n", seed - 1);
    if (client != NULL) {
        counters_free(redis);
        redis_client_free(client);
        server_remove(&server);
    }
    return !good;
}
