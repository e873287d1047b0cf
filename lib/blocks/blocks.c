/* blocks: see blocks.h.
 *
 * Two locks. `lock` guards what sessions touch and a few words more, and is only ever held for moments.
 * `work` is held by whoever makes a new list, writes the file or speaks to Redis, for as long as that takes;
 * it comes first. */
#include "blocks/blocks.h"

#include "remote.h"
#include "base/clock.h"
#include "sys/worker.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOK_MS = 250,
    LOOK_DOWN_MS = 50, /* whether Redis is back: costs nothing while it is not */
    GIVE_WAY = 5,      /* nice: mail goes first */
    REST_MS = 1,       /* between two portions, for Redis to answer others */
    SAVE_AGAIN_MS = 5000,
    RECHECK_MS = 30000,
    REMEMBER_MS = 60000, /* what was wrong with a file that was written anew stays a condition so long */
    NOTIFIED = 20,       /* of one merge, one by one */
    TOMBSTONE_S = 30 * 24 * 3600, /* a host that was away for longer brings back what was unblocked */
    FILE_LINE = NETWORK_TEXT + BLOCK_TEXT,
};

struct networks_due { /* a growing list */
    struct network *at;
    size_t n, size;
};

struct blocks_due {
    struct block *at;
    size_t n, size;
};

struct blocks {
    struct blocks_config config;
    char *host;
    struct worker *worker;
    pthread_mutex_t lock;
    pthread_mutex_t work;

    /* Under lock; the list under both, so that either suffices to look at it. */
    struct blocklist *list;
    struct error file_condition, redis_condition;
    struct error unread; /* what was wrong with the file when it was read, */
    int64_t forget_ms;   /* and when that is over; 0: it stands as it was */

    /* Under work. */
    bool unsaved;
    bool push_all;
    char *path;
    int64_t save_after_ms; /* where it failed (monotonic) */
    struct error refused;  /* what Redis has that does not hold here; */
    int64_t recheck_ms;    /* when all is looked at again (monotonic); 0: not */
    struct blocks_remote *redis;
    struct networks_due push; /* changed here, not yet in Redis */
    struct blocks_due drop;   /* ended; without strings */

    bool gives_way; /* the thread's */
    atomic_bool any;
};

static int64_t round_step(void *arg);

static int64_t now_ms(const struct blocks *blocks)
{
    return blocks->config.now_ms(blocks->config.arg);
}

struct blocks *blocks_new(const struct blocks_config *config, struct error *err)
{
    struct blocks *blocks = calloc(1, sizeof *blocks);
    if (blocks == NULL) {
        error_set(err, "out of memory for the blocks");
        return NULL;
    }
    pthread_mutex_init(&blocks->lock, NULL);
    pthread_mutex_init(&blocks->work, NULL);
    blocks->config = *config;
    blocks->host = strdup(config->host);
    blocks->list = blocklist_new();
    if (config->redis != NULL)
        blocks->redis = blocks_remote_new(config->redis);
    blocks->worker = worker_new("blocks", round_step, blocks, err);
    if (blocks->worker == NULL || blocks->host == NULL || blocks->list == NULL ||
        (config->redis != NULL && blocks->redis == NULL)) {
        error_set(err, "out of memory for the blocks");
        blocks_free(blocks);
        return NULL;
    }
    return blocks;
}

void blocks_free(struct blocks *blocks)
{
    if (blocks == NULL)
        return;
    worker_free(blocks->worker);
    blocklist_unref(blocks->list);
    blocks_remote_free(blocks->redis);
    pthread_mutex_destroy(&blocks->lock);
    pthread_mutex_destroy(&blocks->work);
    free(blocks->push.at);
    free(blocks->drop.at);
    free(blocks->host);
    free(blocks->path);
    free(blocks);
}

/* ---- looking ---- */

struct blocklist *blocks_list(struct blocks *blocks)
{
    pthread_mutex_lock(&blocks->lock);
    struct blocklist *list = blocklist_ref(blocks->list);
    pthread_mutex_unlock(&blocks->lock);
    return list;
}

