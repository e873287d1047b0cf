/* node: chooses a pipeline for each call, holds the breaker, runs the connector thread. Owns all three; fails by a status
 * (redis/command.h).
 *
 * The breaker is the flag `down`. Whoever finds a fault opens it (node_open); only the connector closes it,
 * after a probe that went all the way. Lock order: the node's mutex and a pipeline's are never held together,
 * and events are sent under none. */
#include "base/clock.h"
#include "node.h"
#include "connector.h"
#include "pipeline.h"
#include "errors.h"
#include "sys/worker.h"
#include "tls.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS(n) ((int64_t)(n)*1000000)

enum { PIPELINES = 2, MASTER = 300 };
#define NOT_YET "not connected to Redis yet"

/* Between probes. Down: from FIRST, doubled up to LAST, so that blocks reach every host within a second of
 * the return. What flaps costs its callers a timeout each time: it rests up to FLAPPING, and is not given a
 * fresh start. Times vary by a quarter, so that many gates do not ask together; FLAPPING and a quarter are 2
 * s. */
static const int64_t RETRY_FIRST = MS(100), RETRY_LAST = MS(320), RETRY_FLAPPING = MS(1600);
static const int64_t PROBE_UP = MS(1600), STEADY = MS(3000);
static const int64_t FOLLOW =
    MS(250); /* between questions to the Sentinels: writes to a master that was replaced are lost */
static const int64_t REMEMBER_NODE_ERROR = MS(60000);
static const int64_t LOOK = MS(10000); /* for a certificate in place of one that ends soon */

struct watch { /* what the connector remembers between probes */
    int64_t due, probed_at, follow_due, look_due;
    const struct redis_endpoint *given; /* to all pipelines; only compared */
    int64_t retry;                      /* the next pause while down */
    int64_t up_since;                   /* 0: down */
    unsigned openings;
    bool notified, notified_down;
};

struct redis_node {
    struct redis_node_watcher watcher;
    bool in_cluster;
    struct redis_pipeline *pipelines[PIPELINES];
    struct worker *worker;             /* the connector thread, whose are */
    struct redis_connector *connector; /* this */
    struct watch watch;                /* and this */
    atomic_bool down;
    atomic_uint restarts;
    atomic_bool suspect;                /* a call was refused in a way that may concern all: probe soon */
    atomic_bool idle;                   /* nobody is to ask it: it is no master of the cluster now */
    atomic_int slot;                    /* of a cluster, where a probe may write; -1: none is known */
    atomic_int_least64_t certificate_s; /* see redis_node_certificate_s() */

    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t changed;
    char name[REDIS_NODE_NAME]; /* of the server, for people */
    char host[256];             /* where it is to be, */
    int port;
    bool moved; /* and the connector does not know it yet */
    unsigned openings;
    bool probed; /* since it was made, or was idle */
    char run_id[64];
    struct error condition;  /* why it is down */
    struct error warning;    /* while it is up */
    struct error node_error; /* of a single command */
    int64_t refused_at;
    char master[MASTER]; /* whom its Sentinels name; "": nobody yet */
    int64_t master_since;
};

/* ---- the breaker ---- */

/* Locked. False: it was open already; then redis_pipeline_drop() need not follow. */
static bool breaker_open(struct redis_node *node, const char *text)
{
    bool opened = !atomic_load(&node->down);
    if (opened) {
        node->condition = (struct error){0};
        error_set(&node->condition, "%s", text);
        node->openings++;
        atomic_store(&node->down, true);
    }
    return opened;
}

/* From any thread, without locks. A fault that is already known changes nothing. */
static void node_open(void *arg, const char *text)
{
    struct redis_node *node = arg;
    pthread_mutex_lock(&node->mutex);
    bool opened = breaker_open(node, text);
    pthread_mutex_unlock(&node->mutex);
    if (!opened)
        return;
    for (int i = 0; i < PIPELINES; i++)
        redis_pipeline_drop(node->pipelines[i]);
    worker_wake(node->worker);
}

/* A command was refused by the ACL. Whether all are, is for the connector to find out. */
static void node_suspect(struct redis_node *node, const struct error *why)
{
    pthread_mutex_lock(&node->mutex);
    node->node_error = *why;
    node->refused_at = clock_monotonic_ns();
    pthread_mutex_unlock(&node->mutex);
    if (!atomic_exchange(&node->suspect, true))
        worker_wake(node->worker);
}

/* ---- the connector ---- */

