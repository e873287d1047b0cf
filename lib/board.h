/* board: what the gates of several hosts tell each other through Redis, beside the counters: hashes of short
 * texts. Nothing here is on the path of a RCPT; each call takes at most the timeout
 * of the store, and says false while it is away. Keys are put behind the store's prefix. */
#ifndef RCPTGATE_BOARD_H
#define RCPTGATE_BOARD_H

#include "counts.h"

/* counts is a store made by counts_redis_new(). */

/* Calls each() for every field of the hash; what is no hash has none. */
typedef void board_each_fn(void *arg, const char *field, const char *value);
bool board_hash(struct counts *counts, const char *key, board_each_fn *each, void *arg);

/* words: fields and values in turn. The hash then lives for ttl_ms. */
bool board_set_fields(struct counts *counts, const char *key, const char *const *words, size_t n_words,
                      int64_t ttl_ms);
bool board_drop_fields(struct counts *counts, const char *key, const char *const *fields, size_t n);

#endif
