/* events: see events.h. */
#include "events.h"

#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
    struct counts *counts;
    char host[256];
    pthread_t thread;
    pthread_mutex_t lock; /* of all that follows, up to the atomics */
    pthread_cond_t wake, idle;
    bool running; /* the thread; set and read by who starts and stops it */
    bool ring_only, stopping, busy;
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
    pthread_cond_signal(&events->wake);
    pthread_mutex_unlock(&events->lock);
}

json_t *events_recent(struct events *events, size_t n, bool subjects)
{
    json_t *list = json_array();
    if (events == NULL)
        return list;
    pthread_mutex_lock(&events->lock);
    for (uint64_t i = events->n_added; i > 0 && n > 0 && events->n_added - i < RING; i--, n--) {
        const struct event *event = &events->ring[(i - 1) % RING];
        char at[CLOCK_TEXT];
        json_t *object = json_pack("{s:s}", "at", clock_text(event->at_ms, at));
        const char *word = event->text;
        for (size_t w = 0; w + 1 < event->n_words; w += 2) {
            const char *value = word + strlen(word) + 1;
            if (subjects || strcmp(word, "subject") != 0)
                json_object_set_new(object, word, json_string(value));
            word = value + strlen(value) + 1;
        }
        json_array_append_new(list, object);
    }
    pthread_mutex_unlock(&events->lock);
    return list;
}

/* ---- not too often ---- */

static uint64_t hash_more(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211); /* FNV-1a */
    return (hash ^ 0xff) * UINT64_C(1099511628211);
}

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
    uint64_t hash = hash_more(hash_more(UINT64_C(14695981039346656037), subject), limit);
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

static enum counts_status event_send(const struct events *events, const struct event *event)
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
    return counts_stream_add(events->counts, words, n);
}

static void pause_for(struct events *events, int ms)
{
    struct timespec until = clock_in_ms(ms);
    while (!events->stopping &&
           pthread_cond_clockwait(&events->wake, &events->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
}

/* Sends the oldest, with the lock held before and after. False: not now. */
static bool send_oldest(struct events *events, int *tries)
{
    uint64_t which = events->n_done;
    struct event event = events->ring[which % RING];
    events->busy = true;
    pthread_mutex_unlock(&events->lock);
    enum counts_status status = event_send(events, &event);
    pthread_mutex_lock(&events->lock);
    events->busy = false;
    if (status == COUNTS_DOWN || (status == COUNTS_UNSURE && ++*tries < TRIES))
        return false;
    *tries = 0;
    if (status != COUNTS_OK)
        atomic_fetch_add(&events->dropped, 1);
    if (events->n_done == which) /* else it was pushed out meanwhile */
        events->n_done++;
    return true;
}

static void *events_main(void *arg)
{
    struct events *events = arg;
    int tries = 0, pause = PAUSE_FIRST_MS;
    pthread_mutex_lock(&events->lock);
    for (;;) {
        while (events->n_done == events->n_added && !events->stopping) {
            pthread_cond_broadcast(&events->idle);
            pthread_cond_wait(&events->wake, &events->lock);
        }
        if (events->stopping)
            break;
        if (send_oldest(events, &tries)) {
            pause = PAUSE_FIRST_MS;
        } else {
            pause_for(events, pause);
            pause = pause * 2 < PAUSE_LAST_MS ? pause * 2 : PAUSE_LAST_MS;
        }
    }
    pthread_mutex_unlock(&events->lock);
    return NULL;
}

struct events *events_new(const char *host, struct error *err)
{
    struct events *events = calloc(1, sizeof *events);
    if (events != NULL)
        events->ring = calloc(RING, sizeof *events->ring);
    if (events == NULL || events->ring == NULL) {
        error_set(err, "out of memory for the events");
        free(events);
        return NULL;
    }
    snprintf(events->host, sizeof events->host, "%s", host);
    pthread_mutex_init(&events->lock, NULL);
    pthread_cond_init(&events->wake, NULL);
    pthread_cond_init(&events->idle, NULL);
    return events;
}

int events_start(struct events *events, struct counts *counts, struct error *err)
{
    if (counts == NULL) {
        pthread_mutex_lock(&events->lock);
        events->ring_only = true;
        events->n_done = events->n_added;
        pthread_mutex_unlock(&events->lock);
        return 0;
    }
    events->counts = counts;
    int rc = pthread_create(&events->thread, NULL, events_main, events);
    if (rc != 0) {
        error_set(err, "cannot start a thread: %s", strerror(rc));
        return -1;
    }
    events->running = true;
    return 0;
}

void events_stop(struct events *events, int wait_ms)
{
    if (events == NULL || !events->running)
        return;
    struct timespec until = clock_in_ms(wait_ms);
    pthread_mutex_lock(&events->lock);
    while ((events->n_done != events->n_added || events->busy) &&
           pthread_cond_clockwait(&events->idle, &events->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        ;
    events->stopping = true;
    pthread_cond_signal(&events->wake);
    pthread_mutex_unlock(&events->lock);
    pthread_join(events->thread, NULL);
    events->running = false;
}

void events_free(struct events *events)
{
    if (events == NULL)
        return;
    pthread_cond_destroy(&events->idle);
    pthread_cond_destroy(&events->wake);
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
