/* monitor: watches over the live file of the alias rules and keeps its last good copy (see monitor.h). Owns the thread, the
 * copy, and the judgement of the live file. What sessions ask is atomic; the mutex guards the rest that other threads see
 * (struct notified); everything else belongs to the thread. Fails into not trusting: what cannot be checked is not
 * believed.
 *
 * Of the live file the thread holds one checkout, so that it sees every change of the data as one; it gives it back when
 * a new epoch begins, within a tick. */
#include "monitor.h"

#include "base/clock.h"
#include "aliases/check.h"
#include "snapshot.h"
#include "sys/worker.h"

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
    CHECK_MS = 300000, /* for one; ten million rows take a tenth of it */
    QUIET_MS = 2000, /* who writes past SQLite tells nobody when he is done: he has not written for so long */
};

/* When the next round may begin after one that took `took`: since a session waits for it or rows are gone, since the data
 * has changed, since the file was touched but its data has not changed, since the last one failed, since time has
 * passed. What is refused for a change is 451 until then: that is what the least of the pauses is for. */
enum reason { WHY_URGENT, WHY_CHANGE, WHY_TOUCH, WHY_FAILED, WHY_AGE, REASONS };
static const struct {
    int64_t least_ms, times, most_ms;
} paces[REASONS] = {
    [WHY_URGENT] = {10, 1, 700},         [WHY_CHANGE] = {400, 10, INT64_MAX},
    [WHY_TOUCH] = {400, 20, INT64_MAX},  [WHY_FAILED] = {3000, 20, INT64_MAX},
    [WHY_AGE] = {300000, 50, INT64_MAX},
};

struct stamp { /* of a file: what a write leaves behind */
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec written;
};

struct sight { /* what was seen of the live file at one look, in this order */
    struct stamp stamp;
    unsigned epoch; /* of the checkout; 0: none */
    bool moved;     /* data that no checkout of this epoch had seen before; or it was busy */
    struct aliases_connection_marks marks;
};

struct notified { /* guarded by the mutex */
    struct aliases_sizes sizes;
    bool counted;
    int64_t round_ms;
    struct error refused, copy_condition, unsure;
    bool kick, accept, stop, dirty; /* kick: somebody wants it looked at; */
    bool differs;                   /* a session that found it other than the copy */
    unsigned turns, taken;          /* how many there were */
};

struct monitor {
    const struct aliases_config *config;
    struct aliases_pool *live, *copies;
    struct worker *worker; /* NULL: not started */
    pthread_mutex_t lock;
    pthread_cond_t done; /* a turn is over */
    struct notified notified;
    int64_t check_until_ms; /* the thread's: when it gives up what it does now */

    atomic_uint trusted; /* the epoch that may be believed; 0: none */
    atomic_uint_least64_t
        proved; /* generation of data that was checked and that no copy is kept of; 0: none */
    atomic_int_least64_t validated_ms; /* when the live file was last well; NEVER_MS */
    atomic_int_least64_t max_stale_ms;
    atomic_int max_shrink;
    atomic_bool has_copy;
    atomic_bool cheap; /* the last round was */

    struct aliases_checkout *checkout; /* the thread's own */
    bool searched;                     /* for the copy that an earlier process left */
    struct stamp touched;              /* of the live file at the last round, */
    struct stamp copied;               /* and at the one that the copy is of */
    struct sight sights[3];            /* the last ones, the newest first */
    int64_t quiet_ms; /* until then only what was there before is believed: all else may be half of what is meant */
    int64_t round_end_ms, took_ms;
    unsigned judged;    /* the epoch that the last round was about */
    bool failed;        /* the last round took nothing, or kept no copy */
    bool dirty;         /* the data is not what was last taken */
    bool changed;       /* it has changed since the last round began, */
    bool urgent;        /* and a session met that, or rows are gone */
    int64_t used_pages; /* of the data, when it was last looked at: fewer are rows that are gone */
    bool alone;         /* no copy could be kept of what was last taken; else */
    bool summed;        /* there is one, and */
    uint64_t sum;       /* what its pages are, whatever becomes of the file */
    bool refused;       /* the data was, since it was last taken: sessions may have read what was damaged */
    bool renew;         /* the copy is gone, or a session found it other than the data */
    char *new_path, *accept_path;
};

