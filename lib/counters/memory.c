/* memory: the counter store in this process, the memory table.
 *
 * Owns up to max_subjects entries (one a key, with a field for each limit on it) in shards by the hash of the
 * key. A request locks the shards of its keys in ascending order, works on copies, and writes them back once
 * everything that could fail has been done; there is no lock that all requests share.
 *
 * Fails (COUNTERS_DOWN, nothing charged) only when out of memory. */
#include "memory.h"
#include "counters/stores.h"
#include "base/hash.h"
#include "base/unzeroed.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHARDED_FROM = 64 * MEMORY_SHARDS,
    FEW = 16, /* asks for which no memory is allocated */
};

struct memory_table *memory_shard(struct memory *memory, uint64_t hash)
{
    return &memory->shards[(hash >> 58) % memory->n_shards];
}

static struct entry *find(struct memory *memory, uint64_t hash, const char *key, int64_t now_ms)
{
    return memory_table_entry_find(memory_shard(memory, hash), hash, key, now_ms);
}

/* Takes the lowest out of a set of shards, which is not empty. */
static struct memory_table *shards_next(struct memory *memory, uint64_t *set)
{
    struct memory_table *shard = &memory->shards[ffsll((long long)*set) - 1];
    *set &= *set - 1;
    return shard;
}

static void shards_lock(struct memory *memory, uint64_t set, int64_t now_ms)
{
    while (set != 0) {
        struct memory_table *shard = shards_next(memory, &set);
        pthread_mutex_lock(&shard->lock);
        memory_table_sweep(shard, now_ms);
    }
}

static void shards_unlock(struct memory *memory, uint64_t set)
{
    while (set != 0)
        pthread_mutex_unlock(&shards_next(memory, &set)->lock);
}

static uint64_t shard_bit(const struct memory *memory, uint64_t hash)
{
    return UINT64_C(1) << (hash >> 58) % memory->n_shards;
}

unsigned memory_generation(const struct memory *memory, unsigned site)
{
    return memory->generations != NULL ? atomic_load(&memory->generations[site]) : 0;
}

/* A new entry for a key; NULL: out of memory, or crowded. */
static struct entry *entry_new(struct memory *memory, uint64_t hash, const char *key, const char *limit,
                               int64_t now_ms)
{
    struct entry *entry = memory_table_entry_new(memory_shard(memory, hash), hash, key, limit, now_ms);
    if (entry != NULL)
        entry->site = (uint16_t)store_site(memory->remote, key);
    return entry;
}

static enum counters_status memory_deferred(struct counters *counters, struct count_deferral *deferrals,
                                            size_t n, int64_t now_ms)
{
    for (size_t i = 0; i < n; i++) {
        retries_note(((struct memory *)counters)->retries, &deferrals[i], now_ms);
        deferrals[i].n = 0;
    }
    return COUNTERS_OK;
}

/* Is the request a retry? Then one is used up that waited for its pair; another store's word for it is taken. */
static bool memory_retry(struct memory *memory, enum counters_mode mode, const struct count_request *request,
                         int64_t now_ms, const struct count_answer *recorded)
{
    if (request->pair == NULL || request->n == 0)
        return request->retry;
    if (mode == COUNTERS_RECORD && !recorded[0].retry)
        return false;
    if (mode != COUNTERS_PEEK && request->deferred != NULL)
        retries_note(memory->retries, request->deferred, now_ms);
    return retries_take(memory->retries, request->pair, now_ms, mode == COUNTERS_PEEK) ||
           mode == COUNTERS_RECORD;
}

/* A request. */

struct work { /* the copy of one counter */
    const char *key, *limit;
    uint64_t hash;
    struct entry *entry; /* NULL: does not exist yet */
    struct field *field; /* the same */
    int64_t used;        /* before this request */
    int64_t taken;       /* of that */
    int64_t pending;     /* asked for by earlier asks of this request */
    int64_t trip;        /* held until then, once written; 0: no new hold */
    int64_t ttl;
    int64_t n_new; /* new keys so far in this request, where those are counted */
    bool write;
    bool chosen; /* a stranger can choose the key */
    struct value value;
};

struct part { /* one ask of the request */
    uint64_t hash, overflow_hash, new_hash;
    struct work *work;
    struct work *new_work; /* of the first ask that brings a new key in: where it is counted */
    struct count_answer answer;
    int64_t hold_ms; /* 0 also where strangers share the key */
};

