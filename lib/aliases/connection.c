/* connection: reads the alias rules through one connection (see connection.h). Owns it and what it remembers of the data until
 * that changes. Only SQLITE_DONE is absence; whatever else goes wrong is a fault, and what was read then is not used. */
#include "connection.h"

#include "base/clock.h"
#include "base/glob.h"
#include "aliases/schema.h"
#include "base/utf8.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum statement {
    STMT_VERSION,
    STMT_JOURNAL,
    STMT_FILLED,
    STMT_DOMAIN,
    STMT_ALIAS,
    STMT_ALIAS_BINARY,
    STMT_GLOBS,
    STMT_SCOPE,
    STMT_SENDER,
    STMT_CLIENT,
    STMT_NETWORKS,
    STMT_BEGIN,
    STMT_COMMIT,
    STATEMENTS
};

#define ALIAS_ROW "mailbox, owner, class, reply, action, expires_at FROM aliases WHERE address = ?1"

static const char *const sql[STATEMENTS] = {
    [STMT_VERSION] = "PRAGMA user_version",
    [STMT_JOURNAL] = "PRAGMA journal_mode",
    [STMT_FILLED] =
        ("SELECT (SELECT 1 FROM alias_globs), (SELECT 1 FROM sender_rules), (SELECT 1 FROM client_rules),"
         " (SELECT 1 FROM domains WHERE domain >= '.' AND domain < '/'),"
         " (SELECT 1 FROM alias_globs WHERE domain >= '.' AND domain < '/')"),
    [STMT_DOMAIN] = "SELECT domain, action, catch_all, owner, class, reply FROM domains WHERE domain = ?1",
    [STMT_ALIAS] = ("SELECT address, " ALIAS_ROW),
    /* What is equal byte by byte need not be read again. */
    [STMT_ALIAS_BINARY] = ("SELECT ?1 AS address, " ALIAS_ROW),
    [STMT_GLOBS] = "SELECT glob, mailbox, owner, class, reply, action FROM alias_globs WHERE domain = ?1",
    [STMT_SCOPE] = "SELECT 1 FROM sender_rules WHERE scope = ?1 LIMIT 1",
    [STMT_SENDER] =
        "SELECT scope, pattern, reply, action FROM sender_rules WHERE scope = ?1 AND pattern = ?2",
    [STMT_CLIENT] = "SELECT network, reply, action, expires_at FROM client_rules WHERE network = ?1",
    [STMT_NETWORKS] = "SELECT network FROM client_rules LIMIT ?1",
    [STMT_BEGIN] = "BEGIN",
    [STMT_COMMIT] = "COMMIT",
};

enum {
    OPEN_MS = 250,       /* opening reads the schema and may have to recover a WAL */
    PROGRESS_OPS = 1000, /* virtual machine steps between two looks at the clock: some 20 microseconds */
    LITTLE_LOOKS = 100,  /* who has done so little when the time is up was waiting, for a CPU or the disk, */
    STALL_MS = 200,      /* and gets so much more: a busy machine is not a slow look-up */
    CACHE_KIB = 512,     /* pages of one connection: the inner ones of a big table */
    CONNECTION_PATH = 4096,
    NETWORKS_SCANNED = 1000, /* client_rules with more rows are asked for every prefix length */
    DOMAINS_KEPT = 64,       /* rows of domains that a connection remembers: most services have few */
};

/* The WAL-index (https://www.sqlite.org/walformat.html 2.1): a header, twice, and how many frames were checkpointed. Every
 * commit changes the header. */
enum {
    INDEX_REGION = 32768, /* as SQLite maps it */
    INDEX_FRAMES = 16,    /* where the header says how many frames there are, */
    INDEX_DONE = 96,      /* and how many of them are checkpointed */
    INDEX_BYTES = 100,
    INDEX_TRIED = 128, /* how many a checkpoint means to bring to the file: it says so before */
    FEW_FRAMES = 500,  /* from 1,000 on, writers make checkpoints */
};

/* Which prefix lengths occur in client_rules, so that a client costs as many probes as there are lengths. */
struct lengths {
    bool known;
    bool ipv4[33], ipv6[129];
};

