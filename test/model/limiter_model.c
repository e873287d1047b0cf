/* limiter_model: see limiter_model.h. */
#include "limiter_model.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOTS = 64, /* of one counter, in no order */
    COUNTERS = 64,
    ASKS = 16,
};

static const int64_t MOST = INT64_C(1000000000000000);
static const int64_t STALE_MS = 10000;

struct slot {
    int64_t number, count, open;
};

struct counter_model {
    char key[48], limit[16];
    bool exists;
    int64_t window, newest; /* the number of the slot that is charged */
    struct slot slots[SLOTS];
    size_t n;
    enum count_unit unit;
    bool hard; /* what is not open is known to be taken */
    int64_t max, created, refused, held;
    int64_t expires; /* of its key */
};

struct limiter_model {
    bool forgets;
    struct counter_model counters[COUNTERS];
    size_t n;
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- slots ---- */

static int64_t slot_of(int64_t window, int64_t ms)
{
    return ms < 0 ? 0 : ms * 10 / window;
}

/* The first millisecond of it. */
static int64_t begin_of(int64_t window, int64_t slot)
{
    int64_t ms = slot * window / 10;
    while (slot_of(window, ms) < slot)
        ms++;
    return ms;
}

static int64_t map_slot(int64_t slot, int64_t from, int64_t to)
{
    return from == to ? slot : slot_of(to, begin_of(from, slot + 1) - 1);
}

static struct slot *slot_get(struct counter_model *counter, int64_t number)
{
    for (size_t i = 0; i < counter->n; i++)
        if (counter->slots[i].number == number)
            return &counter->slots[i];
    if (counter->n == SLOTS)
        abort();
    counter->slots[counter->n] = (struct slot){.number = number};
    return &counter->slots[counter->n++];
}

static void slot_add(struct counter_model *counter, int64_t number, int64_t count, int64_t open)
{
    struct slot *slot = slot_get(counter, number);
    slot->count = most(0, least(slot->count + count, MOST));
    slot->open = least(most(0, slot->open + open), slot->count);
}

/* Of slots that end before the slot `before`; open 1: what is taken alone. */
static int64_t sum_before(const struct counter_model *counter, int64_t before, int open)
{
    int64_t sum = 0;
    for (size_t i = 0; i < counter->n; i++)
        if (counter->slots[i].number < before)
            sum += counter->slots[i].count - open * counter->slots[i].open;
    return sum;
}

static int64_t used_of(const struct counter_model *counter)
{
    return sum_before(counter, INT64_MAX, 0);
}

static int64_t taken_of(const struct counter_model *counter)
{
    return sum_before(counter, INT64_MAX, 1);
}

/* The newest slot in which something is. */
static int64_t newest_filled(const struct counter_model *counter)
{
    int64_t newest = INT64_MIN;
    for (size_t i = 0; i < counter->n; i++)
        if (counter->slots[i].count > 0)
            newest = most(newest, counter->slots[i].number);
    return newest;
}

/* Brings it up to now, and to another window. */
static void move(struct counter_model *counter, int64_t window, int64_t now)
{
    int64_t current = slot_of(window, now), newest = newest_filled(counter);
    if (counter->window == window && newest > current && begin_of(window, newest) - now <= STALE_MS)
        current = newest; /* somebody looked at the clock a little later */
    struct counter_model before = *counter;
    counter->n = 0;
    counter->window = window;
    counter->newest = current;
    for (size_t i = 0; i < before.n; i++) {
        const struct slot *slot = &before.slots[i];
        int64_t number = map_slot(slot->number, before.window, window);
        bool undated =
            number > current || before.window > window; /* it is not certain that this window holds it */
        if (slot->count > 0 && number >= current - 10)
            slot_add(counter, least(number, current), slot->count, undated ? slot->count : slot->open);
    }
}

static void move_counter(struct counter_model *counter, int64_t window, int64_t hold, int64_t now)
{
    if (!counter->exists) {
        counter->exists = true;
        counter->created = now;
    }
    move(counter, window, now);
    counter->held = least(counter->held, now + hold);
    if (counter->held <= now)
        counter->held = 0;
}

/* Until need fits under max: slot after slot leaves, the oldest first. */
static int64_t wait_of(const struct counter_model *counter, int64_t now, int64_t max, int64_t need, int open)
{
    if (need > max)
        return counter->window + counter->window / 10;
    int64_t all = sum_before(counter, INT64_MAX, open);
    for (int64_t gone = counter->newest - 10; gone <= counter->newest + 1; gone++)
        if (all - sum_before(counter, gone, open) + need <= max)
            return gone == counter->newest - 10 ? 0 : begin_of(counter->window, gone + 10) - most(now, 0);
    abort();
}

/* ---- the store ---- */

static struct counter_model *find(struct limiter_model *model, const char *key, const char *limit,
                                  int64_t now)
{
    for (size_t i = 0; i < model->n; i++) {
        struct counter_model *counter = &model->counters[i];
        if (strcmp(counter->key, key) == 0 && strcmp(counter->limit, limit) == 0 &&
            (!model->forgets || counter->expires > now))
            return counter;
    }
    return NULL;
}

static bool has_key(const struct limiter_model *model, const char *key, int64_t now)
{
    for (size_t i = 0; i < model->n; i++)
        if (strcmp(model->counters[i].key, key) == 0 && (!model->forgets || model->counters[i].expires > now))
            return true;
    return false;
}

static int64_t expires_of(const struct limiter_model *model, const char *key, int64_t now)
{
    int64_t expires = 0;
    for (size_t i = 0; i < model->n; i++)
        if (strcmp(model->counters[i].key, key) == 0 && model->counters[i].expires > now)
            expires = most(expires, model->counters[i].expires);
    return expires;
}

/* A key and all that is in it end together. */
static void put(struct limiter_model *model, const struct counter_model *counter, int64_t ttl, int64_t now)
{
    int64_t expires = most(expires_of(model, counter->key, now), now + ttl);
    struct counter_model *at = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < model->n; i++) {
        bool same = strcmp(model->counters[i].key, counter->key) == 0;
        if (same && model->forgets && model->counters[i].expires <= now)
            continue;
        model->counters[kept] = model->counters[i];
        if (same)
            model->counters[kept].expires = expires;
        if (same && strcmp(model->counters[kept].limit, counter->limit) == 0)
            at = &model->counters[kept];
        kept++;
    }
    model->n = kept;
    if (at == NULL && model->n == COUNTERS)
        abort();
    if (at == NULL)
        at = &model->counters[model->n++];
    *at = *counter;
    at->expires = expires;
}

