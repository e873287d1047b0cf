/* shared: what the gates of several hosts share through Redis, beside the counters: hashes of short
 * texts. Nothing here is on the path of a RCPT; each call takes at most the timeout
 * of the client, and says false while Redis is away. Keys are put behind the client's prefix. */
#ifndef RCPTGATE_REDIS_SHARED_H
#define RCPTGATE_REDIS_SHARED_H

#include "redis/client.h"

/* Calls each() for every field of the hash; what is no hash has none. */
typedef void shared_each_fn(void *arg, const char *field, const char *value);
bool shared_hash(struct redis_client *redis, const char *key, shared_each_fn *each, void *arg);

/* words: fields and values in turn. The hash then lives for ttl_ms. */
bool shared_set_fields(struct redis_client *redis, const char *key, const char *const *words, size_t n_words,
                       int64_t ttl_ms);
bool shared_drop_fields(struct redis_client *redis, const char *key, const char *const *fields, size_t n);

/* Appends an entry to the stream of events ("prefix:events", which keeps the last 10,000 or so): words are names and values in
 * turn. REDIS_LOST also where Redis refuses this one. */
enum redis_status shared_stream_add(struct redis_client *redis, const char *const *words, size_t n_words);

#endif
