/* One mutex a lane. It guards the two lists, who leads, and what the keeper exchanges; connection and
 * outgoing buffer belong to the leader (or, while there is none, to who holds the mutex). A waiter lives on
 * the stack of its thread: it is in exactly one list until it is done, and only touched under the mutex.
 *
 * Threads are woken after the mutex was released (lane_unlock): else each of a batch would wake only to sleep
 * again on the mutex; and a batch by one ring. A waiter is told once at most, that it is done or that the
 * lead is its own; who is done may be gone by then.
 *
 * queue: not yet written. flight: written, in the order of the answers to come. */
#include "bell.h"
#include "clock.h"
#include "redis_lane.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

enum { ANSWERS = 64, BATCH_BYTES = 256 * 1024 };

/* Kinds of rings: one for each batch, in turn, and one for the first of those who wait to be written. */
enum { BATCH_KINDS = 31 };
static const uint32_t FIRST = UINT32_C(1) << BATCH_KINDS;

enum waiter_state { WAITER_QUEUED, WAITER_WRITTEN, WAITER_DONE };

enum waiter_told { TOLD_NOTHING, TOLD_DONE, TOLD_LEAD };

struct waiter {
    struct waiter *next;
    uint32_t kinds;  /* of rings that it sleeps for */
    atomic_int told; /* set under the mutex, looked at without */
    const struct redis_request *request;
    int64_t deadline;
    enum waiter_state state;
    enum redis_status status;
    redisReply *reply;
};

struct waiters {
    struct waiter *head, *tail;
};

