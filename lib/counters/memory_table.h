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

/* The value of a limit as it is kept. What is open has memory of its own (100 bytes) from when something first is, which in a
 * limit that never refuses hard is seldom. With its limit's name a field is some 200 bytes, an entry with one limit some 270
 * (100,000 of them: 28 MB). Counts are 64 bits wide since bytes are counted, too. */
struct field {
    struct field *next;
    const char *limit; /* right behind it, or with its entry */
    int64_t *open;     /* WINDOW_SLOTS; NULL: nothing is open; or, where all_open says so for want of memory, everything */
    int64_t window_ms, slot, count[WINDOW_SLOTS];
    int64_t max, created, refused, held, remote_created, unsynced;
    unsigned generation; /* of the other store, that knows all but what is unsynced */
    uint8_t unit;
    bool hard, all_open;
};

struct entry {
    struct entry *next;
    uint64_t hash;
    int64_t expires;
    struct field *fields;
    bool busy;          /* in use by the request that holds the lock: not to be evicted */
    bool chosen;        /* its key can be chosen by strangers */
    uint16_t site;      /* of its key in the other store */
    struct field first; /* most have no other: it is not freed alone, and not used again */
    char key[];         /* and behind it the limit of the first field */
};

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
