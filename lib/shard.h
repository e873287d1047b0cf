/* shard: one part of the embedded counter store: entries (a key each) with fields (a limit each), in chained buckets.
 *
 * A shard owns its entries. It holds at most `most`: the next one pushes out, of a few, the one that ends
 * first. What has ended is never found, and swept a bucket at a time. The caller holds the lock for every
 * call here but init and done. */
#ifndef RCPTGATE_SHARD_H
#define RCPTGATE_SHARD_H

#include "counter.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct field {
    struct field *next;
    struct counter counter;
    /* Where it counts along with another store: */
    int64_t far_born;    /* the other's counter.born; 0: not known */
    int64_t owed;        /* so much of the count the other does not know; it is the newest */
    unsigned generation; /* of the other, that knows all but what is owed */
    char limit[];
};

struct entry {
    struct entry *next;
    uint64_t hash;
    int64_t expires;
    struct field *fields;
    bool busy; /* in use by the request that holds the lock: not to be evicted */
    char key[];
};

struct shard {
    pthread_mutex_t lock;
    struct entry **buckets; /* n_buckets, a power of two */
    size_t n_buckets, n_entries, most, sweep;
};

int shard_init(struct shard *shard, size_t most); /* -1: out of memory; shard_done() is due all the same */
void shard_done(struct shard *shard);

/* The entry of a key; NULL: none, or it has ended. */
struct entry *entry_find(struct shard *shard, uint64_t hash, const char *key, int64_t now_ms);

/* A new entry without fields, which ends at 0. NULL: out of memory. */
struct entry *entry_new(struct shard *shard, uint64_t hash, const char *key);

/* Frees the entry that *at points to. */
void entry_remove(struct shard *shard, struct entry **at);

struct field *field_find(const struct entry *entry, const char *limit); /* entry may be NULL */
struct field *field_new(struct entry *entry, const char *limit);        /* zeroed; NULL: out of memory */

/* Frees what has ended in the next bucket. */
void shard_sweep(struct shard *shard, int64_t now_ms);

#endif
