/* cluster: see cluster.h. Owns a node for every master (those that are none any more rest, until another one takes their place), the map,
 * and a thread that refreshes it.
 *
 * `slots` is whom a call asks, read without locks; MOVED mends it at once. `owner` is the same as of the last map that was accepted:
 * compared with the next one it shows where a master gave way to a replica, which may lack what was counted last. That counts as a
 * restart of the slot, as does a new run_id of its master; a slot that was moved on purpose does not. A restart is counted before anybody is sent
 * to the new master, also where MOVED names it. Replicas are known from the maps, or by this: what had no slots has those of one that has none now.
 *
 * Lock order: the cluster's mutex, then a node's. Events are sent by the thread, under no lock. Fails by a status; short of memory
 * or of room for another address, what belongs there is down. */
#include "cluster.h"

#include "base/clock.h"
#include "base/pool.h"
#include "connector.h"
#include "slots.h"
#include "sys/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS(n) ((int64_t)(n)*1000000)

enum { REDIRECTIONS = 2, PICKS = 3, MIGRATIONS = REDIS_SHARD_HANGING };

/* Between refreshes: while something is wrong or somebody was sent elsewhere, and for its own sake; before the first map. By a quarter more or less. */
static const int64_t REFRESH_SOON = MS(1000), REFRESH_LATE = MS(10000), REFRESH_FIRST = MS(300);
static const int64_t EPOCH_STANDS = MS(60000); /* then it is another cluster, at the same addresses */
static const int64_t MIGRATION_QUIET = MS(15000), MIGRATION_LONG = MS(10000);

struct master {
    struct redis_node *node;
    char host[REDIS_SLOTS_HOST]; /* under the mutex, as are port, rests and seen */
    int port;
    bool rests; /* it had no slot when they were counted, and nobody was sent to it since */
    struct redis_slots_master seen; /* its id and its replicas, by the maps so far */
    atomic_uint slots;              /* how many it has */
    _Atomic int64_t since;          /* when it got some (monotonic, ns) */
};

struct migration { /* of a slot that somebody was sent after with ASK */
    unsigned slot;
    size_t to;
    int64_t since, last; /* last 0: nothing */
};

struct redis_cluster {
    struct pool pool;
    struct redis_config config;
    redis_event_fn *event;
    void *arg;
    struct worker *worker;
    _Atomic uint16_t slots[REDIS_SLOTS]; /* an index of masters, or REDIS_SLOTS_NONE */
    atomic_uint restarts[REDIS_SLOTS];
    struct master masters[REDIS_SLOTS_NODES];
    atomic_size_t n;    /* of masters */
    atomic_bool wanted; /* somebody has reason to doubt the map */

    pthread_mutex_t mutex; /* of what follows, and of every change above */
    pthread_cond_t changed;
    uint16_t owner[REDIS_SLOTS];
    int64_t epoch; /* of the map; -1: there is none yet */
    int64_t accepted_at;
    struct error condition; /* why there is no newer one; "": the last refresh went well */
    struct migration migrations[MIGRATIONS];

    struct redis_slots map; /* the thread's, from here on */
    int64_t refreshed_at;
    bool notified, notified_down;
};

static void cluster_want(struct redis_cluster *cluster)
{
    if (!atomic_exchange(&cluster->wanted, true))
        worker_wake(cluster->worker);
}

/* ---- masters ---- */

static void on_event(void *arg, bool down, const char *text)
{
    struct redis_cluster *cluster = arg;
    (void)down, (void)text;
    pthread_mutex_lock(&cluster->mutex);
    pthread_cond_broadcast(&cluster->changed);
    pthread_mutex_unlock(&cluster->mutex);
    worker_wake(cluster->worker);
}

/* A master has lost what it had: for each of its slots. */
static void on_restart(void *arg, struct redis_node *node)
{
    struct redis_cluster *cluster = arg;
    pthread_mutex_lock(&cluster->mutex);
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++) {
        uint16_t at = cluster->slots[slot];
        if (at != REDIS_SLOTS_NONE && cluster->masters[at].node == node)
            atomic_fetch_add(&cluster->restarts[slot], 1);
    }
    pthread_mutex_unlock(&cluster->mutex);
}