/* --- what sessions ask --- */

bool aliases_monitor_trusts(const struct monitor *monitor, unsigned epoch)
{
    return epoch == atomic_load(&monitor->trusted);
}

bool aliases_monitor_proves(const struct monitor *monitor, const struct aliases_checkout *live)
{
    return live->generation == atomic_load(&monitor->proved);
}

bool aliases_monitor_has_copy(const struct monitor *monitor)
{
    return atomic_load(&monitor->has_copy);
}

bool aliases_monitor_copy_is_fresh(const struct monitor *monitor)
{
    int64_t at = atomic_load(&monitor->validated_ms);
    return at != NEVER_MS && clock_monotonic_ms() - at <= atomic_load(&monitor->max_stale_ms);
}

void aliases_monitor_configure(struct monitor *monitor, int64_t max_stale_ms, int max_shrink)
{
    atomic_store(&monitor->max_stale_ms, max_stale_ms);
    atomic_store(&monitor->max_shrink, max_shrink);
    pthread_mutex_lock(&monitor->lock);
    monitor->notified.kick = true;
    pthread_mutex_unlock(&monitor->lock);
    worker_wake(monitor->worker);
}

/* Locked. False: time is up. */
static bool wait_done(struct monitor *monitor, const struct timespec *until)
{
    return pthread_cond_clockwait(&monitor->done, &monitor->lock, CLOCK_MONOTONIC, until) != ETIMEDOUT;
}

bool aliases_monitor_recheck(struct monitor *monitor, int wait_ms)
{
    struct timespec until = clock_in_ms(wait_ms);
    pthread_mutex_lock(&monitor->lock);
    unsigned before = monitor->notified.taken;
    monitor->notified.kick = monitor->notified.differs = true;
    worker_wake(monitor->worker);
    bool patient = atomic_load(&monitor->cheap);
    while (patient && monitor->notified.taken == before && atomic_load(&monitor->trusted) != 0 &&
           !monitor->notified.stop)
        patient = wait_done(monitor, &until);
    bool taken = monitor->notified.taken != before;
    pthread_mutex_unlock(&monitor->lock);
    return taken;
}

int aliases_monitor_accept(struct monitor *monitor, int wait_ms, struct error *err)
{
    struct timespec until = clock_in_ms(wait_ms);
    bool patient = true;
    pthread_mutex_lock(&monitor->lock);
    struct notified *notified = &monitor->notified;
    unsigned before = notified->taken;
    notified->accept = notified->kick = true;
    worker_wake(monitor->worker);
    while (patient && notified->accept && !notified->stop)
        patient = wait_done(monitor, &until);
    bool taken = notified->taken != before;
    if (!taken && !notified->accept)
        error_set(err, "%s", notified->refused.text);
    else if (!taken)
        error_set(err,
                  "the alias database cannot be checked now%s%s; it will be taken as soon as it passes its "
                  "other checks",
                  notified->unsure.text[0] != '\0' ? ": " : "", notified->unsure.text);
    pthread_mutex_unlock(&monitor->lock);
    return taken ? 0 : -1;
}

void aliases_monitor_status(struct monitor *monitor, struct aliases_status *out)
{
    int64_t validated = atomic_load(&monitor->validated_ms), now = clock_monotonic_ms();
    pthread_mutex_lock(&monitor->lock);
    const struct notified *notified = &monitor->notified;
    out->mode = notified->dirty ? ALIASES_UNVERIFIED : ALIASES_LIVE;
    if (notified->counted) {
        out->aliases = notified->sizes.rows[ALIASES_ALIASES];
        out->domains = notified->sizes.rows[ALIASES_DOMAINS];
        out->homeless = notified->sizes.homeless;
        memcpy(out->homeless_name, notified->sizes.homeless_name, sizeof out->homeless_name);
    }
    out->round_ms = notified->round_ms;
    out->refused = notified->refused;
    out->copy_condition = notified->copy_condition;
    if (out->condition.text[0] == '\0')
        out->condition = notified->unsure;
    pthread_mutex_unlock(&monitor->lock);
    out->validated_age_ms = validated != NEVER_MS ? now - validated : -1;
    out->copy_age_ms = aliases_monitor_has_copy(monitor) ? out->validated_age_ms : -1;
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
    int64_t at = clock_monotonic_ms() - (age > 0 ? age : 0);
    return at != NEVER_MS ? at : at - 1;
}

