/* shards: see shards.h. Looks once, into a list that the caller frees; short of memory it is empty. */
#include "shards.h"

#include "base/clock.h"
#include "counters/stores.h"

#include <stdlib.h>
#include <string.h>

struct lag { /* of what this process has yet to tell */
    size_t n;
    int64_t since_ns; /* the oldest; 0: there is nothing */
};

struct shard {
    struct redis_shard redis;
    char *master; /* what redis.master points to; NULL: nobody */
    struct lag unsynced, refunds;
};

struct shards {
    struct redis_client *redis;
    struct shard *list;
    size_t n, room;
    int64_t now_ns;
};

/* ---- looking ---- */

static void add_shard(void *arg, const struct redis_shard *redis)
{
    struct shards *shards = arg;
    if (shards->n == shards->room) /* it came since we counted: the next time */
        return;
    struct shard *shard = &shards->list[shards->n++];
    *shard = (struct shard){.redis = *redis};
    if (redis->master != NULL)
        shard->redis.master = shard->master = strdup(redis->master);
}

static struct shard *shard_of(const struct shards *shards, unsigned site)
{
    size_t node = redis_client_node_of(shards->redis, site);
    for (size_t i = 0; i < shards->n; i++)
        if (shards->list[i].redis.node == node)
            return &shards->list[i];
    return NULL;
}

static void lag_add(struct lag *lag, size_t n, int64_t since_ns)
{
    lag->n += n;
    if (lag->since_ns == 0 || since_ns < lag->since_ns)
        lag->since_ns = since_ns;
}

static void add_unsynced(void *arg, unsigned site, size_t n, int64_t since_ns)
{
    struct shard *shard = shard_of(arg, site);
    if (shard != NULL)
        lag_add(&shard->unsynced, n, since_ns);
}

static void add_refunds(void *arg, unsigned site, size_t n, int64_t since_ns)
{
    struct shard *shard = shard_of(arg, site);
    if (shard != NULL)
        lag_add(&shard->refunds, n, since_ns);
}

/* shards_done() is due. */
static void shards_look(const struct gate *gate, struct shards *shards)
{
    *shards = (struct shards){.redis = gate->context.redis};
    if (shards->redis == NULL)
        return;
    size_t room = redis_client_nodes(shards->redis) + 1; /* and nobody */
    shards->list = calloc(room, sizeof *shards->list);
    shards->room = shards->list != NULL ? room : 0;
    redis_client_shards(shards->redis, add_shard, shards);
    failover_each_behind(gate->counters, add_unsynced, shards);
    refunds_each_waiting(gate->refunds, add_refunds, shards);
    shards->now_ns = clock_monotonic_ns();
}

static void shards_done(struct shards *shards)
{
    for (size_t i = 0; i < shards->n; i++)
        free(shards->list[i].master);
    free(shards->list);
}

struct shards *shards_new(const struct gate *gate)
{
    struct shards *shards = gate->context.redis != NULL ? malloc(sizeof *shards) : NULL;
    if (shards != NULL)
        shards_look(gate, shards);
    return shards;
}

void shards_free(struct shards *shards)
{
    if (shards != NULL)
        shards_done(shards);
    free(shards);
}

bool shards_is_away(const struct shards *shards, struct counters *counters, const char *key)
{
    const struct shard *shard = shards != NULL ? shard_of(shards, counters_site(counters, key)) : NULL;
    return shard != NULL && !shard->redis.up;
}

static int64_t age_ms(const struct shards *shards, int64_t since_ns)
{
    return since_ns != 0 && since_ns < shards->now_ns ? (shards->now_ns - since_ns) / 1000000 : 0;
}

/* ---- as JSON ---- */

static json_t *hanging_json(const struct redis_shard *redis)
{
    json_t *slots = json_array();
    for (size_t i = 0; i < redis->n_hanging; i++)
        json_array_append_new(slots, json_integer(redis->hanging[i]));
    return slots;
}

static json_t *shard_json(const struct gate *gate, const struct shards *shards, const struct shard *shard)
{
    char time[CLOCK_TEXT];
    const struct redis_shard *redis = &shard->redis;
    json_t *one = json_pack("{s:s?, s:b, s:I, s:I, s:I, s:I}", "master", redis->master, "up", redis->up,
                            "unsynced_slots", (json_int_t)shard->unsynced.n, "unsynced_s",
                            (json_int_t)age_ms(shards, shard->unsynced.since_ns) / 1000, "refunds_waiting",
                            (json_int_t)shard->refunds.n, "refunds_s",
                            (json_int_t)age_ms(shards, shard->refunds.since_ns) / 1000);
    if (redis->since_ns != 0) {
        int64_t age = age_ms(shards, redis->since_ns);
        json_object_set_new(one, "since", json_string(clock_text(context_now(&gate->context) - age, time)));
        json_object_set_new(one, "for_s", json_integer(age / 1000));
    }
    if (redis->certificate_s != 0) {
        int64_t left_s = redis->certificate_s - context_now(&gate->context) / 1000;
        json_object_set_new(one, "certificate_expires", json_integer(redis->certificate_s));
        json_object_set_new(one, "certificate_ends_soon", json_boolean(left_s < REDIS_CERTIFICATE_SOON_S));
    }
    if (redis->slots > 0) {
        json_object_set_new(one, "slots", json_integer(redis->slots));
        json_object_set_new(one, "hanging_slots", hanging_json(redis));
    }
    return one;
}

