/* store: what a counter store is made of. For the stores themselves; everybody else includes counters/counters.h. */
#ifndef RCPTGATE_COUNTERS_STORE_H
#define RCPTGATE_COUNTERS_STORE_H

#include "lease.h"
#include "base/error.h"
#include "counters/status.h"

#include <stdbool.h>
#include <stddef.h>

/* How a request is answered. */
enum counters_mode {
    COUNTERS_RESERVE,  /* check all, then charge all or none */
    COUNTERS_PEEK,     /* check, change nothing */
    COUNTERS_CHARGE,   /* charge all, check nothing */
    COUNTERS_FALLBACK, /* COUNTERS_RESERVE, and another store is yet to be told of the charges; memory only */
    COUNTERS_RECORD, /* do what another store did; answers are that store's, only `here` is set; memory only */
};

struct counters_ops {
    enum counters_status (*ask)(struct counters *counters, enum counters_mode mode,
                                const struct count_request *request, int64_t now_ms,
                                struct count_answer *answers);
    enum counters_status (*change)(struct counters *counters, struct count_change *changes, size_t n,
                                   int64_t now_ms);
    /* counters_settle(), without the part of this process. */
    enum counters_status (*settle)(struct counters *counters, const struct count_change *changes, size_t n,
                                   int64_t now_ms, int64_t deadline, struct count_answer *answers);
    /* counters_settle_here(); NULL: nobody stands in. */
    enum counters_status (*settle_here)(struct counters *counters, struct count_change *changes, size_t n,
                                        int64_t now_ms, struct count_answer *answers);
    /* A change that was told before, with the same sequence, is not made again, however late it comes:
     * sequences count up, from 1. n at most COUNTERS_SYNC_MOST, of one site. Where there is an `up`. */
    enum counters_status (*sync)(struct counters *counters, const struct count_change *changes, size_t n,
                                 int64_t now_ms, int64_t sequence);
    /* Adds n to the refusals of a counter, if it is there; NULL: nothing. */
    enum counters_status (*refused)(struct counters *counters, const char *key, const char *limit, int64_t n,
                                    int64_t now_ms);
    enum counters_status (*deferred)(struct counters *counters, struct count_deferral *deferrals, size_t n,
                                     int64_t now_ms);
    /* Where there are several sites: is the pair's RCPT a retry? One that waits is then used up, unless look; what was
     * deferred (may be NULL) is noted before. */
    enum counters_status (*retry)(struct counters *counters, const struct count_request *request, bool look,
                                  int64_t now_ms, bool *out);
    /* Charges up to `most` units of a counter ahead: fewer where that would leave little room for others, or none; and gives back what
     * is left of the last ones. NULL: never. */
    enum counters_status (*lease)(struct counters *counters, const struct count_ask *ask, int64_t most,
                                  const struct lease_rest *rest, int64_t now_ms, int64_t deadline,
                                  struct lease_grant *out);
    enum counters_status (*show)(struct counters *counters, const char *const *keys, size_t n, int64_t now_ms,
                                 counters_each_fn *each, void *arg);
    enum counters_status (*reset)(struct counters *counters, const char *const *keys, size_t n,
                                  const char *limit, size_t *n_reset);
    /* The site of a key, below n_sites: what is asked of several keys at once must be of one. NULL: all keys are. */
    unsigned (*site)(struct counters *counters, const char *key);
    /* Is a site up, as far as is known, and how often did it restart? NULL: always up. */
    bool (*up)(struct counters *counters, unsigned site, unsigned *restarts);
    void (*change_here)(struct counters *counters, struct count_change *change,
                        int64_t now_ms);                            /* NULL: nothing */
    int64_t (*back_ms)(struct counters *counters, const char *key); /* NULL: 0 */
    void (*missing)(struct counters *counters, struct error *out);  /* NULL: nothing ever is */
    void (*condition)(struct counters *counters, struct error *out);
    uint64_t (*junk)(struct counters *counters);
    void (*free)(struct counters *counters);
};

/* A site is a part of a store that is up or down, restarts and answers on its own: the slot of a Redis Cluster. A site keeps its keys,
 * whoever answers for it. */
struct counters { /* the first member of every store */
    const struct counters_ops *ops;
    unsigned n_sites; /* 0: one */
};

unsigned store_sites(const struct counters *counters);
unsigned store_site(struct counters *counters, const char *key);

enum {
    COUNTERS_RETRY_AFTER_MS = 60 * 1000, /* sooner is hammering, from the same client network */
    COUNTERS_RETRY_WAITING = 16,         /* of a pair, at most */
    COUNTERS_RETRIES = 200 * 1000,       /* pairs that are remembered of a half-day, at most */
    COUNTERS_RETRY_HASHES = 64,          /* over which the store in Redis spreads them */
    COUNTERS_NEW_WINDOW_MS = 60 * 1000,  /* in which new_max new keys may be made */
    COUNTERS_SYNC_MOST = 256,
};

/* The field in which new keys are counted. */
#define COUNTERS_NEW_LIMIT "subjects"

/* Of what became of two parts of a call: COUNTERS_DOWN before COUNTERS_UNSURE before COUNTERS_OK. */
enum counters_status store_worse(enum counters_status one, enum counters_status other);

/* Is nothing of a change left to be told? */
bool store_is_synced(const struct count_change *change);
void store_mark_synced(struct count_change *change);

/* The number of the half-day that holds now_ms: what was deferred in it is remembered until the next one ends. */
int64_t store_half_day(int64_t now_ms);
int64_t store_half_day_begin(int64_t half);

/* How long the key of an ask has to live: never shorter than its count or its hold. */
int64_t store_ttl(const struct count_ask *ask);

/* Does key match pattern, a whole key or one with a '*' at its beginning and/or end? The latter never means where new keys
 * are counted: these are nobody's counters. */
bool store_match(const char *pattern, const char *key);

#endif
