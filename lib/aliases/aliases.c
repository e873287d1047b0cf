/* aliases: who answers for the alias rules (see aliases.h). Owns two pools of connections, on the live file and on its copy, and
 * asks the monitor which of them to believe. Fails into ROWS_UNKNOWN. Nothing here waits for a check or a copy, but for a
 * short one where otherwise nobody could tell. */
#include "aliases/aliases.h"

#include "aliases/check.h"
#include "pool.h"
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECHECK_MS = 150 }; /* a session waits so long for the changed file to pass its checks */

struct aliases {
    struct aliases_config config; /* strings owned */
    struct aliases_pool *live, *copies;
    struct monitor *monitor;
    bool kept; /* the monitor runs, and judges what may be believed */
};

void aliases_free(struct aliases *db)
{
    if (db == NULL)
        return;
    aliases_monitor_free(db->monitor);
    aliases_pool_free(db->copies);
    aliases_pool_free(db->live);
    free((char *)(uintptr_t)db->config.path);
    free((char *)(uintptr_t)db->config.copy_path);
    free(db);
}

struct aliases *aliases_new(const struct aliases_config *config)
{
    struct aliases *db = calloc(1, sizeof *db);
    if (db == NULL)
        return NULL;
    db->config = *config;
    db->config.path = strdup(config->path);
    db->config.copy_path = config->copy_path != NULL ? strdup(config->copy_path) : NULL;
    if (db->config.path != NULL)
        db->live = aliases_pool_new(db->config.path, false);
    bool ok = db->live != NULL;
    if (ok && config->copy_path != NULL) {
        db->copies = db->config.copy_path != NULL ? aliases_pool_new(db->config.copy_path, true) : NULL;
        db->monitor = db->copies != NULL ? aliases_monitor_new(&db->config, db->live, db->copies) : NULL;
        ok = db->monitor != NULL;
    }
    if (ok)
        return db;
    aliases_free(db);
    return NULL;
}

int aliases_start(struct aliases *db, int wait_ms, int wait_copy_ms, struct error *err)
{
    if (db->monitor == NULL)
        return 0;
    db->kept = true;
    return aliases_monitor_start(db->monitor, wait_ms, wait_copy_ms, err);
}

void aliases_configure(struct aliases *db, int64_t max_stale_ms, int max_shrink)
{
    if (db != NULL && db->monitor != NULL)
        aliases_monitor_configure(db->monitor, max_stale_ms, max_shrink);
}

/* --- snapshots --- */

/* What is not believed is not asked either: a new file is first opened by the monitor. */
static struct aliases_checkout *take_live(struct aliases *db)
{
    if (!db->kept)
        return aliases_pool_take(db->live);
    struct aliases_checkout *checkout = aliases_monitor_trusts(db->monitor, aliases_pool_epoch(db->live))
                                            ? aliases_pool_take(db->live)
                                            : NULL;
    if (checkout == NULL || aliases_monitor_trusts(db->monitor, checkout->epoch))
        return checkout;
    aliases_pool_give(checkout);
    return NULL;
}

struct aliases_reading aliases_begin(struct aliases *db)
{
    return (struct aliases_reading){.db = db, .live = db != NULL ? take_live(db) : NULL};
}

struct aliases_reading aliases_begin_copy(struct aliases *db)
{
    return (struct aliases_reading){.db = db, .second = true};
}

struct aliases_reading aliases_begin_unverified(struct aliases *db)
{
    return (struct aliases_reading){
        .db = db, .live = db != NULL ? aliases_pool_take(db->live) : NULL, .unverified = true};
}

bool aliases_is_proof(const struct aliases_reading *reading)
{
    const struct aliases *db = reading->db;
    return db == NULL || !db->kept ||
           (reading->live != NULL && aliases_monitor_proves(db->monitor, reading->live));
}

