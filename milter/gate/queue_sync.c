/* queue_sync: see queue_sync.h. */
#include "queue_sync.h"

#include "redis/shared.h"
#include "base/clock.h"
#include "gate/metrics.h"
#include "base/pool.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    SYNCED_MAX = 1000, /* fields of a hash, for each host */
    SYNCED_PART = 50,  /* of the smallest max: less is not synced */
    HOSTS_MAX = 256,
    WAITING_MOST = 1000 * 1000 * 1000, /* that one host may say */
    FIELD_MAX = 2048,
    TTL_MS = 10 * 60 * 1000,
    SKEW_MS = 60 * 1000, /* what the clocks of two hosts may differ by, until a stamp was seen to move */
    GONE_MS = 60 * 60 * 1000,
};

struct host {
    char name[256];          /* as in fields */
    int64_t stamp, moved_ms; /* the latest, and when it came (monotonic); 0: not seen to move yet */
    int64_t seen_ms;         /* the round that read it last */
};

struct queue_sync {
    struct host hosts[HOSTS_MAX];
    size_t n_hosts;
};

struct entry {
    const char *subject, *field;
    int64_t n, stamp;
    size_t host;
};

struct round { /* one `per` */
    struct queue_sync *sync;
    struct redis_client *redis;
    struct pool pool;
    const char *own_host; /* as in fields */
    char key[64];
    int64_t now_ms, clock_ms, stale_ms, least;
    struct entry *own, *theirs; /* to be synced; as read */
    size_t n_own, n_theirs, room;
    struct table *sent; /* the fields of own: a row is its key */
    const char **drop;
    size_t n_drop;
};

struct queue_sync *queue_sync_new(void)
{
    return calloc(1, sizeof(struct queue_sync));
}

void queue_sync_free(struct queue_sync *sync)
{
    free(sync);
}

/* ---- telling ---- */

static int by_number(const void *a, const void *b)
{
    int64_t left = ((const struct entry *)a)->n, right = ((const struct entry *)b)->n;
    return (left < right) - (left > right);
}

static const char *field_of(struct round *round, const char *subject)
{
    char field[FIELD_MAX];
    struct text text;
    text_init(&text, field, sizeof field);
    text_add_percent(&text, subject);
    text_add(&text, "|");
    text_add(&text, round->own_host);
    return text.cut ? NULL : pool_strdup(&round->pool, field);
}

static bool notify_own(struct round *round, const struct table *own)
{
    round->own = pool_alloc(&round->pool, (table_rows(own) + 1) * sizeof *round->own);
    if (round->own == NULL)
        return false;
    for (const struct queue_number *number = NULL; (number = table_next(own, number)) != NULL;)
        if (number->waiting >= round->least)
            round->own[round->n_own++] = (struct entry){.subject = number->row.key, .n = number->waiting};
    qsort(round->own, round->n_own, sizeof *round->own, by_number);
    if (round->n_own > SYNCED_MAX)
        round->n_own = SYNCED_MAX;
    const char **words = pool_alloc(&round->pool, (2 * round->n_own + 1) * sizeof *words);
    size_t n = 0;
    for (size_t i = 0; words != NULL && i < round->n_own; i++) {
        const char *field = field_of(round, round->own[i].subject);
        const char *value = pool_printf(&round->pool, "%" PRId64 " %" PRId64, round->own[i].n, round->now_ms);
        if (field == NULL || value == NULL || table_add(round->sent, field, strlen(field)) == NULL)
            continue;
        words[n++] = field;
        words[n++] = value;
    }
    return words != NULL && shared_set_fields(round->redis, round->key, words, n, TTL_MS);
}

/* ---- reading ---- */

/* Room for one more: of those that are gone, of which there may be many in time, the one that was read longest ago. SIZE_MAX: there are too
 * many in this round. */
static size_t host_room(const struct queue_sync *sync, int64_t clock_ms)
{
    size_t oldest = 0;
    if (sync->n_hosts < HOSTS_MAX)
        return sync->n_hosts;
    for (size_t i = 1; i < sync->n_hosts; i++)
        if (sync->hosts[i].seen_ms < sync->hosts[oldest].seen_ms)
            oldest = i;
    return sync->hosts[oldest].seen_ms < clock_ms ? oldest : SIZE_MAX;
}

/* SIZE_MAX: there are too many. */
static size_t host_find(struct queue_sync *sync, const char *name, int64_t clock_ms)
{
    size_t i = 0;
    while (i < sync->n_hosts && strcmp(sync->hosts[i].name, name) != 0)
        i++;
    if (i == sync->n_hosts) {
        i = host_room(sync, clock_ms);
        if (i == SIZE_MAX || strlen(name) >= sizeof sync->hosts[i].name)
            return SIZE_MAX;
        sync->n_hosts += i == sync->n_hosts;
        sync->hosts[i] = (struct host){.stamp = -1};
        memcpy(sync->hosts[i].name, name, strlen(name) + 1);
    }
    sync->hosts[i].seen_ms = clock_ms;
    return i;
}

static bool value_read(const char *value, int64_t *n, int64_t *stamp)
{
    char *end;
    *n = strtoll(value, &end, 10);
    if (end == value || *end != ' ' || *n < 0 || *n > WAITING_MOST)
        return false; /* no queue is so long, and sums must not overflow */
    value = end + 1;
    *stamp = strtoll(value, &end, 10);
    return end != value && *end == '\0' && *stamp >= 0;
}

