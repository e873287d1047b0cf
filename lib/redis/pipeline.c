/* pipeline: one mutex each. It guards the two lists, who leads, and what the connector exchanges; connection and
 * outgoing buffer belong to the leader (or, while there is none, to who holds the mutex). A waiter lives on
 * the stack of its thread: it is in exactly one list until it is done, and only touched under the mutex.
 *
 * Threads are woken after the mutex was released (pipeline_unlock): else each of a batch would wake only to sleep
 * again on the mutex; and a batch by one wake. A waiter gets one order at most, that it is done or that the
 * lead is its own; who is done may be gone by then.
 *
 * queue: not yet written. flight: written, in the order of the answers to come. */
#include "sys/futex.h"
#include "base/clock.h"
#include "base/unzeroed.h"
#include "pipeline.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWERS = 64, BATCH_BYTES = 256 * 1024 };

/* Kinds of wakes: one for each batch, in turn, and one for the first of those who wait to be written. */
enum { BATCH_KINDS = 31 };
static const uint32_t FIRST = UINT32_C(1) << BATCH_KINDS;

enum waiter_state { WAITER_QUEUED, WAITER_WRITTEN, WAITER_DONE };

enum waiter_order { ORDER_NOTHING, ORDER_DONE, ORDER_LEAD };

struct waiter {
    struct waiter *next;
    uint32_t kinds;   /* of wakes that it sleeps for */
    atomic_int order; /* set under the mutex, looked at without */
    const struct redis_request *request;
    int64_t deadline;
    bool passed_over; /* its first answer, that to ASKING */
    int joined;       /* in flight: so many, this one and those behind it, are one call; 0: not its first */
    enum waiter_state state;
    enum redis_status status;
    redisReply *reply;
};

struct waiters {
    struct waiter *head, *tail;
};

struct redis_pipeline {
    pthread_mutex_t mutex;
    struct waiters queue, flight;
    struct futex futex;
    uint32_t wake;  /* these kinds are to be woken */
    unsigned batch; /* the number of the next one */
    struct waiter *leader;
    bool poisoned; /* somebody left flight: answers no longer match */
    bool stale;    /* an outage went by: the connection ends with what is in flight, and its end is no news */
    bool unsent;   /* no byte of what is in flight was sent */
    struct redis_connection *connection;
    struct redis_endpoint *endpoint;
    struct redis_encoder out;
    atomic_int load;
    const atomic_bool *down;
    redis_pipeline_failed_fn *failed;
    void *arg;
};

/* ---- lists ---- */

static void waiters_add(struct waiters *list, struct waiter *waiter)
{
    waiter->next = NULL;
    if (list->head == NULL)
        list->head = waiter;
    else
        list->tail->next = waiter;
    list->tail = waiter;
}

static struct waiter *waiters_take(struct waiters *list)
{
    struct waiter *waiter = list->head;
    if (waiter != NULL)
        list->head = waiter->next;
    return waiter;
}

/* Puts all of before, which is empty then, in front. */
static void waiters_prepend(struct waiters *list, struct waiters *before)
{
    if (before->head == NULL)
        return;
    before->tail->next = list->head;
    if (list->head == NULL)
        list->tail = before->tail;
    list->head = before->head;
}

static void waiters_remove(struct waiters *list, struct waiter *waiter)
{
    struct waiter *before = NULL;
    for (struct waiter *at = list->head; at != waiter; at = at->next)
        before = at;
    if (before == NULL)
        list->head = waiter->next;
    else
        before->next = waiter->next;
    if (list->tail == waiter)
        list->tail = before;
}

/* The last that is done to a waiter, when it is done. */
static void pipeline_give_order(struct redis_pipeline *pipeline, struct waiter *waiter,
                                enum waiter_order order)
{
    bool alone = order == ORDER_LEAD && (waiter->kinds & FIRST) != 0;
    pipeline->wake |= alone ? FIRST : waiter->kinds;
    atomic_store(&waiter->order, order);
}

static void pipeline_unlock(struct redis_pipeline *pipeline)
{
    uint32_t wake = pipeline->wake;
    pipeline->wake = 0;
    pthread_mutex_unlock(&pipeline->mutex);
    if (wake != 0)
        futex_wake(&pipeline->futex, wake);
}

