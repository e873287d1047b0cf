/* Owns the thread and the judgement of the live file. What sessions ask is atomic; the mutex guards the rest
 * that other threads see (struct told); everything else belongs to the thread. Fails into not trusting: what
 * cannot be checked is not believed.
 *
 * Of the live file the thread holds one lease, so that it sees every change of the data as one; it gives it
 * back when a new epoch begins, within a tick. */
#include "ruledb_keeper.h"

#include "monotonic.h"
#include "ruledb_check.h"
#include "ruledb_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_MS = 100,  /* between two looks at the live file */
    CHEAP_MS = 100, /* a round that took no longer may be waited for */
    NEVER_MS = -1,
};

/* When the next round may begin after one that took `took`: since a session waits for it, since the data has
 * changed, since the file was touched but its data has not changed, since the last one failed, since time has
 * passed. */
enum reason { WHY_DIFFERS, WHY_CHANGE, WHY_TOUCH, WHY_FAILED, WHY_AGE, REASONS };
static const struct {
    int64_t least_ms, times;
} paces[REASONS] = {
    [WHY_DIFFERS] = {10, 1},   [WHY_CHANGE] = {400, 10}, [WHY_TOUCH] = {2000, 20},
    [WHY_FAILED] = {3000, 20}, [WHY_AGE] = {300000, 50},
};

struct stamp { /* of a file: what a write leaves behind */
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec written;
};

struct told { /* guarded by the mutex */
    struct ruledb_counts counts;
    bool counted;
    int64_t round_ms;
    struct error refused, copy_trouble, unsure;
    bool kick, accept, stop, dirty; /* kick: somebody wants it looked at; */
    bool differs;                   /* a session that found it other than the copy */
    unsigned turns, taken;          /* how many there were */
};

struct keeper {
    const struct ruledb_config *config;
    struct handles *live, *copies;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    struct told told;

    atomic_uint trusted; /* the epoch that may be believed; 0: none */
    atomic_uint_least64_t
        proved; /* generation of data that was checked and that no copy is kept of; 0: none */
    atomic_int_least64_t validated_ms; /* when the live file was last well; NEVER_MS */
    atomic_int_least64_t max_stale_ms;
    atomic_int max_shrink;
    atomic_bool has_copy;
    atomic_bool stopping;
    atomic_bool cheap; /* the last round was */

    struct lease *lease;  /* the thread's own */
    struct stamp touched; /* of the live file at the last round */
    int64_t round_end_ms, took_ms;
    unsigned judged; /* the epoch that the last round was about */
    bool failed;     /* the last round took nothing, or kept no copy */
    bool dirty;      /* the data is not what was last taken */
    bool changed;    /* it has changed since the last round began */
    bool alone;      /* no copy could be kept of what was last taken */
    bool refused;    /* the data was, since it was last taken: sessions may have read what was damaged */
    bool renew;      /* the copy is gone, or a session found it other than the data */
    char *new_path, *accept_path;
};

/* --- what sessions ask --- */

bool keeper_trusts(const struct keeper *keeper, unsigned epoch)
{
    return epoch == atomic_load(&keeper->trusted);
}

bool keeper_proves(const struct keeper *keeper, const struct lease *live)
{
    return live->generation == atomic_load(&keeper->proved);
}

bool keeper_has_copy(const struct keeper *keeper)
{
    return atomic_load(&keeper->has_copy);
}

bool keeper_copy_is_fresh(const struct keeper *keeper)
{
    int64_t at = atomic_load(&keeper->validated_ms);
    return at != NEVER_MS && monotonic_ms() - at <= atomic_load(&keeper->max_stale_ms);
}

void keeper_configure(struct keeper *keeper, int64_t max_stale_ms, int max_shrink)
{
    atomic_store(&keeper->max_stale_ms, max_stale_ms);
    atomic_store(&keeper->max_shrink, max_shrink);
    pthread_mutex_lock(&keeper->lock);
    keeper->told.kick = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->lock);
}

