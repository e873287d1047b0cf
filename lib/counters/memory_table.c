/* memory_table: see memory_table.h. Short of memory, a new entry or field is not made; longer chains do no harm. */
#include "memory_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_BUCKETS = 64,
    SAMPLES = 8, /* entries looked at to find one to evict */
};

static struct entry **bucket_of(const struct memory_table *shard, uint64_t hash)
{
    return &shard->buckets[hash & (shard->n_buckets - 1)];
}

static void entry_free(struct entry *entry)
{
    for (struct field *field = entry->fields, *next; field != NULL; field = next) {
        next = field->next;
        free(field);
    }
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
    while (entry != NULL && (entry->hash != hash || entry->expires <= now_ms || strcmp(entry->key, key) != 0))
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

/* Of a few entries, removes the one that ends first. */
static void shard_evict(struct memory_table *shard)
{
    struct entry **first = NULL;
    int seen = 0;
    for (size_t i = 0; i < shard->n_buckets && seen < SAMPLES; i++) {
        shard->sweep = (shard->sweep + 1) & (shard->n_buckets - 1);
        for (struct entry **at = &shard->buckets[shard->sweep]; *at != NULL; at = &(*at)->next) {
            if ((*at)->busy)
                continue;
            seen++;
            if (first == NULL || (*at)->expires < (*first)->expires)
                first = at;
        }
    }
    if (first != NULL)
        memory_table_entry_remove(shard, first);
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

struct entry *memory_table_entry_new(struct memory_table *shard, uint64_t hash, const char *key)
{
    size_t size = strlen(key) + 1;
    struct entry *entry = malloc(sizeof *entry + size);
    if (entry == NULL)
        return NULL;
    if (shard->n_entries >= shard->most)
        shard_evict(shard);
    if (shard->n_entries >= shard->n_buckets)
        shard_grow(shard);
    *entry = (struct entry){.hash = hash, .next = *bucket_of(shard, hash)};
    memcpy(entry->key, key, size);
    *bucket_of(shard, hash) = entry;
    shard->n_entries++;
    return entry;
}

/* ---- fields ---- */

struct field *memory_table_field_find(const struct entry *entry, const char *limit)
{
    struct field *field = entry == NULL ? NULL : entry->fields;
    while (field != NULL && strcmp(field->limit, limit) != 0)
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
    *field = (struct field){.next = entry->fields};
    memcpy(field->limit, limit, size);
    entry->fields = field;
    return field;
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