struct task {
    struct memory *memory;
    const struct count_request *request;
    const struct count_answer *recorded; /* what another store answered, in COUNTERS_RECORD */
    enum counters_mode mode;
    int64_t now;
    bool retry;
    uint64_t set;       /* shards */
    struct part *parts; /* request->n */
    struct work *works; /* 2 * request->n: of each ask, and where its new key is counted */
    size_t n_works;
};

/* The hash of an ask's key, which many share with the one before; part: its own, behind that one's. */
static uint64_t hash_of_key(const struct memory *memory, const struct count_request *request, size_t i,
                            const struct part *part)
{
    if (request->hashes != NULL)
        return request->hashes[i];
    bool same = i > 0 && strcmp(request->asks[i].key, request->asks[i - 1].key) == 0;
    return same ? part[-1].hash : hash_string(memory->seed, request->asks[i].key);
}

static void task_hash(struct task *task)
{
    struct memory *memory = task->memory;
    const struct count_request *request = task->request;
    for (size_t i = 0; i < request->n; i++) {
        struct part *part = &task->parts[i];
        part->hash = hash_of_key(memory, request, i, part);
        task->set |= shard_bit(memory, part->hash);
        if (request->asks[i].overflow == NULL)
            continue;
        part->overflow_hash = hash_string(memory->seed, request->asks[i].overflow);
        part->new_hash = hash_string(memory->seed, request->asks[i].new_key);
        task->set |= shard_bit(memory, part->overflow_hash) | shard_bit(memory, part->new_hash);
    }
}

/* The copy of a counter, brought up to now; the same copy for all asks that mean the same counter. */
static struct work *work_get(struct task *task, uint64_t hash, const char *key, const char *limit,
                             int64_t window_ms, int64_t hold_ms)
{
    for (size_t i = 0; i < task->n_works; i++) {
        struct work *work = &task->works[i];
        if (work->hash == hash && strcmp(work->limit, limit) == 0 && strcmp(work->key, key) == 0)
            return work;
    }
    struct work *work = &task->works[task->n_works++];
    memset(work, 0, offsetof(struct work, value));
    work->key = key;
    work->limit = limit;
    work->hash = hash;
    work->entry = find(task->memory, hash, key, task->now);
    work->field = memory_table_field_find(work->entry, limit);
    if (work->field != NULL)
        memory_table_field_get(work->field, &work->value);
    else
        work->value = (struct value){0};
    counter_move(&work->value.counter, window_ms, hold_ms, task->now);
    if (task->mode == COUNTERS_RECORD) /* another store has looked at these */
        return work;
    work->used = window_used(&work->value.counter.window);
    work->taken = window_taken(&work->value.counter.window);
    return work;
}

/* Does this ask go to its overflow key: its key is new, and enough new keys were made, or there is no room for one? */
static bool part_overflows(struct task *task, size_t i)
{
    const struct count_request *request = task->request;
    const struct count_ask *ask = &request->asks[i];
    struct part *part = &task->parts[i];
    if (ask->overflow == NULL)
        return false;
    if (task->mode == COUNTERS_RECORD)
        return task->recorded[i].overflowed;
    if (find(task->memory, part->hash, ask->key, task->now) != NULL)
        return false;
    for (size_t j = 0; j < i; j++)
        if (task->parts[j].hash == part->hash && request->asks[j].overflow != NULL &&
            strcmp(request->asks[j].key, ask->key) == 0)
            return task->parts[j].answer.overflowed;
    struct work *new_work =
        work_get(task, part->new_hash, ask->new_key, COUNTERS_NEW_LIMIT, COUNTERS_NEW_WINDOW_MS, 0);
    if (new_work->used + new_work->n_new >= ask->new_max ||
        memory_table_is_crowded(memory_shard(task->memory, part->hash)))
        return true;
    new_work->n_new++;
    part->new_work = new_work;
    return false;
}

/* Is this refusal one that trips the hold of its limit? A declared size alone trips nothing. */
static bool trips(const struct count_ask *ask, int64_t hold_ms, bool free_retry, bool hard, int64_t taken)
{
    int64_t least = ask->max / 10 > 1 ? ask->max / 10 : 1;
    if (least > ask->need)
        least = ask->need;
    return hold_ms > 0 && !free_retry && hard && taken + least > ask->max + ask->headroom;
}

/* Takes over what another store answered. One that has another counter by now, and less in it, was cleared: so is
 * this. */