bool keeper_recheck(struct keeper *keeper, int wait_ms)
{
    struct timespec until = monotonic_in_ms(wait_ms);
    pthread_mutex_lock(&keeper->lock);
    unsigned before = keeper->told.taken;
    keeper->told.kick = keeper->told.differs = true;
    pthread_cond_signal(&keeper->wake);
    bool patient = atomic_load(&keeper->cheap);
    while (patient && keeper->told.taken == before && atomic_load(&keeper->trusted) != 0 &&
           !keeper->told.stop)
        patient = pthread_cond_timedwait(&keeper->done, &keeper->lock, &until) != ETIMEDOUT;
    bool taken = keeper->told.taken != before;
    pthread_mutex_unlock(&keeper->lock);
    return taken;
}

int keeper_accept(struct keeper *keeper, int wait_ms, struct error *err)
{
    struct timespec until = monotonic_in_ms(wait_ms);
    bool patient = true;
    pthread_mutex_lock(&keeper->lock);
    struct told *told = &keeper->told;
    unsigned before = told->taken;
    told->accept = told->kick = true;
    pthread_cond_signal(&keeper->wake);
    while (patient && told->accept && !told->stop)
        patient = pthread_cond_timedwait(&keeper->done, &keeper->lock, &until) != ETIMEDOUT;
    bool taken = told->taken != before;
    if (!taken && !told->accept)
        error_set(err, "%s", told->refused.text);
    else if (!taken)
        error_set(err,
                  "the alias database cannot be checked now%s%s; it will be taken as soon as it passes its "
                  "other checks",
                  told->unsure.text[0] != '\0' ? ": " : "", told->unsure.text);
    pthread_mutex_unlock(&keeper->lock);
    return taken ? 0 : -1;
}

void keeper_status(struct keeper *keeper, struct ruledb_status *out)
{
    int64_t validated = atomic_load(&keeper->validated_ms), now = monotonic_ms();
    pthread_mutex_lock(&keeper->lock);
    const struct told *told = &keeper->told;
    out->mode = told->dirty ? RULEDB_DOUBTED : RULEDB_LIVE;
    if (told->counted) {
        out->aliases = told->counts.rows[RULEDB_ALIASES];
        out->domains = told->counts.rows[RULEDB_DOMAINS];
    }
    out->round_ms = told->round_ms;
    out->refused = told->refused;
    out->copy_trouble = told->copy_trouble;
    if (out->trouble.text[0] == '\0')
        out->trouble = told->unsure;
    pthread_mutex_unlock(&keeper->lock);
    out->validated_age_ms = validated != NEVER_MS ? now - validated : -1;
    out->copy_age_ms = keeper_has_copy(keeper) ? out->validated_age_ms : -1;
}

/* --- the copy that is there --- */

/* When the copy was last known to be as the live file is its mtime, which outlives the process. */
static int64_t copy_written_ms(const char *path)
{
    struct stat st;
    struct timespec now;
    if (stat(path, &st) < 0)
        return NEVER_MS;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age = (now.tv_sec - st.st_mtim.tv_sec) * 1000 + (now.tv_nsec - st.st_mtim.tv_nsec) / 1000000;
    int64_t at = monotonic_ms() - (age > 0 ? age : 0);
    return at != NEVER_MS ? at : at - 1;
}

/* What an earlier process left: without it, or where it cannot be read, there is none. */
static void find_copy(struct keeper *keeper)
{
    int64_t written = copy_written_ms(keeper->config->copy_path);
    struct lease *copy = written != NEVER_MS ? handles_take(keeper->copies) : NULL;
    if (copy == NULL)
        return;
    struct ruledb_counts counts;
    bool counted = ruledb_count(handle_lend(copy->handle, NULL, NULL), &counts) == SQLITE_OK;
    handle_reclaim(copy->handle);
    handles_give(copy);
    if (!counted)
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->told.counts = counts;
    keeper->told.counted = true;
    pthread_mutex_unlock(&keeper->lock);
    atomic_store(&keeper->validated_ms, written);
    atomic_store(&keeper->has_copy, true);
}

