/* client: chooses a pipeline for each call, holds the breaker, runs the connector thread. Owns all three; fails by a status
 * (redis/client.h).
 *
 * The breaker is the flag `down`. Whoever finds a fault opens it (client_open); only the connector closes it,
 * after a probe that went all the way. Lock order: the client's mutex and a pipeline's are never held together,
 * and events are sent under none. */
#include "base/clock.h"
#include "redis/client.h"
#include "connector.h"
#include "pipeline.h"
#include "errors.h"
#include "sys/worker.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MS(n) ((int64_t)(n)*1000000)

enum { PIPELINES = 2 };

/* Between probes. Down: from FIRST, doubled up to LAST, so that blocks reach every host within a second of
 * the return. What flaps costs its callers a timeout each time: it rests up to FLAPPING, and is not given a
 * fresh start. Times vary by a quarter, so that many gates do not ask together; FLAPPING and a quarter are 2
 * s. */
static const int64_t RETRY_FIRST = MS(100), RETRY_LAST = MS(320), RETRY_FLAPPING = MS(1600);
static const int64_t PROBE_UP = MS(1600), STEADY = MS(3000);
static const int64_t FOLLOW =
    MS(250); /* between questions to the Sentinels: writes to a master that was replaced are lost */
static const int64_t REMEMBER_NODE_ERROR = MS(60000);

struct watch { /* what the connector remembers between probes */
    uint64_t random;
    int64_t due, probed_at, follow_due;
    const struct redis_endpoint *given; /* to all pipelines; only compared */
    int64_t retry;                      /* the next pause while down */
    int64_t up_since;                   /* 0: down */
    unsigned openings;
    bool notified, notified_down;
};

struct redis_client {
    redis_event_fn *event;
    void *arg;
    char *name; /* of the server, for people */
    char *prefix;
    int64_t timeout_ns;
    struct redis_pipeline *pipelines[PIPELINES];
    struct worker *worker;             /* the connector thread, whose are */
    struct redis_connector *connector; /* this */
    struct watch watch;                /* and this */
    atomic_bool down;
    atomic_uint restarts;
    atomic_bool suspect; /* a call was refused in a way that may concern all: probe soon */

    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t changed;
    unsigned openings;
    char run_id[64];
    struct error condition;  /* why it is down */
    struct error warning;    /* while it is up */
    struct error node_error; /* of a single command */
    int64_t refused_at;
};

/* ---- the breaker ---- */

/* From any thread, without locks. A fault that is already known changes nothing. */
static void client_open(void *arg, const char *text)
{
    struct redis_client *redis = arg;
    pthread_mutex_lock(&redis->mutex);
    bool opened = !atomic_load(&redis->down);
    if (opened) {
        redis->condition = (struct error){0};
        error_set(&redis->condition, "%s", text);
        redis->openings++;
        atomic_store(&redis->down, true);
    }
    pthread_mutex_unlock(&redis->mutex);
    if (!opened)
        return;
    for (int i = 0; i < PIPELINES; i++)
        redis_pipeline_drop(redis->pipelines[i]);
    worker_wake(redis->worker);
}

/* A command was refused by the ACL. Whether all are, is for the connector to find out. */
static void client_suspect(struct redis_client *redis, const struct error *why)
{
    pthread_mutex_lock(&redis->mutex);
    redis->node_error = *why;
    redis->refused_at = clock_monotonic_ns();
    pthread_mutex_unlock(&redis->mutex);
    if (!atomic_exchange(&redis->suspect, true))
        worker_wake(redis->worker);
}

/* ---- the connector ---- */

static int64_t watch_jitter(struct watch *watch, int64_t ns)
{
    watch->random ^= watch->random << 13; /* xorshift64 */
    watch->random ^= watch->random >> 7;
    watch->random ^= watch->random << 17;
    return ns - ns / 4 + (int64_t)(watch->random % (uint64_t)(ns / 2));
}

static int64_t watch_pause(struct watch *watch)
{
    int64_t most = watch->up_since != 0 ? RETRY_FLAPPING : RETRY_LAST;
    if (watch->up_since != 0 && clock_monotonic_ns() - watch->up_since > STEADY)
        watch->retry = RETRY_FIRST;
    watch->up_since = 0;
    int64_t pause = watch->retry < most ? watch->retry : most;
    if (watch->retry < most)
        watch->retry *= 2;
    return watch_jitter(watch, pause);
}

