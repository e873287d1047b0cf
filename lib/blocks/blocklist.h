/* blocklist: the blocked networks, as an immutable list that is replaced whole.
 *
 * A change makes a new list from the old one; whoever still looks at the old one keeps it by its reference. A
 * network that was unblocked stays in the list as a tombstone for a while, so that a host that was away
 * learns of it. Of two changes to one network the later one counts, on every host (blocklist_is_newer), in
 * whatever order they come. */
#ifndef RCPTGATE_BLOCKS_BLOCKLIST_H
#define RCPTGATE_BLOCKS_BLOCKLIST_H

#include "base/action.h"
#include "base/network.h"
#include "base/pool.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block {
    struct network network;
    enum action action; /* ACTION_REJECT or ACTION_DEFER; ACTION_ACCEPT: a tombstone */
    int64_t changed_ms; /* Unix time of the change; 0: not known, before all others */
    int64_t until_s;    /* Unix time when it ends, of a tombstone when it may be forgotten; 0: never */
    bool forced;        /* may be wider than blocklist_is_wide() says */
    const char *host;   /* that made the change; "" where nobody knows. Never NULL in a list */
    const char *reason; /* "" where none was given. Never NULL in a list */
};

enum { BLOCK_TEXT = 640, BLOCK_REASON = 200, BLOCK_TIME = 40 }; /* bytes; a longer reason is cut */

struct blocklist;

struct blocklist *blocklist_new(void); /* an empty one with one reference; NULL: out of memory */
struct blocklist *blocklist_ref(struct blocklist *list);
void blocklist_unref(struct blocklist *list); /* NULL is harmless */

size_t blocklist_size(const struct blocklist *list); /* with tombstones */
size_t blocklist_live(const struct blocklist *list); /* without */
const struct block *blocklist_at(const struct blocklist *list,
                                 size_t i); /* in the order of netset_compare() */

/* The first whose network comes after this one (NULL: the first of all); blocklist_size() where none does. */
size_t blocklist_after(const struct blocklist *list, const struct network *network);

/* The entry of exactly that network, a tombstone too; NULL: there is none. */
const struct block *blocklist_get(const struct blocklist *list, const struct network *network);

/* The block with the longest prefix over the address that has not ended; NULL: none. */
const struct block *blocklist_find(const struct blocklist *list, const struct network *address,
                                   int64_t now_s);

/* When the next entry ends; INT64_MAX: none ever does. */
int64_t blocklist_next_end(const struct blocklist *list);

/* Called for each difference: was NULL: new; is NULL: it has ended. Both are valid during the call only. */
typedef void blocklist_changed_fn(void *arg, const struct block *was, const struct block *is);

/* A list with the changes that are newer than what it has, in any order, and without what has ended by now_s.
 * changed may be NULL. NULL: out of memory. */
struct blocklist *blocklist_merge(const struct blocklist *old, const struct block *changes, size_t n,
                                  int64_t now_s, blocklist_changed_fn *changed, void *arg);

/* Does change a count, and not b? Neither where they are the same. */
bool blocklist_is_newer(const struct block *a, const struct block *b);

/* Wider than /8, IPv6 than /32: blocked only by who says so. */
bool blocklist_is_wide(const struct network *network);

/* "action=reject until=2026-11-23T04:00:00Z at=2026-11-23T03:00:00.123Z by=mx1.example.com reason=..." */
void blocklist_format(const struct block *block, struct text *out);

/* The block of that network from such a text; what is missing is empty, but an action there must be. Strings
 * from the pool. 0, or -1 where it makes no sense or memory ran out. */
int blocklist_parse(const char *network, const char *text, struct pool *pool, struct block *out);

/* "2026-11-23T04:00:00Z"; "never" for 0. Returns buffer. */
const char *blocklist_time(int64_t unix_s, char buffer[BLOCK_TIME]);

/* "2026-11-23T04:00:00.123Z", of the same length until the year 9999, and "" for 0: text compares as time does. */
const char *blocklist_time_ms(int64_t unix_ms, char buffer[BLOCK_TIME]);

#endif