/* Somebody may have removed it. */
static void miss_copy(struct keeper *keeper)
{
    if (!atomic_load(&keeper->has_copy) || access(keeper->config->copy_path, F_OK) == 0)
        return;
    atomic_store(&keeper->has_copy, false);
    handles_look(keeper->copies);
    keeper->renew = true;
}

/* --- the lease on the live file --- */

static void drop_lease(struct keeper *keeper)
{
    handles_give(keeper->lease);
    keeper->lease = NULL;
}

static void note_change(struct keeper *keeper, bool changed)
{
    keeper->changed = keeper->changed || changed;
    keeper->dirty = keeper->dirty || changed;
}

/* A lease with a transaction open, or none. */
static void renew_lease(struct keeper *keeper)
{
    bool changed = false;
    handles_look(keeper->live);
    if (keeper->lease != NULL && !lease_is_current(keeper->lease))
        drop_lease(keeper);
    if (keeper->lease == NULL) {
        keeper->lease = handles_take(keeper->live);
        changed = keeper->lease != NULL;
    } else if (lease_begin(keeper->lease, &changed) != FAULT_NONE) {
        drop_lease(keeper);
    }
    note_change(keeper, changed);
    if (keeper->lease != NULL && keeper->alone && !keeper->dirty &&
        keeper_trusts(keeper, keeper->lease->epoch)) /* the data is still what was checked */
        atomic_store(&keeper->proved, keeper->lease->generation);
}

/* Asked by whatever takes long. */
static int is_cancelled(void *arg)
{
    struct keeper *keeper = arg;
    return atomic_load(&keeper->stopping) || !lease_is_current(keeper->lease);
}

/* What was done with the lease's connection failed: is it the file? */
static void blame_live(struct keeper *keeper, int rc)
{
    if (handle_fault_of(rc) == FAULT_BROKEN && keeper->lease != NULL) {
        keeper->lease->fault = FAULT_BROKEN;
        drop_lease(keeper);
    }
}

/* --- a round --- */

struct finding {
    enum check_result result;
    struct ruledb_counts counts;
    struct error err;      /* what is wrong with the data; or, UNSURE, why it cannot be told */
    struct error copy_err; /* why no copy was made */
    bool copied;           /* it stands under new_path */
    int rc;                /* why the live file cannot be copied */
    bool forced;           /* what it lost was not asked */
};

/* What the round is about: begins anew with nothing in memory, since somebody may have written to the file past SQLite. */
static bool reread(struct keeper *keeper, sqlite3 *db, struct finding *found)
{
    bool changed = false;
    (void)lease_end(keeper->lease);
    (void)sqlite3_db_release_memory(db); /* what cannot be released was read a moment ago */
    enum handle_fault fault = lease_begin(keeper->lease, &changed);
    note_change(keeper, changed);
    keeper->changed = false;
    if (fault != FAULT_NONE)
        found->err = *handle_error(keeper->lease->handle);
    return fault == FAULT_NONE;
}

static void check_copy(struct keeper *keeper, struct finding *found)
{
    enum handle_fault fault;
    struct error err = {0};
    struct handle *handle = handle_open(keeper->new_path, true, &err, &fault);
    if (handle != NULL) {
        sqlite3 *db = handle_lend(handle, is_cancelled, keeper);
        found->result = ruledb_check(db, keeper->config->path, &found->counts, &found->err);
    } else {
        found->err = err;
        found->result = fault == FAULT_BROKEN ? CHECK_BAD : CHECK_UNSURE;
    }
    handle_close(handle);
}

/* Copies what is new and checks the copy. False: no copy can be written. */
static bool check_by_copy(struct keeper *keeper, sqlite3 *db, struct finding *found)
{
    int rc = SQLITE_OK;
    enum copy_result copied = copy_make(db, keeper->new_path, is_cancelled, keeper, &rc, &found->copy_err);
    if (copied == COPY_NO_TARGET)
        return false;
    if (copied == COPY_DONE) {
        (void)lease_end(keeper->lease); /* the WAL is free again */
        found->copied = true;
        check_copy(keeper, found);
    } else if (copied == COPY_NO_SOURCE) {
        ruledb_explain(rc, db, keeper->config->path, &found->err);
        found->rc = rc;
    }
    return true;
}