static int64_t watch_pause(struct watch *watch)
{
    int64_t most = watch->up_since != 0 ? RETRY_FLAPPING : RETRY_LAST;
    if (watch->up_since != 0 && clock_monotonic_ns() - watch->up_since > STEADY)
        watch->retry = RETRY_FIRST;
    watch->up_since = 0;
    int64_t pause = watch->retry < most ? watch->retry : most;
    if (watch->retry < most)
        watch->retry *= 2;
    return clock_about(pause);
}

static void connector_name(const struct redis_node *node, struct error *out)
{
    const char *at = redis_connector_endpoint(node->connector)->name;
    if (redis_connector_sentinels(node->connector) != NULL)
        error_set(out, "connected to Redis at %s, %s", at, node->name);
    else
        error_set(out, "connected to Redis at %s", node->name);
}

/* Events come from this thread alone, so that they arrive in the order in which things happened. */
static void connector_notify(struct redis_node *node, struct watch *watch)
{
    struct error text = {0};
    pthread_mutex_lock(&node->mutex);
    bool down = atomic_load(&node->down);
    if (down)
        text = node->condition;
    else
        connector_name(node, &text);
    pthread_mutex_unlock(&node->mutex);
    if (node->watcher.event != NULL && (!watch->notified || watch->notified_down != down))
        node->watcher.event(node->watcher.arg, down, text.text);
    watch->notified = true;
    watch->notified_down = down;
}

static void connector_note(struct redis_node *node, const struct redis_probe *probe)
{
    bool restarted = false;
    pthread_mutex_lock(&node->mutex);
    node->warning = probe->warning;
    if (probe->run_id[0] != '\0') {
        restarted = node->run_id[0] != '\0' && strcmp(node->run_id, probe->run_id) != 0;
        memcpy(node->run_id, probe->run_id, sizeof node->run_id);
    }
    pthread_mutex_unlock(&node->mutex);
    if (!restarted)
        return;
    atomic_fetch_add(&node->restarts, 1);
    if (node->watcher.restarted != NULL)
        node->watcher.restarted(node->watcher.arg, node);
}

/* Another connection to where the last probe came through to; what it shows of its certificate is remembered. */
static struct redis_connection *connector_connect(struct redis_node *node, struct error *err)
{
    struct redis_connection *connection = redis_connector_connect(node->connector, err);
    if (connection != NULL)
        atomic_store(&node->certificate_s, redis_connection_expires(connection));
    return connection;
}

/* Connections last for months, and a renewed certificate is shown to new ones alone: while the one that was seen ends soon, one is
 * made for that. Whether it comes about does not matter. */
static void connector_look_again(struct redis_node *node, struct watch *watch)
{
    struct error unsaid = {0};
    int64_t end = atomic_load(&node->certificate_s), now = clock_monotonic_ns();
    if (end == 0 || end > clock_now_ms() / 1000 + REDIS_CERTIFICATE_SOON_S || now < watch->look_due)
        return;
    watch->look_due = now + LOOK;
    redis_connection_free(connector_connect(node, &unsaid));
}

/* Gives every pipeline that needs it (or, after an outage, and with another password or certificate, every one) a connection. */
static int connector_mend_pipelines(struct redis_node *node, bool was_down, struct error *err)
{
    struct redis_endpoint *endpoint = redis_connector_endpoint(node->connector);
    bool all = was_down || node->watch.given != endpoint;
    for (int i = 0; i < PIPELINES; i++) {
        if (!all && !redis_pipeline_needs_connection(node->pipelines[i]))
            continue;
        struct redis_connection *connection = connector_connect(node, err);
        if (connection == NULL)
            return -1;
        redis_pipeline_renew(node->pipelines[i], connection, endpoint);
    }
    node->watch.given = endpoint;
    return 0;
}

static void connector_failed(struct redis_node *node, struct watch *watch, const struct error *err)
{
    node_open(node, err->text);
    redis_connector_close(node->connector);
    pthread_mutex_lock(&node->mutex);
    if (!node->moved)
        node->condition = *err; /* the latest reason, when it was down before */
    node->probed = !node->moved;
    watch->openings = node->openings;
    pthread_cond_broadcast(&node->changed);
    pthread_mutex_unlock(&node->mutex);
    watch->due = clock_monotonic_ns() + watch_pause(watch);
}

