/* tally: how many of each: numbers by name, of one count that was made at one moment. Bounded; not for sharing between threads while it
 * is written to. */
#ifndef RCPTGATE_TALLY_H
#define RCPTGATE_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tally;

struct tally *tally_new(size_t max_names); /* NULL: out of memory */
void tally_free(struct tally *tally);      /* NULL is harmless */

/* Adds n to name. mark: what is counted; the same mark counts once for each name (0: always). False: there is no room for another
 * name, or no memory. */
bool tally_add(struct tally *tally, const char *name, int64_t n, uint64_t mark);

int64_t tally_of(const struct tally *tally, const char *name); /* 0 where there is none; tally NULL too */
size_t tally_names(const struct tally *tally);

/* In no order. */
typedef void tally_each_fn(void *arg, const char *name, int64_t n);
void tally_each(const struct tally *tally, tally_each_fn *each, void *arg);

#endif