/* The leader does not sleep, and gets no order. */
static void pipeline_finish(struct redis_pipeline *pipeline, struct waiter *waiter, enum redis_status status,
                            redisReply *reply)
{
    waiter->state = WAITER_DONE;
    waiter->status = status;
    waiter->reply = reply;
    if (waiter != pipeline->leader)
        pipeline_give_order(pipeline, waiter, ORDER_DONE);
}

static void pipeline_finish_all(struct redis_pipeline *pipeline, struct waiters *list,
                                enum redis_status status)
{
    struct waiter *waiter;
    while ((waiter = waiters_take(list)) != NULL)
        pipeline_finish(pipeline, waiter, status, NULL);
}

/* ---- the leader's work; the mutex is held but where it says so ---- */

/* The connection is given up: its callers get their status once the breaker is open. */
static void pipeline_give_up(struct redis_pipeline *pipeline, const struct error *err)
{
    enum redis_status status = pipeline->unsent ? REDIS_DOWN : REDIS_LOST;
    if (!pipeline->stale) {
        pipeline_unlock(pipeline);
        pipeline->failed(pipeline->arg, err->text);
        pthread_mutex_lock(&pipeline->mutex);
    }
    pipeline_finish_all(pipeline, &pipeline->flight, status);
    pipeline_finish_all(pipeline, &pipeline->queue, REDIS_DOWN);
    redis_connection_close(pipeline->connection);
    redis_encoder_clear(&pipeline->out);
    pipeline->poisoned = pipeline->stale = pipeline->unsent = false;
}

static int pipeline_open(struct redis_pipeline *pipeline, int64_t deadline, struct error *err)
{
    struct redis_endpoint *endpoint = redis_endpoint_ref(pipeline->endpoint);
    pipeline_unlock(pipeline);
    enum redis_connection_status status =
        redis_connection_open(pipeline->connection, endpoint, deadline, err, NULL);
    pthread_mutex_lock(&pipeline->mutex);
    redis_endpoint_unref(endpoint);
    return status == REDIS_CONNECTION_OK ? 0 : -1;
}

/* Nobody writes to a connection that the peer has left: between calls it may have ended it for good reasons. */
static int pipeline_ready(struct redis_pipeline *pipeline, int64_t deadline, struct error *err)
{
    if (pipeline->flight.head != NULL)
        return 0;
    if (redis_connection_is_open(pipeline->connection) &&
        (pipeline->stale || !redis_connection_is_quiet(pipeline->connection, false)))
        redis_connection_close(pipeline->connection);
    pipeline->stale = false;
    pipeline->unsent = true;
    return redis_connection_is_open(pipeline->connection) ? 0 : pipeline_open(pipeline, deadline, err);
}

/* The next call: who waits first, and who may be in one call with it, taken out of the queue. The others keep their order, and
 * behind REDIS_JOINT_MOST of them nobody is looked for. Returns how many the call is of; 0: all were late. */
static int pipeline_gather(struct redis_pipeline *pipeline, int64_t now,
                           struct waiter *call[REDIS_JOINT_MOST])
{
    struct waiters others = {0};
    struct waiter *waiter;
    int n = 0, passed = 0, most = 1;
    while (n < most && passed < REDIS_JOINT_MOST && (waiter = waiters_take(&pipeline->queue)) != NULL) {
        if (waiter->deadline <= now) {
            pipeline_finish(pipeline, waiter, REDIS_DOWN, NULL);
        } else if (n == 0) {
            call[n++] = waiter;
            most = redis_encoder_may_join(waiter->request) ? REDIS_JOINT_MOST : 1;
        } else if (redis_encoder_joins(call[0]->request, waiter->request)) {
            call[n++] = waiter;
        } else {
            waiters_add(&others, waiter);
            passed++;
        }
    }
    waiters_prepend(&pipeline->queue, &others);
    return n;
}