struct redis_lane {
    pthread_mutex_t mutex;
    struct waiters queue, flight;
    struct bell bell;
    uint32_t ring;  /* these kinds are to be rung */
    unsigned batch; /* the number of the next one */
    struct waiter *leader;
    bool poisoned; /* somebody left flight: answers no longer match */
    bool stale;    /* an outage went by: the connection ends with what is in flight, and its end is no news */
    bool unsent;   /* no byte of what is in flight was sent */
    struct redis_link *link;
    struct redis_target *target;
    struct redis_buffer out;
    atomic_int load;
    const atomic_bool *down;
    redis_lane_failed_fn *failed;
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
static void lane_tell(struct redis_lane *lane, struct waiter *waiter, enum waiter_told told)
{
    bool alone = told == TOLD_LEAD && (waiter->kinds & FIRST) != 0;
    lane->ring |= alone ? FIRST : waiter->kinds;
    atomic_store(&waiter->told, told);
}

static void lane_unlock(struct redis_lane *lane)
{
    uint32_t ring = lane->ring;
    lane->ring = 0;
    pthread_mutex_unlock(&lane->mutex);
    if (ring != 0)
        bell_ring(&lane->bell, ring);
}

/* The leader does not sleep, and is told nothing. */
static void lane_finish(struct redis_lane *lane, struct waiter *waiter, enum redis_status status,
                        redisReply *reply)
{
    waiter->state = WAITER_DONE;
    waiter->status = status;
    waiter->reply = reply;
    if (waiter != lane->leader)
        lane_tell(lane, waiter, TOLD_DONE);
}

static void lane_finish_all(struct redis_lane *lane, struct waiters *list, enum redis_status status)
{
    struct waiter *waiter;
    while ((waiter = waiters_take(list)) != NULL)
        lane_finish(lane, waiter, status, NULL);
}

/* ---- the leader's work; the mutex is held but where it says so ---- */

/* The connection is given up: its callers are told, after the breaker has been. */
static void lane_give_up(struct redis_lane *lane, const struct error *err)
{
    enum redis_status status = lane->unsent ? REDIS_DOWN : REDIS_LOST;
    if (!lane->stale) {
        lane_unlock(lane);
        lane->failed(lane->arg, err->text);
        pthread_mutex_lock(&lane->mutex);
    }
    lane_finish_all(lane, &lane->flight, status);
    lane_finish_all(lane, &lane->queue, REDIS_DOWN);
    redis_link_close(lane->link);
    redis_buffer_clear(&lane->out);
    lane->poisoned = lane->stale = lane->unsent = false;
}

static int lane_open(struct redis_lane *lane, int64_t deadline, struct error *err)
{
    struct redis_target *target = redis_target_ref(lane->target);
    lane_unlock(lane);
    enum redis_link_status status = redis_link_open(lane->link, target, deadline, err, NULL);
    pthread_mutex_lock(&lane->mutex);
    redis_target_unref(target);
    return status == REDIS_LINK_OK ? 0 : -1;
}

/* Nobody writes to a connection that the peer has left: between calls it may have ended it for good reasons. */
static int lane_ready(struct redis_lane *lane, int64_t deadline, struct error *err)
{
    if (lane->flight.head != NULL)
        return 0;
    if (redis_link_is_open(lane->link) && (lane->stale || !redis_link_is_quiet(lane->link, false)))
        redis_link_close(lane->link);
    lane->stale = false;
    lane->unsent = true;
    return redis_link_is_open(lane->link) ? 0 : lane_open(lane, deadline, err);
}

/* Moves everybody who waits, and has the time, from queue to flight. */
static void lane_take(struct redis_lane *lane)
{
    int64_t now = clock_monotonic_ns();
    if (lane->out.sent == lane->out.len)
        redis_buffer_clear(&lane->out);
    lane->batch++;
    while (lane->queue.head != NULL && lane->out.len < BATCH_BYTES) {
        struct waiter *waiter = waiters_take(&lane->queue);
        if (waiter->deadline <= now || redis_buffer_add(&lane->out, waiter->request) != 0) {
            lane_finish(lane, waiter, REDIS_DOWN, NULL);
        } else {
            waiter->state = WAITER_WRITTEN;
            waiters_add(&lane->flight, waiter);
        }
    }
}

static int64_t lane_earliest(const struct redis_lane *lane)
{
    int64_t earliest = INT64_MAX;
    for (const struct waiter *at = lane->flight.head; at != NULL; at = at->next)
        if (at->deadline < earliest)
            earliest = at->deadline;
    return earliest;
}

/* Sends and reads once, without the mutex. A connection that turns out to be closed before a byte was sent is
 * replaced, once. */
static enum redis_link_status lane_step(struct redis_lane *lane, int64_t deadline, redisReply **got, int *n,
                                        struct error *err)
{
    struct redis_target *target = redis_target_ref(lane->target);
    bool unsent = lane->unsent;
    lane_unlock(lane);
    enum redis_link_status status = redis_link_step(lane->link, &lane->out, deadline, got, ANSWERS, n, err);
    unsent = unsent && lane->out.sent == 0;
    if (status == REDIS_LINK_CLOSED && unsent) {
        *err = (struct error){0};
        redis_link_close(lane->link);
        status = redis_link_open(lane->link, target, deadline, err, NULL);
        if (status == REDIS_LINK_OK)
            status = redis_link_step(lane->link, &lane->out, deadline, got, ANSWERS, n, err);
        unsent = lane->out.sent == 0;
    }
    pthread_mutex_lock(&lane->mutex);
    redis_target_unref(target);
    lane->unsent = unsent;
    return status;
}

/* 0, or -1 when the connection must be given up. */
static int lane_exchange(struct redis_lane *lane, struct error *err)
{
    redisReply *got[ANSWERS];
    int n = 0;
    enum redis_link_status status = lane_step(lane, lane_earliest(lane), got, &n, err);
    if (lane->poisoned) {
        error_set(err, "Redis did not answer in time");
        status = REDIS_LINK_TIMEOUT;
    }
    for (int i = 0; i < n; i++) {
        struct waiter *waiter = status == REDIS_LINK_OK ? waiters_take(&lane->flight) : NULL;
        if (waiter != NULL) {
            lane_finish(lane, waiter, REDIS_ANSWERED, got[i]);
            continue;
        }
        freeReplyObject(got[i]);
        error_set(err, "Redis answered what nobody had asked");
        status = REDIS_LINK_BROKEN;
    }
    if (status == REDIS_LINK_OK && lane->flight.head == NULL &&
        (!redis_link_is_drained(lane->link) || lane->out.sent < lane->out.len)) {
        error_set(err, "Redis answered what nobody had asked");
        status = REDIS_LINK_BROKEN;
    }
    return status == REDIS_LINK_OK ? 0 : -1;
}

static void lane_lead(struct redis_lane *lane, struct waiter *self)
{
    while (self->state != WAITER_DONE) {
        struct error err = {0};
        if (lane->poisoned)
            error_set(&err, "Redis did not answer in time");
        else if (lane_ready(lane, self->deadline, &err) == 0 && !lane->stale)
            lane_take(lane);
        if (err.text[0] == '\0' && lane->flight.head != NULL)
            (void)lane_exchange(lane, &err); /* its failure is in err */
        if (err.text[0] != '\0')
            lane_give_up(lane, &err);
    }
    lane->leader = lane->flight.head != NULL ? lane->flight.head : lane->queue.head;
    if (lane->leader != NULL)
        lane_tell(lane, lane->leader, TOLD_LEAD);
}

/* ---- the others ---- */

/* Until it is told, or its deadline. */
static enum waiter_told lane_sleep(struct redis_lane *lane, struct waiter *self)
{
    bool late = false;
    for (;;) {
        unsigned rings = bell_rings(&lane->bell);
        enum waiter_told told = (enum waiter_told)atomic_load(&self->told);
        if (told != TOLD_NOTHING || late)
            return told;
        late = !bell_sleep(&lane->bell, rings, self->kinds, self->deadline);
    }
}

/* Time is up, and it was told nothing: leaves. */
static void lane_leave(struct redis_lane *lane, struct waiter *self)
{
    bool written = self->state == WAITER_WRITTEN;
    waiters_remove(written ? &lane->flight : &lane->queue, self);
    self->state = WAITER_DONE;
    self->status = written ? REDIS_LOST : REDIS_DOWN;
    lane->poisoned = lane->poisoned || written;
}

/* Another leads. Without the mutex on entry and return. True: the lead is now self's. */
static bool lane_wait(struct redis_lane *lane, struct waiter *self)
{
    enum waiter_told told = lane_sleep(lane, self);
    if (told == TOLD_NOTHING) {
        pthread_mutex_lock(&lane->mutex);
        told = (enum waiter_told)atomic_load(&self->told);
        if (told == TOLD_NOTHING)
            lane_leave(lane, self);
        lane_unlock(lane);
    }
    return told == TOLD_LEAD; /* else nobody knows it any more: no need for the mutex */
}

/* Returns when self is done, and no longer known to anybody. */
static void lane_join(struct redis_lane *lane, struct waiter *self)
{
    pthread_mutex_lock(&lane->mutex);
    if (atomic_load(lane->down)) { /* looked at under the mutex: who comes after redis_lane_drop() sees it */
        lane_unlock(lane);
        return;
    }
    self->kinds = UINT32_C(1) << lane->batch % BATCH_KINDS;
    if (lane->queue.head == NULL)
        self->kinds |= FIRST;
    waiters_add(&lane->queue, self);
    bool lead = lane->leader == NULL;
    if (lead)
        lane->leader = self;
    if (!lead) {
        lane_unlock(lane);
        if (!lane_wait(lane, self))
            return;
        pthread_mutex_lock(&lane->mutex);
    }
    lane_lead(lane, self);
    lane_unlock(lane);
}

enum redis_status redis_lane_call(struct redis_lane *lane, const struct redis_request *request,
                                  int64_t deadline, redisReply **reply)
{
    struct waiter self = {
        .request = request, .deadline = deadline, .state = WAITER_QUEUED, .status = REDIS_DOWN};
    atomic_fetch_add(&lane->load, 1);
    lane_join(lane, &self);
    atomic_fetch_sub(&lane->load, 1);
    if (self.status == REDIS_ANSWERED)
        *reply = self.reply;
    return self.status;
}

int redis_lane_load(struct redis_lane *lane)
{
    return atomic_load(&lane->load);
}

void redis_lane_drop(struct redis_lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    lane_finish_all(lane, &lane->queue, REDIS_DOWN);
    lane_unlock(lane);
}

bool redis_lane_needs_link(struct redis_lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    bool needs = lane->leader == NULL && !redis_link_is_quiet(lane->link, true);
    lane_unlock(lane);
    return needs;
}

void redis_lane_renew(struct redis_lane *lane, struct redis_link *link, struct redis_target *target)
{
    struct redis_target *old = NULL;
    pthread_mutex_lock(&lane->mutex);
    old = lane->target;
    lane->target = redis_target_ref(target);
    if (lane->leader != NULL) {
        lane->stale = true;
    } else {
        struct redis_link *unused = lane->link;
        lane->link = link;
        link = unused;
        lane->stale = false;
    }
    lane_unlock(lane);
    redis_link_free(link);
    redis_target_unref(old);
}

struct redis_lane *redis_lane_new(const atomic_bool *down, redis_lane_failed_fn *failed, void *arg)
{
    struct redis_lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL)
        return NULL;
    lane->link = redis_link_new();
    if (lane->link == NULL) {
        free(lane);
        return NULL;
    }
    pthread_mutex_init(&lane->mutex, NULL);
    atomic_init(&lane->load, 0);
    lane->down = down;
    lane->failed = failed;
    lane->arg = arg;
    return lane;
}

void redis_lane_free(struct redis_lane *lane)
{
    if (lane == NULL)
        return;
    assert(lane->leader == NULL);
    redis_link_free(lane->link);
    redis_target_unref(lane->target);
    redis_buffer_done(&lane->out);
    pthread_mutex_destroy(&lane->mutex);
    free(lane);
}