bool blocks_any(const struct blocks *blocks)
{
    return atomic_load_explicit(&blocks->any, memory_order_relaxed);
}

bool blocks_find(struct blocks *blocks, const struct network *client, struct block_found *out)
{
    if (!client->set || !blocks_any(blocks))
        return false;
    struct blocklist *list = blocks_list(blocks);
    const struct block *block = blocklist_find(list, client, now_ms(blocks) / 1000);
    if (block != NULL) {
        network_format(&block->network, out->network);
        out->action = block->action;
        out->until_s = block->until_s;
    }
    blocklist_unref(list);
    return block != NULL;
}

static void condition_note(struct blocks *blocks, struct error *which, const struct error *err)
{
    pthread_mutex_lock(&blocks->lock);
    *which = *err;
    pthread_mutex_unlock(&blocks->lock);
}

/* Of the file: what was wrong with it when it was read; NULL: it was written anew. */
static void unread_note(struct blocks *blocks, const struct error *err)
{
    pthread_mutex_lock(&blocks->lock);
    if (err != NULL)
        blocks->unread = *err;
    if (err != NULL || blocks->forget_ms == 0)
        blocks->forget_ms = err != NULL ? 0 : now_ms(blocks) + REMEMBER_MS;
    pthread_mutex_unlock(&blocks->lock);
}

void blocks_condition(struct blocks *blocks, struct error *out)
{
    static const struct error none;
    int64_t now = now_ms(blocks);
    pthread_mutex_lock(&blocks->lock);
    const struct error *first = blocks->file_condition.text[0] != '\0'              ? &blocks->file_condition
                                : blocks->redis_condition.text[0] != '\0'           ? &blocks->redis_condition
                                : blocks->forget_ms == 0 || now < blocks->forget_ms ? &blocks->unread
                                                                                    : &none;
    error_set(out, "%s", first->text);
    pthread_mutex_unlock(&blocks->lock);
}

/* ---- a new list; `work` is held from here on ---- */

static bool due_room(void **at, size_t n, size_t *size, size_t each)
{
    if (n < *size)
        return true;
    size_t more = *size > 0 ? 2 * *size : 64;
    void *grown = realloc(*at, more * each);
    if (grown == NULL)
        return false;
    *at = grown;
    *size = more;
    return true;
}

static bool blocks_due_add(struct blocks_due *due, const struct block *block)
{
    void *at = due->at;
    if (!due_room(&at, due->n, &due->size, sizeof *due->at))
        return false;
    due->at = at;
    due->at[due->n++] = *block;
    return true;
}

/* Where memory is short, all are pushed again instead. */
static void push_add(struct blocks *blocks, const struct network *network)
{
    void *at = blocks->push.at;
    if (blocks->redis == NULL)
        return;
    if (due_room(&at, blocks->push.n, &blocks->push.size, sizeof *blocks->push.at)) {
        blocks->push.at = at;
        blocks->push.at[blocks->push.n++] = *network;
    } else {
        blocks->push_all = true;
    }
}

/* To be taken out of Redis; what cannot be noted stays there until the next gate that finds it. */
static void drop_add(struct blocks *blocks, const struct block *block)
{
    struct block bare = *block;
    bare.host = bare.reason = "";
    if (blocks->redis != NULL)
        (void)blocks_due_add(&blocks->drop, &bare);
}

enum origin { FROM_HERE, FROM_FILE, FROM_REDIS };

struct announcement { /* one merge, as its events say it */
    struct blocks *blocks;
    enum origin origin;
    size_t notified, more, changes;
};

static void notify(struct announcement *announced, const struct block *was, const struct block *is)
{
    struct blocks *blocks = announced->blocks;
    if (blocks->config.event == NULL || announced->origin == FROM_FILE)
        return;
    if (announced->notified < NOTIFIED)
        blocks->config.event(blocks->config.arg, &(struct blocks_event){.was = was, .is = is});
    else
        announced->more++;
    announced->notified++;
}