/* Locked. The index of one that rests and was not the last owner of any slot; n: there is none. */
static size_t master_find_resting(const struct redis_cluster *cluster, size_t n)
{
    bool owns[REDIS_SLOTS_NODES] = {false};
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++)
        if (cluster->owner[slot] != REDIS_SLOTS_NONE)
            owns[cluster->owner[slot]] = true;
    size_t i = 0;
    while (i < n && (!cluster->masters[i].rests || owns[i]))
        i++;
    return i;
}

/* Locked. Puts another master in the place of one that rests, else behind the last. Nodes come to new addresses as long as a cluster
 * lives; what still asks the one that rested is sent elsewhere by the new one. False: no room. */
static bool master_place(struct redis_cluster *cluster, size_t *i, const struct redis_address *address)
{
    size_t n = atomic_load(&cluster->n);
    *i = master_find_resting(cluster, n);
    if (*i == REDIS_SLOTS_NODES)
        return false;
    struct master *master = &cluster->masters[*i];
    const struct redis_config config = redis_config_at(&cluster->config, address);
    const struct redis_node_watcher watcher = {.event = on_event, .restarted = on_restart, .arg = cluster};
    if (*i < n)
        redis_node_move(master->node, address);
    else if ((master->node = redis_node_new(&config, &watcher, NULL)) == NULL)
        return false;
    snprintf(master->host, sizeof master->host, "%s", address->host);
    master->port = address->port;
    master->seen = (struct redis_slots_master){.n_replicas = 0};
    if (*i == n)
        atomic_store(&cluster->n, n + 1);
    return true;
}

/* Locked. The index of the master at that address, made where there is none; REDIS_SLOTS_NONE: no room. */
static uint16_t master_at(struct redis_cluster *cluster, const char *host, int port)
{
    size_t n = atomic_load(&cluster->n), i = 0;
    while (i < n && (cluster->masters[i].port != port || strcmp(cluster->masters[i].host, host) != 0))
        i++;
    if (i == n && !master_place(cluster, &i, &(struct redis_address){host, port}))
        return REDIS_SLOTS_NONE;
    cluster->masters[i].rests = false;
    return (uint16_t)i;
}

/* ---- owners ---- */

/* Locked. Is it the slot's owner at another address, or was it a replica of that, which has given way to it? */
static bool is_successor(const struct redis_cluster *cluster, size_t slot, uint16_t to,
                         const struct redis_slots_node *node)
{
    uint16_t from = cluster->owner[slot];
    if (from == to || from == REDIS_SLOTS_NONE || to == REDIS_SLOTS_NONE)
        return false;
    const struct redis_slots_master *old = &cluster->masters[from].seen;
    return (node->id[0] != '\0' && strcmp(old->node.id, node->id) == 0) || redis_slots_is_replica(old, node);
}

/* Locked. A slot's new owner, which took the place (successor) of the one before, or got it from that. */
static void slot_give(struct redis_cluster *cluster, size_t slot, uint16_t to, bool successor)
{
    if (successor)
        atomic_fetch_add(&cluster->restarts[slot], 1);
    if (to !=
        REDIS_SLOTS_NONE) /* a slot without a master keeps its last owner in mind: who comes next may be its replica */
        cluster->owner[slot] = to;
    atomic_store(&cluster->slots[slot], to);
}

/* Locked. Somebody was sent there for a slot. True: nobody goes there before he knows that what the owner before had may be lacking. */
static bool slot_moved(struct redis_cluster *cluster, size_t slot, uint16_t to,
                       const struct redis_slots_node *node)
{
    bool successor = is_successor(cluster, slot, to, node);
    if (successor)
        slot_give(cluster, slot, to, true);
    atomic_store(&cluster->slots[slot], to);
    return successor;
}

/* ---- calls ---- */

/* Locked. Remembers that a slot is on its way, for as long as somebody is sent after it. */
static void migration_note(struct redis_cluster *cluster, unsigned slot, size_t to)
{
    int64_t now = clock_monotonic_ns();
    struct migration *oldest = &cluster->migrations[0];
    for (size_t i = 0; i < MIGRATIONS; i++) {
        struct migration *migration = &cluster->migrations[i];
        if (migration->last > 0 && migration->slot == slot) {
            oldest = migration;
            break;
        }
        if (migration->last < oldest->last)
            oldest = migration;
    }
    if (oldest->slot != slot || now - oldest->last > MIGRATION_QUIET)
        *oldest = (struct migration){.slot = slot, .to = to, .since = now};
    oldest->last = now;
    if (to != REDIS_SLOTS_NONE)
        oldest->to = to;
}