/* Writes them as one call. False: out of memory. */
static bool pipeline_write(struct redis_pipeline *pipeline, struct waiter *const call[REDIS_JOINT_MOST],
                           int n)
{
    const struct redis_request *requests[REDIS_JOINT_MOST] UNZEROED;
    for (int i = 0; i < n; i++)
        requests[i] = call[i]->request;
    if (redis_encoder_add(&pipeline->out, requests, n) != 0)
        return false;
    for (int i = 0; i < n; i++) {
        call[i]->state = WAITER_WRITTEN;
        call[i]->joined = i == 0 ? n : 0;
        waiters_add(&pipeline->flight, call[i]);
    }
    return true;
}

/* Moves everybody who waits, and has the time, from queue to flight. */
static void pipeline_take(struct redis_pipeline *pipeline)
{
    int64_t now = clock_monotonic_ns();
    if (pipeline->out.sent == pipeline->out.len)
        redis_encoder_clear(&pipeline->out);
    pipeline->batch++;
    while (pipeline->queue.head != NULL && pipeline->out.len < BATCH_BYTES) {
        struct waiter *call[REDIS_JOINT_MOST] UNZEROED;
        int n = pipeline_gather(pipeline, now, call);
        bool written = n > 0 && pipeline_write(pipeline, call, n);
        for (int i = 0; i < n && !written; i++)
            pipeline_finish(pipeline, call[i], REDIS_DOWN, NULL);
    }
}

static int64_t pipeline_earliest(const struct redis_pipeline *pipeline)
{
    int64_t earliest = INT64_MAX;
    for (const struct waiter *at = pipeline->flight.head; at != NULL; at = at->next)
        if (at->deadline < earliest)
            earliest = at->deadline;
    return earliest;
}

/* Sends and reads once, without the mutex. A connection that turns out to be closed before a byte was sent is
 * replaced, once. */
static enum redis_connection_status pipeline_step(struct redis_pipeline *pipeline, int64_t deadline,
                                                  redisReply **got, int *n, struct error *err)
{
    struct redis_endpoint *endpoint = redis_endpoint_ref(pipeline->endpoint);
    bool unsent = pipeline->unsent;
    pipeline_unlock(pipeline);
    enum redis_connection_status status =
        redis_connection_step(pipeline->connection, &pipeline->out, deadline, got, ANSWERS, n, err);
    unsent = unsent && pipeline->out.sent == 0;
    if (status == REDIS_CONNECTION_CLOSED && unsent) {
        *err = (struct error){0};
        redis_connection_close(pipeline->connection);
        status = redis_connection_open(pipeline->connection, endpoint, deadline, err, NULL);
        if (status == REDIS_CONNECTION_OK)
            status =
                redis_connection_step(pipeline->connection, &pipeline->out, deadline, got, ANSWERS, n, err);
        unsent = pipeline->out.sent == 0;
    }
    pthread_mutex_lock(&pipeline->mutex);
    redis_endpoint_unref(endpoint);
    pipeline->unsent = unsent;
    return status;
}

/* What the i-th of n gets of the answer to one call of all: an element; where it is no list of so many, the same error as the
 * others, or nothing. NULL: out of memory. */
static redisReply *pipeline_part(redisReply *whole, int i, int n)
{
    redisReply *part = NULL;
    if (whole->type == REDIS_REPLY_ARRAY && whole->elements == (size_t)n) {
        part = whole->element[i];
        whole->element[i] = NULL;
        return part;
    }
    part = calloc(1, sizeof *part);
    if (part == NULL)
        return NULL;
    part->type = REDIS_REPLY_NIL;
    if (whole->type == REDIS_REPLY_ERROR && (part->str = strdup(whole->str)) != NULL) {
        part->type = REDIS_REPLY_ERROR;
        part->len = strlen(part->str);
    }
    return part;
}

/* An answer, to whoever waits for it. False: nobody does. */
static bool pipeline_hand_out(struct redis_pipeline *pipeline, redisReply *reply)
{
    struct waiter *waiter = pipeline->flight.head;
    if (waiter == NULL)
        return false;
    if (waiter->request->asking && !waiter->passed_over) {
        waiter->passed_over = true; /* where ASKING failed, the command says MOVED */
        freeReplyObject(reply);
        return true;
    }
    int n = waiter->joined;
    for (int i = 0; i < n; i++) {
        redisReply *part = n == 1 ? reply : pipeline_part(reply, i, n);
        pipeline_finish(pipeline, waiters_take(&pipeline->flight), part != NULL ? REDIS_ANSWERED : REDIS_LOST,
                        part);
    }
    if (n > 1)
        freeReplyObject(reply);
    return true;
}

