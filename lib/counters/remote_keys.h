/* remote_keys: counters in Redis as they stand under their keys: shown, and reset. The functions are those of struct
 * counters_ops (store.h). */
#ifndef RCPTGATE_COUNTERS_REMOTE_KEYS_H
#define RCPTGATE_COUNTERS_REMOTE_KEYS_H

#include "store.h"

extern const char remote_keys_look[]; /* HGETALL of each key; an error in the place of what is no hash */

enum counters_status remote_keys_show(struct counters *counters, const char *const *keys, size_t n,
                                      int64_t now_ms, counters_each_fn *each, void *arg);
enum counters_status remote_keys_reset(struct counters *counters, const char *const *keys, size_t n,
                                       const char *limit, size_t *n_reset);

#endif