static void host_saw(struct host *host, int64_t stamp, int64_t clock_ms)
{
    if (stamp <= host->stamp)
        return;
    host->moved_ms = host->stamp >= 0 ? clock_ms : 0;
    host->stamp = stamp;
}

static void entry_add(struct round *round, struct entry *entry, const char *field, size_t subject_n)
{
    if (round->n_theirs == round->room) {
        size_t room = round->room == 0 ? 256 : 2 * round->room;
        struct entry *more = pool_alloc(&round->pool, room * sizeof *more);
        if (more == NULL)
            return;
        if (round->n_theirs > 0)
            memcpy(more, round->theirs, round->n_theirs * sizeof *more);
        round->theirs = more;
        round->room = room;
    }
    entry->field = pool_strdup(&round->pool, field);
    entry->subject = pool_strndup(&round->pool, field, subject_n);
    if (entry->field != NULL && entry->subject != NULL)
        round->theirs[round->n_theirs++] = *entry;
}

static void on_field(void *arg, const char *field, const char *value)
{
    struct round *round = arg;
    const char *bar = strrchr(field, '|');
    struct entry entry = {0};
    if (bar == NULL || !value_read(value, &entry.n, &entry.stamp))
        return; /* not ours */
    bool own = strcmp(bar + 1, round->own_host) == 0;
    if (own && table_find(round->sent, field, strlen(field)) != NULL)
        return;
    entry.host = own ? SIZE_MAX : host_find(round->sync, bar + 1, round->clock_ms);
    if (!own && entry.host == SIZE_MAX)
        return;
    if (!own)
        host_saw(&round->sync->hosts[entry.host], entry.stamp, round->clock_ms);
    entry_add(round, &entry, field, (size_t)(bar - field));
}

/* Does the host still sync? By its stamp, which moves each round; that its clock is wrong does not matter
 * once it was seen to move. */
static bool is_alive(const struct round *round, const struct host *host)
{
    if (host->moved_ms > 0)
        return round->clock_ms - host->moved_ms <= round->stale_ms;
    int64_t off = round->now_ms - host->stamp;
    return off < round->stale_ms + SKEW_MS && off > -SKEW_MS;
}

/* Fields stand for their subject in keys' spelling: look-ups use the plain one. */
static void sum_add(struct table *sum, const struct entry *entry)
{
    char subject[FIELD_MAX];
    struct text text;
    text_init(&text, subject, sizeof subject);
    struct queue_number *number = text_add_decoded(&text, entry->subject, strlen(entry->subject))
                                      ? table_add(sum, subject, text.len)
                                      : NULL;
    if (number != NULL)
        number->waiting += entry->n;
}

static void sum_up(struct round *round, struct table *sum)
{
    for (size_t i = 0; i < round->n_theirs; i++) {
        const struct entry *entry = &round->theirs[i];
        const struct host *host = entry->host == SIZE_MAX ? NULL : &round->sync->hosts[entry->host];
        bool left_over = host == NULL || entry->stamp < round->now_ms - GONE_MS;
        if (left_over) {
            round->drop[round->n_drop++] = entry->field;
        } else if (entry->stamp == host->stamp && is_alive(round, host)) {
            sum_add(sum, entry);
        }
    }
}

static struct table *read_theirs(struct round *round)
{
    if (!shared_hash(round->redis, round->key, on_field, round))
        return NULL;
    struct table *sum = table_new(sizeof(struct queue_number), (size_t)HOSTS_MAX * SYNCED_MAX);
    round->drop = pool_alloc(&round->pool, (round->n_theirs + 1) * sizeof *round->drop);
    if (sum == NULL || round->drop == NULL) {
        table_free(sum);
        return NULL;
    }
    sum_up(round, sum);
    (void)shared_drop_fields(round->redis, round->key, round->drop,
                             round->n_drop); /* else in the next round */
    return sum;
}

/* ---- a round ---- */

static int64_t least_of(const struct policy *policy, enum subject per)
{
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < policy->n_limits; i++)
        if (policy->limits[i].count == LIMIT_BACKLOG && policy->limits[i].per[0] == per &&
            policy->limits[i].max < least)
            least = policy->limits[i].max;
    least /= SYNCED_PART;
    return least > 1 ? least : 1;
}

void queue_sync(struct queue_sync *sync, struct redis_client *redis, const struct policy *policy,
                const struct queue_parse *own, int64_t now_ms, struct table *others[SUBJECTS])
{
    char own_host[1024];
    struct text text;
    text_init(&text, own_host, sizeof own_host);
    text_add_percent(&text, own->host);
    for (int per = 0; per < SUBJECTS; per++) {
        if (own->of[per] == NULL)
            continue;
        struct round round = {.sync = sync,
                              .redis = redis,
                              .own_host = own_host,
                              .now_ms = now_ms,
                              .clock_ms = clock_monotonic_ns() / 1000000 + 1,
                              .stale_ms = 3 * policy->queue.every_ms + 10000,
                              .least = least_of(policy, (enum subject)per),
                              .sent = table_new(sizeof(struct table_row), SYNCED_MAX)};
        snprintf(round.key, sizeof round.key, "backlog:%s", policy_subject_name((enum subject)per));
        if (round.sent != NULL && notify_own(&round, own->of[per]))
            others[per] = read_theirs(&round);
        table_free(round.sent);
        pool_done(&round.pool);
    }
}