/* What is not new, and what cannot be copied, is checked where it lies. */
static void look_closely(struct keeper *keeper, struct finding *found)
{
    sqlite3 *db = handle_lend(keeper->lease->handle, is_cancelled, keeper);
    bool readable = reread(keeper, db, found), is_new = keeper->dirty || keeper->renew || keeper->alone;
    if (readable && !(is_new && check_by_copy(keeper, db, found)))
        found->result = ruledb_check(db, keeper->config->path, &found->counts, &found->err);
    handle_reclaim(keeper->lease->handle);
    blame_live(keeper, found->rc);
}

/* Data that nobody has written to by SQLite since it was copied is still the same, page by page; or the file was damaged, in
 * a way that leaves its order intact. */
static void compare_copies(struct keeper *keeper, struct finding *found)
{
    int same = copy_same(keeper->new_path, keeper->config->copy_path);
    if (same > 0)
        return;
    found->result = same == 0 ? CHECK_BAD : CHECK_UNSURE;
    error_set(
        &found->err,
        same == 0
            ? "alias database %s is not what was written to it: it differs from its last good copy; restore "
              "it, or, if it is right, run: rcptgate alias accept"
            : "alias database %s cannot be compared with its last good copy",
        keeper->config->path);
}

/* Data that lost too much, or changed past SQLite, is bad, unless somebody said that it is right. */
static void weigh(struct keeper *keeper, struct finding *found)
{
    bool marked = access(keeper->accept_path, F_OK) == 0; /* no disk is waited for under the lock */
    pthread_mutex_lock(&keeper->lock);
    struct ruledb_counts before = keeper->told.counts;
    bool counted = keeper->told.counted;
    found->forced = keeper->told.accept || marked;
    pthread_mutex_unlock(&keeper->lock);
    if (found->forced)
        return;
    if (found->result == CHECK_GOOD && found->copied && !keeper->dirty && !keeper->alone &&
        atomic_load(&keeper->has_copy))
        compare_copies(keeper, found);
    if (found->result == CHECK_GOOD && counted)
        found->result = ruledb_check_shrink(&before, &found->counts, atomic_load(&keeper->max_shrink),
                                            keeper->config->path, &found->err);
}

/* The copy into its place. Without one the old copy stays, for when the file fails. */
static void keep_copy(struct keeper *keeper, struct finding *found)
{
    if (found->copied && copy_install(keeper->new_path, keeper->config->copy_path, &found->copy_err) == 0) {
        handles_look(keeper->copies);
        atomic_store(&keeper->has_copy, true);
        keeper->renew = false;
    } else if (!found->copied && found->copy_err.text[0] == '\0' && !keeper->changed) {
        /* it is still as the file: a restart shall know how young it is, or think it older */
        (void)utimensat(AT_FDCWD, keeper->config->copy_path, NULL, 0);
    }
    keeper->alone = found->copy_err.text[0] != '\0';
    keeper->dirty = keeper->changed;
}

static void take(struct keeper *keeper, struct finding *found, unsigned epoch, uint64_t generation)
{
    keep_copy(keeper, found);
    if (keeper->refused) {
        drop_lease(keeper); /* nothing is opened before the last of the old ones is closed */
        epoch = handles_renew(keeper->live);
    }
    keeper->refused = false;
    keeper->judged = epoch;
    atomic_store(&keeper->validated_ms, monotonic_ms());
    atomic_store(&keeper->proved, keeper->alone && !keeper->changed ? generation : 0);
    atomic_store(&keeper->trusted, epoch);
    (void)unlink(keeper->accept_path); /* mostly there is none */
    keeper->failed = keeper->alone;
    pthread_mutex_lock(&keeper->lock);
    struct told *told = &keeper->told;
    told->counts = found->counts;
    told->counted = true;
    told->accept = false;
    told->refused = told->unsure = (struct error){0};
    told->copy_trouble = (struct error){0};
    if (keeper->alone)
        error_set(
            &told->copy_trouble,
            "no last good copy of the alias rules can be kept: %s; make room, or give the gate write access",
            found->copy_err.text);
    told->taken++;
    pthread_mutex_unlock(&keeper->lock);
}

