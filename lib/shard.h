/* shard: one part of the embedded counter store: entries (a key each) with fields (a limit each), in chained buckets.
 *
 * A shard owns its entries. It holds at most `most`: the next one pushes out, of a few, the one that ends
 * first. What has ended is never found, and swept a bucket at a time. The caller holds the lock for every
 * call here but init and done. */
#ifndef RCPTGATE_SHARD_H
#define RCPTGATE_SHARD_H

#include "record.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct field {
    struct field *next;
    unsigned generation; /* of the other store, that knows all but what is owed */
    bool owes;           /* the record's owed is not 0 */
    uint8_t room;        /* bytes for the packed record, which follows the limit */
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

/* The field of a limit, made where there is none (with a zeroed record), with room for this record:
 * field_write() of it cannot fail. May move the field. NULL: out of memory, nothing was changed. */
struct field *field_fit(struct entry *entry, const char *limit, const struct record *record);

void field_read(const struct field *field, struct record *out);
void field_write(struct field *field, const struct record *record);

/* Both: makes room, and writes. False: out of memory, nothing was changed. */
bool field_put(struct entry *entry, const char *limit, const struct record *record);

/* Frees what has ended in the next bucket. */
void shard_sweep(struct shard *shard, int64_t now_ms);

#endif