struct aliases_connection {
    sqlite3 *db;
    sqlite3_stmt *stmt[STATEMENTS];
    int64_t deadline_ms; /* of what runs now; 0: nobody has looked at the clock yet */
    unsigned looks;      /* at the clock, since the first */
    unsigned data_version;
    bool begun; /* once at least */
    /* In WAL mode, in SQLite's own mapping; NULL: not known, or another mode. The connection holds it until it is closed. */
    const volatile void *index;
    unsigned char seen[INDEX_BYTES]; /* what stood there when the transaction began */
    bool may_rest;                   /* that is sure, and the transaction is in nobody's way */
    bool rests;                      /* the transaction stays open for the next one */
    /* What is remembered of the data, until it changes: */
    bool globs, senders, clients;    /* the table has rows */
    bool domains_below, globs_below; /* some of them of ".example.com": of what is below */
    bool binary; /* aliases.address has SQLite's own collation, as in policy/aliases.sql */
    struct lengths lengths;
    struct domain_row domains[DOMAINS_KEPT]; /* strings in domain_pool */
    size_t n_domains;
    struct pool domain_pool;
    struct error err;
};

/* Most look-ups are over before this is asked for the first time, and need no clock. */
static int out_of_time(void *context)
{
    struct aliases_connection *connection = context;
    int64_t now = clock_monotonic_ms();
    if (connection->deadline_ms == 0) {
        connection->deadline_ms = now + CONNECTION_QUERY_MS;
        connection->looks = 0;
    }
    connection->looks++;
    return now > connection->deadline_ms + (connection->looks <= LITTLE_LOOKS ? STALL_MS : 0);
}

enum aliases_connection_fault aliases_connection_fault_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return FAULT_NONE;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: /* lost the race for a WAL lock, many times over */
        return FAULT_BUSY;
    case SQLITE_INTERRUPT:
        return FAULT_SLOW;
    case SQLITE_NOMEM:
        return FAULT_MEMORY;
    case SQLITE_TOOBIG:
        return FAULT_ROW;
    default:
        return FAULT_BROKEN;
    }
}

static enum aliases_connection_fault failed(struct aliases_connection *connection, int rc)
{
    enum aliases_connection_fault fault = aliases_connection_fault_of(rc);
    connection->err = (struct error){0};
    if (fault == FAULT_SLOW)
        error_set(&connection->err, "a look-up in the alias database took more than %d ms and was given up",
                  CONNECTION_QUERY_MS);
    else
        aliases_schema_explain(rc, connection->db, sqlite3_db_filename(connection->db, "main"),
                               &connection->err);
    return fault;
}

static enum aliases_connection_fault bad_row(struct aliases_connection *connection, const char *table,
                                             const char *column, sqlite3_stmt *stmt)
{
    const char *key =
        sqlite3_column_type(stmt, 0) == SQLITE_TEXT ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    connection->err = (struct error){0};
    error_set(&connection->err, "alias database: the row \"%s\" of %s has no valid %s; mend or remove it",
              key != NULL ? key : "?", table, column);
    return FAULT_ROW;
}

/* --- opening --- */

static int configure(struct aliases_connection *connection)
{
    sqlite3 *db = connection->db;
    int on = 0;
    sqlite3_progress_handler(db, PROGRESS_OPS, out_of_time, connection);
    int rc = sqlite3_busy_timeout(db, CONNECTION_BUSY_MS);
    if (rc == SQLITE_OK)
        rc = aliases_schema_defend(db);
    if (rc == SQLITE_OK) /* the same plan whatever is bound */
        rc = sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_QPSG, 1, &on);
    char pragmas[128];
    sqlite3_snprintf(sizeof pragmas, pragmas,
                     "PRAGMA mmap_size = 0; PRAGMA query_only = 1; PRAGMA cache_size = -%d", CACHE_KIB);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, pragmas, NULL, NULL, NULL);
    return rc;
}

static int prepare(struct aliases_connection *connection)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < STATEMENTS; i++)
        rc = sqlite3_prepare_v3(connection->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &connection->stmt[i],
                                NULL);
    return rc;
}

/* As a URI, in which some characters of a path have a meaning of their own. */
static int open_file(const char *path, bool immutable, sqlite3 **out)
{
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
    if (!immutable)
        return sqlite3_open_v2(path, out, flags, NULL);
    char uri[3 * CONNECTION_PATH + 32] = "file:";
    size_t n = strlen(uri);
    if (strlen(path) > CONNECTION_PATH)
        return SQLITE_CANTOPEN;
    for (const char *c = path; *c != '\0'; c++)
        n += (size_t)snprintf(uri + n, sizeof uri - n, strchr("?#%", *c) != NULL ? "%%%02x" : "%c", *c);
    snprintf(uri + n, sizeof uri - n, "?immutable=1");
    return sqlite3_open_v2(uri, out, flags | SQLITE_OPEN_URI, NULL);
}

/* SQLite counts its memory under one lock for all connections unless told not to, which works before its first use only. And
 * each connection is used by one thread at a time (as SQLITE_OPEN_NOMUTEX says of each): then any value may be looked at. */
