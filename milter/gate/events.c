/* events: see events.h. A ring under a lock, a thread that sends one event a step, and atomics for what every RCPT asks. */
#include "gate/events.h"

#include "redis/shared.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "sys/worker.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_LATEST_MS INT64_C(253402300799000) /* the year 9999; a time beyond is nobody's */

enum {
    RING = 1000,
    FIELDS = 10,
    TEXT = 900,  /* of all names and values of an event */
    SEEN = 8192, /* pairs of subject and limit that are remembered */
    A_SECOND =
        50,    /* events_due() says yes at most so often: a flood over many subjects is no flood of events */
    TRIES = 3, /* of an event whose answer was lost */
    PAUSE_FIRST_MS = 250,
    PAUSE_LAST_MS = 2000,
};

struct event {
    int64_t at_ms;
    size_t n_words, used;
    char text[TEXT]; /* words, each with its NUL; names and values in turn */
};

struct events {
    struct redis_client *redis;
    char host[256];
    uint64_t seed[2]; /* so that no stranger makes up a subject that stands for another one in seen */
    struct worker *worker;
    int tries;        /* the thread's: of the oldest event; */
    int64_t pause_ms; /* after the next failure; */
    int64_t due_ns;   /* and not before */

    pthread_mutex_t lock; /* of all that follows, up to the atomics */
    bool ring_only;
    struct event *ring;
    uint64_t n_added, n_done; /* ring[i % RING]; those from n_done on are still to be sent */
    _Atomic uint64_t dropped;
    _Atomic uint64_t budget;     /* high half: a second; low half: how many it has had */
    _Atomic uint64_t seen[SEEN]; /* high half: a hash; low half: until when, in seconds */
};

/* ---- the ring ---- */

static void event_word(struct event *event, const char *word)
{
    size_t room = sizeof event->text - event->used, n = strlen(word);
    if (n >= room)
        n = room - 1;
    memcpy(event->text + event->used, word, n);
    event->text[event->used + n] = '\0';
    utf8_clean(event->text + event->used);
    event->used += n + (n + 1 < room ? 1 : 0);
    event->n_words++;
}

static void event_make(struct event *event, int64_t now_ms, const char *name,
                       const struct event_field *fields, size_t n_fields)
{
    event->at_ms = now_ms;
    event->n_words = event->used = 0;
    event_word(event, "event");
    event_word(event, name);
    for (size_t i = 0; i < n_fields && i < FIELDS; i++) {
        if (sizeof event->text - event->used < strlen(fields[i].name) + 16)
            break;
        event_word(event, fields[i].name);
        event_word(event, fields[i].value != NULL ? fields[i].value : "");
    }
}

void events_add(struct events *events, int64_t now_ms, const char *name, const struct event_field *fields,
                size_t n_fields)
{
    if (events == NULL)
        return;
    pthread_mutex_lock(&events->lock);
    event_make(&events->ring[events->n_added % RING], now_ms, name, fields, n_fields);
    events->n_added++;
    if (events->ring_only) {
        events->n_done = events->n_added;
    } else if (events->n_added - events->n_done > RING) {
        events->n_done = events->n_added - RING;
        atomic_fetch_add(&events->dropped, 1);
    }
    pthread_mutex_unlock(&events->lock);
    worker_wake(events->worker);
}

/* What others have written, cut to what an event of ours may have. */
static json_t *cleaned(const char *text)
{
    char copy[TEXT];
    snprintf(copy, sizeof copy, "%s", text);
    utf8_clean(copy);
    return json_string(copy);
}

/* An event as an object; host NULL: it is not told. */
static json_t *object_of(int64_t at_ms, const char *host)
{
    char at[CLOCK_TEXT];
    json_t *object = json_pack("{s:s}", "at", clock_text(at_ms, at));
    if (host != NULL) {
        json_object_set_new(object, "at_ms", json_integer(at_ms));
        json_object_set_new(object, "host", cleaned(host));
    }
    return object;
}

