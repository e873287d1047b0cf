/* shared: what the gates of several hosts share through Redis, beside the counters: hashes of short
 * texts, and a stream of events. Nothing here is on the path of a RCPT; each call takes at most the timeout
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

/* Reads that stream, the oldest first: what came after the entry of that id, or where after is "" the last ones; at most n. words as
 * above; more than SHARED_STREAM_WORDS of an entry are left out. False where Redis is away, or does not let us: *why then has
 * what it says, or "". */
enum { SHARED_STREAM_WORDS = 64 };
typedef void shared_entry_fn(void *arg, const char *id, const char *const *words, size_t n_words);
bool shared_stream_read(struct redis_client *redis, const char *after, size_t n, shared_entry_fn *each,
                        void *arg, struct error *why);

#endif