/* What an earlier process left: without it, or where it cannot be read, there is none. */
static void find_copy(struct monitor *monitor)
{
    int64_t written = copy_written_ms(monitor->config->copy_path);
    struct aliases_checkout *copy = written != NEVER_MS ? aliases_pool_take(monitor->copies) : NULL;
    if (copy == NULL)
        return;
    struct aliases_sizes sizes;
    bool counted = aliases_check_count(aliases_connection_lend(copy->connection, NULL, NULL), INT64_MAX,
                                       &sizes) == SQLITE_OK;
    aliases_connection_reclaim(copy->connection);
    aliases_pool_give(copy);
    if (!counted)
        return;
    pthread_mutex_lock(&monitor->lock);
    monitor->notified.sizes = sizes;
    monitor->notified.counted = true;
    pthread_mutex_unlock(&monitor->lock);
    atomic_store(&monitor->validated_ms, written);
    atomic_store(&monitor->has_copy, true);
}

/* Somebody may have removed it. */
static void miss_copy(struct monitor *monitor)
{
    if (!atomic_load(&monitor->has_copy) || access(monitor->config->copy_path, F_OK) == 0)
        return;
    atomic_store(&monitor->has_copy, false);
    aliases_pool_look(monitor->copies);
    monitor->renew = true;
}

/* --- the checkout of the live file --- */

static void drop_checkout(struct monitor *monitor)
{
    aliases_pool_give(monitor->checkout);
    monitor->checkout = NULL;
}

/* SQLite gives pages back that no row is on any more: to read two numbers costs nothing, to count rows would. */
static bool lost_pages(struct monitor *monitor)
{
    int64_t before = monitor->used_pages;
    sqlite3 *db = aliases_connection_lend(monitor->checkout->connection, NULL, NULL);
    if (aliases_check_pages(db, &monitor->used_pages) != SQLITE_OK)
        monitor->used_pages = 0;
    aliases_connection_reclaim(monitor->checkout->connection);
    return monitor->used_pages < before;
}