/* Not good: what is refused is not believed any more; what could not be looked at stays as it was. */
static void leave(struct keeper *keeper, struct finding *found)
{
    if (found->copied)
        (void)unlink(keeper->new_path); /* the next one replaces it anyway */
    keeper->failed = true;
    keeper->refused = keeper->refused || found->result == CHECK_BAD;
    pthread_mutex_lock(&keeper->lock);
    struct told *told = &keeper->told;
    if (found->result == CHECK_BAD) {
        atomic_store(&keeper->trusted, 0);
        atomic_store(&keeper->proved, 0);
        told->refused = found->err;
        told->unsure = (struct error){0};
        told->accept = told->accept && !found->forced;
    } else {
        told->unsure = found->err;
    }
    pthread_mutex_unlock(&keeper->lock);
}

static bool stamp_of(const char *path, struct stamp *out)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return false;
    *out = (struct stamp){st.st_dev, st.st_ino, st.st_size, st.st_mtim};
    return true;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->written.tv_sec == b->written.tv_sec && a->written.tv_nsec == b->written.tv_nsec;
}

/* Within a transaction of the lease, which may be over afterwards, and the lease gone. */
static void run_round(struct keeper *keeper)
{
    struct finding found = {0};
    int64_t start = monotonic_ms();
    unsigned epoch = keeper->lease->epoch;
    (void)stamp_of(keeper->config->path, &keeper->touched); /* a write from now on is seen as one */
    look_closely(keeper, &found);
    weigh(keeper, &found);
    if (keeper->lease == NULL || lease_is_current(keeper->lease)) {
        keeper->judged = epoch;
        if (found.result == CHECK_GOOD && keeper->lease != NULL)
            take(keeper, &found, epoch, keeper->lease->generation);
        else
            leave(keeper, &found);
    } else if (found.copied) { /* another file came meanwhile: this one does not matter any more */
        (void)unlink(keeper->new_path);
    }
    keeper->round_end_ms = monotonic_ms();
    keeper->took_ms = keeper->round_end_ms - start;
    atomic_store(&keeper->cheap, keeper->took_ms <= CHEAP_MS && !keeper->failed);
    pthread_mutex_lock(&keeper->lock);
    keeper->told.round_ms = keeper->took_ms;
    pthread_mutex_unlock(&keeper->lock);
}

static bool is_time(const struct keeper *keeper, enum reason reason)
{
    int64_t scaled = keeper->took_ms * paces[reason].times;
    return monotonic_ms() - keeper->round_end_ms >=
           (scaled > paces[reason].least_ms ? scaled : paces[reason].least_ms);
}

static bool is_due(struct keeper *keeper, bool differs, bool kick, bool accept)
{
    struct stamp stamp;
    if (accept || keeper->judged == 0)
        return true;
    if (keeper->lease->epoch != keeper->judged)
        return is_time(keeper, WHY_DIFFERS);
    if (keeper->failed)
        return is_time(keeper, WHY_FAILED) || (keeper->changed && is_time(keeper, WHY_CHANGE));
    if (keeper->dirty || keeper->renew)
        return is_time(keeper, keeper->dirty && differs ? WHY_DIFFERS : WHY_CHANGE);
    if (kick || (stamp_of(keeper->config->path, &stamp) && !same_stamp(&stamp, &keeper->touched)))
        return is_time(keeper, WHY_TOUCH);
    return is_time(keeper, WHY_AGE);
}

/* --- the thread --- */

static void turn(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    struct told *told = &keeper->told;
    bool kick = told->kick, accept = kick && told->accept, differs = told->differs;
    told->kick = told->differs = false;
    pthread_mutex_unlock(&keeper->lock);
    keeper->renew = keeper->renew || differs;
    miss_copy(keeper);
    renew_lease(keeper);
    if (keeper->lease != NULL && is_due(keeper, differs, kick, accept))
        run_round(keeper);
    if (keeper->lease != NULL && lease_end(keeper->lease) != FAULT_NONE)
        drop_lease(keeper);
    pthread_mutex_lock(&keeper->lock);
    told->dirty = keeper->dirty || keeper->renew;
    told->turns++;
    pthread_cond_broadcast(&keeper->done);
    pthread_mutex_unlock(&keeper->lock);
}