static void on_change(void *arg, const struct block *was, const struct block *is)
{
    struct announcement *announced = arg;
    bool was_live = was != NULL && was->action != ACTION_ACCEPT;
    bool is_live = is != NULL && is->action != ACTION_ACCEPT;
    announced->changes++;
    if (is == NULL && was != NULL)
        drop_add(announced->blocks, was);
    else if (is != NULL && announced->origin == FROM_HERE)
        push_add(announced->blocks, &is->network);
    if (was_live || is_live)
        notify(announced, was, is);
}

/* Puts the changes in force, and out of force what has ended. False: out of memory, nothing was done. */
static bool merge(struct blocks *blocks, const struct block *changes, size_t n, enum origin origin)
{
    struct announcement announced = {.blocks = blocks, .origin = origin};
    struct blocklist *old = blocks->list;
    struct blocklist *list = blocklist_merge(old, changes, n, now_ms(blocks) / 1000, on_change, &announced);
    if (list == NULL)
        return false;
    if (announced.changes == 0) {
        blocklist_unref(list);
        return true;
    }
    pthread_mutex_lock(&blocks->lock);
    blocks->list = list;
    pthread_mutex_unlock(&blocks->lock);
    atomic_store(&blocks->any, blocklist_live(list) > 0);
    blocklist_unref(old);
    blocks->unsaved = true;
    if (announced.more > 0)
        blocks->config.event(blocks->config.arg, &(struct blocks_event){.more = announced.more});
    return true;
}

/* ---- the file ---- */

static int write_list(FILE *out, const struct blocklist *list)
{
    fputs("# Networks blocked by rcptgate, one a line; written anew at each change (see rcptgate block).\n",
          out);
    for (size_t i = 0; i < blocklist_size(list) && ferror(out) == 0; i++) {
        char network[NETWORK_TEXT], value[BLOCK_TEXT];
        struct text text;
        text_init(&text, value, sizeof value);
        blocklist_format(blocklist_at(list, i), &text);
        fprintf(out, "%s %s\n", network_format(&blocklist_at(list, i)->network, network), value);
    }
    return fflush(out) == 0 && ferror(out) == 0 ? 0 : -1;
}

static int write_file(const struct blocklist *list, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (out == NULL)
        return -1;
    int rc = write_list(out, list);
    if (fclose(out) != 0)
        rc = -1;
    if (rc == 0)
        rc = file_write(path, text, n, 0640);
    else
        errno = ENOMEM; /* nothing else goes wrong in memory */
    free(text);
    return rc;
}

/* A full disk is not written to four times a second. */
static bool save_may_wait(const struct blocks *blocks)
{
    return clock_monotonic_ms() < blocks->save_after_ms;
}

static int save(struct blocks *blocks, struct error *err)
{
    struct error condition = {0};
    if (!blocks->unsaved || blocks->path == NULL)
        return 0;
    if (write_file(blocks->list, blocks->path) < 0) {
        error_set(&condition, "cannot write %s: %s; blocks made now are lost at a restart without Redis",
                  blocks->path, strerror(errno));
        blocks->save_after_ms = clock_monotonic_ms() + SAVE_AGAIN_MS;
    } else {
        blocks->unsaved = false;
        unread_note(blocks, NULL);
    }
    condition_note(blocks, &blocks->file_condition, &condition);
    error_set(err, "%s", condition.text);
    return blocks->unsaved ? -1 : 0;
}

struct gathered { /* changes that come one by one */
    const struct blocks *blocks;
    int64_t latest_ms; /* a change after it is none: some host's clock was wrong, or somebody else wrote it */
    struct pool pool;
    struct blocks_due list;
    size_t junk, lost, wide, ahead, beyond;
};

static struct gathered gathered_begin(const struct blocks *blocks)
{
    return (struct gathered){.blocks = blocks, .latest_ms = now_ms(blocks) + BLOCKS_AHEAD_MS};
}

/* No list grows without bounds because others write to Redis. */
static bool is_full(const struct gathered *gathered, const char *text)
{
    struct network network;
    const struct blocklist *list = gathered->blocks->list;
    return blocklist_size(list) + gathered->list.n >= BLOCKS_MAX &&
           (network_parse(text, &network, NULL) < 0 || blocklist_get(list, &network) == NULL);
}