static void set_up_sqlite(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

struct aliases_connection *aliases_connection_open(const char *path, bool immutable, struct error *err,
                                                   enum aliases_connection_fault *fault)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, set_up_sqlite);
    if (!aliases_schema_may_open(path, err)) {
        *fault = FAULT_BROKEN;
        return NULL;
    }
    struct aliases_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        error_set(err, "out of memory");
        *fault = FAULT_MEMORY;
        return NULL;
    }
    connection->deadline_ms = clock_monotonic_ms() + OPEN_MS;
    int rc = open_file(path, immutable, &connection->db);
    if (rc == SQLITE_OK)
        rc = configure(connection);
    if (rc == SQLITE_OK)
        rc = aliases_schema_validate(connection->db, path, err);
    if (rc == SQLITE_OK)
        rc = prepare(connection);
    if (rc == SQLITE_OK)
        return connection;
    aliases_schema_explain(rc, connection->db, path, err); /* unless validation has already said it better */
    *fault = aliases_connection_fault_of(rc);
    aliases_connection_close(connection);
    return NULL;
}

void aliases_connection_close(struct aliases_connection *connection)
{
    if (connection == NULL)
        return;
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(connection->stmt[i]); /* repeats the error of the last step, which was told */
    sqlite3_close_v2(connection->db);
    pool_done(&connection->domain_pool);
    free(connection);
}

struct sqlite3 *aliases_connection_lend(struct aliases_connection *connection, int (*cancelled)(void *),
                                        void *arg)
{
    sqlite3_progress_handler(connection->db, PROGRESS_OPS, cancelled, arg);
    return connection->db;
}

void aliases_connection_reclaim(struct aliases_connection *connection)
{
    sqlite3_progress_handler(connection->db, PROGRESS_OPS, out_of_time, connection);
}

const struct error *aliases_connection_error(const struct aliases_connection *connection)
{
    return &connection->err;
}

/* --- running statements --- */

/* Binds up to two strings, which must outlive the run. Only aliases's own statements: their parameters are texts. */
static int bind_texts(sqlite3_stmt *stmt, const char *first, const char *second)
{
    int rc = sqlite3_bind_text(stmt, 1, first, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK && second != NULL)
        rc = sqlite3_bind_text(stmt, 2, second, -1, SQLITE_STATIC);
    return rc;
}

/* --- the transaction --- */

static bool is_binary(sqlite3 *db)
{
    const char *collation = NULL;
    return sqlite3_table_column_metadata(db, "main", "aliases", "address", NULL, &collation, NULL, NULL,
                                         NULL) == SQLITE_OK &&
           collation != NULL && strcmp(collation, "BINARY") == 0;
}

static enum aliases_connection_fault read_filled(struct aliases_connection *connection)
{
    sqlite3_stmt *stmt = connection->stmt[STMT_FILLED];
    int rc = sqlite3_step(stmt);
    enum aliases_connection_fault fault = FAULT_NONE;
    if (rc == SQLITE_ROW) {
        connection->globs = sqlite3_column_int(stmt, 0) != 0;
        connection->senders = sqlite3_column_int(stmt, 1) != 0;
        connection->clients = sqlite3_column_int(stmt, 2) != 0;
        connection->domains_below = sqlite3_column_int(stmt, 3) != 0;
        connection->globs_below = sqlite3_column_int(stmt, 4) != 0;
        connection->binary = is_binary(connection->db);
    } else {
        fault = failed(connection, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc);
    }
    sqlite3_reset(stmt);
    return fault;
}

/* The first read of the transaction: it is from here on that nothing changes any more. The statement stays on
 * its row until aliases_connection_end(), and holds the transaction open: that costs half of what BEGIN and COMMIT do. */
static enum aliases_connection_fault read_version(struct aliases_connection *connection)
{
    sqlite3_stmt *stmt = connection->stmt[STMT_VERSION];
    int rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW)
        return failed(connection, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc);
    if (sqlite3_column_int(stmt, 0) == ALIASES_VERSION)
        return FAULT_NONE;
    connection->err = (struct error){0};
    error_set(&connection->err, "alias database: PRAGMA user_version is %d now, this gate reads %d",
              sqlite3_column_int(stmt, 0), ALIASES_VERSION);
    return FAULT_BROKEN;
}

