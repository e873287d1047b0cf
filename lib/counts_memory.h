/* counts_memory: what the parts of the counter store in this process share: counts_memory.c (the store itself) and
 * counts_mirror.c (what it must know of itself to count along with another store, which counts_pair.c asks). */
#ifndef RCPTGATE_COUNTS_MEMORY_H
#define RCPTGATE_COUNTS_MEMORY_H

#include "counts_ops.h"
#include "retries.h"
#include "shard.h"

#include <stdatomic.h>

enum { MEMORY_SHARDS = 64 }; /* one bit each in a uint64_t */

struct memory {
    struct counts counts;
    uint64_t seed[2];
    size_t n_shards;
    struct shard shards[MEMORY_SHARDS];
    struct retries *retries;
    atomic_uint generation; /* of the other store; what a field knows of an older one is void */
};

struct shard *memory_shard(struct memory *memory, uint64_t hash);

/* A counter of which the other store knows too little. Owns key and limit. */
struct debt {
    char *key, *limit;
    struct counter counter; /* as it is here, brought up to now */
    int64_t ttl_ms, owed, far_born;
    unsigned generation;
    bool lost; /* the other store restarted since: it may know nothing of this counter */
};

struct debt_cursor {
    size_t shard, bucket;
};

/* Takes up to n debts from where the cursor stands; their counters then owe nothing. Returns how many; less
 * than n: that were all, or memory is short. */
size_t mirror_collect(struct memory *memory, struct debt_cursor *cursor, int64_t now_ms, struct debt *debts,
                      size_t n);

/* The debt was paid into a counter that the other store made at far_born; or (far_born -1) could not be, and is
 * owed again. Frees it. */
void mirror_settle(struct memory *memory, struct debt *debt, int64_t far_born);

/* The part of a change that is made here (see counts_change_here()). owing: what comes now is owed. */
void mirror_change(struct memory *memory, struct count_change *change, bool owing, int64_t now_ms);

#endif