struct limiter_model *limiter_model_new(bool forgets)
{
    struct limiter_model *model = calloc(1, sizeof *model);
    if (model == NULL)
        abort();
    model->forgets = forgets;
    return model;
}

void limiter_model_free(struct limiter_model *model)
{
    free(model);
}

/* ---- a request ---- */

struct work { /* a counter that asks of this request mean */
    struct counter_model counter;
    int64_t used, taken, pending, trip, ttl;
    bool write;
};

struct request_model {
    struct limiter_model *model;
    const struct count_request *request;
    enum counters_mode mode;
    int64_t now;
    struct work works[2 * ASKS];
    size_t n;
    struct work *of[ASKS];
    struct work *counted[ASKS]; /* where the new key of that ask is counted; NULL: it brings none */
    int64_t new_keys[2 * ASKS]; /* of works[i], by this request */
    struct count_answer *answers;
};

static struct work *work_of(struct request_model *r, const char *key, const char *limit, int64_t window,
                            int64_t hold)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->works[i].counter.key, key) == 0 && strcmp(r->works[i].counter.limit, limit) == 0)
            return &r->works[i];
    struct work *work = &r->works[r->n++];
    *work = (struct work){0};
    const struct counter_model *found = find(r->model, key, limit, r->now);
    if (found != NULL)
        work->counter = *found;
    strcpy(work->counter.key, key);
    strcpy(work->counter.limit, limit);
    move_counter(&work->counter, window, hold, r->now);
    work->used = used_of(&work->counter);
    work->taken = taken_of(&work->counter);
    return work;
}

/* Does the ask go to the key that strangers share? */
static bool overflows(struct request_model *r, size_t i)
{
    const struct count_ask *ask = &r->request->asks[i];
    if (ask->overflow == NULL || has_key(r->model, ask->key, r->now))
        return false;
    for (size_t j = 0; j < i; j++)
        if (r->request->asks[j].overflow != NULL && strcmp(r->request->asks[j].key, ask->key) == 0)
            return r->answers[j].overflowed;
    struct work *work = work_of(r, ask->new_key, COUNTERS_NEW_LIMIT, COUNTERS_NEW_WINDOW_MS, 0);
    if (work->used + r->new_keys[work - r->works] >= ask->new_max)
        return true;
    r->new_keys[work - r->works]++;
    r->counted[i] = work;
    return false;
}