static void note_change(struct monitor *monitor, bool changed)
{
    monitor->changed = monitor->changed || changed;
    monitor->dirty = monitor->dirty || changed;
    if (changed && monitor->checkout != NULL && lost_pages(monitor))
        monitor->urgent = true;
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

/* SQLite has committed or made a checkpoint since the last look: whoever finds the file written to may take it for that. */
static bool sqlite_wrote(const struct sight sights[3])
{
    return sights[0].epoch != 0 && sights[0].epoch == sights[1].epoch &&
           (sights[0].moved ||
            memcmp(sights[0].marks.index, sights[1].marks.index, sizeof sights[0].marks.index) != 0);
}

/* The file was written to since the last look, and not by SQLite: that lets readers see a commit, and tells before a checkpoint
 * what it is about to do; what it did a moment before the last look may be seen in the one before. */
static bool is_overwritten(const struct sight sights[3])
{
    const struct stamp *now = &sights[0].stamp, *before = &sights[1].stamp;
    if (same_stamp(now, before) || now->ino != before->ino || now->dev != before->dev)
        return false;
    if (sights[0].epoch == 0 || sights[0].epoch != sights[1].epoch) /* nothing that was read before is kept */
        return false;
    for (int i = 0; i < 3 && sights[i].epoch == sights[0].epoch; i++)
        if ((i < 2 && sights[i].moved) || sights[i].marks.busy ||
            memcmp(sights[i].marks.index, sights[0].marks.index, sizeof sights[0].marks.index) != 0)
            return false;
    return true;
}

/* What was read before is of no use: all is opened anew, and believed once it is all there, or is what was there before. */
static void begin_anew(struct monitor *monitor)
{
    monitor->quiet_ms = clock_monotonic_ms() + QUIET_MS;
    atomic_store(&monitor->trusted, 0);
    atomic_store(&monitor->proved, 0);
    drop_checkout(monitor);
    (void)aliases_pool_renew(monitor->live);
}

/* By who was seen to overwrite it. */
static bool is_being_written(const struct monitor *monitor)
{
    return clock_monotonic_ms() < monitor->quiet_ms;
}

/* Who copies another file over the live one (cp) changes it under those who have it open: they hold pages of both. Then it is
 * another file, as if it had been renamed into its place. */
static void look_for_overwriting(struct monitor *monitor, struct stamp stamp, bool changed)
{
    struct sight *sights = monitor->sights;
    memmove(&sights[1], &sights[0], 2 * sizeof sights[0]);
    sights[0] = (struct sight){.stamp = stamp, .moved = true};
    if (monitor->checkout != NULL) {
        sights[0].epoch = monitor->checkout->epoch;
        sights[0].moved = changed && (sights[0].epoch == sights[1].epoch || sights[1].epoch == 0);
        aliases_connection_look(monitor->checkout->connection, &sights[0].marks);
    }
    if (is_overwritten(sights))
        begin_anew(monitor);
    else if (is_being_written(monitor) && !same_stamp(&sights[0].stamp, &sights[1].stamp) &&
             !sqlite_wrote(sights))
        monitor->quiet_ms = clock_monotonic_ms() + QUIET_MS;
}

/* A checkout with a transaction open, or none. */
static void renew_checkout(struct monitor *monitor)
{
    bool changed = false;
    struct stamp stamp = {0};
    (void)stamp_of(monitor->config->path, &stamp); /* who finds none finds no checkout either */
    aliases_pool_look(monitor->live);
    if (monitor->checkout != NULL && !aliases_pool_checkout_is_current(monitor->checkout))
        drop_checkout(monitor);
    if (monitor->checkout == NULL) {
        monitor->checkout = aliases_pool_take(monitor->live);
        changed = monitor->checkout != NULL;
    } else if (aliases_pool_checkout_begin(monitor->checkout, &changed) != FAULT_NONE) {
        drop_checkout(monitor);
    }
    note_change(monitor, changed);
    look_for_overwriting(monitor, stamp, changed);
    if (monitor->checkout != NULL && monitor->alone && !monitor->dirty &&
        aliases_monitor_trusts(monitor, monitor->checkout->epoch)) /* the data is still what was checked */
        atomic_store(&monitor->proved, monitor->checkout->generation);
}

/* Asked by whatever takes long. */
static int is_cancelled(void *arg)
{
    struct monitor *monitor = arg;
    return worker_stopping(monitor->worker) || clock_monotonic_ms() > monitor->check_until_ms ||
           !aliases_pool_checkout_is_current(monitor->checkout);
}

/* What was done with the connection failed: is it the file? */
static void blame_live(struct monitor *monitor, int rc)
{
    if (aliases_connection_fault_of(rc) == FAULT_BROKEN && monitor->checkout != NULL) {
        monitor->checkout->fault = FAULT_BROKEN;
        drop_checkout(monitor);
    }
}

/* --- a round --- */

struct finding {
    enum check_result result;
    struct aliases_sizes sizes;
    struct error err;      /* what is wrong with the data; or, UNSURE, why it cannot be told */
    struct error copy_err; /* why no copy was made */
    bool copied;           /* it stands under new_path, */
    uint64_t sum;          /* and these are its pages */
    bool copy_damaged;     /* the one before is not what was written */
    bool overwritten;      /* the file was, and not by SQLite */
    int rc;                /* why the live file cannot be copied */
    bool forced;           /* what it lost was not asked */
};

/* What the round is about: begins anew with nothing in memory, since somebody may have written to the file past SQLite. */
static bool reread(struct monitor *monitor, sqlite3 *db, struct finding *found)
{
    bool changed = false;
    (void)aliases_pool_checkout_end(monitor->checkout);
    (void)sqlite3_db_release_memory(db); /* what cannot be released was read a moment ago */
    enum aliases_connection_fault fault = aliases_pool_checkout_begin(monitor->checkout, &changed);
    note_change(monitor, changed);
    monitor->sights[0].moved = monitor->sights[0].moved || changed;
    monitor->changed = monitor->urgent = false;
    if (fault != FAULT_NONE)
        found->err = *aliases_connection_error(monitor->checkout->connection);
    return fault == FAULT_NONE;
}

static void check_copy(struct monitor *monitor, struct finding *found)
{
    enum aliases_connection_fault fault;
    struct error err = {0};
    struct aliases_connection *copy = aliases_connection_open(monitor->new_path, true, &err, &fault);
    if (copy != NULL) {
        sqlite3 *db = aliases_connection_lend(copy, is_cancelled, monitor);
        found->result = aliases_check(db, monitor->config->path, &found->sizes, &found->err);
    } else {
        found->err = err;
        found->result = fault == FAULT_BROKEN ? CHECK_BAD : CHECK_UNSURE;
    }
    aliases_connection_close(copy);
}

/* Copies what is new and checks the copy. False: no copy can be written. */
static bool check_by_copy(struct monitor *monitor, sqlite3 *db, struct finding *found)
{
    int rc = SQLITE_OK;
    enum copy_result copied =
        aliases_snapshot_make(db, monitor->new_path, is_cancelled, monitor, &rc, &found->copy_err);
    if (copied == COPY_NO_TARGET)
        return false;
    if (copied == COPY_DONE) {
        (void)aliases_pool_checkout_end(monitor->checkout); /* the WAL is free again */
        found->copied = aliases_snapshot_sum(monitor->new_path, &found->sum) == 0;
        if (!found->copied)
            error_set(&found->copy_err, "cannot read %s again", monitor->new_path);
        check_copy(monitor, found);
    } else if (copied == COPY_NO_SOURCE) {
        aliases_schema_explain(rc, db, monitor->config->path, &found->err);
        found->rc = rc;
    }
    return true;
}

/* What is not new, and what cannot be copied, is checked where it lies. */
static void look_closely(struct monitor *monitor, struct finding *found)
{
    monitor->check_until_ms = clock_monotonic_ms() + CHECK_MS;
    sqlite3 *db = aliases_connection_lend(monitor->checkout->connection, is_cancelled, monitor);
    bool readable = reread(monitor, db, found), is_new = monitor->dirty || monitor->renew || monitor->alone ||
                                                         !same_stamp(&monitor->touched, &monitor->copied);
    if (readable && !(is_new && check_by_copy(monitor, db, found)))
        found->result = aliases_check(db, monitor->config->path, &found->sizes, &found->err);
    aliases_connection_reclaim(monitor->checkout->connection);
    blame_live(monitor, found->rc);
}

/* Data that nobody has written to by SQLite since it was copied is still the same, page by page; or somebody else has written to
 * the file, which look_for_overwriting() need not see beside checkpoints; or it was damaged, in a way that leaves its order intact.
 * Where it is the same and sessions found it other than the copy, it is the copy that was damaged. */
static void compare_copies(struct monitor *monitor, struct finding *found)
{
    uint64_t kept;
    if (found->sum == monitor->sum) {
        found->copy_damaged =
            atomic_load(&monitor->has_copy) &&
            (aliases_snapshot_sum(monitor->config->copy_path, &kept) < 0 || kept != monitor->sum);
        return;
    }
    found->overwritten = !same_stamp(&monitor->touched, &monitor->copied);
    found->result = found->overwritten ? CHECK_UNSURE : CHECK_BAD;
    error_set(&found->err,
              "alias database %s is not what was written to it: it differs from its last good copy; restore "
              "it, or, if it is right, run: rcptgate alias accept",
              monitor->config->path);
}

static void check_shrink(struct monitor *monitor, const struct aliases_sizes *before, struct finding *found)
{
    struct error left = {0};
    int max_shrink = atomic_load(&monitor->max_shrink);
    found->result = aliases_check_shrink(before, &found->sizes, max_shrink, &left);
    if (found->result == CHECK_BAD)
        aliases_check_say_shrink(monitor->config->path, max_shrink, &left, &found->err);
}

/* Data that lost too much, or changed past SQLite, is bad, unless somebody said that it is right. */
static void weigh(struct monitor *monitor, struct finding *found)
{
    bool marked = access(monitor->accept_path, F_OK) == 0; /* no disk is waited for under the lock */
    pthread_mutex_lock(&monitor->lock);
    struct aliases_sizes before = monitor->notified.sizes;
    bool counted = monitor->notified.counted;
    found->forced = monitor->notified.accept || marked;
    pthread_mutex_unlock(&monitor->lock);
    if (found->forced)
        return;
    if (found->result == CHECK_GOOD && found->copied && monitor->summed && !monitor->dirty && !monitor->alone)
        compare_copies(monitor, found);
    if (found->result == CHECK_GOOD && counted)
        check_shrink(monitor, &before, found);
}

/* The copy into its place. Without one the old copy stays, for when the file fails. */
static void keep_copy(struct monitor *monitor, struct finding *found)
{
    if (found->copied &&
        aliases_snapshot_install(monitor->new_path, monitor->config->copy_path, &found->copy_err) == 0) {
        aliases_pool_look(monitor->copies);
        atomic_store(&monitor->has_copy, true);
        monitor->renew = false;
        monitor->summed = true;
        monitor->sum = found->sum;
        monitor->copied = monitor->touched;
    } else if (!found->copied && found->copy_err.text[0] == '\0' && !monitor->changed) {
        /* it is still as the file: a restart shall know how young it is, or think it older */
        (void)utimensat(AT_FDCWD, monitor->config->copy_path, NULL, 0);
    }
    monitor->alone = found->copy_err.text[0] != '\0';
    monitor->dirty = monitor->changed;
}

static void take(struct monitor *monitor, struct finding *found, unsigned epoch, uint64_t generation)
{
    keep_copy(monitor, found);
    if (monitor->refused) {
        drop_checkout(monitor); /* nothing is opened before the last of the old ones is closed */
        epoch = aliases_pool_renew(monitor->live);
    }
    monitor->refused = false;
    monitor->judged = epoch;
    atomic_store(&monitor->validated_ms, clock_monotonic_ms());
    atomic_store(&monitor->proved, monitor->alone && !monitor->changed ? generation : 0);
    atomic_store(&monitor->trusted, epoch);
    (void)unlink(monitor->accept_path); /* mostly there is none */
    monitor->failed = monitor->alone;
    pthread_mutex_lock(&monitor->lock);
    struct notified *notified = &monitor->notified;
    notified->sizes = found->sizes;
    notified->counted = true;
    notified->accept = false;
    notified->refused = notified->unsure = (struct error){0};
    notified->copy_condition = (struct error){0};
    if (found->copy_damaged)
        error_set(&notified->copy_condition,
                  "the last good copy of the alias rules, %s, was not what was written to it, and was made "
                  "anew: who "
                  "else writes there, or is the disk failing?",
                  monitor->config->copy_path);
    if (monitor->alone)
        error_set(
            &notified->copy_condition,
            "no last good copy of the alias rules can be kept: %s; make room, or give the gate write access",
            found->copy_err.text);
    notified->taken++;
    pthread_mutex_unlock(&monitor->lock);
}

/* Not good: what is refused is not believed any more; what could not be looked at stays as it was. */
static void leave(struct monitor *monitor, struct finding *found)
{
    if (found->copied)
        (void)unlink(monitor->new_path); /* the next one replaces it anyway */
    monitor->failed = true;
    monitor->refused = monitor->refused || found->result == CHECK_BAD;
    pthread_mutex_lock(&monitor->lock);
    struct notified *notified = &monitor->notified;
    if (found->result == CHECK_BAD) {
        atomic_store(&monitor->trusted, 0);
        atomic_store(&monitor->proved, 0);
        notified->refused = found->err;
        notified->unsure = (struct error){0};
        notified->accept = notified->accept && !found->forced;
    } else {
        notified->unsure = found->err;
    }
    pthread_mutex_unlock(&monitor->lock);
}

/* Of a round that began while somebody overwrote the file: whether that may be half of what he means. It is not where nothing
 * became of it (touched; a rollback), nor where he has not gone on for long enough meanwhile. */
static bool may_be_half(const struct monitor *monitor, const struct finding *found)
{
    struct stamp now;
    bool is_as_before = found->copied && monitor->summed && found->sum == monitor->sum;
    return !is_as_before && (is_being_written(monitor) || !stamp_of(monitor->config->path, &now) ||
                             !same_stamp(&now, &monitor->touched));
}

/* Within a transaction of the checkout, which may be over afterwards, and the checkout gone. */
static void run_round(struct monitor *monitor)
{
    struct finding found = {0};
    int64_t start = clock_monotonic_ms();
    unsigned epoch = monitor->checkout->epoch;
    bool meanwhile = is_being_written(monitor);
    (void)stamp_of(monitor->config->path, &monitor->touched); /* a write from now on is seen as one */
    look_closely(monitor, &found);
    weigh(monitor, &found);
    if (found.overwritten)
        begin_anew(monitor);
    if (found.overwritten || (meanwhile && may_be_half(monitor, &found)) ||
        (monitor->checkout != NULL && !aliases_pool_checkout_is_current(monitor->checkout))) {
        if (found.copied) /* another file came meanwhile, or comes: this one does not matter any more */
            (void)unlink(monitor->new_path);
    } else {
        monitor->judged = epoch;
        if (found.result == CHECK_GOOD && monitor->checkout != NULL)
            take(monitor, &found, epoch, monitor->checkout->generation);
        else
            leave(monitor, &found);
    }
    monitor->round_end_ms = clock_monotonic_ms();
    monitor->took_ms = monitor->round_end_ms - start;
    atomic_store(&monitor->cheap, monitor->took_ms <= CHEAP_MS && !monitor->failed);
    pthread_mutex_lock(&monitor->lock);
    monitor->notified.round_ms = monitor->took_ms;
    pthread_mutex_unlock(&monitor->lock);
}

static bool is_time(const struct monitor *monitor, enum reason reason)
{
    int64_t pause = monitor->took_ms * paces[reason].times;
    if (pause < paces[reason].least_ms)
        pause = paces[reason].least_ms;
    if (pause > paces[reason].most_ms)
        pause = paces[reason].most_ms;
    return clock_monotonic_ms() - monitor->round_end_ms >= pause;
}

static bool is_due(struct monitor *monitor, bool kick, bool accept)
{
    struct stamp stamp;
    enum reason change = monitor->urgent ? WHY_URGENT : WHY_CHANGE;
    if (is_being_written(monitor)) /* whether it is what was there before */
        return monitor->summed && monitor->checkout->epoch != monitor->judged && is_time(monitor, WHY_TOUCH);
    if (accept || monitor->judged == 0)
        return true;
    if (monitor->checkout->epoch != monitor->judged)
        return is_time(monitor, WHY_URGENT);
    if (monitor->failed) /* what is changed then may well be what mends it */
        return is_time(monitor, WHY_FAILED) || (monitor->changed && is_time(monitor, WHY_URGENT));
    if (monitor->dirty || monitor->renew)
        return is_time(monitor, monitor->dirty ? change : WHY_CHANGE);
    if (kick || (stamp_of(monitor->config->path, &stamp) && !same_stamp(&stamp, &monitor->touched)))
        return is_time(monitor, WHY_TOUCH);
    return is_time(monitor, WHY_AGE);
}

/* --- the thread --- */

static void turn(struct monitor *monitor)
{
    pthread_mutex_lock(&monitor->lock);
    struct notified *notified = &monitor->notified;
    bool kick = notified->kick, accept = kick && notified->accept, differs = notified->differs;
    notified->kick = notified->differs = false;
    pthread_mutex_unlock(&monitor->lock);
    monitor->renew = monitor->renew || differs;
    monitor->urgent = monitor->urgent || differs;
    miss_copy(monitor);
    renew_checkout(monitor);
    if (monitor->checkout != NULL && is_due(monitor, kick, accept))
        run_round(monitor);
    if (monitor->checkout != NULL && aliases_pool_checkout_end(monitor->checkout) != FAULT_NONE)
        drop_checkout(monitor);
    pthread_mutex_lock(&monitor->lock);
    notified->dirty = monitor->dirty || monitor->renew;
    notified->turns++;
    pthread_cond_broadcast(&monitor->done);
    pthread_mutex_unlock(&monitor->lock);
}

static int64_t monitor_step(void *arg)
{
    struct monitor *monitor = arg;
    if (!monitor->searched)
        find_copy(monitor);
    monitor->searched = true;
    turn(monitor);
    return clock_monotonic_ns() + TICK_MS * INT64_C(1000000);
}

static char *path_with(const char *path, const char *suffix)
{
    size_t n = strlen(path) + strlen(suffix) + 1;
    char *out = malloc(n);
    if (out != NULL)
        snprintf(out, n, "%s%s", path, suffix);
    return out;
}

struct monitor *aliases_monitor_new(const struct aliases_config *config, struct aliases_pool *live,
                                    struct aliases_pool *copies)
{
    struct monitor *monitor = calloc(1, sizeof *monitor);
    if (monitor == NULL)
        return NULL;
    monitor->config = config;
    monitor->live = live;
    monitor->copies = copies;
    monitor->new_path = path_with(config->copy_path, ".new");
    monitor->accept_path = path_with(config->copy_path, ".accept");
    atomic_init(&monitor->validated_ms, NEVER_MS);
    atomic_init(&monitor->max_stale_ms, config->max_stale_ms);
    atomic_init(&monitor->max_shrink, config->max_shrink);
    pthread_mutex_init(&monitor->lock, NULL);
    pthread_cond_init(&monitor->done, NULL);
    if (monitor->new_path != NULL && monitor->accept_path != NULL)
        return monitor;
    aliases_monitor_free(monitor);
    return NULL;
}

int aliases_monitor_start(struct monitor *monitor, int wait_ms, int wait_copy_ms, struct error *err)
{
    monitor->worker = worker_new("aliases", monitor_step, monitor, err);
    if (monitor->worker == NULL || worker_start(monitor->worker, err) < 0)
        return -1;
    int64_t start = clock_monotonic_ms();
    pthread_mutex_lock(&monitor->lock);
    while (monitor->notified.turns == 0) {
        int64_t until = start + (aliases_monitor_has_copy(monitor) && aliases_monitor_copy_is_fresh(monitor)
                                     ? wait_copy_ms
                                     : wait_ms);
        if (clock_monotonic_ms() >= until)
            break;
        struct timespec tick = clock_in_ms(50);
        (void)wait_done(monitor, &tick);
    }
    pthread_mutex_unlock(&monitor->lock);
    return 0;
}

void aliases_monitor_free(struct monitor *monitor)
{
    if (monitor == NULL)
        return;
    pthread_mutex_lock(&monitor->lock);
    monitor->notified.stop = true;
    pthread_cond_broadcast(&monitor->done);
    pthread_mutex_unlock(&monitor->lock);
    worker_free(monitor->worker);
    drop_checkout(monitor);
    pthread_cond_destroy(&monitor->done);
    pthread_mutex_destroy(&monitor->lock);
    free(monitor->new_path);
    free(monitor->accept_path);
    free(monitor);
}
