/* pool: memory that is handed out piece by piece and given back all at once.
 *
 * A session keeps one pool for each of its messages and resets it at the end; after the first message
 * no allocation is left on the path of a RCPT. Not for sharing between threads. */
#ifndef RCPTGATE_BASE_POOL_H
#define RCPTGATE_BASE_POOL_H

#include <stddef.h>

struct pool_block;

struct pool { /* zeroed: empty and ready */
    struct pool_block *blocks;
};

/* Zeroed memory, aligned for any type; lives until pool_reset() or pool_done(). NULL: out of memory. */
void *pool_alloc(struct pool *pool, size_t size);

/* A copy of string; NULL for NULL, or when out of memory. */
char *pool_strdup(struct pool *pool, const char *string);
char *pool_strndup(struct pool *pool, const char *bytes, size_t n);

/* The strings one behind the other; NULL when out of memory. For the path of a RCPT: printf costs ten times as much. */
char *pool_join(struct pool *pool, const char *a, const char *b, const char *c);

/* printf into the pool; NULL when out of memory. */
char *pool_printf(struct pool *pool, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Forgets everything that was handed out; keeps the first block for the next round. */
void pool_reset(struct pool *pool);

/* Gives all memory back; the pool is as zeroed. */
void pool_done(struct pool *pool);

#endif