/* Where the WAL-index is. To ask SQLite for it in another mode would make one. */
static void find_index(struct aliases_connection *connection)
{
    sqlite3_stmt *stmt = connection->stmt[STMT_JOURNAL];
    sqlite3_file *file = NULL;
    volatile void *index = NULL;
    const char *mode = sqlite3_step(stmt) == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    bool wal = mode != NULL && strcmp(mode, "wal") == 0;
    sqlite3_reset(stmt);
    bool found =
        wal && sqlite3_file_control(connection->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK &&
        file->pMethods->iVersion >= 2 &&
        file->pMethods->xShmMap(file, 0, INDEX_REGION, 0, &index) == SQLITE_OK;
    connection->index =
        found ? index : NULL; /* from now on: who has a WAL open keeps others from ending that mode */
}

static void read_index(const struct aliases_connection *connection, unsigned char out[INDEX_BYTES])
{
    atomic_thread_fence(memory_order_seq_cst);
    memcpy(out, (const void *)(uintptr_t)connection->index, INDEX_BYTES);
    atomic_thread_fence(memory_order_seq_cst);
}

static bool index_is(const struct aliases_connection *connection, const unsigned char seen[INDEX_BYTES])
{
    unsigned char now[INDEX_BYTES];
    read_index(connection, now);
    return memcmp(now, seen, INDEX_BYTES) == 0;
}

void aliases_connection_look(const struct aliases_connection *connection,
                             struct aliases_connection_marks *out)
{
    *out = (struct aliases_connection_marks){0};
    if (connection->index == NULL)
        return;
    _Static_assert(sizeof out->index == INDEX_BYTES + 4,
                   "header, frames that are done, frames that are tried");
    read_index(connection, out->index);
    memcpy(out->index + INDEX_BYTES, (const char *)(uintptr_t)connection->index + INDEX_TRIED, 4);
    out->busy = memcmp(out->index + INDEX_BYTES, out->index + INDEX_DONE, 4) != 0;
}

/* A reader keeps checkpoints from ending, and the WAL from being begun anew. That does no harm while there is little in it, or
 * nothing is left to be checkpointed: then it reads the file alone, and a WAL can begin anew beside it. */
static bool in_nobodys_way(const unsigned char index[INDEX_BYTES])
{
    uint32_t frames, done;
    memcpy(&frames, index + INDEX_FRAMES, sizeof frames);
    memcpy(&done, index + INDEX_DONE, sizeof done);
    return frames < FEW_FRAMES || done == frames;
}

static void forget(struct aliases_connection *connection)
{
    connection->begun = false; /* until all that is remembered of the data has been read */
    connection->lengths.known = false;
    connection->n_domains = 0;
    pool_reset(&connection->domain_pool);
}

enum aliases_connection_fault aliases_connection_begin(struct aliases_connection *connection, bool *changed)
{
    connection->deadline_ms = 0;
    if (connection->rests && index_is(connection, connection->seen)) { /* nobody has committed since */
        *changed = false;
        return FAULT_NONE;
    }
    if (connection->rests && aliases_connection_end(connection) != FAULT_NONE)
        return failed(connection, SQLITE_ERROR);
    const bool indexed = connection->index != NULL;
    if (indexed)
        read_index(connection, connection->seen);
    enum aliases_connection_fault fault = read_version(connection);
    connection->may_rest = indexed && fault == FAULT_NONE && index_is(connection, connection->seen) &&
                           in_nobodys_way(connection->seen);
    unsigned version = 0;
    if (fault == FAULT_NONE) {
        int rc = sqlite3_file_control(connection->db, "main", SQLITE_FCNTL_DATA_VERSION, &version);
        fault = rc == SQLITE_OK ? FAULT_NONE : failed(connection, rc);
    }
    bool differs = !connection->begun || version != connection->data_version;
    if (fault == FAULT_NONE && differs) {
        forget(connection);
        fault = read_filled(connection);
        if (connection->index == NULL)
            find_index(connection);
    }
    if (fault != FAULT_NONE) {
        (void)aliases_connection_end(connection); /* the first fault tells */
        return fault;
    }
    connection->begun = true;
    connection->data_version = version;
    *changed = differs;
    return FAULT_NONE;
}

/* Of BEGIN and COMMIT, which have no rows. What they did shows in sqlite3_get_autocommit() and sqlite3_txn_state(). */
static void run(struct aliases_connection *connection, enum statement which)
{
    (void)sqlite3_step(connection->stmt[which]);
    sqlite3_reset(connection->stmt[which]);
}

enum aliases_connection_fault aliases_connection_end(struct aliases_connection *connection)
{
    connection->rests = connection->may_rest = false;
    connection->deadline_ms = 0; /* that of a look-up is no matter of what ends it */
    if (!sqlite3_get_autocommit(connection->db))
        run(connection, STMT_COMMIT);
    sqlite3_reset(connection->stmt[STMT_VERSION]); /* repeats the error of step */
    return sqlite3_txn_state(connection->db, "main") == SQLITE_TXN_NONE ? FAULT_NONE : FAULT_BROKEN;
}

/* One that rests has a BEGIN, too: without it SQLite tries to commit after each look-up, which costs a tenth of that. The
 * transaction is the one that STMT_VERSION holds open, and goes on where there is no memory for a BEGIN. */
bool aliases_connection_rest(struct aliases_connection *connection)
{
    connection->rests = connection->may_rest;
    if (connection->rests && sqlite3_get_autocommit(connection->db))
        run(connection, STMT_BEGIN);
    return connection->rests;
}

bool aliases_connection_rests(const struct aliases_connection *connection)
{
    return connection->rests;
}

/* --- reading a row --- */

struct row { /* the row that a statement stands on */
    struct aliases_connection *connection;
    sqlite3_stmt *stmt;
    const char *table;
    struct pool *pool;
    enum aliases_connection_fault fault; /* the first */
};

/* A text of the row, valid until the next step; NULL where the column is NULL. Neither is a fault, all else is. */
static const char *peek(struct row *row, int column)
{
    sqlite3_value *value = sqlite3_column_value(row->stmt, column);
    int type = sqlite3_value_type(value);
    if (row->fault != FAULT_NONE || type == SQLITE_NULL)
        return NULL;
    const char *text = type == SQLITE_TEXT ? (const char *)sqlite3_value_text(value) : NULL;
    if (type == SQLITE_TEXT && text == NULL)
        row->fault = FAULT_MEMORY;
    else if (text == NULL || !utf8_valid(text, (size_t)sqlite3_value_bytes(value)))
        row->fault = bad_row(row->connection, row->table, sqlite3_column_name(row->stmt, column), row->stmt);
    return row->fault == FAULT_NONE ? text : NULL;
}

static const char *keep(struct row *row, const char *text)
{
    const char *copy = pool_strdup(row->pool, text);
    if (copy == NULL && text != NULL)
        row->fault = FAULT_MEMORY;
    return copy;
}

static const char *take(struct row *row, int column)
{
    return keep(row, peek(row, column));
}

static const char *take_key(struct row *row, int column)
{
    const char *key = take(row, column);
    if (key == NULL && row->fault == FAULT_NONE)
        row->fault = bad_row(row->connection, row->table, sqlite3_column_name(row->stmt, column), row->stmt);
    return key;
}

static enum action take_action(struct row *row, int column)
{
    enum action action = action_from_name(peek(row, column));
    if (action == ACTION_NONE && row->fault == FAULT_NONE)
        row->fault = bad_row(row->connection, row->table, sqlite3_column_name(row->stmt, column), row->stmt);
    return action;
}

/* Unix time; 0 is never, as in struct alias_row, so that a 0 in the table, which is long past, becomes 1. */
static int64_t take_expiry(struct row *row, int column)
{
    int type = sqlite3_column_type(row->stmt, column);
    if (row->fault != FAULT_NONE || type == SQLITE_NULL)
        return 0;
    if (type != SQLITE_INTEGER) {
        row->fault = bad_row(row->connection, row->table, sqlite3_column_name(row->stmt, column), row->stmt);
        return 0;
    }
    int64_t at = sqlite3_column_int64(row->stmt, column);
    return at > 0 ? at : 1;
}

/* Runs a look-up for one row. True: *row stands on it, and finish() must follow. False: there is none, or *fault. */
static bool find(struct aliases_connection *connection, enum statement which, const char *table,
                 const char *first, const char *second, struct pool *pool, struct row *row,
                 enum aliases_connection_fault *fault)
{
    sqlite3_stmt *stmt = connection->stmt[which];
    int rc = bind_texts(stmt, first, second);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    *row = (struct row){.connection = connection, .stmt = stmt, .table = table, .pool = pool};
    if (rc == SQLITE_ROW)
        return true;
    *fault = rc == SQLITE_DONE ? FAULT_NONE : failed(connection, rc);
    sqlite3_reset(stmt); /* repeats the error of step */
    return false;
}

static enum aliases_connection_fault finish(struct row *row)
{
    sqlite3_reset(row->stmt); /* repeats the error of step */
    return row->fault;
}

/* --- look-ups --- */

static const char *copy_text(struct pool *pool, const char *text, bool *failed)
{
    const char *copy = pool_strdup(pool, text);
    *failed = *failed || (copy == NULL && text != NULL);
    return copy;
}

/* False: out of memory. */
static bool copy_domain(const struct domain_row *from, struct pool *pool, struct domain_row *out)
{
    bool failed = false;
    *out = (struct domain_row){
        .domain = copy_text(pool, from->domain, &failed),
        .action = from->action,
        .catch_all = from->catch_all,
        .owner = copy_text(pool, from->owner, &failed),
        .class_name = copy_text(pool, from->class_name, &failed),
        .reply = copy_text(pool, from->reply, &failed),
    };
    return !failed;
}

/* When there is no room it begins anew. */
static void remember_domain(struct aliases_connection *connection, const struct domain_row *domain)
{
    if (connection->n_domains == DOMAINS_KEPT) {
        connection->n_domains = 0;
        pool_reset(&connection->domain_pool);
    }
    if (copy_domain(domain, &connection->domain_pool, &connection->domains[connection->n_domains]))
        connection->n_domains++;
}

static const struct domain_row *recall_domain(const struct aliases_connection *connection, const char *domain)
{
    for (size_t i = 0; i < connection->n_domains; i++)
        if (strcmp(connection->domains[i].domain, domain) == 0)
            return &connection->domains[i];
    return NULL;
}

static enum aliases_connection_fault find_domain(struct aliases_connection *connection, const char *domain,
                                                 struct pool *pool, struct domain_row *out)
{
    const struct domain_row *known = recall_domain(connection, domain);
    if (known != NULL)
        return copy_domain(known, pool, out) ? FAULT_NONE : FAULT_MEMORY;
    struct row row;
    enum aliases_connection_fault fault = FAULT_NONE;
    if (!find(connection, STMT_DOMAIN, "domains", domain, NULL, pool, &row, &fault))
        return fault;
    out->domain = take_key(&row, 0);
    out->action = take_action(&row, 1);
    const char *catch_all = peek(&row, 2);
    out->catch_all = catch_all == NULL ? ACTION_REJECT : action_from_name(catch_all);
    if (out->catch_all != ACTION_REJECT && out->catch_all != ACTION_ACCEPT)
        row.fault = bad_row(connection, "domains", "catch_all", row.stmt);
    out->owner = take(&row, 3);
    out->class_name = take(&row, 4);
    out->reply = take(&row, 5);
    fault = finish(&row);
    if (fault == FAULT_NONE)
        remember_domain(connection, out);
    return fault;
}

/* A list that is longer than anybody means costs each RCPT its length. */
static const char *take_mailboxes(struct row *row, int column)
{
    const char *list = peek(row, column);
    size_t commas = 0;
    bool longer = list != NULL && strlen(list) > ALIASES_MAILBOX_TEXT;
    for (const char *c = list; c != NULL && !longer && (c = strchr(c, ',')) != NULL; c++)
        longer = ++commas >= ALIASES_MAILBOXES_MAX;
    if (longer)
        row->fault = bad_row(row->connection, row->table, "mailbox (at most 100)", row->stmt);
    return longer ? NULL : keep(row, list);
}

/* From "a.b.example" to ".b.example", and on to ".example"; false: there is nothing above. */
static bool climb(const char *forms[ROWS_FORMS])
{
    for (size_t i = 0; i < ROWS_FORMS; i++)
        forms[i] = forms[i] != NULL && forms[i][0] != '\0' ? strchr(forms[i] + 1, '.') : NULL;
    return forms[0] != NULL;
}

/* The row of the domain; where it has none, of the nearest that it is below. */
static enum aliases_connection_fault find_nearest_domain(struct aliases_connection *connection,
                                                         const char *const forms[ROWS_FORMS],
                                                         struct pool *pool, struct domain_row *out)
{
    const char *at[ROWS_FORMS] = {forms[0], forms[1]};
    enum aliases_connection_fault fault = FAULT_NONE;
    do {
        for (size_t i = 0; i < ROWS_FORMS && fault == FAULT_NONE && out->domain == NULL; i++)
            if (at[i] != NULL)
                fault = find_domain(connection, at[i], pool, out);
    } while (fault == FAULT_NONE && out->domain == NULL && connection->domains_below && climb(at));
    return fault;
}

static void take_alias(struct row *row, struct alias_row *out)
{
    out->key = take_key(row, 0);
    out->mailbox = take_mailboxes(row, 1);
    out->owner = take(row, 2);
    out->class_name = take(row, 3);
    out->reply = take(row, 4);
    out->action = take_action(row, 5);
}

/* The row of the first form that has one. */
static enum aliases_connection_fault find_alias(struct aliases_connection *connection,
                                                const char *const forms[ROWS_FORMS], struct pool *pool,
                                                struct alias_row *out)
{
    enum aliases_connection_fault fault = FAULT_NONE;
    const enum statement which = connection->binary ? STMT_ALIAS_BINARY : STMT_ALIAS;
    for (size_t i = 0; i < ROWS_FORMS && fault == FAULT_NONE; i++) {
        struct row row;
        if (forms[i] == NULL || !find(connection, which, "aliases", forms[i], NULL, pool, &row, &fault))
            continue;
        take_alias(&row, out);
        out->expires_at = take_expiry(&row, 6);
        return finish(&row);
    }
    return fault;
}

static int append_glob(struct alias_rows *out, size_t *room, struct pool *pool, const struct alias_row *glob)
{
    if (out->n_globs == *room) {
        size_t more = *room == 0 ? 4 : *room * 2;
        struct alias_row *globs = pool_alloc(pool, more * sizeof *globs);
        if (globs == NULL)
            return -1;
        if (out->n_globs > 0)
            memcpy(globs, out->globs, out->n_globs * sizeof *globs);
        out->globs = globs;
        *room = more;
    }
    out->globs[out->n_globs++] = *glob;
    return 0;
}

static bool glob_matches(const struct alias_query *query, const char *glob)
{
    return (query->local_full != NULL && glob_match(glob, query->local_full)) ||
           (query->local_bare != NULL && glob_match(glob, query->local_bare));
}

static enum aliases_connection_fault find_globs(struct aliases_connection *connection, const char *domain,
                                                const struct alias_query *query, struct pool *pool,
                                                struct alias_rows *out, size_t *room, bool *has)
{
    struct row row;
    enum aliases_connection_fault fault = FAULT_NONE;
    if (!find(connection, STMT_GLOBS, "alias_globs", domain, NULL, pool, &row, &fault))
        return fault;
    *has = true;
    int rc = SQLITE_ROW;
    while (rc == SQLITE_ROW && row.fault == FAULT_NONE) {
        const char *glob = peek(&row, 0);
        if (glob == NULL && row.fault == FAULT_NONE)
            row.fault = bad_row(connection, "alias_globs", "glob", row.stmt);
        if (glob != NULL && glob_matches(query, glob)) {
            struct alias_row match = {0};
            take_alias(&row, &match);
            if (row.fault == FAULT_NONE && append_glob(out, room, pool, &match) < 0)
                row.fault = FAULT_MEMORY;
        }
        rc = sqlite3_step(row.stmt);
    }
    if (row.fault == FAULT_NONE && rc != SQLITE_DONE)
        row.fault = failed(connection, rc);
    return finish(&row);
}

/* Those of the domain; where it has none at all, of the nearest that it is below. */
static enum aliases_connection_fault find_nearest_globs(struct aliases_connection *connection,
                                                        const struct alias_query *query, struct pool *pool,
                                                        struct alias_rows *out)
{
    const char *at[ROWS_FORMS] = {query->domain[0], query->domain[1]};
    enum aliases_connection_fault fault = FAULT_NONE;
    size_t room = 0;
    bool has = false;
    do {
        for (size_t i = 0; i < ROWS_FORMS && fault == FAULT_NONE; i++)
            if (at[i] != NULL)
                fault = find_globs(connection, at[i], query, pool, out, &room, &has);
    } while (fault == FAULT_NONE && !has && connection->globs_below && climb(at));
    return fault;
}

enum aliases_connection_fault aliases_connection_alias(struct aliases_connection *connection,
                                                       const struct alias_query *query, struct pool *pool,
                                                       struct alias_rows *out)
{
    connection->deadline_ms = 0;
    enum aliases_connection_fault fault = find_nearest_domain(connection, query->domain, pool, &out->domain);
    if (fault != FAULT_NONE || out->domain.domain == NULL)
        return fault; /* not ours: no other row of this recipient counts */
    if (query->full[0] != NULL && query->full[0][0] == '\0')
        return fault; /* no address: only whose domain it is was asked */
    fault = find_alias(connection, query->full, pool, &out->full);
    if (fault == FAULT_NONE)
        fault = find_alias(connection, query->bare, pool, &out->bare);
    if (!connection->globs || out->full.key != NULL || out->bare.key != NULL)
        return fault; /* an exact row leaves nothing for a glob to say */
    return fault == FAULT_NONE ? find_nearest_globs(connection, query, pool, out) : fault;
}

bool aliases_connection_has_senders(const struct aliases_connection *connection)
{
    return connection->senders;
}

bool aliases_connection_has_clients(const struct aliases_connection *connection)
{
    return connection->clients;
}

static enum aliases_connection_fault has_scope(struct aliases_connection *connection, const char *scope,
                                               bool *has)
{
    struct row row;
    enum aliases_connection_fault fault = FAULT_NONE;
    *has = find(connection, STMT_SCOPE, "sender_rules", scope, NULL, NULL, &row, &fault);
    return *has ? finish(&row) : fault;
}

/* Most scopes have no rule at all, so that one probe saves those for all patterns. */
static enum aliases_connection_fault find_senders(struct aliases_connection *connection, const char *scope,
                                                  const struct sender_query *query, struct pool *pool,
                                                  struct sender_rows *out)
{
    bool has = false;
    enum aliases_connection_fault fault = has_scope(connection, scope, &has);
    for (size_t i = 0; has && fault == FAULT_NONE && i < query->n_patterns; i++) {
        struct row row;
        if (!find(connection, STMT_SENDER, "sender_rules", scope, query->patterns[i], pool, &row, &fault))
            continue;
        struct sender_row *to = &out->rows[out->n_rows++];
        to->scope = take_key(&row, 0);
        to->pattern = take_key(&row, 1);
        to->reply = take(&row, 2);
        to->action = take_action(&row, 3);
        fault = finish(&row);
    }
    return fault;
}

enum aliases_connection_fault aliases_connection_sender(struct aliases_connection *connection,
                                                        const struct sender_query *query, struct pool *pool,
                                                        struct sender_rows *out)
{
    if (!connection->senders || query->n_scopes == 0 || query->n_patterns == 0)
        return FAULT_NONE;
    connection->deadline_ms = 0;
    out->rows = pool_alloc(pool, query->n_scopes * query->n_patterns * sizeof *out->rows);
    enum aliases_connection_fault fault = out->rows != NULL ? FAULT_NONE : FAULT_MEMORY;
    for (size_t i = 0; i < query->n_scopes && fault == FAULT_NONE; i++)
        fault = find_senders(connection, query->scopes[i], query, pool, out);
    return fault;
}

/* The prefix length in the text of a network; whole addresses have none. What is no network marks nothing. */
static void note_length(struct lengths *lengths, const char *network)
{
    bool ipv6 = strchr(network, ':') != NULL;
    const char *slash = strchr(network, '/');
    long bits = slash != NULL ? strtol(slash + 1, NULL, 10) : ipv6 ? 128 : 32;
    if (bits >= 0 && bits <= (ipv6 ? 128 : 32))
        (ipv6 ? lengths->ipv6 : lengths->ipv4)[bits] = true;
}

static enum aliases_connection_fault read_lengths(struct aliases_connection *connection)
{
    struct lengths *lengths = &connection->lengths;
    sqlite3_stmt *stmt = connection->stmt[STMT_NETWORKS];
    *lengths = (struct lengths){0};
    int n = 0;
    int rc = sqlite3_bind_int(stmt, 1, NETWORKS_SCANNED + 1);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    while (rc == SQLITE_ROW && n++ < NETWORKS_SCANNED) {
        const char *network = (const char *)sqlite3_column_text(stmt, 0);
        if (network != NULL)
            note_length(lengths, network);
        rc = sqlite3_step(stmt);
    }
    enum aliases_connection_fault fault =
        rc == SQLITE_DONE || rc == SQLITE_ROW ? FAULT_NONE : failed(connection, rc);
    sqlite3_reset(stmt); /* repeats the error of step */
    if (rc == SQLITE_ROW) {
        memset(lengths->ipv4, true, sizeof lengths->ipv4);
        memset(lengths->ipv6, true, sizeof lengths->ipv6);
    }
    lengths->known = fault == FAULT_NONE;
    return fault;
}

/* The row of exactly this network; none where it has expired. */
static enum aliases_connection_fault find_network(struct aliases_connection *connection, const char *network,
                                                  int64_t now_s, struct pool *pool, struct client_row *out)
{
    struct row row;
    enum aliases_connection_fault fault = FAULT_NONE;
    if (!find(connection, STMT_CLIENT, "client_rules", network, NULL, pool, &row, &fault))
        return fault;
    int64_t expires_at = take_expiry(&row, 3);
    if (row.fault != FAULT_NONE || (expires_at != 0 && expires_at <= now_s))
        return finish(&row);
    out->network = take_key(&row, 0);
    out->reply = take(&row, 1);
    out->action = take_action(&row, 2);
    return finish(&row);
}

enum aliases_connection_fault aliases_connection_client(struct aliases_connection *connection,
                                                        const struct network *client, int64_t now_s,
                                                        struct pool *pool, struct client_row *out)
{
    if (!connection->clients || !client->set)
        return FAULT_NONE;
    connection->deadline_ms = 0;
    enum aliases_connection_fault fault = connection->lengths.known ? FAULT_NONE : read_lengths(connection);
    bool ipv4 = network_is_ipv4(client);
    const bool *lengths = ipv4 ? connection->lengths.ipv4 : connection->lengths.ipv6;
    for (int bits = ipv4 ? 32 : 128; bits >= 0 && fault == FAULT_NONE && out->network == NULL; bits--) {
        if (!lengths[bits])
            continue;
        char text[NETWORK_TEXT];
        struct network outer = network_mask(client, (unsigned)bits, (unsigned)bits);
        fault = find_network(connection, network_format(&outer, text), now_s, pool, out);
    }
    return fault;
}