/* Until the first deadline in flight, where the leader is, too. 0, or -1 when the connection must be given up. */
static int pipeline_exchange(struct redis_pipeline *pipeline, struct error *err)
{
    redisReply *got[ANSWERS] UNZEROED;
    int n = 0;
    enum redis_connection_status status = pipeline_step(pipeline, pipeline_earliest(pipeline), got, &n, err);
    if (pipeline->poisoned) {
        error_set(err, "Redis did not answer in time");
        status = REDIS_CONNECTION_TIMEOUT;
    }
    for (int i = 0; i < n; i++)
        if (status != REDIS_CONNECTION_OK || !pipeline_hand_out(pipeline, got[i])) {
            freeReplyObject(got[i]);
            error_set(err, "Redis answered what nobody had asked");
            status = REDIS_CONNECTION_BROKEN;
        }
    if (status == REDIS_CONNECTION_OK && pipeline->flight.head == NULL &&
        (!redis_connection_is_drained(pipeline->connection) || pipeline->out.sent < pipeline->out.len)) {
        error_set(err, "Redis answered what nobody had asked");
        status = REDIS_CONNECTION_BROKEN;
    }
    return status == REDIS_CONNECTION_OK ? 0 : -1;
}

static void pipeline_lead(struct redis_pipeline *pipeline, struct waiter *self)
{
    while (self->state != WAITER_DONE) {
        struct error err UNZEROED;
        err.text[0] = '\0';
        if (pipeline->poisoned)
            error_set(&err, "Redis did not answer in time");
        else if (pipeline_ready(pipeline, self->deadline, &err) == 0 && !pipeline->stale)
            pipeline_take(pipeline);
        if (self->state == WAITER_DONE)
            break; /* found late: whoever waits next does what is left */
        if (err.text[0] == '\0' && pipeline->flight.head != NULL)
            (void)pipeline_exchange(pipeline, &err); /* its failure is in err */
        if (err.text[0] != '\0')
            pipeline_give_up(pipeline, &err);
    }
    pipeline->leader = pipeline->flight.head != NULL ? pipeline->flight.head : pipeline->queue.head;
    if (pipeline->leader != NULL)
        pipeline_give_order(pipeline, pipeline->leader, ORDER_LEAD);
    else if (pipeline->stale)
        redis_connection_close(pipeline->connection);
}

/* ---- the others ---- */

/* Until it gets an order, or its deadline. */
static enum waiter_order pipeline_sleep(struct redis_pipeline *pipeline, struct waiter *self)
{
    bool late = false;
    for (;;) {
        unsigned wakes = futex_count(&pipeline->futex);
        enum waiter_order order = (enum waiter_order)atomic_load(&self->order);
        if (order != ORDER_NOTHING || late)
            return order;
        late = !futex_wait(&pipeline->futex, wakes, self->kinds, self->deadline);
    }
}

/* Time is up without an order: leaves. */
static void pipeline_leave(struct redis_pipeline *pipeline, struct waiter *self)
{
    bool written = self->state == WAITER_WRITTEN;
    waiters_remove(written ? &pipeline->flight : &pipeline->queue, self);
    self->state = WAITER_DONE;
    self->status = written ? REDIS_LOST : REDIS_DOWN;
    pipeline->poisoned = pipeline->poisoned || written;
}

/* Another leads. Without the mutex on entry and return. True: the lead is now self's. */
static bool pipeline_wait(struct redis_pipeline *pipeline, struct waiter *self)
{
    enum waiter_order order = pipeline_sleep(pipeline, self);
    if (order == ORDER_NOTHING) {
        pthread_mutex_lock(&pipeline->mutex);
        order = (enum waiter_order)atomic_load(&self->order);
        if (order == ORDER_NOTHING)
            pipeline_leave(pipeline, self);
        pipeline_unlock(pipeline);
    }
    return order == ORDER_LEAD; /* else nobody knows it any more: no need for the mutex */
}