static int64_t hold_of(const struct request_model *r, size_t i)
{
    return r->answers[i].overflowed ? 0 : r->request->asks[i].hold_ms;
}

static bool is_hard(const struct request_model *r, size_t i)
{
    const unsigned flags = r->request->asks[i].flags;
    return (flags & COUNT_HARD) != 0 && (flags & COUNT_ATTEMPT) == 0 && !r->answers[i].overflowed;
}

static void find_one(struct request_model *r, size_t i)
{
    const struct count_ask *ask = &r->request->asks[i];
    struct count_answer *answer = &r->answers[i];
    *answer = (struct count_answer){.result = COUNT_ADMITTED, .slot = -1, .here = -1};
    answer->overflowed = overflows(r, i);
    struct work *work = r->of[i] = work_of(r, answer->overflowed ? ask->overflow : ask->key, ask->limit,
                                           ask->window_ms, r->mode == COUNTERS_CHARGE ? MOST : hold_of(r, i));
    struct counter_model *counter = &work->counter;
    if (counter->unit != ask->unit) { /* it counted something else */
        struct counter_model fresh = {.unit = ask->unit};
        strcpy(fresh.key, counter->key);
        strcpy(fresh.limit, counter->limit);
        *counter = fresh;
        move_counter(counter, ask->window_ms, 0, r->now);
        work->used = work->taken = 0;
    }
    if (is_hard(r, i) && !counter->hard) { /* nobody said of what is there when it was taken */
        for (size_t k = 0; k < counter->n; k++)
            counter->slots[k].open = counter->slots[k].count;
        counter->hard = true;
        work->taken = 0;
    }
    work->ttl = most(work->ttl, store_ttl(ask));
    answer->used = work->used;
    answer->created = counter->created;
}

static const struct work *whole_of(const struct request_model *r, size_t i)
{
    return r->request->asks[i].share_of < 0 ? NULL : r->of[r->request->asks[i].share_of];
}

/* Does what was taken refuse by itself, and how long will it? */
static int64_t hard_for(const struct request_model *r, size_t i)
{
    const struct count_ask *ask = &r->request->asks[i];
    const struct work *work = r->of[i], *whole = whole_of(r, i);
    int64_t max = ask->max + ask->headroom;
    if (r->answers[i].overflowed || work->taken + ask->need <= max)
        return 0;
    int64_t ms = wait_of(&work->counter, r->now, max, ask->need, 1);
    if (whole == NULL)
        return ms;
    if (r->answers[ask->share_of].overflowed || whole->taken < ask->share_above)
        return 0;
    return least(ms, wait_of(&whole->counter, r->now, ask->share_above, 1, 1));
}

static void refuse(struct request_model *r, size_t i)
{
    const struct count_ask *ask = &r->request->asks[i];
    struct count_answer *answer = &r->answers[i];
    struct work *work = r->of[i];
    const struct work *whole = whole_of(r, i);
    answer->result = COUNT_OVER;
    answer->hard_ms = hard_for(r, i);
    answer->hard = answer->hard_ms > 0;
    answer->wait_ms = wait_of(&work->counter, r->now, ask->max, work->pending + ask->need, 0);
    if (whole != NULL)
        answer->wait_ms = least(answer->wait_ms, wait_of(&whole->counter, r->now, ask->share_above, 1, 0));
    int64_t some = least(ask->need, most(1, ask->max / 10));
    if (hold_of(r, i) > 0 && answer->hard && work->taken + some > ask->max + ask->headroom) {
        work->trip = r->now + hold_of(r, i);
        answer->wait_ms = most(answer->wait_ms, hold_of(r, i));
    }
}

