/* pool: a list of blocks, the newest first; pieces are cut off the newest, and one that does not fit gets a new block.
 * Owns the blocks. Fails with NULL, when out of memory, and is then as it was. */
#include "base/pool.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE = 8192 };

struct pool_block {
    struct pool_block *next; /* older */
    size_t size, used;
    alignas(max_align_t) unsigned char bytes[];
};

static struct pool_block *block_new(struct pool_block *next, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct pool_block))
        return NULL;
    struct pool_block *block = malloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->next = next;
    block->size = size;
    block->used = 0;
    return block;
}

/* Off a new block. Not zeroed, here and below. */
static void *cut_new(struct pool *pool, size_t size)
{
    struct pool_block *block = block_new(pool->blocks, size > BLOCK_SIZE ? size : BLOCK_SIZE);
    if (block == NULL)
        return NULL;
    pool->blocks = block;
    block->used = size;
    return block->bytes;
}

static inline void *cut(struct pool *pool, size_t size)
{
    const size_t align = alignof(max_align_t);
    if (size > SIZE_MAX - align)
        return NULL;
    size = (size + align - 1) / align * align;
    struct pool_block *block = pool->blocks;
    if (block == NULL || block->size - block->used < size)
        return cut_new(pool, size);
    void *at = block->bytes + block->used;
    block->used += size;
    return at;
}

void *pool_alloc(struct pool *pool, size_t size)
{
    void *at = cut(pool, size);
    return at != NULL ? memset(at, 0, size) : NULL;
}

char *pool_strndup(struct pool *pool, const char *bytes, size_t n)
{
    if (bytes == NULL)
        return NULL;
    char *copy = n < SIZE_MAX ? cut(pool, n + 1) : NULL;
    if (copy == NULL)
        return NULL;
    memcpy(copy, bytes, n);
    copy[n] = '\0';
    return copy;
}

char *pool_strdup(struct pool *pool, const char *string)
{
    return string == NULL ? NULL : pool_strndup(pool, string, strlen(string));
}

char *pool_join(struct pool *pool, const char *a, const char *b, const char *c)
{
    char *out = pool_alloc(pool, strlen(a) + strlen(b) + strlen(c) + 1);
    if (out != NULL)
        (void)stpcpy(stpcpy(stpcpy(out, a), b), c);
    return out;
}

char *pool_printf(struct pool *pool, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *out = n < 0 ? NULL : pool_alloc(pool, (size_t)n + 1);
    if (out != NULL)
        vsnprintf(out, (size_t)n + 1, format, again);
    va_end(again);
    return out;
}

void pool_reset(struct pool *pool)
{
    struct pool_block *block = pool->blocks;
    if (block == NULL)
        return;
    while (block->next != NULL) { /* the oldest one has the ordinary size, unless a giant came first */
        struct pool_block *older = block->next;
        free(block);
        block = older;
    }
    block->used = 0;
    pool->blocks = block;
}

void pool_done(struct pool *pool)
{
    pool_reset(pool);
    free(pool->blocks);
    pool->blocks = NULL;
}
