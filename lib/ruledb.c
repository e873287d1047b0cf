/* Owns two pools of handles, on the live file and on its copy, and asks the keeper which of them to believe.
 * Nothing here waits for a check or a copy, but for a short one where otherwise nobody could tell. */
#include "ruledb.h"

#include "ruledb_handles.h"
#include "ruledb_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECHECK_MS = 150 }; /* a session waits so long for the changed file to pass its checks */

struct ruledb {
    struct ruledb_config config; /* strings owned */
    struct handles *live, *copies;
    struct keeper *keeper;
    bool kept; /* the keeper runs, and judges what may be believed */
};

void ruledb_free(struct ruledb *db)
{
    if (db == NULL)
        return;
    keeper_free(db->keeper);
    handles_free(db->copies);
    handles_free(db->live);
    free((char *)(uintptr_t)db->config.path);
    free((char *)(uintptr_t)db->config.copy_path);
    free(db);
}

struct ruledb *ruledb_new(const struct ruledb_config *config)
{
    struct ruledb *db = calloc(1, sizeof *db);
    if (db == NULL)
        return NULL;
    db->config = *config;
    db->config.path = strdup(config->path);
    db->config.copy_path = config->copy_path != NULL ? strdup(config->copy_path) : NULL;
    if (db->config.path != NULL)
        db->live = handles_new(db->config.path, false);
    bool ok = db->live != NULL;
    if (ok && config->copy_path != NULL) {
        db->copies = db->config.copy_path != NULL ? handles_new(db->config.copy_path, true) : NULL;
        db->keeper = db->copies != NULL ? keeper_new(&db->config, db->live, db->copies) : NULL;
        ok = db->keeper != NULL;
    }
    if (ok)
        return db;
    ruledb_free(db);
    return NULL;
}

int ruledb_start(struct ruledb *db, int wait_ms, int wait_copy_ms, struct error *err)
{
    if (db->keeper == NULL)
        return 0;
    db->kept = true;
    return keeper_start(db->keeper, wait_ms, wait_copy_ms, err);
}

void ruledb_configure(struct ruledb *db, int64_t max_stale_ms, int max_shrink)
{
    if (db != NULL && db->keeper != NULL)
        keeper_configure(db->keeper, max_stale_ms, max_shrink);
}

/* --- snapshots --- */

/* What is not believed is not asked either: a new file is first opened by the keeper. */
static struct lease *take_live(struct ruledb *db)
{
    if (!db->kept)
        return handles_take(db->live);
    struct lease *lease = keeper_trusts(db->keeper, handles_epoch(db->live)) ? handles_take(db->live) : NULL;
    if (lease == NULL || keeper_trusts(db->keeper, lease->epoch))
        return lease;
    handles_give(lease);
    return NULL;
}

struct ruledb_snapshot ruledb_begin(struct ruledb *db)
{
    return (struct ruledb_snapshot){.db = db, .live = db != NULL ? take_live(db) : NULL};
}

struct ruledb_snapshot ruledb_begin_copy(struct ruledb *db)
{
    return (struct ruledb_snapshot){.db = db, .second = true};
}

bool ruledb_is_proof(const struct ruledb_snapshot *snapshot)
{
    const struct ruledb *db = snapshot->db;
    return db == NULL || !db->kept || (snapshot->live != NULL && keeper_proves(db->keeper, snapshot->live));
}

bool ruledb_recheck(struct ruledb *db)
{
    return keeper_recheck(db->keeper, RECHECK_MS);
}

void ruledb_end(struct ruledb_snapshot *snapshot)
{
    handles_give(snapshot->live);
    handles_give(snapshot->copy);
}

uint64_t ruledb_generation(struct ruledb_snapshot *snapshot)
{
    if (snapshot->db == NULL)
        return 0;
    if (snapshot->live == NULL) /* nothing was read, or of the copy: never the same as another */
        return handles_generation(snapshot->db->live);
    return snapshot->live->generation;
}

/* The copy, for who needs it: most RCPTs do not. */
static struct lease *open_copy(struct ruledb_snapshot *snapshot)
{
    struct ruledb *db = snapshot->db;
    if (!snapshot->copy_asked && db->kept && keeper_has_copy(db->keeper))
        snapshot->copy = handles_take(db->copies);
    snapshot->copy_asked = true;
    return lease_can_read(snapshot->copy) && !snapshot->copy_slow ? snapshot->copy : NULL;
}

/* --- look-ups --- */

/* One question to whoever is to answer it: fills `rows`, whose type the caller knows. */
typedef enum handle_fault ask_fn(struct handle *handle, const void *query, struct pool *pool, void *rows);

