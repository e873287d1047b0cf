/* events: what changed, for who watches several gates: the stream PREFIX:events in Redis, and the last few for the page.
 *
 * An event is logged by whoever notices it, then comes here: kept in a bounded ring (the oldest unsent go
 * first, and are counted), sent by a thread of its own, tried again while Redis is away. Nobody waits for it.
 * An event whose answer was lost is sent again: rather twice than never. */
#ifndef RCPTGATE_GATE_EVENTS_H
#define RCPTGATE_GATE_EVENTS_H

#include "base/error.h"
#include "redis/client.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct events;

struct event_field {
    const char *name, *value;
};

/* host names this gate in the stream. NULL with err set. */
struct events *events_new(const char *host, struct error *err);

/* From now on to the stream in Redis; NULL: to none, the ring alone. 0, or -1 with err set. */
int events_start(struct events *events, struct redis_client *redis, struct error *err);

/* Gives the thread up to wait_ms to send what is left, and ends it; events may still be added. NULL is harmless. */
void events_stop(struct events *events, int wait_ms);
void events_free(struct events *events); /* stopped before; NULL is harmless */

/* Copies; what does not fit into an event is cut. A field called "subject" is an address of somebody. events
 * NULL is harmless. */
void events_add(struct events *events, int64_t now_ms, const char *name, const struct event_field *fields,
                size_t n_fields);

/* Is this the first time in window_ms that something is to be told of that subject and limit? Any thread, no
 * lock; may forget (and say yes once too often) where many subjects are over their limits at once. No more
 * than 50 a second: what is beyond is dropped, and counted. */
bool events_due(struct events *events, const char *subject, const char *limit, int64_t now_ms,
                int64_t window_ms);

uint64_t events_dropped(const struct events *events); /* never reached the stream */
uint64_t events_added(struct events *events);

/* The last n that were added after the first `after`, the oldest first: [{"at", "at_ms", "host", "event", ...}], each as an entry of
 * the stream, so that the two can be compared. *next: what to give as after the next time. */
json_t *events_since(struct events *events, uint64_t after, size_t n, uint64_t *next);

/* One entry of the stream: words are names and values in turn. NULL: none of ours. */
json_t *events_from_stream(const char *const *words, size_t n_words);

/* The last n, the newest first: [{"at", "event", ...}]; "subject", "client" and "sender"
 * only where they are asked for. NULL: out of memory. */
json_t *events_recent(struct events *events, size_t n, bool subjects);

#endif