static void connector_well(struct redis_node *node, struct watch *watch, bool was_down)
{
    if (was_down) {
        watch->up_since = clock_monotonic_ns();
        pthread_mutex_lock(&node->mutex);
        atomic_store(&node->down, node->moved); /* where it was moved meanwhile, this was another one */
        node->probed = !node->moved;
        pthread_cond_broadcast(&node->changed);
        pthread_mutex_unlock(&node->mutex);
    }
    watch->due = clock_monotonic_ns() + clock_about(PROBE_UP);
    watch->follow_due =
        redis_connector_sentinels(node->connector) != NULL ? clock_monotonic_ns() + FOLLOW : INT64_MAX;
}

/* Whom the Sentinels name, for who asks. */
static void connector_note_master(struct redis_node *node)
{
    const struct redis_master *said = redis_connector_master(node->connector);
    char address[MASTER];
    if (said->host[0] == '\0')
        return;
    redis_config_address(&(struct redis_address){said->host, said->port}, address, sizeof address);
    pthread_mutex_lock(&node->mutex);
    if (strcmp(node->master, address) != 0) {
        memcpy(node->master, address, sizeof address);
        node->master_since = clock_monotonic_ns();
        atomic_store(&node->certificate_s, 0);
    }
    pthread_mutex_unlock(&node->mutex);
}

/* Between probes: whether the Sentinels still name this master. */
static void connector_follow(struct redis_node *node, struct watch *watch)
{
    struct error err = {0};
    watch->follow_due = clock_monotonic_ns() + FOLLOW;
    int rc = redis_connector_follow(node->connector, &err);
    connector_note_master(node);
    if (rc == 0)
        return;
    connector_failed(node, watch, &err);
    connector_notify(node, watch);
}

static void connector_probe(struct redis_node *node, struct watch *watch)
{
    struct redis_probe probe = {0};
    struct error err = {0};
    bool was_down = atomic_load(&node->down);
    if (was_down) {
        if (watch->notified)
            connector_notify(node, watch);
        redis_connector_close(node->connector); /* the whole way again: name, address, password */
    }
    redis_connector_probe_slot(node->connector, atomic_load(&node->slot));
    int rc = redis_connector_probe(node->connector, &probe, &err);
    connector_note_master(node);
    if (rc == 0) {
        connector_note(node, &probe);
        rc = connector_mend_pipelines(node, was_down, &err);
    }
    if (rc == 0)
        connector_look_again(node, watch);
    watch->probed_at = clock_monotonic_ns();
    if (rc == 0)
        connector_well(node, watch, was_down);
    else
        connector_failed(node, watch, &err);
    connector_notify(node, watch);
}

/* Nobody asks it: no connection is kept, and nothing is probed until somebody wakes it. */
static int64_t connector_rest(struct redis_node *node)
{
    node_open(node, "it is no master of the cluster now");
    redis_connector_close(node->connector);
    for (int i = 0; i < PIPELINES; i++)
        redis_pipeline_rest(node->pipelines[i]);
    pthread_mutex_lock(&node->mutex);
    node->watch.openings = node->openings;
    node->probed = false;
    pthread_mutex_unlock(&node->mutex);
    node->watch.due = 0;
    node->watch.retry = RETRY_FIRST;
    node->watch.up_since = 0;
    return WORKER_IDLE;
}

/* It is another one by now: nothing is known of it. */
static void connector_move(struct redis_node *node)
{
    char host[sizeof node->host];
    struct redis_address to = {.host = host};
    (void)connector_rest(node);
    pthread_mutex_lock(&node->mutex);
    memcpy(host, node->host, sizeof host);
    to.port = node->port;
    node->moved = false;
    node->run_id[0] = '\0';
    node->warning = node->node_error = (struct error){0};
    pthread_mutex_unlock(&node->mutex);
    redis_connector_move(node->connector, &to);
    atomic_store(&node->certificate_s, 0);
    node->watch.notified = false;
}

static bool node_is_moved(struct redis_node *node)
{
    pthread_mutex_lock(&node->mutex);
    bool moved = node->moved;
    pthread_mutex_unlock(&node->mutex);
    return moved;
}

/* Whether somebody opened the breaker, or suspects something, since the last look: then a probe is due sooner. */
static void connector_look(struct redis_node *node, struct watch *watch)
{
    pthread_mutex_lock(&node->mutex);
    bool opened = node->openings != watch->openings;
    watch->openings = node->openings;
    pthread_mutex_unlock(&node->mutex);
    if (opened) {
        watch->due = clock_monotonic_ns() + watch_pause(watch);
        connector_notify(node, watch);
    }
    if (atomic_exchange(&node->suspect, false) && watch->due > watch->probed_at + RETRY_FIRST)
        watch->due = watch->probed_at + RETRY_FIRST;
}