/* Whom a redirection names; it is not waited for where it is known to be down. NULL: nobody that answers, or a replica that took its
 * master's place, which is told first what it may lack. */
static struct redis_node *cluster_follow(struct redis_cluster *cluster, unsigned slot, size_t from,
                                         const struct redis_slots_redirection *to, int64_t deadline,
                                         size_t *at)
{
    struct redis_slots_node named = {.port = to->port};
    bool gave_way = false;
    pthread_mutex_lock(&cluster->mutex);
    snprintf(named.host, sizeof named.host, "%s",
             to->host[0] != '\0' ? to->host : cluster->masters[from].host);
    *at = master_at(cluster, named.host, named.port);
    struct redis_node *node = *at != REDIS_SLOTS_NONE ? cluster->masters[*at].node : NULL;
    if (node != NULL && to->ask)
        migration_note(cluster, slot, *at);
    else if (node != NULL)
        gave_way = slot_moved(cluster, slot, (uint16_t)*at, &named);
    if (node != NULL && atomic_load(&cluster->masters[*at].slots) == 0)
        redis_node_serve(node, (int)slot);
    pthread_mutex_unlock(&cluster->mutex);
    if (!to->ask)
        cluster_want(cluster);
    if (node == NULL || gave_way)
        return NULL;
    return redis_node_is_up(node) || redis_node_wait(node, deadline, true) ? node : NULL;
}

/* Is the slot served nowhere, or by two at once? Then nothing was done. */
static enum redis_status cluster_refused(struct redis_cluster *cluster, unsigned slot, const char *text)
{
    if (strncmp(text, "TRYAGAIN", 8) == 0) {
        pthread_mutex_lock(&cluster->mutex);
        migration_note(cluster, slot, REDIS_SLOTS_NONE);
        pthread_mutex_unlock(&cluster->mutex);
        return REDIS_SPLIT;
    }
    if (strncmp(text, "CLUSTERDOWN", 11) != 0)
        return REDIS_ANSWERED;
    cluster_want(cluster);
    return REDIS_DOWN;
}

enum redis_status redis_cluster_call(struct redis_cluster *cluster, unsigned slot,
                                     const struct redis_request *request, int64_t deadline,
                                     redisReply **reply)
{
    size_t at = atomic_load(&cluster->slots[slot]);
    struct redis_node *node = at != REDIS_SLOTS_NONE ? cluster->masters[at].node : NULL;
    struct redis_request asked = *request;
    for (int left = REDIRECTIONS; node != NULL; left--) {
        struct redis_slots_redirection to;
        redisReply *got = NULL;
        enum redis_status status = redis_node_call(node, &asked, deadline, &got);
        if (status != REDIS_ANSWERED) {
            cluster_want(cluster);
            return status;
        }
        bool error = got->type == REDIS_REPLY_ERROR,
             elsewhere = error && redis_slots_read_redirection(got->str, &to);
        if (error)
            status = elsewhere ? REDIS_DOWN : cluster_refused(cluster, slot, got->str);
        if (status == REDIS_ANSWERED) {
            *reply = got;
            return status;
        }
        freeReplyObject(got);
        if (!elsewhere || left == 0)
            return status;
        node = cluster_follow(cluster, slot, at, &to, deadline, &at);
        asked.asking = to.ask;
    }
    cluster_want(cluster);
    return REDIS_DOWN;
}

size_t redis_cluster_nodes(struct redis_cluster *cluster)
{
    return atomic_load(&cluster->n);
}

enum redis_status redis_cluster_call_node(struct redis_cluster *cluster, size_t i,
                                          const struct redis_request *request, int64_t deadline,
                                          redisReply **reply)
{
    if (i >= atomic_load(&cluster->n) || atomic_load(&cluster->masters[i].slots) == 0)
        return REDIS_DOWN;
    return redis_node_call(cluster->masters[i].node, request, deadline, reply);
}

