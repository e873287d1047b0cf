/* census: how many of each: numbers by name, of one count that was made at one moment. Bounded; not for
 * sharing between threads while it is written to. */
#ifndef RCPTGATE_CENSUS_H
#define RCPTGATE_CENSUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct census;

struct census *census_new(size_t max_names); /* NULL: out of memory */
void census_free(struct census *census);      /* NULL is harmless */

/* Adds n to name. mark: what is counted; the same mark counts once for each name (0: always). False: there is
 * no room for another name, or no memory. */
bool census_add(struct census *census, const char *name, int64_t n, uint64_t mark);

int64_t census_of(const struct census *census, const char *name); /* 0 where there is none; census NULL too */
size_t census_names(const struct census *census);

/* In no order. */
typedef void census_each_fn(void *arg, const char *name, int64_t n);
void census_each(const struct census *census, census_each_fn *each, void *arg);

#endif