/* Where the server goes away it is known before anybody asks it. */
static void connector_sleep(struct redis_node *node, int64_t ns)
{
    int fd = atomic_load(&node->down) ? -1 : redis_connector_fd(node->connector); /* poll ignores -1 */
    struct pollfd fds[] = {{.fd = worker_fd(node->worker), .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    const struct timespec wait = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    (void)ppoll(fds, 2, &wait, NULL); /* woken for nothing does no harm */
}

/* A probe where one is due, else waits for that. */
static int64_t connector_step(void *arg)
{
    struct redis_node *node = arg;
    if (node_is_moved(node))
        connector_move(node);
    if (atomic_load(&node->idle))
        return connector_rest(node);
    connector_look(node, &node->watch);
    bool up = !atomic_load(&node->down);
    int64_t now = clock_monotonic_ns(), due = node->watch.due;
    if (due <= now || (up && !redis_connector_quiet(node->connector)))
        connector_probe(node, &node->watch);
    else if (up && node->watch.follow_due <= now)
        connector_follow(node, &node->watch);
    else
        connector_sleep(node, (up && node->watch.follow_due < due ? node->watch.follow_due : due) - now);
    return 0;
}

/* ---- calls ---- */

/* What may join others goes the one way, so that more of it comes together; the rest, some of it long, keeps out of that while
 * it can. */
static struct redis_pipeline *node_pipeline(struct redis_node *node, const struct redis_request *request)
{
    if (redis_encoder_may_join(request))
        return node->pipelines[0];
    struct redis_pipeline *best = node->pipelines[PIPELINES - 1];
    int least = redis_pipeline_load(best);
    for (int i = PIPELINES - 2; i >= 0 && least > 0; i--) {
        int load = redis_pipeline_load(node->pipelines[i]);
        if (load < least) {
            least = load;
            best = node->pipelines[i];
        }
    }
    return best;
}

/* What an error says of more than this call: REDIS_ANSWERED where it says nothing of that. */
static enum redis_status node_refusal(struct redis_node *node, const struct redis_request *request,
                                      const char *text)
{
    struct error err = {0};
    char name[REDIS_NODE_NAME];
    switch (redis_errors_find(text, redis_node_name(node, name), &err)) {
    case REDIS_ERROR_SLOT: /* whose it is, somebody else knows */
        if (node->in_cluster)
            return REDIS_ANSWERED;
        node_open(node, err.text);
        return REDIS_DOWN;
    case REDIS_ERROR_NODE:
        node_open(node, err.text);
        return REDIS_DOWN;
    case REDIS_ERROR_COMMAND:
        node_suspect(node, &err);
        return (request->rest == NULL || !request->rest->repeats) && redis_errors_is_midway(text)
                   ? REDIS_LOST
                   : REDIS_DOWN;
    case REDIS_ERROR_NONE:
        break;
    }
    return REDIS_ANSWERED;
}

enum redis_status redis_node_call(struct redis_node *node, const struct redis_request *request,
                                  int64_t deadline, redisReply **reply)
{
    redisReply *got = NULL;
    if (atomic_load(&node->down))
        return REDIS_DOWN;
    enum redis_status status = redis_pipeline_call(node_pipeline(node, request), request, deadline, &got);
    if (status != REDIS_ANSWERED)
        return status;
    if (got->type == REDIS_REPLY_ERROR)
        status = node_refusal(node, request, got->str);
    if (status == REDIS_ANSWERED)
        *reply = got;
    else
        freeReplyObject(got);
    return status;
}

/* ---- state ---- */

const char *redis_node_name(struct redis_node *node, char out[REDIS_NODE_NAME])
{
    pthread_mutex_lock(&node->mutex);
    memcpy(out, node->name, REDIS_NODE_NAME);
    pthread_mutex_unlock(&node->mutex);
    return out;
}

bool redis_node_wait(struct redis_node *node, int64_t until_ns, bool probed)
{
    const struct timespec at = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    pthread_mutex_lock(&node->mutex);
    int rc = 0;
    while (atomic_load(&node->down) && !(probed && node->probed) && rc == 0)
        rc = pthread_cond_clockwait(&node->changed, &node->mutex, CLOCK_MONOTONIC, &at);
    bool up = !atomic_load(&node->down);
    pthread_mutex_unlock(&node->mutex);
    return up;
}

void redis_node_condition(struct redis_node *node, struct error *out)
{
    pthread_mutex_lock(&node->mutex);
    if (atomic_load(&node->down))
        *out = node->condition;
    else if (node->node_error.text[0] != '\0' &&
             clock_monotonic_ns() - node->refused_at < REMEMBER_NODE_ERROR)
        *out = node->node_error;
    else
        *out = node->warning;
    pthread_mutex_unlock(&node->mutex);
}

void redis_node_shard(struct redis_node *node, redis_shard_fn *each, void *arg)
{
    char master[MASTER], name[REDIS_NODE_NAME];
    struct redis_shard shard = {.master = redis_node_name(node, name),
                                .up = redis_node_is_up(node),
                                .certificate_s = redis_node_certificate_s(node)};
    if (redis_connector_sentinels(node->connector) != NULL) {
        pthread_mutex_lock(&node->mutex);
        memcpy(master, node->master, sizeof master);
        shard.since_ns = node->master_since;
        pthread_mutex_unlock(&node->mutex);
        shard.master = master[0] != '\0' ? master : NULL;
    }
    each(arg, &shard);
}

unsigned redis_node_restarts(const struct redis_node *node)
{
    return atomic_load(&node->restarts);
}

int64_t redis_node_certificate_s(const struct redis_node *node)
{
    return atomic_load(&node->certificate_s);
}

bool redis_node_is_up(const struct redis_node *node)
{
    return !atomic_load(&node->down);
}

void redis_node_serve(struct redis_node *node, int slot)
{
    atomic_store(&node->slot, slot);
    if (atomic_exchange(&node->idle, slot < 0) != (slot < 0))
        worker_wake(node->worker);
}

void redis_node_move(struct redis_node *node, const struct redis_address *address)
{
    pthread_mutex_lock(&node->mutex);
    bool opened = breaker_open(node, "");
    node->condition = (struct error){NOT_YET};
    node->probed = false;
    redis_config_address(address, node->name, sizeof node->name);
    snprintf(node->host, sizeof node->host, "%s", address->host);
    node->port = address->port;
    node->moved = true;
    pthread_mutex_unlock(&node->mutex);
    for (int i = 0; i < PIPELINES && opened; i++)
        redis_pipeline_drop(node->pipelines[i]);
    worker_wake(node->worker);
}

void redis_node_free(struct redis_node *node)
{
    if (node == NULL)
        return;
    worker_stop(node->worker);
    for (int i = 0; i < PIPELINES; i++)
        redis_pipeline_free(node->pipelines[i]);
    redis_connector_free(node->connector);
    worker_free(node->worker);
    pthread_cond_destroy(&node->changed);
    pthread_mutex_destroy(&node->mutex);
    free(node);
}

static struct redis_node *node_new(const struct redis_node_watcher *watcher)
{
    struct redis_node *node = calloc(1, sizeof *node);
    if (node == NULL)
        return NULL;
    pthread_cond_init(&node->changed, NULL);
    pthread_mutex_init(&node->mutex, NULL);
    atomic_init(&node->down, true);
    atomic_init(&node->suspect, false);
    atomic_init(&node->slot, -1);
    node->condition = (struct error){NOT_YET};
    node->watcher = *watcher;
    node->watch.retry = RETRY_FIRST;
    return node;
}

/* False: out of memory. The worker is there. */
static bool node_make(struct redis_node *node, const struct redis_config *config)
{
    node->in_cluster = config->topology == REDIS_TOPOLOGY_CLUSTER;
    if (node->in_cluster)
        redis_config_address(&config->addresses[0], node->name, sizeof node->name);
    else
        redis_config_name(config, node->name, sizeof node->name);
    node->connector = redis_connector_new(config, worker_fd(node->worker));
    bool good = node->connector != NULL;
    for (int i = 0; good && i < PIPELINES; i++) {
        node->pipelines[i] = redis_pipeline_new(&node->down, node_open, node);
        good = node->pipelines[i] != NULL;
    }
    return good;
}

struct redis_node *redis_node_new(const struct redis_config *config, const struct redis_node_watcher *watcher,
                                  struct error *err)
{
    struct redis_node *node = node_new(watcher);
    if (node != NULL)
        node->worker = worker_new("redis", connector_step, node, err);
    if (node != NULL && node->worker != NULL && node_make(node, config) &&
        worker_start(node->worker, err) == 0)
        return node;
    error_set(err, "out of memory for the Redis client");
    redis_node_free(node);
    return NULL;
}