size_t redis_cluster_node_of(struct redis_cluster *cluster, unsigned slot)
{
    uint16_t at = atomic_load(&cluster->slots[slot]);
    return at != REDIS_SLOTS_NONE ? at : SIZE_MAX;
}

/* ---- the map ---- */

/* Locked. Masters that have slots serve, and who is to have some; the others rest. */
static void masters_count(struct redis_cluster *cluster)
{
    unsigned slots[REDIS_SLOTS_NODES] = {0};
    int first[REDIS_SLOTS_NODES];
    size_t n = atomic_load(&cluster->n);
    int64_t now = clock_monotonic_ns();
    for (int slot = REDIS_SLOTS - 1; slot >= 0; slot--) {
        uint16_t at = cluster->slots[slot];
        if (at == REDIS_SLOTS_NONE)
            continue;
        slots[at]++;
        first[at] = slot;
    }
    for (size_t i = 0; i < n; i++) {
        int serves = slots[i] > 0 ? first[i] : -1;
        for (size_t k = 0; k < MIGRATIONS && serves < 0; k++) {
            const struct migration *migration = &cluster->migrations[k];
            if (migration->last > 0 && migration->to == i && now - migration->last < MIGRATION_QUIET)
                serves = (int)migration->slot;
        }
        if (atomic_exchange(&cluster->masters[i].slots, slots[i]) == 0)
            atomic_store(&cluster->masters[i].since, now);
        cluster->masters[i].rests = serves < 0;
        redis_node_serve(cluster->masters[i].node, serves);
    }
}

static void cluster_apply(struct redis_cluster *cluster, const struct redis_slots *map, int64_t epoch)
{
    uint16_t at[REDIS_SLOTS_NODES] = {0};
    bool stays[REDIS_SLOTS_NODES] = {false};
    pthread_mutex_lock(&cluster->mutex);
    for (size_t i = 0; i < map->n; i++) {
        at[i] = master_at(cluster, map->masters[i].node.host, map->masters[i].node.port);
        if (at[i] != REDIS_SLOTS_NONE)
            stays[at[i]] = true;
    }
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++) {
        uint16_t i = map->owner[slot], to = i != REDIS_SLOTS_NONE ? at[i] : i, from = cluster->owner[slot];
        bool other = to != REDIS_SLOTS_NONE && from != REDIS_SLOTS_NONE && to != from,
             whole = other && !stays[from] && atomic_load(&cluster->masters[to].slots) == 0;
        slot_give(cluster, slot, to,
                  whole || (other && is_successor(cluster, slot, to, &map->masters[i].node)));
    }
    for (size_t i = 0; i < map->n; i++)
        if (at[i] != REDIS_SLOTS_NONE)
            redis_slots_see(&cluster->masters[at[i]].seen, &map->masters[i], map);
    masters_count(cluster);
    cluster->epoch = epoch;
    cluster->accepted_at = clock_monotonic_ns();
    cluster->condition = (struct error){0};
    pthread_cond_broadcast(&cluster->changed);
    pthread_mutex_unlock(&cluster->mutex);
}

/* ---- refreshing ---- */

/* CLUSTER INFO and CLUSTER SLOTS of one node. -1 with err set. */
static int ask_both(struct redis_cluster *cluster, struct redis_connection *connection, redisReply *got[2],
                    struct error *err)
{
    const char *const *const questions[] = {(const char *[]){"CLUSTER", "INFO", NULL},
                                            (const char *[]){"CLUSTER", "SLOTS", NULL}};
    int64_t deadline = clock_monotonic_ns() + MS(cluster->config.timeout_ms);
    return redis_connection_ask(connection, questions, 2, deadline, got, err) == REDIS_CONNECTION_OK ? 0 : -1;
}

