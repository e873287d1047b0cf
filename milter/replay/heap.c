/* heap: owns the array alone. Fails only when it is made. */
#include "heap.h"

#include <stdlib.h>

bool heap_init(struct heap *heap, size_t max, bool (*earlier)(const void *a, const void *b))
{
    *heap = (struct heap){.at = malloc(max * sizeof(void *)), .max = max, .earlier = earlier};
    return heap->at != NULL;
}

void heap_done(struct heap *heap)
{
    free(heap->at);
    heap->at = NULL;
}

void heap_push(struct heap *heap, void *item)
{
    size_t at = heap->n++;
    for (; at > 0 && heap->earlier(item, heap->at[(at - 1) / 2]); at = (at - 1) / 2)
        heap->at[at] = heap->at[(at - 1) / 2];
    heap->at[at] = item;
}

void *heap_pop(struct heap *heap)
{
    void *first = heap->at[0], *moved = heap->at[--heap->n];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->n)
            break;
        if (child + 1 < heap->n && heap->earlier(heap->at[child + 1], heap->at[child]))
            child++;
        if (!heap->earlier(heap->at[child], moved))
            break;
        heap->at[at] = heap->at[child];
        at = child;
    }
    heap->at[at] = moved;
    return first;
}