static void gather(void *arg, const char *network, const char *text)
{
    struct gathered *gathered = arg;
    struct block block;
    if (is_full(gathered, network))
        gathered->beyond++;
    else if (blocklist_parse(network, text, &gathered->pool, &block) < 0)
        gathered->junk++;
    else if (block.changed_ms > gathered->latest_ms)
        gathered->ahead++;
    else if (block.action != ACTION_ACCEPT && !block.forced && blocklist_is_wide(&block.network))
        gathered->wide++;
    else if (!blocks_due_add(&gathered->list, &block))
        gathered->lost++;
}

static void gathered_done(struct gathered *gathered)
{
    pool_done(&gathered->pool);
    free(gathered->list.at);
}

/* What was not taken, and why. */
static void gathered_report(const struct gathered *gathered, const char *where, struct error *err)
{
    if (gathered->wide > 0)
        error_set(err,
                  "%zu blocks in %s are wider than /8 (IPv6 /32) without the mark of rcptgate block --force, "
                  "and do not "
                  "hold: who wrote them? Remove them, or block them with --force",
                  gathered->wide, where);
    if (gathered->ahead > 0)
        error_set(err,
                  "%zu blocks in %s were made in the future and do not hold: is some host's clock wrong? "
                  "Remove them, or "
                  "block them again",
                  gathered->ahead, where);
    if (gathered->beyond > 0)
        error_set(err, "%zu blocks in %s are more than the %d that are kept, and do not hold",
                  gathered->beyond, where, BLOCKS_MAX);
    if (gathered->junk > 0)
        error_set(err,
                  "%zu blocks in %s make no sense and are passed over; was something else than rcptgate "
                  "block used?",
                  gathered->junk, where);
}

static int read_file(FILE *in, struct gathered *gathered)
{
    char line[FILE_LINE + 2];
    while (fgets(line, sizeof line, in) != NULL) {
        size_t n = strcspn(line, "\n");
        bool whole = line[n] == '\n';
        line[n] = '\0';
        if (line[0] == '#' || (line[0] == '\0' && whole)) /* else zeros, which a crash can leave */
            continue;
        size_t end = strcspn(line, " ");
        bool has_text = line[end] == ' ';
        line[end] = '\0';
        if (whole && has_text)
            gather(gathered, line, line + end + 1);
        else
            gathered->junk++; /* cut off, or too long, which shows in the rest of it, too */
    }
    return ferror(in) != 0 ? -1 : 0;
}

/* What the file has, with `work` held. */
static int load(struct blocks *blocks, struct error *err)
{
    struct gathered gathered = gathered_begin(blocks);
    int fd = file_open_own(blocks->path, O_RDONLY, 0);
    FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (in == NULL && errno == ENOENT) {
        unread_note(blocks, err);
        return 0;
    }
    if (in == NULL || read_file(in, &gathered) < 0)
        error_set(err, "cannot read %s: %s", blocks->path, strerror(errno));
    if (in != NULL)
        (void)fclose(in); /* only read: nothing can be lost */
    else if (fd >= 0)
        (void)close(fd);
    gathered_report(&gathered, blocks->path, err);
    bool was_unsaved = blocks->unsaved;
    if (gathered.lost > 0 || !merge(blocks, gathered.list.at, gathered.list.n, FROM_FILE))
        error_set(err, "out of memory for the blocks in %s", blocks->path);
    blocks->unsaved = was_unsaved || gathered.junk > 0;
    blocks->push_all = true; /* Redis may not know them */
    unread_note(blocks, err);
    gathered_done(&gathered);
    return err->text[0] != '\0' ? -1 : 0;
}

int blocks_load(struct blocks *blocks, const char *path, struct error *err)
{
    struct error own = {0};
    int rc = -1;
    pthread_mutex_lock(&blocks->work);
    char *copy = strdup(path);
    if (copy != NULL) {
        free(blocks->path);
        blocks->path = copy;
        rc = load(blocks, &own);
    } else {
        error_set(&own, "out of memory for the blocks");
    }
    pthread_mutex_unlock(&blocks->work);
    error_set(err, "%s", own.text);
    return rc;
}

/* ---- changes ---- */