/* Takes over the map that a node has, if that may be believed. -1 with err set. */
static int refresh_from(struct redis_cluster *cluster, const struct redis_address *address, struct error *err)
{
    const struct redis_config config = redis_config_at(&cluster->config, address);
    struct redis_connector *connector = redis_connector_new(&config, worker_fd(cluster->worker));
    struct redis_connection *connection = connector != NULL ? redis_connector_open(connector, err) : NULL;
    redisReply *got[2] = {NULL, NULL};
    struct error why = {0};
    char name[300];
    int64_t epoch = -1;
    int rc = connection != NULL ? ask_both(cluster, connection, got, err) : -1;
    if (rc == 0 && (!redis_slots_read_info(got[0], &epoch, &why) ||
                    !redis_slots_read(got[1], address->host, &cluster->map, &why)))
        rc = -1;
    bool stands = clock_monotonic_ns() - cluster->accepted_at < EPOCH_STANDS;
    if (rc == 0 && epoch < cluster->epoch && stands) {
        error_set(&why, "it knows of epoch %lld, others of %lld already", (long long)epoch,
                  (long long)cluster->epoch);
        rc = -1;
    }
    if (rc == 0)
        cluster_apply(cluster, &cluster->map, epoch);
    else if (why.text[0] != '\0')
        error_set(err, "Redis at %s: %s", redis_config_address(address, name, sizeof name), why.text);
    for (int i = 0; i < 2; i++)
        freeReplyObject(got[i]);
    redis_connection_free(connection);
    redis_connector_free(connector);
    return rc;
}

/* A random one, of those that answer where there are any; else of all, and of those that the configuration names. host: room for its. */
static struct redis_address cluster_pick(struct redis_cluster *cluster, bool up, char host[REDIS_SLOTS_HOST])
{
    size_t n = atomic_load(&cluster->n), at = SIZE_MAX;
    uint32_t n_up = 0;
    for (size_t i = 0; up && i < n; i++)
        if (redis_node_is_up(cluster->masters[i].node) && arc4random_uniform(++n_up) == 0)
            at = i;
    if (at == SIZE_MAX)
        at = arc4random_uniform((uint32_t)(n + cluster->config.n_addresses));
    if (at >= n)
        return cluster->config.addresses[at - n];
    pthread_mutex_lock(&cluster->mutex);
    memcpy(host, cluster->masters[at].host, REDIS_SLOTS_HOST);
    const struct redis_address address = {.host = host, .port = cluster->masters[at].port};
    pthread_mutex_unlock(&cluster->mutex);
    return address;
}

/* Until it is known of each whether it answers, so that nobody is told of an outage that is none. */
static void masters_await(struct redis_cluster *cluster)
{
    int64_t until = clock_monotonic_ns() + MS(cluster->config.timeout_ms);
    for (size_t i = 0; i < atomic_load(&cluster->n); i++)
        (void)redis_node_wait(cluster->masters[i].node, until, true);
}

static void cluster_refresh(struct redis_cluster *cluster)
{
    struct error err = {0};
    bool first = cluster->epoch < 0;
    int rc = -1;
    atomic_store(&cluster->wanted, false);
    for (int pick = 0; pick < PICKS && rc != 0 && !worker_stopping(cluster->worker); pick++) {
        char host[REDIS_SLOTS_HOST];
        const struct redis_address address = cluster_pick(cluster, pick == 0, host);
        err = (struct error){0};
        rc = refresh_from(cluster, &address, &err);
    }
    if (rc == 0 && first)
        masters_await(cluster);
    if (rc == 0)
        return;
    pthread_mutex_lock(&cluster->mutex);
    cluster->condition = err;
    pthread_mutex_unlock(&cluster->mutex);
}

/* Are all masters that have slots up, and has every slot one? */
static bool is_whole(struct redis_cluster *cluster)
{
    unsigned slots = 0;
    for (size_t i = 0; i < atomic_load(&cluster->n); i++)
        if (redis_node_is_up(cluster->masters[i].node))
            slots += atomic_load(&cluster->masters[i].slots);
    return slots == REDIS_SLOTS;
}

static void cluster_notify(struct redis_cluster *cluster)
{
    struct error text = {0};
    char name[512];
    bool down = !redis_cluster_is_up(cluster);
    if (cluster->event == NULL || (cluster->notified && cluster->notified_down == down) ||
        (down && cluster->refreshed_at == 0))
        return;
    if (down)
        redis_cluster_condition(cluster, &text);
    else
        error_set(&text, "connected to %s", redis_config_name(&cluster->config, name, sizeof name));
    cluster->notified = true;
    cluster->notified_down = down;
    cluster->event(cluster->arg, down, text.text);
}

