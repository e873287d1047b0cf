/* counts_ops: what a counter store is made of. For the stores themselves; everybody else includes counts.h. */
#ifndef RCPTGATE_COUNTS_OPS_H
#define RCPTGATE_COUNTS_OPS_H

#include "counts.h"

/* How a request is answered. */
enum counts_mode {
    COUNTS_RESERVE,  /* check all, then charge all or none */
    COUNTS_PEEK,     /* check, change nothing */
    COUNTS_CHARGE,   /* charge all, check nothing */
    COUNTS_FALLBACK, /* COUNTS_RESERVE, and another store is yet to be told of the charges; memory only */
    COUNTS_RECORD, /* do what another store did; answers are that store's, only `here` is set; memory only */
};

struct counts_ops {
    enum counts_status (*ask)(struct counts *counts, enum counts_mode mode,
                              const struct count_request *request, int64_t now_ms,
                              struct count_answer *answers);
    enum counts_status (*change)(struct counts *counts, const struct count_change *changes, size_t n,
                                 int64_t now_ms);
    /* A change that was told before, with the same sequence, is not made again, however late it comes:
     * sequences count up, from 1. n at most COUNTS_SYNC_MOST. Where there is an `up`. */
    enum counts_status (*sync)(struct counts *counts, const struct count_change *changes, size_t n,
                               int64_t now_ms, int64_t sequence);
    /* Adds n to the refusals of a counter, if it is there; NULL: nothing. */
    enum counts_status (*refused)(struct counts *counts, const char *key, const char *limit, int64_t n,
                                  int64_t now_ms);
    enum counts_status (*deferred)(struct counts *counts, const struct count_deferral *deferrals, size_t n,
                                   int64_t now_ms);
    enum counts_status (*show)(struct counts *counts, const char *const *keys, size_t n, int64_t now_ms,
                               counts_each_fn *each, void *arg);
    enum counts_status (*reset)(struct counts *counts, const char *const *keys, size_t n, const char *limit,
                                size_t *n_reset);
    /* Is it up, as far as is known, and how often did it restart? NULL: always up. */
    bool (*up)(struct counts *counts, unsigned *restarts);
    enum counts_status (*fallback)(struct counts *counts, bool peek, enum counts_status before,
                                   const struct count_request *request, int64_t now_ms,
                                   struct count_answer *answers); /* NULL: there is none */
    void (*change_here)(struct counts *counts, struct count_change *change,
                        int64_t now_ms); /* NULL: nothing */
    void (*trouble)(struct counts *counts, struct error *out);
    uint64_t (*junk)(struct counts *counts);
    void (*free)(struct counts *counts);
};

struct counts { /* the first member of every store */
    const struct counts_ops *ops;
};

enum {
    COUNTS_RETRY_AFTER_MS = 60 * 1000,           /* sooner is hammering */
    COUNTS_RETRY_UNTIL_MS = 24 * 60 * 60 * 1000, /* later is forgotten */
    COUNTS_RETRIES = 200 * 1000,                 /* remembered at most */
    COUNTS_NEW_WINDOW_MS = 60 * 1000,            /* in which new_max new keys may be made */
    COUNTS_SYNC_MOST = 256,
};

/* The field in which new keys are counted. */
#define COUNTS_NEW_LIMIT "subjects"

/* How long the key of an ask has to live: never shorter than its count or its hold. */
int64_t counts_ttl(const struct count_ask *ask);

/* Does key match pattern, a whole key or one with a '*' at its beginning and/or end? */
bool counts_match(const char *pattern, const char *key);

#endif
