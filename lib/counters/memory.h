/* memory: what the parts of the counter store in this process share: memory.c (the store itself) and mirror.c (what it must
 * know of itself to count along with another store, which failover.c asks). */
#ifndef RCPTGATE_COUNTERS_MEMORY_H
#define RCPTGATE_COUNTERS_MEMORY_H

#include "store.h"
#include "retries.h"
#include "memory_table.h"

#include <stdatomic.h>

enum { MEMORY_SHARDS = 64 }; /* one bit each in a uint64_t */

struct memory {
    struct counters counters;
    uint64_t seed[2];
    size_t n_shards;
    struct memory_table shards[MEMORY_SHARDS];
    struct retries *retries;
    atomic_uint_fast64_t holds; /* how many began here, and how often counters were cleared */
    struct counters *remote;    /* the other store; NULL: there is none, and one site */
    /* Of each of its sites; what a field knows of an older one is void. The other store's owner's, or NULL: 0. */
    const atomic_uint *generations;
};

/* The generation of a site. */
unsigned memory_generation(const struct memory *memory, unsigned site);

struct memory_table *memory_shard(struct memory *memory, uint64_t hash);

/* Locks what n changes are made to; what is returned unlocks it. */
uint64_t memory_lock(struct memory *memory, const struct count_change *changes, size_t n, int64_t now_ms);
void memory_unlock(struct memory *memory, uint64_t locked);

/* What became of a change: its slot has left the window, or was changed, or none of both. */
enum memory_changed { MEMORY_UNCHANGED, MEMORY_CHANGED, MEMORY_LATE };

/* Makes a change in the slot, numbered by this process' clock; -1: in that of change->at_ms. *out: the field, if there is one now.
 * Locked. */
enum memory_changed memory_apply(struct memory *memory, const struct count_change *change, int64_t slot,
                                 int64_t now_ms, struct field **out);

/* Do the checks of all the changes pass? Locked. */
bool memory_check(struct memory *memory, const struct count_change *changes, size_t n, int64_t now_ms,
                  struct count_answer *answers);

/* A counter of which the other store knows too little. Owns key and limit. */
struct delta {
    char *key, *limit;
    struct counter counter; /* as it is here, brought up to now */
    int64_t ttl_ms, unsynced, remote_created;
    unsigned site, generation;
    bool lost; /* the other store restarted since: it may know nothing of this counter */
};

struct mirror_cursor {
    size_t shard, bucket;
    const bool *passed_over; /* of each site: its deltas stay where they are */
};

/* Takes up to n deltas from where the cursor stands; their counters then count as synced. Returns how many; less
 * than n: that were all, or memory is short. */
size_t mirror_collect(struct memory *memory, struct mirror_cursor *cursor, int64_t now_ms,
                      struct delta *deltas, size_t n);

/* The delta was added to a counter that the other store made at remote_created; or (-1) could not be, and is unsynced
 * again. Frees it. */
void mirror_settle(struct memory *memory, struct delta *delta, int64_t remote_created);

/* The part of a change that is made here (see counters_change_here()). unsynced: so is what comes now. */
void mirror_change(struct memory *memory, struct count_change *change, bool unsynced, int64_t now_ms);

/* The same of n changes, all or none, after the check of each. */
void mirror_settle_here(struct memory *memory, struct count_change *changes, size_t n, bool unsynced,
                        int64_t now_ms, struct count_answer *answers);

#endif