static int64_t cluster_step(void *arg)
{
    struct redis_cluster *cluster = arg;
    cluster_notify(cluster);
    bool first = cluster->epoch < 0, soon = atomic_load(&cluster->wanted) || !is_whole(cluster);
    int64_t pause = first ? REFRESH_FIRST : soon ? REFRESH_SOON : REFRESH_LATE;
    int64_t due = cluster->refreshed_at + clock_about(pause);
    if (cluster->refreshed_at > 0 && clock_monotonic_ns() < due)
        return due;
    cluster_refresh(cluster);
    cluster->refreshed_at = clock_monotonic_ns();
    return 0;
}

/* ---- state ---- */

bool redis_cluster_is_up(struct redis_cluster *cluster)
{
    for (size_t i = 0; i < atomic_load(&cluster->n); i++)
        if (atomic_load(&cluster->masters[i].slots) > 0 && redis_node_is_up(cluster->masters[i].node))
            return true;
    return false;
}

bool redis_cluster_slot_is_up(struct redis_cluster *cluster, unsigned slot)
{
    uint16_t at = cluster->slots[slot];
    return at != REDIS_SLOTS_NONE && redis_node_is_up(cluster->masters[at].node);
}

unsigned redis_cluster_restarts(struct redis_cluster *cluster, unsigned slot)
{
    return atomic_load(&cluster->restarts[slot]);
}

bool redis_cluster_wait(struct redis_cluster *cluster, int64_t until_ns)
{
    const struct timespec at = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    int rc = 0;
    pthread_mutex_lock(&cluster->mutex);
    while (!is_whole(cluster) && rc == 0)
        rc = pthread_cond_clockwait(&cluster->changed, &cluster->mutex, CLOCK_MONOTONIC, &at);
    pthread_mutex_unlock(&cluster->mutex);
    return redis_cluster_is_up(cluster);
}

/* The first thing that a master has to say, of those that are up or of those that are not. */
static void masters_condition(struct redis_cluster *cluster, bool up, struct error *out)
{
    for (size_t i = 0; i < atomic_load(&cluster->n) && out->text[0] == '\0'; i++)
        if (atomic_load(&cluster->masters[i].slots) > 0 && redis_node_is_up(cluster->masters[i].node) == up)
            redis_node_condition(cluster->masters[i].node, out);
}

void redis_cluster_condition(struct redis_cluster *cluster, struct error *out)
{
    *out = (struct error){0};
    bool up = redis_cluster_is_up(cluster);
    masters_condition(cluster, up, out);
    if (up || out->text[0] != '\0')
        return;
    pthread_mutex_lock(&cluster->mutex);
    *out = cluster->condition;
    pthread_mutex_unlock(&cluster->mutex);
    error_set(out, "not connected to Redis yet");
}

/* Adds a sentence behind what is there. */
static void missing_add(struct error *out, const struct error *one)
{
    size_t n = strlen(out->text);
    snprintf(out->text + n, sizeof out->text - n, "%s%s", n > 0 ? "; " : "", one->text);
}

/* Why, of the first: it is most often the same for all, and what is to be done about it must not be cut off. */
static void missing_masters(struct redis_cluster *cluster, struct error *out)
{
    for (size_t i = 0; i < atomic_load(&cluster->n); i++) {
        const struct master *master = &cluster->masters[i];
        struct error why = {0}, one = {0};
        char name[REDIS_NODE_NAME];
        unsigned slots = atomic_load(&master->slots);
        if (slots == 0 || redis_node_is_up(master->node))
            continue;
        redis_node_condition(master->node, &why);
        error_set(&one, "%s (%u of %d slots) is away%s%s", redis_node_name(master->node, name), slots,
                  REDIS_SLOTS, out->text[0] == '\0' ? ": " : " too", out->text[0] == '\0' ? why.text : "");
        missing_add(out, &one);
    }
}

/* Does it hang between two nodes? */
static bool migration_hangs(const struct migration *migration, int64_t now)
{
    return migration->last > 0 && now - migration->last <= MIGRATION_QUIET &&
           migration->last - migration->since >= MIGRATION_LONG;
}