/* Later than what is there, even where another host's clock is ahead. */
static int64_t stamp(const struct blocks *blocks, const struct network *network, int64_t now)
{
    const struct block *old = blocklist_get(blocks->list, network);
    return old != NULL && old->changed_ms >= now ? old->changed_ms + 1 : now;
}

/* How many of the networks are not in the list yet: the others, to be unblocked for one, must not find it full. */
static size_t count_new(const struct blocks *blocks, const struct block *changes, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += blocklist_get(blocks->list, &changes[i].network) == NULL;
    return found;
}

int blocks_change(struct blocks *blocks, const struct block *changes, size_t n, bool more, struct error *err)
{
    int64_t now = now_ms(blocks);
    struct block *stamped = calloc(n + 1, sizeof *stamped);
    int rc = -1;
    pthread_mutex_lock(&blocks->work);
    if (stamped == NULL) {
        error_set(err, "out of memory for the blocks");
    } else if (blocklist_size(blocks->list) + count_new(blocks, changes, n) > BLOCKS_MAX) {
        error_set(err, "more than %d networks cannot be blocked", BLOCKS_MAX);
    } else {
        for (size_t i = 0; i < n; i++) {
            stamped[i] = changes[i];
            stamped[i].changed_ms = stamp(blocks, &changes[i].network, now);
            stamped[i].host = blocks->host;
            if (changes[i].action == ACTION_ACCEPT)
                stamped[i].until_s = now / 1000 + TOMBSTONE_S;
        }
        if (!merge(blocks, stamped, n, FROM_HERE)) {
            error_set(err, "out of memory for the blocks");
        } else {
            rc = 0;
            if (!more)
                (void)save(blocks, err);
        }
    }
    pthread_mutex_unlock(&blocks->work);
    free(stamped);
    worker_wake(blocks->worker);
    return rc;
}

/* ---- Redis; `work` is held ---- */

/* The first of what is due, at most a portion. False: not now. */
static bool push_some(struct blocks *blocks, const struct block *const *list, size_t n, struct error *err)
{
    if (n == 0)
        return true;
    if (blocks_remote_push(blocks->redis, list, n, now_ms(blocks) + BLOCKS_AHEAD_MS, err) != BLOCKS_REMOTE_OK)
        return false;
    const struct timespec rest = {.tv_nsec = REST_MS * 1000000L};
    if (n == BLOCKS_REMOTE_MOST)
        (void)nanosleep(&rest, NULL); /* a shorter one is as good */
    return true;
}

static bool push_due(struct blocks *blocks, struct error *err)
{
    const struct block *some[BLOCKS_REMOTE_MOST];
    size_t done = 0;
    bool ok = true;
    while (ok && done < blocks->push.n) {
        size_t n = 0, next = done;
        for (; next < blocks->push.n && n < BLOCKS_REMOTE_MOST; next++)
            if ((some[n] = blocklist_get(blocks->list, &blocks->push.at[next])) != NULL)
                n++; /* else it has ended meanwhile */
        ok = push_some(blocks, some, n, err);
        if (ok)
            done = next;
    }
    blocks->push.n -= done;
    if (done > 0 && blocks->push.n > 0)
        memmove(blocks->push.at, blocks->push.at + done, blocks->push.n * sizeof *blocks->push.at);
    return ok;
}

static bool push_everything(struct blocks *blocks, struct error *err)
{
    const struct block *some[BLOCKS_REMOTE_MOST];
    size_t size = blocklist_size(blocks->list);
    for (size_t i = 0; i < size;) {
        size_t n = 0;
        for (; i < size && n < BLOCKS_REMOTE_MOST; i++)
            some[n++] = blocklist_at(blocks->list, i);
        if (!push_some(blocks, some, n, err))
            return false;
    }
    blocks->push_all = false;
    blocks->push.n = 0;
    return true;
}

static bool drop_due(struct blocks *blocks, struct error *err)
{
    while (blocks->drop.n > 0) {
        size_t n = blocks->drop.n < BLOCKS_REMOTE_MOST ? blocks->drop.n : BLOCKS_REMOTE_MOST;
        if (blocks_remote_drop(blocks->redis, blocks->drop.at + blocks->drop.n - n, n, err) !=
            BLOCKS_REMOTE_OK)
            return false;
        blocks->drop.n -= n;
    }
    return true;
}