static void connector_name(const struct redis_client *redis, struct error *out)
{
    const char *at = redis_connector_endpoint(redis->connector)->name;
    if (redis_connector_sentinels(redis->connector) != NULL)
        error_set(out, "connected to Redis at %s, %s", at, redis->name);
    else
        error_set(out, "connected to Redis at %s", redis->name);
}

/* Events come from this thread alone, so that they arrive in the order in which things happened. */
static void connector_notify(struct redis_client *redis, struct watch *watch)
{
    struct error text = {0};
    pthread_mutex_lock(&redis->mutex);
    bool down = atomic_load(&redis->down);
    if (down)
        text = redis->condition;
    else
        connector_name(redis, &text);
    pthread_mutex_unlock(&redis->mutex);
    if (redis->event != NULL && (!watch->notified || watch->notified_down != down))
        redis->event(redis->arg, down, text.text);
    watch->notified = true;
    watch->notified_down = down;
}

static void connector_note(struct redis_client *redis, const struct redis_probe *probe)
{
    pthread_mutex_lock(&redis->mutex);
    redis->warning = probe->warning;
    if (probe->run_id[0] != '\0') {
        if (redis->run_id[0] != '\0' && strcmp(redis->run_id, probe->run_id) != 0)
            atomic_fetch_add(&redis->restarts, 1);
        memcpy(redis->run_id, probe->run_id, sizeof redis->run_id);
    }
    pthread_mutex_unlock(&redis->mutex);
}

/* Gives every pipeline that needs it (or, after an outage, and with another password or certificate, every one) a connection. */
static int connector_mend_pipelines(struct redis_client *redis, bool was_down, struct error *err)
{
    struct redis_endpoint *endpoint = redis_connector_endpoint(redis->connector);
    bool all = was_down || redis->watch.given != endpoint;
    for (int i = 0; i < PIPELINES; i++) {
        if (!all && !redis_pipeline_needs_connection(redis->pipelines[i]))
            continue;
        struct redis_connection *connection = redis_connector_connect(redis->connector, err);
        if (connection == NULL)
            return -1;
        redis_pipeline_renew(redis->pipelines[i], connection, endpoint);
    }
    redis->watch.given = endpoint;
    return 0;
}

static void connector_failed(struct redis_client *redis, struct watch *watch, const struct error *err)
{
    client_open(redis, err->text);
    redis_connector_close(redis->connector);
    pthread_mutex_lock(&redis->mutex);
    redis->condition = *err; /* the latest reason, when it was down before */
    watch->openings = redis->openings;
    pthread_mutex_unlock(&redis->mutex);
    watch->due = clock_monotonic_ns() + watch_pause(watch);
}

static void connector_well(struct redis_client *redis, struct watch *watch, bool was_down)
{
    if (was_down) {
        watch->up_since = clock_monotonic_ns();
        pthread_mutex_lock(&redis->mutex);
        atomic_store(&redis->down, false);
        pthread_cond_broadcast(&redis->changed);
        pthread_mutex_unlock(&redis->mutex);
    }
    watch->due = clock_monotonic_ns() + watch_jitter(watch, PROBE_UP);
    watch->follow_due =
        redis_connector_sentinels(redis->connector) != NULL ? clock_monotonic_ns() + FOLLOW : INT64_MAX;
}

/* Between probes: whether the Sentinels still name this master. */
static void connector_follow(struct redis_client *redis, struct watch *watch)
{
    struct error err = {0};
    watch->follow_due = clock_monotonic_ns() + FOLLOW;
    if (redis_connector_follow(redis->connector, &err) == 0)
        return;
    connector_failed(redis, watch, &err);
    connector_notify(redis, watch);
}

static void connector_probe(struct redis_client *redis, struct watch *watch)
{
    struct redis_probe probe = {0};
    struct error err = {0};
    bool was_down = atomic_load(&redis->down);
    if (was_down) {
        if (watch->notified)
            connector_notify(redis, watch);
        redis_connector_close(redis->connector); /* the whole way again: name, address, password */
    }
    int rc = redis_connector_probe(redis->connector, &probe, &err);
    if (rc == 0) {
        connector_note(redis, &probe);
        rc = connector_mend_pipelines(redis, was_down, &err);
    }
    watch->probed_at = clock_monotonic_ns();
    if (rc == 0)
        connector_well(redis, watch, was_down);
    else
        connector_failed(redis, watch, &err);
    connector_notify(redis, watch);
}