/* Returns when self is done, and no longer known to anybody. */
static void pipeline_join(struct redis_pipeline *pipeline, struct waiter *self)
{
    pthread_mutex_lock(&pipeline->mutex);
    if (atomic_load(
            pipeline->down)) { /* looked at under the mutex: who comes after redis_pipeline_drop() sees it */
        pipeline_unlock(pipeline);
        return;
    }
    self->kinds = UINT32_C(1) << pipeline->batch % BATCH_KINDS;
    if (pipeline->queue.head == NULL)
        self->kinds |= FIRST;
    waiters_add(&pipeline->queue, self);
    bool lead = pipeline->leader == NULL;
    if (lead)
        pipeline->leader = self;
    if (!lead) {
        pipeline_unlock(pipeline);
        if (!pipeline_wait(pipeline, self))
            return;
        pthread_mutex_lock(&pipeline->mutex);
    }
    pipeline_lead(pipeline, self);
    pipeline_unlock(pipeline);
}

enum redis_status redis_pipeline_call(struct redis_pipeline *pipeline, const struct redis_request *request,
                                      int64_t deadline, redisReply **reply)
{
    struct waiter self = {
        .request = request, .deadline = deadline, .state = WAITER_QUEUED, .status = REDIS_DOWN};
    atomic_fetch_add(&pipeline->load, 1);
    pipeline_join(pipeline, &self);
    atomic_fetch_sub(&pipeline->load, 1);
    if (self.status == REDIS_ANSWERED)
        *reply = self.reply;
    return self.status;
}

int redis_pipeline_load(struct redis_pipeline *pipeline)
{
    return atomic_load(&pipeline->load);
}

void redis_pipeline_drop(struct redis_pipeline *pipeline)
{
    pthread_mutex_lock(&pipeline->mutex);
    pipeline_finish_all(pipeline, &pipeline->queue, REDIS_DOWN);
    pipeline_unlock(pipeline);
}

void redis_pipeline_rest(struct redis_pipeline *pipeline)
{
    pthread_mutex_lock(&pipeline->mutex);
    pipeline->stale = pipeline->leader != NULL;
    if (!pipeline->stale)
        redis_connection_close(pipeline->connection);
    pipeline_unlock(pipeline);
}

bool redis_pipeline_needs_connection(struct redis_pipeline *pipeline)
{
    pthread_mutex_lock(&pipeline->mutex);
    bool needs = pipeline->leader == NULL && !redis_connection_is_quiet(pipeline->connection, true);
    pipeline_unlock(pipeline);
    return needs;
}

void redis_pipeline_renew(struct redis_pipeline *pipeline, struct redis_connection *connection,
                          struct redis_endpoint *endpoint)
{
    struct redis_endpoint *old = NULL;
    pthread_mutex_lock(&pipeline->mutex);
    old = pipeline->endpoint;
    pipeline->endpoint = redis_endpoint_ref(endpoint);
    if (pipeline->leader != NULL) {
        pipeline->stale = true;
    } else {
        struct redis_connection *unused = pipeline->connection;
        pipeline->connection = connection;
        connection = unused;
        pipeline->stale = false;
    }
    pipeline_unlock(pipeline);
    redis_connection_free(connection);
    redis_endpoint_unref(old);
}

struct redis_pipeline *redis_pipeline_new(const atomic_bool *down, redis_pipeline_failed_fn *failed,
                                          void *arg)
{
    struct redis_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (pipeline == NULL)
        return NULL;
    pipeline->connection = redis_connection_new();
    if (pipeline->connection == NULL) {
        free(pipeline);
        return NULL;
    }
    pthread_mutex_init(&pipeline->mutex, NULL);
    atomic_init(&pipeline->load, 0);
    pipeline->down = down;
    pipeline->failed = failed;
    pipeline->arg = arg;
    return pipeline;
}

void redis_pipeline_free(struct redis_pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    assert(pipeline->leader == NULL);
    redis_connection_free(pipeline->connection);
    redis_endpoint_unref(pipeline->endpoint);
    redis_encoder_done(&pipeline->out);
    pthread_mutex_destroy(&pipeline->mutex);
    free(pipeline);
}
