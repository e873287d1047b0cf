/* memory_table: one part of the memory table: entries (a key each) with fields (a limit each), in chained buckets.
 *
 * A shard owns its entries. It holds `most`: the next one pushes out, of some, what has ended, what a stranger can choose, what ends
 * first, in this order, and never what is full or held. Where all of these are, it is crowded: it grows up to twice as
 * large, and who can do without a new entry makes none. What has ended is never found, and swept a bucket at a time. The caller holds the lock for every
 * call here but init and done. */
#ifndef RCPTGATE_COUNTERS_MEMORY_TABLE_H
#define RCPTGATE_COUNTERS_MEMORY_TABLE_H

#include "counter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A counter, and what is known of it beside another store that answers. Zeroed: nothing was ever counted. */
struct value {
    struct counter counter;
    int64_t
        remote_created; /* when the other store made its counter of this name (Unix time in ms); 0: not known */
    int64_t unsynced;   /* so much of the count the other store is yet to be told of */
};

/* What a window seldom has: something open, or a count of more than 32 bits. */
struct field_rest {
    int64_t open[WINDOW_SLOTS];
    uint32_t high[WINDOW_SLOTS]; /* the upper halves of the counts */
};

/* The value of a limit as it is kept: with its limit's name some 140 bytes, an entry with one limit some 210 (100,000 of them:
 * 21 MB). */
struct field {
    struct field *next;
    struct field_rest *
        rest; /* NULL: nothing is open, or (all_open, for want of memory) everything; and all counts are in 32 bits */
    int64_t window_ms, slot, max, created, held, remote_created, unsynced;
    uint32_t count[WINDOW_SLOTS]; /* the lower halves */
    uint32_t refused;             /* or more */
    unsigned generation;          /* of the other store, that knows all but what is unsynced */
    uint16_t limit_at; /* bytes from here to the name of the limit: right behind it, or with its entry */
    uint8_t unit;
    bool hard : 1, all_open : 1;
};

struct entry {
    struct entry *next;
    uint32_t hash; /* the lower half */
    uint16_t site; /* of its key in the other store */
    bool busy;     /* in use by the request that holds the lock: not to be evicted */
    bool chosen;   /* its key can be chosen by strangers */
    int64_t expires;
    struct field *fields;
    struct field first; /* most have no other: it is not freed alone, and not used again */
    char key[];         /* and behind it the limit of the first field */
};

static inline const char *memory_table_limit(const struct field *field)
{
    return (const char *)field + field->limit_at;
}

struct memory_table {
    pthread_mutex_t lock;
    struct entry **buckets; /* n_buckets, a power of two */
    size_t n_buckets, n_entries, most, sweep;
    atomic_bool crowded;     /* the last that was to be evicted could not be */
    _Atomic int64_t evicted; /* when one was, last (CLOCK_MONOTONIC, ms); 0: never */
};

int memory_table_init(struct memory_table *shard,
                      size_t most); /* -1: out of memory; memory_table_done() is due all the same */
void memory_table_done(struct memory_table *shard);

/* The entry of a key; NULL: none, or it has ended. */
struct entry *memory_table_entry_find(struct memory_table *shard, uint64_t hash, const char *key,
                                      int64_t now_ms);

/* A new entry with a field for limit, which ends at 0. NULL: out of memory, or crowded and twice as large as it should be. */
struct entry *memory_table_entry_new(struct memory_table *shard, uint64_t hash, const char *key,
                                     const char *limit, int64_t now_ms);

/* Any thread, without the lock: is there no room for another entry? Was something forgotten within the last minute? */
bool memory_table_is_crowded(const struct memory_table *shard);
bool memory_table_has_evicted(const struct memory_table *shard);

/* Frees the field that *at points to, which is the entry's. */
void memory_table_field_remove(struct entry *entry, struct field **at);

/* Frees the fields to which nothing was ever written: whoever makes one writes to it before the lock is let go, or tidies up. */
void memory_table_entry_tidy(struct entry *entry);

/* Frees the entry that *at points to. */
void memory_table_entry_remove(struct memory_table *shard, struct entry **at);

struct field *memory_table_field_find(const struct entry *entry, const char *limit); /* entry may be NULL */

/* The field of a limit, made where there is none. NULL: out of memory. */
struct field *memory_table_field_make(struct entry *entry, const char *limit);

/* The value of a field, and the window in it. Short of memory, all that was charged counts as open from then on: no refusal is
 * hard that should not be. */
void memory_table_field_get(const struct field *field, struct value *out);
void memory_table_field_set(struct field *field, const struct value *value);
void memory_table_window_get(const struct field *field, struct window *out);
void memory_table_window_set(struct field *field, const struct window *window);

/* Frees what has ended in the next bucket. */
void memory_table_sweep(struct memory_table *shard, int64_t now_ms);

#endif