static void check_one(struct request_model *r, size_t i)
{
    const struct count_ask *ask = &r->request->asks[i];
    struct work *work = r->of[i];
    const struct work *whole = whole_of(r, i);
    bool look = (ask->flags & COUNT_HOLD_ONLY) != 0;
    r->answers[i].taken = work->taken;
    if (work->counter.held > r->now) {
        r->answers[i].result = COUNT_HELD;
        r->answers[i].wait_ms = r->answers[i].hard_ms = work->counter.held - r->now;
        r->answers[i].hard = true;
    } else if (!look && (whole == NULL || whole->used >= ask->share_above) &&
               work->used + work->pending + ask->need > ask->max) {
        refuse(r, i);
    }
    if (r->answers[i].result == COUNT_ADMITTED && !look && (ask->flags & COUNT_ATTEMPT) == 0)
        work->pending += ask->amount;
}

static void apply_one(struct request_model *r, size_t i, bool all)
{
    const struct count_ask *ask = &r->request->asks[i];
    struct work *work = r->of[i];
    bool refused = r->answers[i].result != COUNT_ADMITTED;
    bool attempt = (ask->flags & COUNT_ATTEMPT) != 0;
    bool charged = (ask->flags & COUNT_HOLD_ONLY) == 0 && (attempt || (all && !refused));
    if (!charged && !refused)
        return;
    work->write = true;
    work->counter.max = ask->max;
    work->counter.refused += refused;
    if (work->trip > 0)
        work->counter.held = work->trip;
    if (!charged)
        return;
    if (!attempt && !is_hard(r, i) && work->counter.hard &&
        taken_of(&work->counter) == 0) { /* nothing there is known to be taken */
        work->counter.hard = false;
        for (size_t k = 0; k < work->counter.n; k++)
            work->counter.slots[k].open = 0;
    }
    slot_add(&work->counter, work->counter.newest, ask->amount,
             work->counter.hard && !attempt ? ask->amount : 0);
    if (!attempt)
        r->answers[i].slot = work->counter.newest;
}

static void write_all(struct request_model *r)
{
    for (size_t i = 0; i < r->request->n; i++) {
        struct work *work = r->counted[i];
        bool written = false;
        for (size_t j = 0; j < r->request->n; j++)
            written =
                written || (r->of[j]->write && strcmp(r->of[j]->counter.key, r->request->asks[i].key) == 0);
        if (work == NULL || !written)
            continue;
        work->write = true;
        work->ttl = 2 * COUNTERS_NEW_WINDOW_MS;
        work->counter.max = r->request->asks[i].new_max;
        slot_add(&work->counter, work->counter.newest, 1, 0);
    }
    for (size_t i = 0; i < r->n; i++)
        if (r->works[i].write)
            put(r->model, &r->works[i].counter, r->works[i].ttl, r->now);
}

void limiter_model_ask(struct limiter_model *model, enum counters_mode mode,
                       const struct count_request *request, int64_t now_ms, struct count_answer *answers)
{
    static struct request_model r;
    r = (struct request_model){
        .model = model, .request = request, .mode = mode, .now = now_ms, .answers = answers};
    if (request->n > ASKS)
        abort();
    for (size_t i = 0; i < request->n; i++)
        find_one(&r, i);
    bool all = true;
    for (size_t i = 0; i < request->n; i++)
        if (mode != COUNTERS_CHARGE) {
            check_one(&r, i);
            all =
                all && (answers[i].result == COUNT_ADMITTED || (request->asks[i].flags & COUNT_SHADOW) != 0);
        } else if (hold_of(&r, i) > 0 && now_ms + hold_of(&r, i) > r.of[i]->counter.held) {
            r.of[i]->trip = now_ms + hold_of(&r, i);
        }
    if (mode == COUNTERS_PEEK)
        return;
    for (size_t i = 0; i < request->n; i++)
        apply_one(&r, i, all);
    write_all(&r);
}

/* ---- changes ---- */

static void apply_late(struct limiter_model *model, struct counter_model *counter,
                       const struct count_change *change, int64_t now)
{
    int64_t at = change->at_ms > 0 ? change->at_ms : now;
    if (!counter->exists)
        counter->unit = change->unit;
    move_counter(counter, counter->exists ? counter->window : change->window_ms, MOST, now);
    counter->hard = counter->hard || used_of(counter) == 0;
    int64_t slot = least(slot_of(counter->window, at), counter->newest);
    if (slot < counter->newest - 10)
        return;
    counter->max = change->max;
    slot_add(counter, slot, change->late, 0);
    put(model, counter, change->ttl_ms, now);
}

