/* counters_mirror: what the embedded store must know of itself to count along with another one: which of its
 * counters the other knows too little of (deltas), and the part of a change that is made here.
 *
 * A delta is taken out of its counter while it is being added to the other one, so that it is added once; what could
 * not be is put back. Fails only for want of memory: then a delta stays where it is. */
#include "memory.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

static int64_t less(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Copies out what the other store lacks of the field. False: out of memory, nothing was changed. */
static bool delta_take(struct delta *delta, const struct entry *entry, struct field *field,
                       unsigned generation, int64_t now_ms)
{
    struct value *value = &field->value;
    *delta = (struct delta){.key = strdup(entry->key),
                            .limit = strdup(field->limit),
                            .counter = value->counter,
                            .ttl_ms = entry->expires - now_ms,
                            .remote_created = value->remote_created,
                            .generation = field->generation,
                            .lost = field->generation != generation};
    if (delta->key == NULL || delta->limit == NULL) {
        free(delta->key);
        free(delta->limit);
        return false;
    }
    window_move(&delta->counter.window, delta->counter.window.window_ms, now_ms);
    delta->unsynced = less(value->unsynced, window_used(&delta->counter.window));
    value->unsynced = 0;
    field->generation = generation;
    return true;
}

static bool is_idle(const struct counter *counter, int64_t now_ms)
{
    struct count_view view;
    counter_view(counter, now_ms, &view);
    return view.used == 0 && view.held_ms == 0;
}

/* Takes the deltas of a bucket; false when there is no room for more. */
static bool bucket_collect(struct memory *memory, const struct entry *entry, int64_t now_ms,
                           struct delta *deltas, size_t *n, size_t most)
{
    unsigned generation = atomic_load(&memory->generation);
    for (; entry != NULL; entry = entry->next) {
        if (entry->expires <= now_ms)
            continue;
        for (struct field *field = entry->fields; field != NULL; field = field->next) {
            bool unsynced = field->value.unsynced != 0;
            if (!unsynced && field->generation == generation)
                continue;
            if (!unsynced && is_idle(&field->value.counter, now_ms)) {
                field->generation = generation;
                continue;
            }
            if (*n == most || !delta_take(&deltas[*n], entry, field, generation, now_ms))
                return false;
            ++*n;
        }
    }
    return true;
}

size_t mirror_collect(struct memory *memory, struct mirror_cursor *cursor, int64_t now_ms,
                      struct delta *deltas, size_t n)
{
    size_t got = 0;
    for (bool room = true; room && cursor->shard < memory->n_shards;) {
        struct memory_table *shard = &memory->shards[cursor->shard];
        pthread_mutex_lock(&shard->lock);
        while (room && cursor->bucket < shard->n_buckets) {
            room = bucket_collect(memory, shard->buckets[cursor->bucket], now_ms, deltas, &got, n);
            cursor->bucket += room; /* a bucket that is not done is looked at again */
        }
        pthread_mutex_unlock(&shard->lock);
        if (room)
            *cursor = (struct mirror_cursor){.shard = cursor->shard + 1};
    }
    return got;
}

void mirror_settle(struct memory *memory, struct delta *delta, int64_t remote_created)
{
    uint64_t hash = hash_string(memory->seed, delta->key);
    struct memory_table *shard = memory_shard(memory, hash);
    pthread_mutex_lock(&shard->lock);
    struct field *field =
        memory_table_field_find(memory_table_entry_find(shard, hash, delta->key, 0), delta->limit);
    if (field != NULL && remote_created < 0) {
        field->value.unsynced += delta->unsynced;
        field->generation = delta->generation;
    } else if (field != NULL) {
        field->value.remote_created = remote_created;
    }
    pthread_mutex_unlock(&shard->lock);
    free(delta->key);
    free(delta->limit);
    *delta = (struct delta){0};
}

/* Is the other store to be told of this change of a charge that was unsynced? Not as long as it is. */
static bool is_synced(struct value *value, const struct count_change *change, bool unsynced)
{
    if (change->amount < 0 ? value->unsynced + change->amount < 0 : !unsynced)
        return true;
    value->unsynced += change->amount;
    return false;
}

/* True: the other store is to be told. */
static bool value_change(struct value *value, const struct count_change *change, bool unsynced,
                         int64_t now_ms)
{
    struct window *window = &value->counter.window;
    window_move(window, window->window_ms, now_ms);
    (void)window_change(window, change->here, change->window_ms, change->amount);
    return change->unsynced && is_synced(value, change, unsynced);
}

void mirror_change(struct memory *memory, struct count_change *change, bool unsynced, int64_t now_ms)
{
    if (change->here < 0 || change->amount == 0 || change->window_ms < 1)
        return;
    uint64_t hash = hash_string(memory->seed, change->key);
    struct memory_table *shard = memory_shard(memory, hash);
    pthread_mutex_lock(&shard->lock);
    struct field *field =
        memory_table_field_find(memory_table_entry_find(shard, hash, change->key, now_ms), change->limit);
    bool notify = field != NULL && value_change(&field->value, change, unsynced, now_ms);
    pthread_mutex_unlock(&shard->lock);
    if (notify) {
        change->slot = change->here;
        change->created = INT64_MAX;
    }
    change->here = -1;
}