static void part_record(struct task *task, size_t i)
{
    const struct count_ask *ask = &task->request->asks[i];
    const struct count_answer *remote = &task->recorded[i];
    struct work *work = task->parts[i].work;
    task->parts[i].answer.result = remote->result;
    if (remote->created > 0 && remote->created != work->value.remote_created) {
        if (work->value.remote_created > 0)
            window_trim(&work->value.counter.window, remote->used);
        work->value.remote_created = remote->created;
    }
    if (remote->result == COUNT_HELD)
        work->trip = task->now + remote->wait_ms;
    else if (remote->result == COUNT_OVER &&
             trips(ask, task->parts[i].hold_ms, task->retry && (ask->flags & COUNT_ATTEMPT) != 0,
                   remote->hard, remote->taken))
        work->trip = task->now + ask->hold_ms;
    else if (remote->result == COUNT_ADMITTED)
        work->value.counter.held = 0;
}

/* Under this name something else was counted. */
static void work_begin_anew(struct work *work, const struct count_ask *ask, int64_t now_ms)
{
    work->value = (struct value){.counter.unit = ask->unit};
    counter_move(&work->value.counter, ask->window_ms, 0, now_ms);
    work->used = work->taken = 0;
}

/* Is what it charges open, until its message has ended? */
static bool is_hard(const struct count_ask *ask, const struct count_answer *answer)
{
    return (ask->flags & (COUNT_HARD | COUNT_ATTEMPT)) == COUNT_HARD && !answer->overflowed;
}

static void part_find(struct task *task, size_t i)
{
    const struct count_ask *ask = &task->request->asks[i];
    struct part *part = &task->parts[i];
    bool overflows = part_overflows(task, i);
    part->hold_ms = overflows ? 0 : ask->hold_ms;
    part->answer =
        (struct count_answer){.overflowed = overflows, .retry = task->retry, .slot = -1, .here = -1};
    part->work =
        work_get(task, overflows ? part->overflow_hash : part->hash, overflows ? ask->overflow : ask->key,
                 ask->limit, ask->window_ms, task->mode == COUNTERS_CHARGE ? WINDOW_MOST : part->hold_ms);
    part->work->chosen = ask->overflow != NULL && !overflows;
    if (part->work->value.counter.unit != ask->unit)
        work_begin_anew(part->work, ask, task->now);
    if (is_hard(ask, &part->answer)) {
        counter_harden(&part->work->value.counter);
        part->work->taken = window_taken(&part->work->value.counter.window);
    }
    part->answer.used = part->work->used;
    part->answer.created = part->work->value.counter.created;
    int64_t ttl = store_ttl(ask);
    if (part->work->ttl < ttl)
        part->work->ttl = ttl;
    if (task->mode == COUNTERS_RECORD)
        part_record(task, i);
}

/* The counter that an ask is a share of; NULL: it is none. */
static const struct work *whole_of(const struct task *task, const struct count_ask *ask)
{
    return ask->share_of < 0 ? NULL : task->parts[ask->share_of].work;
}

static bool share_binds(const struct task *task, const struct count_ask *ask)
{
    const struct work *whole = whole_of(task, ask);
    return whole == NULL || whole->used >= ask->share_above;
}

