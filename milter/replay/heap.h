/* heap: what comes in nearly in order, in order: a binary heap of bounded size. */
#ifndef RCPTGATE_REPLAY_HEAP_H
#define RCPTGATE_REPLAY_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct heap {
    void **at;
    size_t n, max;
    bool (*earlier)(const void *a, const void *b);
};

/* False: out of memory; heap_done() is harmless. */
bool heap_init(struct heap *heap, size_t max, bool (*earlier)(const void *a, const void *b));
void heap_done(struct heap *heap); /* what is in it is the caller's */

void heap_push(struct heap *heap, void *item); /* heap->n < heap->max */
void *heap_pop(struct heap *heap);             /* the earliest; heap->n > 0 */

#endif
