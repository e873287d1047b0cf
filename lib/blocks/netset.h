/* netset: a set of networks that answers which of them is the longest that holds an address.
 *
 * Immutable once made, so that any number of threads may ask it without a lock. Inside, the networks are cut
 * into spans of addresses that all have the same answer, and a look-up is one binary search: with 100,000
 * networks some 18 steps, in about 6 MB. IPv4 and IPv6 are sets of their own: ::/0 holds no IPv4 address. */
#ifndef RCPTGATE_BLOCKS_NETSET_H
#define RCPTGATE_BLOCKS_NETSET_H

#include "base/network.h"

#include <stddef.h>

struct netset;

enum { NETSET_NONE = -1 };

/* Fastest where the networks are sorted by netset_compare(). Of equal ones the first is found. At most 2^30.
 * NULL: out of memory. */
struct netset *netset_new(const struct network *networks, size_t n);
void netset_free(struct netset *set); /* NULL is harmless */

/* The index of the longest network that holds the address (a whole one), or NETSET_NONE. */
long netset_find(const struct netset *set, const struct network *address);

/* The index of the longest network that holds the one with index i and is not equal to it, or NETSET_NONE. */
long netset_wider(const struct netset *set, long i);

/* The order of addresses, and of equal addresses the wider network first: -1, 0 or 1. */
int netset_compare(const struct network *a, const struct network *b);

#endif