static void *keeper_main(void *arg)
{
    struct keeper *keeper = arg;
    find_copy(keeper);
    for (;;) {
        turn(keeper);
        pthread_mutex_lock(&keeper->lock);
        struct timespec until = monotonic_in_ms(TICK_MS);
        if (!keeper->told.kick && !keeper->told.stop)
            (void)pthread_cond_timedwait(&keeper->wake, &keeper->lock, &until);
        bool stop = keeper->told.stop;
        pthread_mutex_unlock(&keeper->lock);
        if (stop)
            break;
    }
    drop_lease(keeper);
    return NULL;
}

static char *path_with(const char *path, const char *suffix)
{
    size_t n = strlen(path) + strlen(suffix) + 1;
    char *out = malloc(n);
    if (out != NULL)
        snprintf(out, n, "%s%s", path, suffix);
    return out;
}

/* A condition that is waited for by the monotonic clock. */
static bool cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0)
        return false;
    bool ok = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
              pthread_cond_init(cond, &monotonic) == 0;
    pthread_condattr_destroy(&monotonic);
    return ok;
}

struct keeper *keeper_new(const struct ruledb_config *config, struct handles *live, struct handles *copies)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL)
        return NULL;
    keeper->config = config;
    keeper->live = live;
    keeper->copies = copies;
    keeper->new_path = path_with(config->copy_path, ".new");
    keeper->accept_path = path_with(config->copy_path, ".accept");
    atomic_init(&keeper->validated_ms, NEVER_MS);
    atomic_init(&keeper->max_stale_ms, config->max_stale_ms);
    atomic_init(&keeper->max_shrink, config->max_shrink);
    if (keeper->new_path != NULL && keeper->accept_path != NULL &&
        pthread_mutex_init(&keeper->lock, NULL) == 0) {
        if (cond_init(&keeper->wake)) {
            if (cond_init(&keeper->done))
                return keeper;
            pthread_cond_destroy(&keeper->wake);
        }
        pthread_mutex_destroy(&keeper->lock);
    }
    free(keeper->new_path);
    free(keeper->accept_path);
    free(keeper);
    return NULL;
}

int keeper_start(struct keeper *keeper, int wait_ms, int wait_copy_ms, struct error *err)
{
    int rc = pthread_create(&keeper->thread, NULL, keeper_main, keeper);
    if (rc != 0) {
        error_set(err, "cannot start a thread: %s", strerror(rc));
        return -1;
    }
    keeper->running = true;
    int64_t start = monotonic_ms();
    pthread_mutex_lock(&keeper->lock);
    while (keeper->told.turns == 0) {
        int64_t until =
            start + (keeper_has_copy(keeper) && keeper_copy_is_fresh(keeper) ? wait_copy_ms : wait_ms);
        if (monotonic_ms() >= until)
            break;
        struct timespec tick = monotonic_in_ms(50);
        (void)pthread_cond_timedwait(&keeper->done, &keeper->lock, &tick);
    }
    pthread_mutex_unlock(&keeper->lock);
    return 0;
}

void keeper_free(struct keeper *keeper)
{
    if (keeper == NULL)
        return;
    if (keeper->running) {
        atomic_store(&keeper->stopping, true);
        pthread_mutex_lock(&keeper->lock);
        keeper->told.stop = true;
        pthread_cond_broadcast(&keeper->wake);
        pthread_cond_broadcast(&keeper->done);
        pthread_mutex_unlock(&keeper->lock);
        pthread_join(keeper->thread, NULL);
    }
    pthread_cond_destroy(&keeper->wake);
    pthread_cond_destroy(&keeper->done);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper->new_path);
    free(keeper->accept_path);
    free(keeper);
}