/* What others changed. Entries that have ended come along where no gate was there to drop them. */
static enum blocks_remote_status pull(struct blocks *blocks, struct error *err)
{
    struct gathered gathered = gathered_begin(blocks);
    int64_t now_s = now_ms(blocks) / 1000;
    if (blocks->recheck_ms != 0 && clock_monotonic_ms() >= blocks->recheck_ms) {
        blocks->recheck_ms = 0;
        blocks_remote_again(blocks->redis);
    }
    bool whole = blocks_remote_is_new(blocks->redis);
    enum blocks_remote_status status = blocks_remote_pull(blocks->redis, gather, &gathered, err);
    for (size_t i = 0; i < gathered.list.n; i++)
        if (gathered.list.at[i].until_s != 0 && gathered.list.at[i].until_s <= now_s)
            drop_add(blocks, &gathered.list.at[i]);
    if (gathered.list.n > 0 && !merge(blocks, gathered.list.at, gathered.list.n, FROM_REDIS))
        gathered.lost += gathered.list.n;
    if (gathered.lost > 0)
        error_set(err, "out of memory for the blocks of other hosts");
    struct error refused = {0};
    gathered_report(&gathered, "Redis", &refused);
    if (refused.text[0] != '\0' || (whole && status == BLOCKS_REMOTE_OK)) {
        blocks->refused = refused;
        blocks->recheck_ms = refused.text[0] != '\0' ? clock_monotonic_ms() + RECHECK_MS : 0;
    }
    error_set(err, "%s", blocks->refused.text);
    gathered_done(&gathered);
    return status;
}

/* One exchange. False: Redis does not have it all. */
static bool exchange(struct blocks *blocks)
{
    struct error err = {0};
    if (blocks->redis == NULL)
        return true;
    bool ok = push_due(blocks, &err);
    enum blocks_remote_status status = ok ? pull(blocks, &err) : BLOCKS_REMOTE_DOWN;
    blocks->push_all = blocks->push_all || status == BLOCKS_REMOTE_OTHER;
    if (status != BLOCKS_REMOTE_DOWN && blocks->push_all) {
        ok = push_everything(blocks, &err);
        status = ok ? pull(blocks, &err) : BLOCKS_REMOTE_DOWN;
    }
    ok = status == BLOCKS_REMOTE_OK && drop_due(blocks, &err);
    if (ok || err.text[0] != '\0') /* while it is down, that is a condition of the counters */
        condition_note(blocks, &blocks->redis_condition, &err);
    return ok;
}

bool blocks_sync(struct blocks *blocks)
{
    pthread_mutex_lock(&blocks->work);
    bool ok = exchange(blocks);
    struct error err = {0};
    (void)save(blocks, &err); /* noted as a condition */
    pthread_mutex_unlock(&blocks->work);
    return ok;
}

/* ---- the thread ---- */

/* False: Redis does not have it all. */
static bool round_make(struct blocks *blocks)
{
    struct error err = {0};
    pthread_mutex_lock(&blocks->work);
    bool ok = exchange(blocks);
    if (blocklist_next_end(blocks->list) <= now_ms(blocks) / 1000)
        (void)merge(blocks, NULL, 0, FROM_REDIS); /* a look-up passes over what has ended anyway */
    if (!save_may_wait(blocks))
        (void)save(blocks, &err); /* noted as a condition */
    pthread_mutex_unlock(&blocks->work);
    return ok;
}

static int64_t round_step(void *arg)
{
    struct blocks *blocks = arg;
    if (!blocks->gives_way) /* this thread alone; without, it works as well */
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), GIVE_WAY);
    blocks->gives_way = true;
    int64_t pause_ms = round_make(blocks) ? LOOK_MS : LOOK_DOWN_MS;
    return clock_monotonic_ns() + pause_ms * 1000000;
}

int blocks_start(struct blocks *blocks, struct error *err)
{
    return worker_start(blocks->worker, err);
}