/* Whether somebody opened the breaker, or suspects something, since the last look: then a probe is due sooner. */
static void connector_look(struct redis_client *redis, struct watch *watch)
{
    pthread_mutex_lock(&redis->mutex);
    bool opened = redis->openings != watch->openings;
    watch->openings = redis->openings;
    pthread_mutex_unlock(&redis->mutex);
    if (opened) {
        watch->due = clock_monotonic_ns() + watch_pause(watch);
        connector_notify(redis, watch);
    }
    if (atomic_exchange(&redis->suspect, false) && watch->due > watch->probed_at + RETRY_FIRST)
        watch->due = watch->probed_at + RETRY_FIRST;
}

/* Where the server goes away it is known before anybody asks it. */
static void connector_sleep(struct redis_client *redis, int64_t ns)
{
    int fd = atomic_load(&redis->down) ? -1 : redis_connector_fd(redis->connector); /* poll ignores -1 */
    struct pollfd fds[] = {{.fd = worker_fd(redis->worker), .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    const struct timespec wait = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    (void)ppoll(fds, 2, &wait, NULL); /* woken for nothing does no harm */
}

/* A probe where one is due, else waits for that. */
static int64_t connector_step(void *arg)
{
    struct redis_client *redis = arg;
    connector_look(redis, &redis->watch);
    bool up = !atomic_load(&redis->down);
    int64_t now = clock_monotonic_ns(), due = redis->watch.due;
    if (due <= now || (up && !redis_connector_quiet(redis->connector)))
        connector_probe(redis, &redis->watch);
    else if (up && redis->watch.follow_due <= now)
        connector_follow(redis, &redis->watch);
    else
        connector_sleep(redis, (up && redis->watch.follow_due < due ? redis->watch.follow_due : due) - now);
    return 0;
}

/* ---- calls ---- */

static struct redis_pipeline *client_pipeline(struct redis_client *redis)
{
    struct redis_pipeline *best = redis->pipelines[0];
    int least = redis_pipeline_load(best);
    for (int i = 1; i < PIPELINES && least > 0; i++) {
        int load = redis_pipeline_load(redis->pipelines[i]);
        if (load < least) {
            least = load;
            best = redis->pipelines[i];
        }
    }
    return best;
}

static enum redis_status client_call(struct redis_client *redis, const struct redis_request *request,
                                     int64_t deadline, redisReply **reply)
{
    redisReply *got = NULL;
    if (atomic_load(&redis->down))
        return REDIS_DOWN;
    enum redis_status status = redis_pipeline_call(client_pipeline(redis), request, deadline, &got);
    if (status != REDIS_ANSWERED)
        return status;
    if (got->type == REDIS_REPLY_ERROR) {
        struct error err = {0};
        enum redis_error node_error = redis_errors_find(got->str, redis->name, &err);
        if (node_error == REDIS_ERROR_NODE)
            client_open(redis, err.text);
        else if (node_error == REDIS_ERROR_COMMAND)
            client_suspect(redis, &err);
        if (node_error != REDIS_ERROR_NONE) {
            freeReplyObject(got);
            return REDIS_DOWN;
        }
    }
    *reply = got;
    return REDIS_ANSWERED;
}

int64_t redis_client_deadline(const struct redis_client *redis)
{
    return clock_monotonic_ns() + redis->timeout_ns;
}

static int64_t command_deadline(const struct redis_client *redis, const struct redis_command *command)
{
    return command->deadline > 0 ? command->deadline : redis_client_deadline(redis);
}

enum redis_status redis_client_call(struct redis_client *redis, const struct redis_command *command,
                                    redisReply **reply)
{
    const struct redis_request request = {.rest = command};
    return client_call(redis, &request, command_deadline(redis, command), reply);
}

enum redis_status redis_client_eval(struct redis_client *redis, const struct redis_script *script, int n_keys,
                                    const struct redis_command *args, redisReply **reply)
{
    char keys[16] = {(char)('0' + n_keys)};
    if (n_keys > 9)
        snprintf(keys, sizeof keys, "%d", n_keys);
    const struct redis_request by_sha = {.n_head = 3, .head = {"EVALSHA", script->sha, keys}, .rest = args};
    const struct redis_request by_source = {
        .n_head = 3, .head = {"EVAL", script->source, keys}, .rest = args};
    int64_t deadline = command_deadline(redis, args);
    redisReply *got = NULL;
    enum redis_status status = client_call(redis, &by_sha, deadline, &got);
    if (status == REDIS_ANSWERED && got->type == REDIS_REPLY_ERROR && strncmp(got->str, "NOSCRIPT", 8) == 0) {
        freeReplyObject(got);
        status = client_call(redis, &by_source, deadline, &got);
    }
    if (status == REDIS_ANSWERED)
        *reply = got;
    return status;
}

/* ---- state ---- */

const char *redis_client_prefix(const struct redis_client *redis)
{
    return redis->prefix;
}

bool redis_client_wait(struct redis_client *redis, int64_t timeout_ms)
{
    int64_t until = clock_monotonic_ns() + MS(timeout_ms);
    const struct timespec at = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    pthread_mutex_lock(&redis->mutex);
    int rc = 0;
    while (atomic_load(&redis->down) && rc == 0)
        rc = pthread_cond_clockwait(&redis->changed, &redis->mutex, CLOCK_MONOTONIC, &at);
    bool up = !atomic_load(&redis->down);
    pthread_mutex_unlock(&redis->mutex);
    return up;
}

void redis_client_condition(struct redis_client *redis, struct error *out)
{
    pthread_mutex_lock(&redis->mutex);
    if (atomic_load(&redis->down))
        *out = redis->condition;
    else if (redis->node_error.text[0] != '\0' &&
             clock_monotonic_ns() - redis->refused_at < REMEMBER_NODE_ERROR)
        *out = redis->node_error;
    else
        *out = redis->warning;
    pthread_mutex_unlock(&redis->mutex);
}

unsigned redis_client_restarts(struct redis_client *redis)
{
    return atomic_load(&redis->restarts);
}

bool redis_client_is_up(struct redis_client *redis)
{
    return !atomic_load(&redis->down);
}

void redis_client_free(struct redis_client *redis)
{
    if (redis == NULL)
        return;
    worker_stop(redis->worker);
    for (int i = 0; i < PIPELINES; i++)
        redis_pipeline_free(redis->pipelines[i]);
    redis_connector_free(redis->connector);
    worker_free(redis->worker);
    pthread_cond_destroy(&redis->changed);
    pthread_mutex_destroy(&redis->mutex);
    free(redis->name);
    free(redis->prefix);
    free(redis);
}

static char *server_name(const struct redis_config *config)
{
    char name[512];
    return strdup(redis_config_name(config, name, sizeof name));
}

static struct redis_client *client_new(redis_event_fn *event, void *arg)
{
    struct redis_client *redis = calloc(1, sizeof *redis);
    if (redis == NULL)
        return NULL;
    pthread_cond_init(&redis->changed, NULL);
    pthread_mutex_init(&redis->mutex, NULL);
    atomic_init(&redis->down, true);
    atomic_init(&redis->suspect, false);
    error_set(&redis->condition, "not connected to Redis yet");
    redis->event = event;
    redis->arg = arg;
    redis->watch.retry = RETRY_FIRST;
    redis->watch.random =
        (uint64_t)clock_monotonic_ns() ^ (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)redis;
    return redis;
}

/* False: out of memory. The worker is there. */
static bool client_make(struct redis_client *redis, const struct redis_config *config)
{
    redis->timeout_ns = MS(config->timeout_ms);
    redis->name = server_name(config);
    redis->prefix = strdup(config->prefix != NULL ? config->prefix : "rcptgate");
    if (redis->name == NULL || redis->prefix == NULL)
        return false;
    redis->connector = redis_connector_new(config, redis->prefix, worker_fd(redis->worker));
    bool good = redis->connector != NULL;
    for (int i = 0; good && i < PIPELINES; i++) {
        redis->pipelines[i] = redis_pipeline_new(&redis->down, client_open, redis);
        good = redis->pipelines[i] != NULL;
    }
    return good;
}

struct redis_client *redis_client_new(const struct redis_config *config, redis_event_fn *event, void *arg,
                                      struct error *err)
{
    struct redis_client *redis = client_new(event, arg);
    if (redis != NULL)
        redis->worker = worker_new("redis", connector_step, redis, err);
    if (redis != NULL && redis->worker != NULL && client_make(redis, config) &&
        worker_start(redis->worker, err) == 0)
        return redis;
    error_set(err, "out of memory for the Redis client");
    redis_client_free(redis);
    return NULL;
}
