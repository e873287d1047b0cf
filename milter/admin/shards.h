/* shards: the parts of the counter store in Redis, for status and metrics: who has each, since when, and what this process has yet to
 * tell it. Of a single Redis there is one. */
#ifndef RCPTGATE_ADMIN_SHARDS_H
#define RCPTGATE_ADMIN_SHARDS_H

#include "gate/gate.h"

#include <jansson.h>
#include <stdio.h>

/* Adds "shards" to the object, a list; words_add_shard() says one in words. Without Redis it adds nothing. */
void shards_report(const struct gate *gate, json_t *counters);

/* Who answers now, for many keys; NULL: no Redis, or out of memory, and nobody is known to be away. */
struct shards *shards_new(const struct gate *gate);
void shards_free(struct shards *shards);

/* Is the master away that has the key, or is there none? */
bool shards_is_away(const struct shards *shards, struct counters *counters, const char *key);

void shards_print_metrics(FILE *out, const struct gate *gate); /* without Redis none */

#endif