void shards_report(const struct gate *gate, json_t *counters)
{
    struct shards shards;
    shards_look(gate, &shards);
    json_t *list = json_array();
    for (size_t i = 0; i < shards.n; i++)
        json_array_append_new(list, shard_json(gate, &shards, &shards.list[i]));
    if (shards.n > 0) {
        json_object_set(counters, "shards", list);
        json_object_set_new(counters, "unsynced_slots", json_integer(failover_behind(gate->counters)));
    }
    json_decref(list);
    shards_done(&shards);
}

/* ---- for Prometheus ---- */

enum figure { UP, SINCE, CERTIFICATE, SLOTS, HANGING, UNSYNCED, UNSYNCED_AGE, REFUNDS, REFUNDS_AGE, FIGURES };

static double figure_of(const struct gate *gate, const struct shards *shards, const struct shard *shard,
                        enum figure figure)
{
    const double values[FIGURES] = {
        [UP] = shard->redis.up,
        [SINCE] = (double)(context_now(&gate->context) - age_ms(shards, shard->redis.since_ns)) / 1000,
        [CERTIFICATE] = (double)shard->redis.certificate_s,
        [SLOTS] = shard->redis.slots,
        [HANGING] = (double)shard->redis.n_hanging,
        [UNSYNCED] = (double)shard->unsynced.n,
        [UNSYNCED_AGE] = (double)age_ms(shards, shard->unsynced.since_ns) / 1000,
        [REFUNDS] = (double)shard->refunds.n,
        [REFUNDS_AGE] = (double)age_ms(shards, shard->refunds.since_ns) / 1000,
    };
    return values[figure];
}

/* Slots are of a cluster; who is the master changes there, and where Sentinels name it; a certificate is of TLS. */
static bool figure_applies(const struct shard *shard, enum figure figure)
{
    return figure == SINCE         ? shard->redis.since_ns != 0
           : figure == CERTIFICATE ? shard->redis.certificate_s != 0
                                   : (figure != SLOTS && figure != HANGING) || shard->redis.slots > 0;
}

static void print_figure(FILE *out, const struct gate *gate, const struct shards *shards, enum figure figure)
{
    static const struct {
        const char *name, *help;
    } figures[FIGURES] = {
        [UP] = {"up", "Does a master answer?"},
        [SINCE] = {"master_since_timestamp_seconds",
                   "Since when it is the master, as far as this gate knows."},
        [CERTIFICATE] = {"certificate_expires_timestamp_seconds",
                         "Until when the certificate is valid that it showed last."},
        [SLOTS] = {"slots", "Slots of the cluster that it has."},
        [HANGING] = {"hanging_slots", "Its slots that have been between two nodes for over 10 s."},
        [UNSYNCED] = {"unsynced_slots",
                      "Its slots (1: a Redis that is no cluster) that this process counts for, "
                      "or has yet to tell something."},
        [UNSYNCED_AGE] = {"unsynced_seconds", "For how long the first of them has been so."},
        [REFUNDS] = {"refunds_waiting", "Refunds that it did not take yet."},
        [REFUNDS_AGE] = {"refunds_wait_seconds", "For how long there have been some."},
    };
    char name[96];
    snprintf(name, sizeof name, "rcptgate_counters_shard_%s", figures[figure].name);
    metrics_head(out, name, "gauge", figures[figure].help);
    for (size_t i = 0; i < shards->n; i++) {
        const struct shard *shard = &shards->list[i];
        if (figure_applies(shard, figure))
            fprintf(out, "%s{master=\"%s\"} %.15g\n", name, shard->master != NULL ? shard->master : "",
                    figure_of(gate, shards, shard, figure));
    }
}

void shards_print_metrics(FILE *out, const struct gate *gate)
{
    struct shards shards;
    shards_look(gate, &shards);
    for (enum figure figure = UP; shards.redis != NULL && figure < FIGURES; figure++)
        print_figure(out, gate, &shards, figure);
    if (shards.redis != NULL) {
        metrics_head(out, "rcptgate_counters_unsynced_slots", "gauge",
                     "rcptgate_counters_shard_unsynced_slots of all masters.");
        fprintf(out, "rcptgate_counters_unsynced_slots %u\n", failover_behind(gate->counters));
    }
    shards_done(&shards);
}
