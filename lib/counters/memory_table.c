/* memory_table: see memory_table.h. Short of memory, a new entry or field is not made; longer chains do no harm, nor does what
 * counts as open. */
#include "memory_table.h"
#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_BUCKETS = 64,
    SAMPLES = 8, /* entries looked at to find one to evict, at least; */
    MOST_SAMPLES = 64,
    REMEMBER_MS = 60000, /* that one was evicted */
};

static struct entry **bucket_of(const struct memory_table *shard, uint64_t hash)
{
    return &shard->buckets[hash & (shard->n_buckets - 1)];
}

void memory_table_field_remove(struct entry *entry, struct field **at)
{
    struct field *field = *at;
    *at = field->next;
    free(field->rest);
    if (field != &entry->first)
        free(field);
}

void memory_table_entry_tidy(struct entry *entry)
{
    for (struct field **at = &entry->fields; *at != NULL;) {
        if ((*at)->window_ms == 0)
            memory_table_field_remove(entry, at);
        else
            at = &(*at)->next;
    }
}

static void entry_free(struct entry *entry)
{
    while (entry->fields != NULL)
        memory_table_field_remove(entry, &entry->fields);
    free(entry);
}

void memory_table_entry_remove(struct memory_table *shard, struct entry **at)
{
    struct entry *entry = *at;
    *at = entry->next;
    shard->n_entries--;
    entry_free(entry);
}

struct entry *memory_table_entry_find(struct memory_table *shard, uint64_t hash, const char *key,
                                      int64_t now_ms)
{
    struct entry *entry = *bucket_of(shard, hash);
    while (entry != NULL &&
           (entry->hash != (uint32_t)hash || entry->expires <= now_ms || strcmp(entry->key, key) != 0))
        entry = entry->next;
    return entry;
}

void memory_table_sweep(struct memory_table *shard, int64_t now_ms)
{
    shard->sweep = (shard->sweep + 1) & (shard->n_buckets - 1);
    for (struct entry **at = &shard->buckets[shard->sweep]; *at != NULL;) {
        if ((*at)->expires <= now_ms && !(*at)->busy)
            memory_table_entry_remove(shard, at);
        else
            at = &(*at)->next;
    }
}

/* Full, or held: to forget it would let in what was refused. */
static bool field_binds(const struct field *field, int64_t now_ms)
{
    if (field->held > now_ms)
        return true;
    if (field->window_ms == 0)
        return false;
    struct window window;
    memory_table_window_get(field, &window);
    window_move(&window, window.window_ms, now_ms);
    int64_t used = window_used(&window);
    return used > 0 && used >= field->max;
}

/* The lower the sooner it goes. */
enum rank { RANK_ENDED, RANK_CHOSEN, RANK_OTHER, RANK_BINDS };

static enum rank entry_rank(const struct entry *entry, int64_t now_ms)
{
    if (entry->expires <= now_ms)
        return RANK_ENDED;
    for (const struct field *field = entry->fields; field != NULL; field = field->next)
        if (field_binds(field, now_ms))
            return RANK_BINDS;
    return entry->chosen ? RANK_CHOSEN : RANK_OTHER;
}

struct victim {
    struct entry **at;
    enum rank rank;
    int seen;
};

static void bucket_look(struct entry **at, int64_t now_ms, struct victim *victim)
{
    for (; *at != NULL; at = &(*at)->next) {
        if ((*at)->busy)
            continue;
        victim->seen++;
        enum rank rank = entry_rank(*at, now_ms);
        if (rank < victim->rank ||
            (rank == victim->rank && victim->at != NULL && (*at)->expires < (*victim->at)->expires)) {
            victim->at = at;
            victim->rank = rank;
        }
    }
}

/* Removes one of some entries: of few, where one is among them that may well go. False: all of them must stay. Where all
 * are in use, the request at hand is larger than the shard. */
static bool shard_evict(struct memory_table *shard, int64_t now_ms)
{
    struct victim victim = {.rank = RANK_BINDS};
    for (size_t i = 0; i < shard->n_buckets && victim.seen < MOST_SAMPLES; i++) {
        shard->sweep = (shard->sweep + 1) & (shard->n_buckets - 1);
        bucket_look(&shard->buckets[shard->sweep], now_ms, &victim);
        if (victim.seen >= SAMPLES && victim.rank <= RANK_CHOSEN)
            break;
    }
    if (victim.at == NULL)
        return victim.seen == 0;
    if (victim.rank != RANK_ENDED)
        atomic_store(&shard->evicted, clock_monotonic_ms());
    memory_table_entry_remove(shard, victim.at);
    return true;
}

bool memory_table_is_crowded(const struct memory_table *shard)
{
    return atomic_load(&shard->crowded);
}

bool memory_table_has_evicted(const struct memory_table *shard)
{
    int64_t at = atomic_load(&shard->evicted);
    return at > 0 && clock_monotonic_ms() - at < REMEMBER_MS;
}

