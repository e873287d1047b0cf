/* jsonmap: where in the file each value of a JSON text stands, and which keys stand there twice.
 *
 * jansson tells lines only of syntax errors and keeps the last of two equal keys in silence. The map is a
 * second, simple scan over a text that jansson has accepted already: it checks nothing again. */
#ifndef RCPTGATE_CONFIG_JSONMAP_H
#define RCPTGATE_CONFIG_JSONMAP_H

#include "base/pool.h"

#include <stdbool.h>
#include <stddef.h>

struct jsonmap {           /* one value */
    const char *key;       /* of a member, unescaped as jansson has it; NULL for elements and the root */
    int line;              /* from 1; of a member: where its key stands */
    bool repeated;         /* another member of the same object has the same key */
    struct jsonmap *first; /* members or elements in the order of the file; NULL for scalars */
    struct jsonmap *next;
};

/* The map of a text that json_loadb() accepted, in pool memory. NULL: out of memory. */
const struct jsonmap *jsonmap_new(struct pool *pool, const char *text, size_t n);

/* The first member with that key, NULL where there is none. map may be NULL. */
const struct jsonmap *jsonmap_member(const struct jsonmap *map, const char *key);

#endif