json_t *events_since(struct events *events, uint64_t after, size_t n, uint64_t *next)
{
    json_t *list = json_array();
    *next = 0;
    if (events == NULL)
        return list;
    pthread_mutex_lock(&events->lock);
    uint64_t first = events->n_added > n ? events->n_added - n : 0;
    if (events->n_added >= RING && first < events->n_added - RING + 1)
        first = events->n_added - RING + 1;
    for (uint64_t i = after > first ? after : first; i < events->n_added; i++) {
        const struct event *event = &events->ring[i % RING];
        json_t *object = object_of(event->at_ms, events->host);
        const char *word = event->text;
        for (size_t w = 0; w + 1 < event->n_words; w += 2) {
            const char *value = word + strlen(word) + 1;
            json_object_set_new(object, word, json_string(value));
            word = value + strlen(value) + 1;
        }
        json_array_append_new(list, object);
    }
    *next = events->n_added;
    pthread_mutex_unlock(&events->lock);
    return list;
}

json_t *events_from_stream(const char *const *words, size_t n_words)
{
    const char *host = "";
    int64_t at_ms = -1;
    for (size_t i = 0; i + 1 < n_words; i += 2) {
        if (strcmp(words[i], "host") == 0)
            host = words[i + 1];
        else if (strcmp(words[i], "at_ms") == 0)
            at_ms = strtoll(words[i + 1], NULL, 10);
    }
    if (at_ms < 0 || at_ms > STREAM_LATEST_MS)
        return NULL;
    json_t *object = object_of(at_ms, host);
    for (size_t i = 0; i + 1 < n_words; i += 2)
        if (strcmp(words[i], "host") != 0 && strcmp(words[i], "at_ms") != 0 && strcmp(words[i], "at") != 0 &&
            utf8_valid(words[i], strlen(words[i])))
            json_object_set_new(object, words[i], cleaned(words[i + 1]));
    if (json_is_string(json_object_get(object, "event")))
        return object;
    json_decref(object);
    return NULL;
}

/* An address of somebody. */
static bool is_personal(const char *name)
{
    return strcmp(name, "subject") == 0 || strcmp(name, "client") == 0 || strcmp(name, "sender") == 0;
}

json_t *events_recent(struct events *events, size_t n, bool subjects)
{
    json_t *list = json_array();
    if (events == NULL)
        return list;
    pthread_mutex_lock(&events->lock);
    for (uint64_t i = events->n_added; i > 0 && n > 0 && events->n_added - i < RING; i--, n--) {
        const struct event *event = &events->ring[(i - 1) % RING];
        json_t *object = object_of(event->at_ms, NULL);
        const char *word = event->text;
        for (size_t w = 0; w + 1 < event->n_words; w += 2) {
            const char *value = word + strlen(word) + 1;
            if (subjects || !is_personal(word))
                json_object_set_new(object, word, json_string(value));
            word = value + strlen(value) + 1;
        }
        json_array_append_new(list, object);
    }
    pthread_mutex_unlock(&events->lock);
    return list;
}

/* ---- not too often ---- */

