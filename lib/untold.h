/* untold: attempts that were answered from memory, and that the store which counts them is yet to be told of: by whom (a
 * number that means something to the owner), as which RCPT (its retry identifier), how often. Bounded; any thread at any
 * time. */
#ifndef RCPTGATE_UNTOLD_H
#define RCPTGATE_UNTOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct untold {
    char retry[33];
    uint16_t who;
    bool counts; /* true; the caller's to change, once it was taken */
    uint32_t n;  /* 0: empty */
};

struct untold_book;

struct untold_book *untold_new(void); /* NULL: out of memory */
void untold_free(struct untold_book *book);

/* False: it is full. */
bool untold_add(struct untold_book *book, uint16_t who, const char *retry);

/* Empties it. What was in it, ordered by who, is the caller's until the next call, which must not come meanwhile.
 * Returns how many. */
size_t untold_take(struct untold_book *book, struct untold **out);

#endif