bool aliases_recheck(struct aliases *db)
{
    return aliases_monitor_recheck(db->monitor, RECHECK_MS);
}

void aliases_reload(struct aliases *db)
{
    (void)aliases_monitor_recheck(db->monitor, 0);
}

void aliases_end(struct aliases_reading *reading)
{
    if (reading->db != NULL && reading->db->kept) /* then the monitor looks ten times a second */
        aliases_pool_rest(reading->live);
    else
        aliases_pool_give(reading->live);
    aliases_pool_give(reading->copy);
}

uint64_t aliases_generation(struct aliases_reading *reading)
{
    if (reading->db == NULL)
        return 0;
    if (reading->live == NULL) /* nothing was read, or of the copy: never the same as another */
        return aliases_pool_generation(reading->db->live);
    return reading->live->generation;
}

/* The copy, for who needs it: most RCPTs do not. */
static struct aliases_checkout *open_copy(struct aliases_reading *reading)
{
    struct aliases *db = reading->db;
    if (!reading->copy_asked && db->kept && aliases_monitor_has_copy(db->monitor))
        reading->copy = aliases_pool_take(db->copies);
    reading->copy_asked = true;
    return aliases_pool_checkout_can_read(reading->copy) && !reading->copy_slow ? reading->copy : NULL;
}

/* --- look-ups --- */

/* One question to whoever is to answer it: fills `rows`, whose type the caller knows. */
typedef enum aliases_connection_fault ask_fn(struct aliases_connection *connection, const void *query,
                                             struct pool *pool, void *rows);

/* Asks the live file, and where it cannot answer the copy; for a second reading the copy only. *rows is zeroed before each, and after a failure. */
static enum rows_state ask(struct aliases_reading *reading, ask_fn *fn, const void *query, struct pool *pool,
                           void *rows, size_t size)
{
    memset(rows, 0, size);
    if (reading->db == NULL)
        return ROWS_LIVE;
    if (aliases_pool_checkout_can_read(reading->live) && !reading->live_slow) {
        enum aliases_connection_fault fault = fn(reading->live->connection, query, pool, rows);
        if (aliases_pool_checkout_settle(reading->live, fault))
            return ROWS_LIVE;
        memset(rows, 0, size);
        reading->live_slow = fault == FAULT_SLOW;
    }
    struct aliases_checkout *copy = reading->unverified ? NULL : open_copy(reading);
    if (copy == NULL || (!reading->second && !aliases_monitor_copy_is_fresh(reading->db->monitor)))
        return ROWS_UNKNOWN;
    enum aliases_connection_fault fault = fn(copy->connection, query, pool, rows);
    if (aliases_pool_checkout_settle(copy, fault))
        return reading->second ? ROWS_LIVE : ROWS_COPY;
    memset(rows, 0, size);
    reading->copy_slow = fault == FAULT_SLOW;
    return ROWS_UNKNOWN;
}

static enum aliases_connection_fault ask_alias(struct aliases_connection *connection, const void *query,
                                               struct pool *pool, void *rows)
{
    return aliases_connection_alias(connection, query, pool, rows);
}

static enum aliases_connection_fault ask_sender(struct aliases_connection *connection, const void *query,
                                                struct pool *pool, void *rows)
{
    return aliases_connection_sender(connection, query, pool, rows);
}

struct client_query {
    const struct network *client;
    int64_t now_s;
};

static enum aliases_connection_fault ask_client(struct aliases_connection *connection, const void *query,
                                                struct pool *pool, void *rows)
{
    const struct client_query *of = query;
    return aliases_connection_client(connection, of->client, of->now_s, pool, rows);
}

void aliases_alias(struct aliases_reading *reading, const struct alias_query *query, struct pool *pool,
                   struct alias_rows *out)
{
    out->state = ask(reading, ask_alias, query, pool, out, sizeof *out);
}

