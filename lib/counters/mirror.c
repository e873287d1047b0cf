/* mirror: what the embedded store must know of itself to count along with another one: which of its
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
    struct value value;
    memory_table_field_get(field, &value);
    *delta = (struct delta){.key = strdup(entry->key),
                            .limit = strdup(memory_table_limit(field)),
                            .counter = value.counter,
                            .ttl_ms = entry->expires - now_ms,
                            .remote_created = value.remote_created,
                            .site = entry->site,
                            .generation = field->generation,
                            .lost = field->generation != generation};
    if (delta->key == NULL || delta->limit == NULL) {
        free(delta->key);
        free(delta->limit);
        return false;
    }
    window_move(&delta->counter.window, delta->counter.window.window_ms, now_ms);
    delta->unsynced = less(value.unsynced, window_used(&delta->counter.window));
    field->unsynced = 0;
    field->generation = generation;
    return true;
}

static bool is_idle(const struct field *field, int64_t now_ms)
{
    struct value value;
    struct count_view view;
    memory_table_field_get(field, &value);
    counter_view(&value.counter, now_ms, &view);
    return view.used == 0 && view.held_ms == 0;
}

/* Takes the deltas of a bucket; false when there is no room for more. */
static bool bucket_collect(struct memory *memory, const struct entry *entry, const bool *passed_over,
                           int64_t now_ms, struct delta *deltas, size_t *n, size_t most)
{
    for (; entry != NULL; entry = entry->next) {
        unsigned generation = memory_generation(memory, entry->site);
        if (entry->expires <= now_ms || passed_over[entry->site])
            continue;
        for (struct field *field = entry->fields; field != NULL; field = field->next) {
            bool unsynced = field->unsynced != 0;
            if (!unsynced && field->generation == generation)
                continue;
            if (!unsynced && is_idle(field, now_ms)) {
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
            room = bucket_collect(memory, shard->buckets[cursor->bucket], cursor->passed_over, now_ms, deltas,
                                  &got, n);
            cursor->bucket += room; /* a bucket that is not done is looked at again */
        }
        pthread_mutex_unlock(&shard->lock);
        if (room)
            *cursor = (struct mirror_cursor){.shard = cursor->shard + 1, .passed_over = cursor->passed_over};
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
        field->unsynced += delta->unsynced;
        field->generation = delta->generation;
    } else if (field != NULL) {
        field->remote_created = remote_created;
    }
    pthread_mutex_unlock(&shard->lock);
    free(delta->key);
    free(delta->limit);
    *delta = (struct delta){0};
}

/* What the other store is to be told of a change of a charge that was unsynced: nothing as long as it still is. It put what
 * it was told into slots of its own, by age, and what was open then stays so until its slot leaves. A counter that it made since
 * knows nothing of the charge, or was told of it as it is now; one that it makes while the charge is on its way keeps it, open. */
static void sync_rest(struct field *field, struct count_change *change, enum memory_changed changed,
                      bool unsynced, int64_t now_ms)
{
    int64_t amount = changed == MEMORY_LATE ? change->late : change->amount;
    bool synced = amount == 0 || (amount < 0 ? field->unsynced + amount >= 0 : unsynced);
    if (synced || changed == MEMORY_UNCHANGED) {
        field->unsynced += changed == MEMORY_UNCHANGED ? 0 : amount;
        store_mark_synced(change);
    } else if (changed == MEMORY_LATE) {
        change->slot = 0; /* long past for whatever clock */
        change->at_ms = now_ms;
        change->amount = 0;
    } else {
        change->slot = -1;
        change->at_ms = window_slot_middle(change->window_ms, change->here);
        change->late = 0;
    }
    change->open = 0;
    change->created =
        changed == MEMORY_CHANGED && field->remote_created > 0 ? field->remote_created : INT64_MAX;
}

/* Locked. */
static void change_here(struct memory *memory, struct count_change *change, bool unsynced, int64_t now_ms)
{
    struct field *field;
    if (change->here < 0 || change->window_ms < 1)
        return;
    enum memory_changed changed = memory_apply(memory, change, change->here, now_ms, &field);
    if (change->unsynced && field != NULL)
        sync_rest(field, change, changed, unsynced, now_ms);
    else if (change->unsynced)
        store_mark_synced(change); /* forgotten or cleared here: what it was is not known */
    change->here = -1;
}

void mirror_change(struct memory *memory, struct count_change *change, bool unsynced, int64_t now_ms)
{
    uint64_t locked = memory_lock(memory, change, 1, now_ms);
    change_here(memory, change, unsynced, now_ms);
    memory_unlock(memory, locked);
}

void mirror_settle_here(struct memory *memory, struct count_change *changes, size_t n, bool unsynced,
                        int64_t now_ms, struct count_answer *answers)
{
    uint64_t locked = memory_lock(memory, changes, n, now_ms);
    if (memory_check(memory, changes, n, now_ms, answers))
        for (size_t i = 0; i < n; i++)
            change_here(memory, &changes[i], unsynced && changes[i].unsynced, now_ms);
    memory_unlock(memory, locked);
}