/* Twice the buckets, where memory allows; longer chains do no harm where it does not. */
static void shard_grow(struct memory_table *shard)
{
    size_t n = shard->n_buckets * 2;
    assert(n > 0);
    struct entry **buckets = calloc(n, sizeof(struct entry *));
    if (buckets == NULL)
        return;
    for (size_t i = 0; i < shard->n_buckets; i++)
        for (struct entry *entry = shard->buckets[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            entry->next = buckets[entry->hash & (n - 1)];
            buckets[entry->hash & (n - 1)] = entry;
        }
    free(shard->buckets);
    shard->buckets = buckets;
    shard->n_buckets = n;
    shard->sweep = 0;
}

struct entry *memory_table_entry_new(struct memory_table *shard, uint64_t hash, const char *key,
                                     const char *limit, int64_t now_ms)
{
    size_t size = strlen(key) + 1, limit_size = strlen(limit) + 1;
    bool room = shard->n_entries < shard->most || shard_evict(shard, now_ms);
    if (room == atomic_load(&shard->crowded))
        atomic_store(&shard->crowded, !room);
    if (!room && shard->n_entries >= 2 * shard->most)
        return NULL;
    struct entry *entry =
        size < UINT16_MAX - sizeof *entry ? malloc(sizeof *entry + size + limit_size) : NULL;
    if (entry == NULL)
        return NULL;
    if (shard->n_entries >= shard->n_buckets)
        shard_grow(shard);
    *entry = (struct entry){.hash = (uint32_t)hash, .next = *bucket_of(shard, hash), .fields = &entry->first};
    memcpy(entry->key, key, size);
    memcpy(entry->key + size, limit, limit_size);
    entry->first.limit_at = (uint16_t)(offsetof(struct entry, key) - offsetof(struct entry, first) + size);
    *bucket_of(shard, hash) = entry;
    shard->n_entries++;
    return entry;
}

/* ---- fields ---- */

struct field *memory_table_field_find(const struct entry *entry, const char *limit)
{
    struct field *field = entry == NULL ? NULL : entry->fields;
    while (field != NULL && strcmp(memory_table_limit(field), limit) != 0)
        field = field->next;
    return field;
}

struct field *memory_table_field_make(struct entry *entry, const char *limit)
{
    struct field *field = memory_table_field_find(entry, limit);
    if (field != NULL)
        return field;
    size_t size = strlen(limit) + 1;
    field = malloc(sizeof *field + size);
    if (field == NULL)
        return NULL;
    *field = (struct field){.next = entry->fields, .limit_at = sizeof *field};
    memcpy(field + 1, limit, size);
    entry->fields = field;
    return field;
}

void memory_table_window_get(const struct field *field, struct window *out)
{
    const struct field_rest *rest = field->rest;
    out->window_ms = field->window_ms;
    out->slot = field->slot;
    for (int i = 0; i < WINDOW_SLOTS; i++)
        out->count[i] = field->count[i];
    if (rest == NULL && field->all_open) {
        window_open_all(out);
    } else if (rest == NULL) {
        window_close_all(out);
    } else {
        memcpy(out->open, rest->open, sizeof out->open);
        for (int i = 0; i < WINDOW_SLOTS; i++)
            out->count[i] |= (int64_t)rest->high[i] << 32;
    }
}

/* There is no memory for the upper halves. */
static void keep_most(struct field *field, const struct window *window)
{
    for (int i = 0; i < WINDOW_SLOTS; i++)
        if (window->count[i] > UINT32_MAX)
            field->count[i] = UINT32_MAX;
}

void memory_table_window_set(struct field *field, const struct window *window)
{
    bool open = window_is_open(window), wide = window_is_wide(window);
    if ((open || wide) && field->rest == NULL)
        field->rest = malloc(sizeof *field->rest);
    struct field_rest *rest = field->rest; /* it stays: what has something open has so again and again */
    field->all_open = open && rest == NULL;
    field->window_ms = window->window_ms;
    field->slot = window->slot;
    for (int i = 0; i < WINDOW_SLOTS; i++)
        field->count[i] = (uint32_t)window->count[i];
    if (rest == NULL && wide)
        keep_most(field, window);
    if (rest == NULL)
        return;
    memcpy(rest->open, window->open, sizeof rest->open);
    for (int i = 0; i < WINDOW_SLOTS; i++)
        rest->high[i] = (uint32_t)(window->count[i] >> 32);
}

void memory_table_field_get(const struct field *field, struct value *out)
{
    struct counter *counter = &out->counter;
    memory_table_window_get(field, &counter->window);
    counter->unit = (enum count_unit)field->unit;
    counter->hard = field->hard;
    counter->max = field->max;
    counter->created = field->created;
    counter->refused = field->refused;
    counter->held = field->held;
    out->remote_created = field->remote_created;
    out->unsynced = field->unsynced;
}

void memory_table_field_set(struct field *field, const struct value *value)
{
    const struct counter *counter = &value->counter;
    memory_table_window_set(field, &counter->window);
    field->unit = (uint8_t)counter->unit;
    field->hard = counter->hard;
    field->max = counter->max;
    field->created = counter->created;
    field->refused = counter->refused < UINT32_MAX ? (uint32_t)counter->refused : UINT32_MAX;
    field->held = counter->held;
    field->remote_created = value->remote_created;
    field->unsynced = value->unsynced;
}

/* ---- shards ---- */

int memory_table_init(struct memory_table *shard, size_t most)
{
    *shard = (struct memory_table){.most = most, .n_buckets = FIRST_BUCKETS};
    pthread_mutex_init(&shard->lock, NULL);
    shard->buckets = calloc(FIRST_BUCKETS, sizeof(struct entry *));
    return shard->buckets == NULL ? -1 : 0;
}

void memory_table_done(struct memory_table *shard)
{
    for (size_t i = 0; shard->buckets != NULL && i < shard->n_buckets; i++)
        while (shard->buckets[i] != NULL)
            memory_table_entry_remove(shard, &shard->buckets[i]);
    free(shard->buckets);
    pthread_mutex_destroy(&shard->lock);
}