static bool within_budget(struct events *events, uint64_t second)
{
    uint64_t old = atomic_load_explicit(&events->budget, memory_order_relaxed), n;
    do {
        n = old >> 32 == second ? (old & UINT32_MAX) + 1 : 1;
        if (n > A_SECOND) {
            atomic_fetch_add(&events->dropped, 1);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&events->budget, &old, second << 32 | n,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

bool events_due(struct events *events, const char *subject, const char *limit, int64_t now_ms,
                int64_t window_ms)
{
    if (events == NULL)
        return false;
    const uint64_t of_subject[2] = {events->seed[0], hash_string(events->seed, subject)};
    uint64_t hash = hash_string(of_subject, limit);
    uint64_t now = (uint64_t)now_ms / 1000 & UINT32_MAX;
    uint64_t until = now + (uint64_t)(window_ms + 999) / 1000;
    uint64_t entry = (hash & ~(uint64_t)UINT32_MAX) | (until & UINT32_MAX);
    _Atomic uint64_t *seen = &events->seen[hash % SEEN];
    uint64_t old = atomic_load_explicit(seen, memory_order_relaxed);
    if (old >> 32 == entry >> 32 && (old & UINT32_MAX) > now)
        return false;
    return atomic_compare_exchange_strong_explicit(seen, &old, entry, memory_order_relaxed,
                                                   memory_order_relaxed) &&
           within_budget(events, now);
}

/* ---- the thread ---- */

static enum redis_status event_send(const struct events *events, const struct event *event)
{
    const char *words[2 * FIELDS + 6];
    char at[24];
    size_t n = 0;
    const char *word = event->text;
    for (; n < event->n_words; n++) {
        words[n] = word;
        word += strlen(word) + 1;
    }
    snprintf(at, sizeof at, "%" PRId64, event->at_ms);
    words[n++] = "host";
    words[n++] = events->host;
    words[n++] = "at_ms";
    words[n++] = at;
    return shared_stream_add(events->redis, words, n);
}

/* Sends the oldest. False: not now. */
static bool send_oldest(struct events *events, const struct event *event, uint64_t which)
{
    enum redis_status status = event_send(events, event);
    if (status == REDIS_DOWN || (status == REDIS_LOST && ++events->tries < TRIES))
        return false;
    events->tries = 0;
    if (status != REDIS_ANSWERED)
        atomic_fetch_add(&events->dropped, 1);
    pthread_mutex_lock(&events->lock);
    if (events->n_done == which) /* else it was pushed out meanwhile */
        events->n_done++;
    pthread_mutex_unlock(&events->lock);
    return true;
}

/* Sends one. An event that is added meanwhile does not shorten the pause after a failure. */
static int64_t events_step(void *arg)
{
    struct events *events = arg;
    struct event event;
    if (clock_monotonic_ns() < events->due_ns)
        return events->due_ns;
    pthread_mutex_lock(&events->lock);
    uint64_t which = events->n_done;
    bool any = which != events->n_added;
    if (any)
        event = events->ring[which % RING];
    pthread_mutex_unlock(&events->lock);
    if (!any)
        return WORKER_IDLE;
    if (send_oldest(events, &event, which)) {
        events->pause_ms = PAUSE_FIRST_MS;
        return 0;
    }
    events->due_ns = clock_monotonic_ns() + events->pause_ms * 1000000;
    events->pause_ms = events->pause_ms * 2 < PAUSE_LAST_MS ? events->pause_ms * 2 : PAUSE_LAST_MS;
    return events->due_ns;
}

struct events *events_new(const char *host, struct error *err)
{
    struct events *events = calloc(1, sizeof *events);
    if (events == NULL) {
        error_set(err, "out of memory for the events");
        return NULL;
    }
    snprintf(events->host, sizeof events->host, "%s", host);
    hash_seed(events->seed);
    pthread_mutex_init(&events->lock, NULL);
    events->pause_ms = PAUSE_FIRST_MS;
    events->ring = calloc(RING, sizeof *events->ring);
    if (events->ring == NULL)
        error_set(err, "out of memory for the events");
    else
        events->worker = worker_new("events", events_step, events, err);
    if (events->worker == NULL) {
        events_free(events);
        return NULL;
    }
    return events;
}

int events_start(struct events *events, struct redis_client *redis, struct error *err)
{
    if (redis == NULL) {
        pthread_mutex_lock(&events->lock);
        events->ring_only = true;
        events->n_done = events->n_added;
        pthread_mutex_unlock(&events->lock);
        return 0;
    }
    events->redis = redis;
    return worker_start(events->worker, err);
}

void events_stop(struct events *events, int wait_ms)
{
    if (events == NULL)
        return;
    (void)worker_drain(events->worker, clock_monotonic_ns() + (int64_t)wait_ms * 1000000);
    worker_stop(events->worker);
}

void events_free(struct events *events)
{
    if (events == NULL)
        return;
    worker_free(events->worker);
    pthread_mutex_destroy(&events->lock);
    free(events->ring);
    free(events);
}

uint64_t events_dropped(const struct events *events)
{
    return events != NULL ? atomic_load(&events->dropped) : 0;
}

uint64_t events_added(struct events *events)
{
    if (events == NULL)
        return 0;
    pthread_mutex_lock(&events->lock);
    uint64_t n = events->n_added;
    pthread_mutex_unlock(&events->lock);
    return n;
}