static void missing_migrations(const struct redis_cluster *cluster, struct error *out)
{
    int64_t now = clock_monotonic_ns();
    for (size_t i = 0; i < MIGRATIONS; i++) {
        const struct migration *migration = &cluster->migrations[i];
        struct error one = {0};
        if (!migration_hangs(migration, now))
            continue;
        error_set(&one, "slot %u hangs between two nodes: see redis-cli --cluster fix", migration->slot);
        missing_add(out, &one);
    }
}

static unsigned slots_without(struct redis_cluster *cluster)
{
    unsigned n = 0;
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++)
        n += cluster->slots[slot] == REDIS_SLOTS_NONE;
    return n;
}

void redis_cluster_missing(struct redis_cluster *cluster, struct error *out)
{
    *out = (struct error){0};
    missing_masters(cluster, out);
    pthread_mutex_lock(&cluster->mutex);
    unsigned without = cluster->epoch >= 0 ? slots_without(cluster) : 0;
    struct error one = {0};
    error_set(&one, "%u of %d slots have no master: see redis-cli --cluster check", without, REDIS_SLOTS);
    if (without > 0)
        missing_add(out, &one);
    missing_migrations(cluster, out);
    pthread_mutex_unlock(&cluster->mutex);
}

/* Those of the shard's slots that hang, in order of time. */
static void shard_hanging(struct redis_cluster *cluster, struct redis_shard *shard)
{
    int64_t now = clock_monotonic_ns();
    pthread_mutex_lock(&cluster->mutex);
    for (size_t i = 0; i < MIGRATIONS; i++) {
        const struct migration *migration = &cluster->migrations[i];
        if (migration_hangs(migration, now) && redis_cluster_node_of(cluster, migration->slot) == shard->node)
            shard->hanging[shard->n_hanging++] = migration->slot;
    }
    pthread_mutex_unlock(&cluster->mutex);
}

void redis_cluster_shards(struct redis_cluster *cluster, redis_shard_fn *each, void *arg)
{
    for (size_t i = 0; i < atomic_load(&cluster->n); i++) {
        const struct master *master = &cluster->masters[i];
        char name[REDIS_NODE_NAME];
        struct redis_shard shard = {.master = redis_node_name(master->node, name),
                                    .node = i,
                                    .since_ns = atomic_load(&master->since),
                                    .slots = atomic_load(&master->slots),
                                    .up = redis_node_is_up(master->node),
                                    .certificate_s = redis_node_certificate_s(master->node)};
        if (shard.slots == 0)
            continue;
        shard_hanging(cluster, &shard);
        each(arg, &shard);
    }
    const struct redis_shard none = {.node = SIZE_MAX, .slots = slots_without(cluster)};
    if (none.slots > 0)
        each(arg, &none);
}

/* ---- its life ---- */

void redis_cluster_free(struct redis_cluster *cluster)
{
    if (cluster == NULL)
        return;
    worker_stop(cluster->worker);
    for (size_t i = 0; i < atomic_load(&cluster->n); i++)
        redis_node_free(cluster->masters[i].node);
    worker_free(cluster->worker);
    pthread_cond_destroy(&cluster->changed);
    pthread_mutex_destroy(&cluster->mutex);
    pool_done(&cluster->pool);
    free(cluster);
}

struct redis_cluster *redis_cluster_new(const struct redis_config *config, redis_event_fn *event, void *arg,
                                        struct error *err)
{
    struct redis_cluster *cluster = calloc(1, sizeof *cluster);
    if (cluster == NULL)
        return NULL;
    pthread_mutex_init(&cluster->mutex, NULL);
    pthread_cond_init(&cluster->changed, NULL);
    cluster->event = event;
    cluster->arg = arg;
    cluster->epoch = -1;
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++)
        cluster->slots[slot] = cluster->owner[slot] = REDIS_SLOTS_NONE;
    cluster->worker = worker_new("cluster", cluster_step, cluster, err);
    if (cluster->worker != NULL && redis_config_copy(&cluster->pool, config, &cluster->config) == 0 &&
        worker_start(cluster->worker, err) == 0)
        return cluster;
    redis_cluster_free(cluster);
    return NULL;
}