static int64_t less(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* For how long what is taken refuses by itself; 0: it does not. */
static int64_t hard_for(const struct task *task, const struct count_ask *ask, const struct work *work,
                        int64_t need)
{
    const struct work *whole = whole_of(task, ask);
    int64_t max = ask->max + ask->headroom;
    if (work->taken + need <= max)
        return 0;
    int64_t ms = window_hard_wait(&work->value.counter.window, task->now, max, need);
    if (whole == NULL)
        return ms;
    return whole->taken >= ask->share_above && !task->parts[ask->share_of].answer.overflowed
               ? less(ms, window_hard_wait(&whole->value.counter.window, task->now, ask->share_above, 1))
               : 0;
}

/* It does not fit. */
static void part_refuse(struct task *task, size_t i, int64_t need, bool free_retry)
{
    const struct count_ask *ask = &task->request->asks[i];
    struct count_answer *answer = &task->parts[i].answer;
    struct work *work = task->parts[i].work;
    const struct work *whole = whole_of(task, ask);
    answer->result = COUNT_OVER;
    answer->wait_ms = window_wait(&work->value.counter.window, task->now, ask->max, work->pending + need);
    answer->hard_ms = answer->overflowed ? 0 : hard_for(task, ask, work, need); /* strangers share it */
    answer->hard = answer->hard_ms > 0;
    if (whole != NULL)
        answer->wait_ms =
            less(answer->wait_ms, window_wait(&whole->value.counter.window, task->now, ask->share_above, 1));
    int64_t hold_ms = task->parts[i].hold_ms;
    if (!trips(ask, hold_ms, free_retry, answer->hard, work->taken))
        return;
    work->trip = task->now + hold_ms;
    if (answer->wait_ms < hold_ms)
        answer->wait_ms = hold_ms;
}

static void part_check(struct task *task, size_t i)
{
    const struct count_ask *ask = &task->request->asks[i];
    struct count_answer *answer = &task->parts[i].answer;
    struct work *work = task->parts[i].work;
    bool free_retry = task->retry && (ask->flags & COUNT_ATTEMPT) != 0;
    answer->result = COUNT_ADMITTED;
    answer->taken = work->taken;
    if (work->value.counter.held > 0) {
        answer->result = COUNT_HELD;
        answer->wait_ms = answer->hard_ms = work->value.counter.held - task->now;
        answer->hard = true;
    } else if ((ask->flags & COUNT_HOLD_ONLY) == 0 && share_binds(task, ask)) {
        int64_t need = free_retry ? 0 : ask->need;
        if (work->used + work->pending + need > ask->max)
            part_refuse(task, i, need, free_retry);
    }
}

/* Checks every ask; true when none refuses the request. */
static bool task_check(struct task *task)
{
    bool admitted = true;
    for (size_t i = 0; i < task->request->n; i++) {
        const struct count_ask *ask = &task->request->asks[i];
        part_check(task, i);
        if (task->parts[i].answer.result == COUNT_ADMITTED) {
            if ((ask->flags & (COUNT_HOLD_ONLY | COUNT_ATTEMPT)) == 0)
                task->parts[i].work->pending += ask->amount;
        } else if ((ask->flags & COUNT_SHADOW) == 0) {
            admitted = false;
        }
    }
    return admitted;
}

/* What another store charged, and how long it holds. */
static void part_take(struct task *task, size_t i)
{
    struct work *work = task->parts[i].work;
    int64_t hold_ms = task->parts[i].hold_ms;
    task->parts[i].answer.result = COUNT_ADMITTED;
    if (hold_ms > 0 && task->now + hold_ms > work->value.counter.held)
        work->trip = task->now + hold_ms;
}

/* The same, of what another store answered. */
static bool was_admitted(const struct count_request *request, const struct count_answer *answers)
{
    for (size_t i = 0; i < request->n; i++)
        if (answers[i].result != COUNT_ADMITTED && (request->asks[i].flags & COUNT_SHADOW) == 0)
            return false;
    return true;
}

/* What one ask changes in its copy. */
static void part_apply(struct task *task, size_t i, bool admitted)
{
    const struct count_ask *ask = &task->request->asks[i];
    struct count_answer *answer = &task->parts[i].answer;
    struct work *work = task->parts[i].work;
    bool attempt = (ask->flags & COUNT_ATTEMPT) != 0;
    bool charged = attempt ? !task->retry : admitted && answer->result == COUNT_ADMITTED;
    if ((ask->flags & COUNT_HOLD_ONLY) != 0)
        charged = false;
    bool refused = answer->result != COUNT_ADMITTED, again = (ask->flags & COUNT_AGAIN) != 0;
    bool corrects = again && !refused && work->value.counter.refused > 0; /* it was none after all */
    if (!charged && !refused && !corrects)
        return;
    work->write = true;
    work->value.counter.max = ask->max;
    work->value.counter.refused += (refused && !again) - corrects;
    if (work->trip > 0)
        work->value.counter.held = work->trip;
    if (work->trip > 0 && task->mode != COUNTERS_RECORD)
        atomic_fetch_add_explicit(&task->memory->holds, 1, memory_order_relaxed);
    if (!charged)
        return;
    work->value.unsynced += task->mode == COUNTERS_FALLBACK ? ask->amount : 0;
    if (attempt) {
        window_add(&work->value.counter.window, ask->amount, 0);
        return;
    }
    counter_charge(&work->value.counter, ask->amount, is_hard(ask, answer));
    answer->slot = window_newest(&work->value.counter.window);
}

/* A new key counts once something is written under it. */
static void task_count_new(struct task *task)
{
    for (size_t i = 0; i < task->request->n; i++) {
        bool written = false;
        struct work *new_work = task->parts[i].new_work;
        for (size_t j = 0; new_work != NULL && j < task->request->n && !written; j++)
            written = task->parts[j].work->write && task->parts[j].work->hash == task->parts[i].hash;
        if (!written)
            continue;
        new_work->write = true;
        new_work->ttl = 2 * COUNTERS_NEW_WINDOW_MS;
        new_work->value.counter.max = task->request->asks[i].new_max;
        window_add(&new_work->value.counter.window, 1, 0);
    }
}

/* The entry that a work is to be written to, made where it is missing; NULL: out of memory. */
static struct entry *work_entry(struct task *task, struct work *work)
{
    if (work->entry == NULL) /* unless another work has made it */
        work->entry = find(task->memory, work->hash, work->key, task->now);
    if (work->entry == NULL)
        work->entry = entry_new(task->memory, work->hash, work->key, work->limit, task->now);
    if (work->entry != NULL) {
        work->entry->busy = true;
        work->entry->chosen = work->chosen;
        if (work->entry->expires <= task->now)
            work->entry->expires = task->now + work->ttl;
    }
    return work->entry;
}

/* Makes the fields that are missing; false when out of memory. */
static bool task_make_fields(struct task *task)
{
    for (size_t i = 0; i < task->n_works; i++) /* an eviction must not hit what this request stands on */
        if (task->works[i].entry != NULL)
            task->works[i].entry->busy = true;
    bool made = true;
    for (size_t i = 0; i < task->n_works && made; i++) {
        struct work *work = &task->works[i];
        if (!work->write)
            continue;
        bool is_new = work->field == NULL;
        struct entry *entry = work_entry(task, work);
        work->field = entry != NULL ? memory_table_field_make(entry, work->limit) : NULL;
        made = work->field != NULL;
        if (made && is_new)
            work->field->generation = memory_generation(task->memory, entry->site);
    }
    return made;
}

static void task_write(struct task *task, bool made)
{
    for (size_t i = 0; i < task->n_works; i++) {
        struct work *work = &task->works[i];
        if (work->entry == NULL)
            continue;
        work->entry->busy = false;
        if (!made)
            memory_table_entry_tidy(work->entry); /* it is all or nothing */
        if (!made || !work->write)
            continue;
        memory_table_field_set(work->field, &work->value);
        if (work->entry->expires < task->now + work->ttl)
            work->entry->expires = task->now + work->ttl;
    }
}

/* All between lock and unlock. */
static enum counters_status task_run(struct task *task)
{
    const struct count_request *request = task->request;
    for (size_t i = 0; i < request->n; i++)
        part_find(task, i);
    bool admitted = true;
    if (task->mode == COUNTERS_CHARGE)
        for (size_t i = 0; i < request->n; i++)
            part_take(task, i);
    else if (task->mode == COUNTERS_RECORD)
        admitted = was_admitted(request, task->recorded);
    else
        admitted = task_check(task);
    if (task->mode == COUNTERS_PEEK)
        return COUNTERS_OK;
    for (size_t i = 0; i < request->n; i++)
        part_apply(task, i, admitted && !request->refused);
    task_count_new(task);
    bool made = task_make_fields(task);
    task_write(task, made);
    return made ? COUNTERS_OK : COUNTERS_DOWN;
}

static enum counters_status memory_ask(struct counters *counters, enum counters_mode mode,
                                       const struct count_request *request, int64_t now_ms,
                                       struct count_answer *answers)
{
    struct memory *memory = (struct memory *)counters;
    struct part few_parts[FEW] UNZEROED;
    struct work few_works[2 * FEW] UNZEROED; /* as many as work_get() fills */
    struct task task = {.memory = memory, .request = request, .mode = mode, .now = now_ms < 0 ? 0 : now_ms};
    task.recorded = answers;
    bool few = request->n <= FEW;
    task.parts = few ? few_parts : calloc(request->n, sizeof *task.parts);
    task.works = few ? few_works : calloc(2 * request->n, sizeof *task.works);
    enum counters_status status = COUNTERS_DOWN;
    if (few)
        memset(task.parts, 0, request->n * sizeof *task.parts);
    if (task.parts != NULL && task.works != NULL) {
        task.retry = memory_retry(memory, mode, request, task.now, answers);
        task_hash(&task);
        shards_lock(memory, task.set, task.now);
        status = task_run(&task);
        shards_unlock(memory, task.set);
    }
    for (size_t i = 0; answers != NULL && i < request->n; i++)
        if (mode == COUNTERS_RECORD)
            answers[i].here = status == COUNTERS_OK ? task.parts[i].answer.slot : -1;
        else
            answers[i] = status == COUNTERS_OK ? task.parts[i].answer : (struct count_answer){0};
    if (!few) {
        free(task.parts);
        free(task.works);
    }
    return status;
}

/* Changes. */

uint64_t memory_lock(struct memory *memory, const struct count_change *changes, size_t n, int64_t now_ms)
{
    uint64_t set = 0;
    for (size_t i = 0; i < n; i++)
        set |= shard_bit(memory, hash_string(memory->seed, changes[i].key));
    shards_lock(memory, set, now_ms);
    return set;
}

void memory_unlock(struct memory *memory, uint64_t locked)
{
    shards_unlock(memory, locked);
}

static struct field *field_of(struct memory *memory, const struct count_change *change, int64_t now_ms)
{
    uint64_t hash = hash_string(memory->seed, change->key);
    return memory_table_field_find(find(memory, hash, change->key, now_ms), change->limit);
}

/* Was the counter born when the receipt says, by this process' count or that of the other store? */
static bool is_same(const struct field *field, const struct count_change *change)
{
    return change->created == INT64_MAX || change->created == field->created ||
           change->created == field->remote_created;
}

/* What is longer than its window counts when it ends, also where its counter is gone by now. The field, if there is one then. */
static struct field *count_late(struct memory *memory, const struct count_change *change, struct field *field,
                                int64_t now_ms)
{
    struct value value = {.counter.unit = change->unit};
    struct counter *counter = &value.counter;
    if (field != NULL)
        memory_table_field_get(field, &value);
    int64_t window_ms = field != NULL ? counter->window.window_ms : change->window_ms;
    int64_t at_ms = change->at_ms > 0 ? change->at_ms : now_ms;
    counter_move(counter, window_ms, WINDOW_MOST, now_ms);
    counter->hard =
        counter->hard || window_used(&counter->window) == 0; /* it is taken, and there is nothing else */
    if (!window_change(&counter->window, window_slot(window_ms, at_ms), window_ms, change->late, 0))
        return field; /* that is over, too */
    counter->max = change->max;
    uint64_t hash = hash_string(memory->seed, change->key);
    struct entry *entry = find(memory, hash, change->key, now_ms);
    if (entry == NULL)
        entry = entry_new(memory, hash, change->key, change->limit, now_ms);
    if (entry == NULL)
        return NULL;
    if (entry->expires < now_ms + change->ttl_ms)
        entry->expires = now_ms + change->ttl_ms;
    struct field *made = field != NULL ? field : memory_table_field_make(entry, change->limit);
    if (made == NULL)
        return NULL;
    if (field == NULL)
        made->generation = memory_generation(memory, entry->site);
    memory_table_field_set(made, &value);
    return made;
}

/* The message was longer on its way than the limit counted what it counts. */
static bool is_of_another_unit(const struct field *field, const struct count_change *change)
{
    return field != NULL && field->unit != change->unit;
}

enum memory_changed memory_apply(struct memory *memory, const struct count_change *change, int64_t slot,
                                 int64_t now_ms, struct field **out)
{
    struct field *field = field_of(memory, change, now_ms);
    struct window window UNZEROED;
    *out = field;
    if (is_of_another_unit(field, change)) {
        *out = NULL;
        return MEMORY_UNCHANGED;
    }
    if (field != NULL)
        memory_table_window_get(field, &window);
    else
        window = (struct window){.window_ms = change->window_ms};
    window_move(&window, window.window_ms, now_ms);
    int64_t slot_window_ms = slot < 0 ? window.window_ms : change->window_ms;
    slot = slot < 0 ? window_slot(window.window_ms, change->at_ms) : slot;
    if (!window_has(&window, slot, slot_window_ms)) {
        if (change->late > 0)
            *out = count_late(memory, change, field, now_ms);
        return MEMORY_LATE;
    }
    /* What changes nothing leaves all as it was: by a clock that was set back, even moving the window would. */
    if (field == NULL || !is_same(field, change) ||
        !window_change(&window, slot, slot_window_ms, change->amount, change->open))
        return MEMORY_UNCHANGED;
    memory_table_window_set(field, &window);
    if (field->held <= now_ms) /* whoever writes ends it */
        field->held = 0;
    return MEMORY_CHANGED;
}

/* What the changes before this one, of those that are made together, add to the same counter. */
static int64_t pending_of(const struct count_change *changes, size_t i)
{
    int64_t pending = 0;
    for (size_t k = 0; k < i; k++)
        if (strcmp(changes[k].key, changes[i].key) == 0 && strcmp(changes[k].limit, changes[i].limit) == 0)
            pending += changes[k].amount;
    return pending;
}

bool memory_check(struct memory *memory, const struct count_change *changes, size_t n, int64_t now_ms,
                  struct count_answer *answers)
{
    bool admitted = true;
    for (size_t i = 0; i < n; i++) {
        const struct count_change *change = &changes[i];
        const struct field *field = field_of(memory, change, now_ms);
        struct window window = {.window_ms = change->window_ms};
        if (field != NULL)
            memory_table_window_get(field, &window);
        window_move(&window, window.window_ms, now_ms);
        struct count_answer answer = {.result = COUNT_ADMITTED,
                                      .used = window_used(&window),
                                      .taken = window_taken(&window),
                                      .slot = -1,
                                      .here = -1};
        int64_t need = pending_of(changes, i) + change->amount;
        if (change->check == COUNT_CHECK_FULL && answer.used >= change->max) {
            answer.result = COUNT_OVER;
            answer.wait_ms = window_wait(&window, now_ms, change->max, 1);
        } else if (change->check == COUNT_CHECK_FIT && answer.used + need > change->max) {
            answer.result = COUNT_OVER;
            answer.wait_ms = window_wait(&window, now_ms, change->max, need);
        }
        admitted = admitted && answer.result == COUNT_ADMITTED;
        answers[i] = answer;
    }
    return admitted;
}

static bool is_change(const struct count_change *change)
{
    return !store_is_synced(change) && change->window_ms >= 1;
}

static enum counters_status memory_change(struct counters *counters, struct count_change *changes, size_t n,
                                          int64_t now_ms)
{
    struct memory *memory = (struct memory *)counters;
    now_ms = now_ms < 0 ? 0 : now_ms;
    for (size_t i = 0; i < n; i++) {
        if (!is_change(&changes[i]))
            continue;
        struct field *field;
        uint64_t locked = memory_lock(memory, &changes[i], 1, now_ms);
        (void)memory_apply(memory, &changes[i], changes[i].slot, now_ms, &field);
        memory_unlock(memory, locked);
        store_mark_synced(&changes[i]);
    }
    return COUNTERS_OK;
}

static void memory_change_here(struct counters *counters, struct count_change *change, int64_t now_ms)
{
    (void)memory_change(counters, change, 1, now_ms);
}

static enum counters_status memory_settle(struct counters *counters, const struct count_change *changes,
                                          size_t n, int64_t now_ms, int64_t deadline,
                                          struct count_answer *answers)
{
    struct memory *memory = (struct memory *)counters;
    (void)deadline;
    now_ms = now_ms < 0 ? 0 : now_ms;
    uint64_t locked = memory_lock(memory, changes, n, now_ms);
    struct field *field;
    if (memory_check(memory, changes, n, now_ms, answers))
        for (size_t i = 0; i < n; i++)
            if (is_change(&changes[i]))
                (void)memory_apply(memory, &changes[i], changes[i].slot, now_ms, &field);
    memory_unlock(memory, locked);
    return COUNTERS_OK;
}

/* Show and reset: shard by shard, one lock at a time. */

static bool matches_any(const char *const *keys, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (store_match(keys[i], key))
            return true;
    return false;
}

static void entry_show(const struct entry *entry, int64_t now_ms, counters_each_fn *each, void *arg)
{
    for (const struct field *field = entry->fields; field != NULL; field = field->next) {
        struct value value;
        struct count_view view;
        memory_table_field_get(field, &value);
        counter_view(&value.counter, now_ms, &view);
        view.key = entry->key;
        view.limit = memory_table_limit(field);
        each(arg, &view);
    }
}

static enum counters_status memory_show(struct counters *counters, const char *const *keys, size_t n,
                                        int64_t now_ms, counters_each_fn *each, void *arg)
{
    struct memory *memory = (struct memory *)counters;
    for (size_t s = 0; s < memory->n_shards; s++) {
        struct memory_table *shard = &memory->shards[s];
        pthread_mutex_lock(&shard->lock);
        for (size_t b = 0; b < shard->n_buckets; b++)
            for (const struct entry *entry = shard->buckets[b]; entry != NULL; entry = entry->next)
                if (entry->expires > now_ms && matches_any(keys, n, entry->key))
                    entry_show(entry, now_ms, each, arg);
        pthread_mutex_unlock(&shard->lock);
    }
    return COUNTERS_OK;
}

/* Removes the fields named limit, or all; returns how many. */
static size_t entry_reset(struct entry *entry, const char *limit)
{
    size_t n = 0;
    for (struct field **at = &entry->fields; *at != NULL;) {
        struct field *field = *at;
        if (limit != NULL && strcmp(memory_table_limit(field), limit) != 0) {
            at = &field->next;
            continue;
        }
        memory_table_field_remove(entry, at);
        n++;
    }
    return n;
}

static enum counters_status memory_reset(struct counters *counters, const char *const *keys, size_t n,
                                         const char *limit, size_t *n_reset)
{
    struct memory *memory = (struct memory *)counters;
    for (size_t s = 0; s < memory->n_shards; s++) {
        struct memory_table *shard = &memory->shards[s];
        pthread_mutex_lock(&shard->lock);
        for (size_t b = 0; b < shard->n_buckets; b++)
            for (struct entry **at = &shard->buckets[b]; *at != NULL;) {
                if (matches_any(keys, n, (*at)->key))
                    *n_reset += entry_reset(*at, limit);
                if ((*at)->fields == NULL)
                    memory_table_entry_remove(shard, at);
                else
                    at = &(*at)->next;
            }
        pthread_mutex_unlock(&shard->lock);
    }
    if (*n_reset > 0)
        atomic_fetch_add_explicit(&memory->holds, 1, memory_order_relaxed);
    return COUNTERS_OK;
}

static void memory_condition(struct counters *counters, struct error *out)
{
    const struct memory *memory = (const struct memory *)counters;
    size_t most = 0;
    bool evicted = false, crowded = false;
    for (size_t i = 0; i < memory->n_shards; i++) {
        most += memory->shards[i].most;
        evicted = evicted || memory_table_has_evicted(&memory->shards[i]);
        crowded = crowded || memory_table_is_crowded(&memory->shards[i]);
    }
    if (crowded)
        error_set(
            out,
            "all %zu subjects that this process counts at most are full or held: those that senders can "
            "choose share a counter meanwhile; raise counters.local_subjects, or count in Redis",
            most);
    else if (evicted)
        error_set(
            out,
            "more than the %zu subjects that this process counts at most: counters that are neither full "
            "nor held are forgotten, first those that senders can choose; raise counters.local_subjects, "
            "or count in Redis",
            most);
}

static uint64_t memory_junk(struct counters *counters)
{
    (void)counters;
    return 0;
}

static void memory_free(struct counters *counters)
{
    struct memory *memory = (struct memory *)counters;
    for (size_t i = 0; i < memory->n_shards; i++)
        memory_table_done(&memory->shards[i]);
    retries_free(memory->retries);
    free(memory);
}

static const struct counters_ops memory_ops = {
    .ask = memory_ask,
    .change = memory_change,
    .change_here = memory_change_here,
    .settle = memory_settle,
    .deferred = memory_deferred,
    .show = memory_show,
    .reset = memory_reset,
    .condition = memory_condition,
    .junk = memory_junk,
    .free = memory_free,
};

struct counters *counters_memory_new(size_t max_subjects)
{
    struct memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL)
        return NULL;
    memory->counters.ops = &memory_ops;
    hash_seed(memory->seed);
    memory->n_shards = max_subjects >= SHARDED_FROM ? MEMORY_SHARDS : 1;
    size_t most = max_subjects / memory->n_shards > 0 ? max_subjects / memory->n_shards : 1;
    memory->retries = retries_new();
    bool ok = memory->retries != NULL;
    for (size_t i = 0; i < memory->n_shards; i++)
        ok = memory_table_init(&memory->shards[i], most) == 0 && ok;
    if (!ok) {
        memory_free(&memory->counters);
        return NULL;
    }
    return &memory->counters;
}

uint64_t counters_memory_holds(const struct counters *counters)
{
    return atomic_load_explicit(&((const struct memory *)counters)->holds, memory_order_relaxed);
}
