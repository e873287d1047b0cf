/* words: an event, a subject, what refuses, or a limit, in words for people; programs and the log have names and fields. What strangers have written
 * is in them as it came: to be escaped. */
#ifndef RCPTGATE_ADMIN_WORDS_H
#define RCPTGATE_ADMIN_WORDS_H

#include "base/text.h"
#include "policy/policy.h"

#include <jansson.h>

/* event: {"event", ...} as events_recent() has it; a field that is left out is not spoken of. An event of another version is its
 * fields. */
void words_add_event(struct text *text, const json_t *event);

/* What a counter counts, by its key: "recipient+client:{a@example.com}|192.0.2.7" is "recipient a@example.com, client 192.0.2.7". */
void words_add_subject(struct text *text, const char *key);

/* refusal: {"rule", "row", "shadow"} as refusals_report() has it. */
void words_add_refusal(struct text *text, const json_t *refusal);

/* shard: one of "shards" as shards_report() has it, beside the name of its store. "": a single Redis of which there is nothing to say. */
void words_add_shard(struct text *text, const json_t *shard);

/* The whole of a limit but its name: "at most 10 recipients in 1m for each recipient; what is over it is deferred". */
void words_add_limit(struct text *text, const struct limit *limit);

#endif