/* Asks the live file, and where it cannot answer the copy; for a second reading the copy only. *rows is zeroed before each, and after a failure. */
static enum rows_state ask(struct ruledb_snapshot *snapshot, ask_fn *fn, const void *query, struct pool *pool,
                           void *rows, size_t size)
{
    memset(rows, 0, size);
    if (snapshot->db == NULL)
        return ROWS_LIVE;
    if (lease_can_read(snapshot->live) && !snapshot->live_slow) {
        enum handle_fault fault = fn(snapshot->live->handle, query, pool, rows);
        if (lease_settle(snapshot->live, fault))
            return ROWS_LIVE;
        memset(rows, 0, size);
        snapshot->live_slow = fault == FAULT_SLOW;
    }
    struct lease *copy = open_copy(snapshot);
    if (copy == NULL || (!snapshot->second && !keeper_copy_is_fresh(snapshot->db->keeper)))
        return ROWS_UNKNOWN;
    enum handle_fault fault = fn(copy->handle, query, pool, rows);
    if (lease_settle(copy, fault))
        return snapshot->second ? ROWS_LIVE : ROWS_COPY;
    memset(rows, 0, size);
    snapshot->copy_slow = fault == FAULT_SLOW;
    return ROWS_UNKNOWN;
}

static enum handle_fault ask_alias(struct handle *handle, const void *query, struct pool *pool, void *rows)
{
    return handle_alias(handle, query, pool, rows);
}

static enum handle_fault ask_sender(struct handle *handle, const void *query, struct pool *pool, void *rows)
{
    return handle_sender(handle, query, pool, rows);
}

struct client_query {
    const struct network *client;
    int64_t now_s;
};

static enum handle_fault ask_client(struct handle *handle, const void *query, struct pool *pool, void *rows)
{
    const struct client_query *of = query;
    return handle_client(handle, of->client, of->now_s, pool, rows);
}

void ruledb_alias(struct ruledb_snapshot *snapshot, const struct alias_query *query, struct pool *pool,
                  struct alias_rows *out)
{
    struct alias_rows rows;
    enum rows_state state = ask(snapshot, ask_alias, query, pool, &rows, sizeof rows);
    *out = rows;
    out->state = state;
}

/* What the file that is asked first says of one of its tables; true where it cannot tell. */
static bool may_have(struct ruledb_snapshot *snapshot, bool (*has)(const struct handle *handle))
{
    if (snapshot->db == NULL)
        return false;
    const struct lease *lease = snapshot->second ? open_copy(snapshot) : snapshot->live;
    return !lease_can_read(lease) || has(lease->handle);
}

bool ruledb_has_senders(struct ruledb_snapshot *snapshot)
{
    return may_have(snapshot, handle_has_senders);
}

bool ruledb_has_clients(struct ruledb_snapshot *snapshot)
{
    return may_have(snapshot, handle_has_clients);
}

void ruledb_sender(struct ruledb_snapshot *snapshot, const struct sender_query *query, struct pool *pool,
                   struct sender_rows *out)
{
    struct sender_rows rows;
    enum rows_state state = ask(snapshot, ask_sender, query, pool, &rows, sizeof rows);
    *out = rows;
    out->state = state;
}

void ruledb_client(struct ruledb_snapshot *snapshot, const struct network *client, int64_t now_s,
                   struct pool *pool, struct client_row *out)
{
    const struct client_query query = {client, now_s};
    struct client_row row;
    enum rows_state state = ask(snapshot, ask_client, &query, pool, &row, sizeof row);
    *out = row;
    out->state = state;
}

/* --- how it is --- */

const char *ruledb_mode_name(enum ruledb_mode mode)
{
    static const char *const names[] = {[RULEDB_NOTHING] = "nothing",
                                        [RULEDB_COPY] = "copy",
                                        [RULEDB_DOUBTED] = "doubted",
                                        [RULEDB_LIVE] = "live"};
    return (unsigned)mode < sizeof names / sizeof names[0] ? names[mode] : "nothing";
}

/* That it is there does not say that it can be read. */
static bool copy_answers(struct ruledb *db)
{
    if (!db->kept || !keeper_has_copy(db->keeper) || !keeper_copy_is_fresh(db->keeper))
        return false;
    struct lease *copy = handles_take(db->copies);
    handles_give(copy);
    return copy != NULL;
}

void ruledb_status(struct ruledb *db, struct ruledb_status *out)
{
    *out = (struct ruledb_status){
        .mode = RULEDB_LIVE, .aliases = -1, .domains = -1, .validated_age_ms = -1, .copy_age_ms = -1};
    if (db == NULL)
        return;
    struct lease *live = take_live(db);
    bool trusted = live != NULL;
    handles_give(live);
    handles_trouble(db->live, &out->trouble);
    if (db->kept)
        keeper_status(db->keeper, out);
    if (!trusted)
        out->mode = copy_answers(db) ? RULEDB_COPY : RULEDB_NOTHING;
}

void ruledb_trouble(struct ruledb *db, struct error *out)
{
    struct ruledb_status status;
    ruledb_status(db, &status);
    *out = status.trouble;
    if (out->text[0] == '\0')
        *out = status.refused;
    if (out->text[0] == '\0')
        *out = status.copy_trouble;
}

int ruledb_accept(struct ruledb *db, int wait_ms, struct error *err)
{
    if (db->kept)
        return keeper_accept(db->keeper, wait_ms, err);
    error_set(err, "no copy of the alias rules is kept here");
    return -1;
}

int ruledb_accept_later(const char *copy_path, struct error *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.accept", copy_path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
    if (fd < 0) {
        error_set(err, "cannot create %s: %s", path, strerror(errno));
        return -1;
    }
    close(fd);
    return 0;
}
