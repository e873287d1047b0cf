/* counts_mirror: what the embedded store must know of itself to count along with another one: which of its
 * counters the other knows too little of (debts), and the part of a change that is made here.
 *
 * A debt is taken out of its counter while it is being paid, so that it is paid once; what could not be is
 * put back. Fails only for want of memory: then a debt stays where it is, and a change is not made. */
#include "counts_memory.h"
#include "hash.h"

#include <stdlib.h>
#include <string.h>

static int64_t less(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Copies out what the field owes. False: out of memory, nothing was changed. */
static bool debt_take(struct debt *debt, const struct entry *entry, struct field *field,
                      struct record *record, unsigned generation, int64_t now_ms)
{
    *debt = (struct debt){.key = strdup(entry->key),
                          .limit = strdup(field->limit),
                          .counter = record->counter,
                          .ttl_ms = entry->expires - now_ms,
                          .far_born = record->far_born,
                          .generation = field->generation,
                          .lost = field->generation != generation};
    if (debt->key == NULL || debt->limit == NULL) {
        free(debt->key);
        free(debt->limit);
        return false;
    }
    window_move(&debt->counter.window, debt->counter.window.window_ms, now_ms);
    debt->owed = less(record->owed, window_used(&debt->counter.window));
    record->owed = 0;
    field_write(field, record);
    field->generation = generation;
    return true;
}

static bool is_idle(const struct counter *counter, int64_t now_ms)
{
    struct count_view view;
    counter_view(counter, now_ms, &view);
    return view.used == 0 && view.held_ms == 0;
}

/* Takes what the fields of a bucket owe; false when there is no room for more. */
static bool bucket_collect(struct memory *memory, const struct entry *entry, int64_t now_ms,
                           struct debt *debts, size_t *n, size_t most)
{
    unsigned generation = atomic_load(&memory->generation);
    for (; entry != NULL; entry = entry->next) {
        if (entry->expires <= now_ms)
            continue;
        for (struct field *field = entry->fields; field != NULL; field = field->next) {
            if (!field->owes && field->generation == generation)
                continue;
            struct record record;
            field_read(field, &record);
            if (!field->owes && is_idle(&record.counter, now_ms)) {
                field->generation = generation;
                continue;
            }
            if (*n == most || !debt_take(&debts[*n], entry, field, &record, generation, now_ms))
                return false;
            ++*n;
        }
    }
    return true;
}

size_t mirror_collect(struct memory *memory, struct debt_cursor *cursor, int64_t now_ms, struct debt *debts,
                      size_t n)
{
    size_t got = 0;
    for (bool room = true; room && cursor->shard < memory->n_shards;) {
        struct shard *shard = &memory->shards[cursor->shard];
        pthread_mutex_lock(&shard->lock);
        while (room && cursor->bucket < shard->n_buckets) {
            room = bucket_collect(memory, shard->buckets[cursor->bucket], now_ms, debts, &got, n);
            cursor->bucket += room; /* a bucket that is not done is looked at again */
        }
        pthread_mutex_unlock(&shard->lock);
        if (room)
            *cursor = (struct debt_cursor){.shard = cursor->shard + 1};
    }
    return got;
}

/* Short of memory, what could not be paid is forgotten: but only for want of room in a field, which had it when
 * the debt was taken. */
static void debt_put(const struct debt *debt, struct entry *entry, struct field *field, int64_t far_born)
{
    struct record record;
    field_read(field, &record);
    if (far_born < 0) {
        record.owed += debt->owed;
        field->generation = debt->generation;
    } else {
        record.far_born = far_born;
    }
    (void)field_put(entry, debt->limit, &record);
}

void mirror_settle(struct memory *memory, struct debt *debt, int64_t far_born)
{
    uint64_t hash = hash_string(memory->seed, debt->key);
    struct shard *shard = memory_shard(memory, hash);
    pthread_mutex_lock(&shard->lock);
    struct entry *entry = entry_find(shard, hash, debt->key, 0);
    struct field *field = field_find(entry, debt->limit);
    if (field != NULL)
        debt_put(debt, entry, field, far_born);
    pthread_mutex_unlock(&shard->lock);
    free(debt->key);
    free(debt->limit);
    *debt = (struct debt){0};
}

/* Is the other store to be told of this change of a charge that was owed to it? Not as long as it is. */
static bool is_paid(struct record *record, const struct count_change *change, bool owing)
{
    if (change->amount < 0 ? record->owed + change->amount < 0 : !owing)
        return true;
    record->owed += change->amount;
    return false;
}

/* True: the other store is to be told. Out of memory, the charge stays as it was: it ends with its window. */
static bool entry_change(struct entry *entry, const struct count_change *change, bool owing, int64_t now_ms)
{
    struct record record;
    struct window *window = &record.counter.window;
    field_read(field_find(entry, change->limit), &record);
    window_move(window, window->window_ms, now_ms);
    (void)window_change(window, change->here, change->window_ms, change->amount);
    bool paid = change->owed && is_paid(&record, change, owing);
    return field_put(entry, change->limit, &record) && paid;
}

void mirror_change(struct memory *memory, struct count_change *change, bool owing, int64_t now_ms)
{
    if (change->here < 0 || change->amount == 0 || change->window_ms < 1)
        return;
    uint64_t hash = hash_string(memory->seed, change->key);
    struct shard *shard = memory_shard(memory, hash);
    pthread_mutex_lock(&shard->lock);
    struct entry *entry = entry_find(shard, hash, change->key, now_ms);
    bool paid = field_find(entry, change->limit) != NULL && entry_change(entry, change, owing, now_ms);
    pthread_mutex_unlock(&shard->lock);
    if (paid) {
        change->slot = change->here;
        change->born = INT64_MAX;
    }
    change->here = -1;
}