static void apply_change(struct limiter_model *model, const struct count_change *change, int64_t now)
{
    const struct counter_model *found = find(model, change->key, change->limit, now);
    struct counter_model counter = {0};
    if (found != NULL)
        counter = *found;
    strcpy(counter.key, change->key);
    strcpy(counter.limit, change->limit);
    if (found != NULL && counter.unit != change->unit)
        return;
    int64_t window = found != NULL ? counter.window : change->window_ms, slot = change->slot;
    move(&counter, window, now);
    slot = slot < 0 ? slot_of(window, change->at_ms) : map_slot(slot, change->window_ms, window);
    if (slot < counter.newest - 10) {
        if (change->late > 0) {
            struct counter_model late = found != NULL ? *found : (struct counter_model){0};
            strcpy(late.key, change->key);
            strcpy(late.limit, change->limit);
            apply_late(model, &late, change, now);
        }
        return;
    }
    if (found == NULL || (change->created != INT64_MAX && change->created != counter.created))
        return;
    struct slot before = *slot_get(&counter, least(slot, counter.newest));
    bool undated = change->slot >= 0 && change->window_ms > window;
    slot_add(&counter, least(slot, counter.newest), change->amount,
             undated ? most(change->open, change->amount) : change->open);
    struct slot after = *slot_get(&counter, least(slot, counter.newest));
    if (before.count == after.count && before.open == after.open)
        return;
    if (counter.held <= now) /* whoever writes ends it */
        counter.held = 0;
    put(model, &counter, counter.expires - now, now);
}

void limiter_model_change(struct limiter_model *model, const struct count_change *changes, size_t n,
                          int64_t now_ms)
{
    for (size_t i = 0; i < n; i++)
        if (!store_is_synced(&changes[i]))
            apply_change(model, &changes[i], now_ms);
}

void limiter_model_settle(struct limiter_model *model, const struct count_change *changes, size_t n,
                          int64_t now_ms, struct count_answer *answers)
{
    bool all = true;
    for (size_t i = 0; i < n; i++) {
        const struct count_change *change = &changes[i];
        const struct counter_model *found = find(model, change->key, change->limit, now_ms);
        struct counter_model counter = {0};
        if (found != NULL)
            counter = *found;
        move(&counter, found != NULL ? counter.window : change->window_ms, now_ms);
        int64_t need = change->amount;
        for (size_t k = 0; k < i; k++)
            if (strcmp(changes[k].key, change->key) == 0 && strcmp(changes[k].limit, change->limit) == 0)
                need += changes[k].amount;
        answers[i] = (struct count_answer){.result = COUNT_ADMITTED,
                                           .used = used_of(&counter),
                                           .taken = taken_of(&counter),
                                           .slot = -1,
                                           .here = -1};
        bool full = change->check == COUNT_CHECK_FULL && answers[i].used >= change->max;
        if (!full && !(change->check == COUNT_CHECK_FIT && answers[i].used + need > change->max))
            continue;
        answers[i].result = COUNT_OVER;
        answers[i].wait_ms = wait_of(&counter, now_ms, change->max, full ? 1 : need, 0);
        all = false;
    }
    if (all)
        limiter_model_change(model, changes, n, now_ms);
}

bool limiter_model_show(struct limiter_model *model, const char *key, const char *limit, int64_t now_ms,
                        struct count_view *out)
{
    const struct counter_model *found = find(model, key, limit, now_ms);
    if (found == NULL)
        return false;
    struct counter_model counter = *found;
    move(&counter, counter.window, now_ms);
    int64_t last = newest_filled(&counter);
    *out =
        (struct count_view){.key = found->key,
                            .limit = found->limit,
                            .unit = counter.unit,
                            .used = used_of(&counter),
                            .max = counter.max,
                            .window_ms = counter.window,
                            .refused = counter.refused,
                            .held_ms = most(0, counter.held - now_ms),
                            .reset_ms = last == INT64_MIN ? 0 : begin_of(counter.window, last + 11) - now_ms};
    return true;
}

size_t limiter_model_reset(struct limiter_model *model, const char *key, const char *limit, int64_t now_ms)
{
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < model->n; i++) {
        const struct counter_model *counter = &model->counters[i];
        if (strcmp(counter->key, key) == 0 && strcmp(counter->limit, limit) == 0)
            n += !model->forgets || counter->expires > now_ms;
        else
            model->counters[kept++] = *counter;
    }
    model->n = kept;
    return n;
}