/* What the file that is asked first says of one of its tables; true where it cannot tell. */
static bool may_have(struct aliases_reading *reading,
                     bool (*has)(const struct aliases_connection *connection))
{
    if (reading->db == NULL)
        return false;
    const struct aliases_checkout *checkout = reading->second ? open_copy(reading) : reading->live;
    return !aliases_pool_checkout_can_read(checkout) || has(checkout->connection);
}

bool aliases_has_senders(struct aliases_reading *reading)
{
    return may_have(reading, aliases_connection_has_senders);
}

bool aliases_has_clients(struct aliases_reading *reading)
{
    return may_have(reading, aliases_connection_has_clients);
}

void aliases_sender(struct aliases_reading *reading, const struct sender_query *query, struct pool *pool,
                    struct sender_rows *out)
{
    out->state = ask(reading, ask_sender, query, pool, out, sizeof *out);
}

void aliases_client(struct aliases_reading *reading, const struct network *client, int64_t now_s,
                    struct pool *pool, struct client_row *out)
{
    const struct client_query query = {client, now_s};
    out->state = ask(reading, ask_client, &query, pool, out, sizeof *out);
}

/* --- how it is --- */

const char *aliases_mode_name(enum aliases_mode mode)
{
    static const char *const names[] = {[ALIASES_NOTHING] = "nothing",
                                        [ALIASES_COPY] = "copy",
                                        [ALIASES_UNVERIFIED] = "unverified",
                                        [ALIASES_LIVE] = "live"};
    return (unsigned)mode < sizeof names / sizeof names[0] ? names[mode] : "nothing";
}

/* That it is there does not say that it can be read. */
static bool copy_answers(struct aliases *db)
{
    if (!db->kept || !aliases_monitor_has_copy(db->monitor) || !aliases_monitor_copy_is_fresh(db->monitor))
        return false;
    struct aliases_checkout *copy = aliases_pool_take(db->copies);
    aliases_pool_give(copy);
    return copy != NULL;
}

void aliases_status(struct aliases *db, struct aliases_status *out)
{
    *out = (struct aliases_status){
        .mode = ALIASES_LIVE, .aliases = -1, .domains = -1, .validated_age_ms = -1, .copy_age_ms = -1};
    if (db == NULL)
        return;
    struct aliases_checkout *live = take_live(db);
    bool trusted = live != NULL;
    aliases_pool_give(live);
    aliases_pool_condition(db->live, &out->condition);
    if (db->kept)
        aliases_monitor_status(db->monitor, out);
    if (!trusted)
        out->mode = copy_answers(db) ? ALIASES_COPY : ALIASES_NOTHING;
}

bool aliases_count_homeless(struct aliases *db, struct aliases_status *out)
{
    struct aliases_sizes sizes;
    struct aliases_checkout *live = db != NULL ? take_live(db) : NULL;
    bool counted = false;
    if (live != NULL && aliases_pool_checkout_can_read(live)) {
        counted = aliases_check_homeless(aliases_connection_lend(live->connection, NULL, NULL), &sizes) ==
                  SQLITE_OK;
        aliases_connection_reclaim(live->connection);
    }
    aliases_pool_give(live);
    if (counted) {
        out->homeless = sizes.homeless;
        memcpy(out->homeless_name, sizes.homeless_name, sizeof out->homeless_name);
    }
    return counted;
}

void aliases_condition(struct aliases *db, struct error *out)
{
    struct aliases_status status;
    aliases_status(db, &status);
    *out = status.condition;
    if (out->text[0] == '\0')
        *out = status.refused;
    if (out->text[0] == '\0')
        *out = status.copy_condition;
}

int aliases_accept(struct aliases *db, int wait_ms, struct error *err)
{
    if (db->kept)
        return aliases_monitor_accept(db->monitor, wait_ms, err);
    error_set(err, "no copy of the alias rules is kept here");
    return -1;
}

int aliases_accept_at_start(const char *copy_path, struct error *err)
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
