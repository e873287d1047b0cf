/* The rule database, on real files, with writers of their own on other connections. */
#include "aliases/aliases.h"

#include "connection.h"
#include "base/clock.h"
#include "patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern const char aliases_schema_sql[];

enum { NOTICED_MS = 1000 };

struct place {
    char dir[64], path[96];
    struct pool pool;
};

/* --- the world outside --- */

static sqlite3 *outside(const char *path)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, PATIENCE_MS), SQLITE_OK);
    return db;
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

static void run_on(const char *path, const char *sql)
{
    sqlite3 *db = outside(path);
    run(db, sql);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void make(const char *path, const char *sql)
{
    run_on(path, aliases_schema_sql);
    run_on(path, sql);
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    strcpy(place->dir, "/tmp/test_ruledb.XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->path, sizeof place->path, "%s/aliases.db", place->dir);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    static const char *const names[] = {"aliases.db", "other.db"}, *const suffixes[] = {"", "-wal", "-shm",
                                                                                        "-journal"};
    pool_done(&place->pool);
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < 4; j++) {
            char file[128];
            snprintf(file, sizeof file, "%s/%s%s", place->dir, names[i], suffixes[j]);
            if (unlink(file) < 0)
                rmdir(file);
        }
    }
    int rc = rmdir(place->dir);
    free(place);
    return rc;
}

/* --- look-ups --- */

static struct alias_rows ask(struct aliases *db, struct pool *pool, const char *local, const char *domain)
{
    struct alias_rows rows;
    const char *full = pool_printf(pool, "%s@%s", local, domain);
    struct alias_query query = {.full = {full}, .domain = {domain}, .local_full = local};
    struct aliases_reading reading = aliases_begin(db);
    aliases_alias(&reading, &query, pool, &rows);
    aliases_end(&reading);
    return rows;
}

static enum rows_state state_of(struct aliases *db, struct pool *pool)
{
    return ask(db, pool, "a", "example.com").state;
}

/* Waits until the file is seen to be in that state; how long it took. */
static int64_t wait_for(struct aliases *db, struct pool *pool, enum rows_state state)
{
    int64_t start = clock_monotonic_ms();
    while (state_of(db, pool) != state) {
        if (clock_monotonic_ms() - start > PATIENCE_MS)
            fail_msg("the state %d did not come", (int)state);
        nap(10);
    }
    return clock_monotonic_ms() - start;
}

static void expect_condition(struct aliases *db, const char *what)
{
    struct error err = {0};
    aliases_condition(db, &err);
    if (strstr(err.text, what) == NULL)
        fail_msg("trouble is \"%s\", without \"%s\"", err.text, what);
}

static void expect_no_condition(struct aliases *db)
{
    struct error err = {0};
    aliases_condition(db, &err);
    assert_string_equal(err.text, "");
}

static struct aliases *open_db(const struct place *place)
{
    struct aliases *db = aliases_new(&(struct aliases_config){.path = place->path});
    assert_non_null(db);
    return db;
}

/* --- what is read --- */

static void reads_a_row(void **state)
{
    struct place *place = *state;
    make(place->path, "INSERT INTO domains VALUES ('example.com','defer','accept','o','c','450 4.2.1 later');"
                      "INSERT INTO aliases VALUES ('a@example.com','m@x,n@y','own','cl','discard','r',77);"
                      "INSERT INTO aliases(address, expires_at) VALUES ('zero@example.com', 0);");
    struct aliases *db = open_db(place);
    struct alias_rows rows = ask(db, &place->pool, "a", "example.com");
    assert_int_equal(rows.state, ROWS_LIVE);
    assert_string_equal(rows.domain.domain, "example.com");
    assert_int_equal(rows.domain.action, ACTION_DEFER);
    assert_int_equal(rows.domain.catch_all, ACTION_ACCEPT);
    assert_string_equal(rows.domain.reply, "450 4.2.1 later");
    assert_string_equal(rows.full.key, "a@example.com");
    assert_string_equal(rows.full.mailbox, "m@x,n@y");
    assert_string_equal(rows.full.owner, "own");
    assert_string_equal(rows.full.class_name, "cl");
    assert_string_equal(rows.full.reply, "r");
    assert_int_equal(rows.full.action, ACTION_DISCARD);
    assert_int_equal(rows.full.expires_at, 77);
    assert_null(rows.bare.key);
    assert_int_equal(rows.n_globs, 0);
    assert_int_equal(ask(db, &place->pool, "zero", "example.com").full.expires_at, 1); /* 0 would be never */
    rows = ask(db, &place->pool, "b", "example.com");
    assert_int_equal(rows.state, ROWS_LIVE);
    assert_non_null(rows.domain.domain);
    assert_null(rows.full.key);
    rows = ask(db, &place->pool, "a", "example.net");
    assert_int_equal(rows.state, ROWS_LIVE);
    assert_null(rows.domain.domain);
    expect_no_condition(db);
    aliases_free(db);
}

/* A table of somebody's own, in which case does not matter: the row found is not that of the address as received, and its key shows it. */
static void the_key_is_that_of_the_row(void **state)
{
    struct place *place = *state;
    make(place->path, "INSERT INTO domains(domain) VALUES ('example.com');"
                      "INSERT INTO aliases(address) VALUES ('a@example.com');");
    struct aliases *db = open_db(place);
    assert_string_equal(ask(db, &place->pool, "a", "example.com").full.key, "a@example.com");
    run_on(place->path,
           "DROP TABLE aliases; CREATE TABLE aliases (address TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,"
           " mailbox TEXT, owner TEXT, class TEXT, action TEXT NOT NULL, reply TEXT, expires_at INTEGER) "
           "WITHOUT ROWID;"
           "INSERT INTO aliases(address, action) VALUES ('A@Example.com', 'accept');");
    assert_string_equal(ask(db, &place->pool, "a", "example.com").full.key, "A@Example.com");
    run_on(place->path,
           "CREATE TABLE others AS SELECT * FROM aliases; DROP TABLE aliases;"
           "CREATE TABLE aliases (address TEXT NOT NULL PRIMARY KEY, mailbox TEXT, owner TEXT, class TEXT,"
           " action TEXT NOT NULL, reply TEXT, expires_at INTEGER) WITHOUT ROWID;"
           "INSERT INTO aliases SELECT * FROM others;");
    assert_null(ask(db, &place->pool, "a", "example.com").full.key);
    aliases_free(db);
}

static void finds_both_spellings(void **state)
{
    struct place *place = *state;
    make(place->path, "INSERT INTO domains(domain) VALUES ('b\u00fccher.example');"
                      "INSERT INTO aliases(address, owner) VALUES ('a+t@xn--bcher-kva.example', 'full'),"
                      " ('a@b\u00fccher.example', 'bare');"
                      "INSERT INTO alias_globs(domain, glob) VALUES ('xn--bcher-kva.example', 'g*'), "
                      "('b\u00fccher.example', '*x');");
    struct aliases *db = open_db(place);
    struct alias_rows rows;
    struct alias_query query = {.full = {"a+t@xn--bcher-kva.example", "a+t@b\u00fccher.example"},
                                .bare = {"a@xn--bcher-kva.example", "a@b\u00fccher.example"},
                                .domain = {"xn--bcher-kva.example", "b\u00fccher.example"},
                                .local_full = "a+t",
                                .local_bare = "a"};
    struct aliases_reading reading = aliases_begin(db);
    aliases_alias(&reading, &query, &place->pool, &rows);
    assert_string_equal(rows.domain.domain, "b\u00fccher.example");
    assert_string_equal(rows.full.owner, "full");
    assert_string_equal(rows.bare.owner, "bare");
    query.full[0] = query.full[1] = query.bare[0] = query.bare[1] = NULL;
    query.local_full = "gx+t";
    query.local_bare = "gx";
    aliases_alias(&reading, &query, &place->pool, &rows);
    aliases_end(&reading);
    assert_int_equal(rows.state, ROWS_LIVE);
    assert_int_equal(rows.n_globs, 2);
    aliases_free(db);
}

static void finds_globs(void **state)
{
    struct place *place = *state;
    make(
        place->path,
        "INSERT INTO domains(domain) VALUES ('example.com'), ('example.net');"
        "INSERT INTO aliases(address) VALUES ('shop-exact@example.com');"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)"
        " INSERT INTO alias_globs(domain, glob) SELECT 'example.com', 'shop-' || i || '*' FROM n;"
        "INSERT INTO alias_globs(domain, glob, mailbox) VALUES ('example.com', 'shop-*', 'm@x'),"
        " ('example.com', '?hop-77', NULL), ('example.com', 'shop-[7]7', NULL), ('example.net', '*', NULL);");
    struct aliases *db = open_db(place);
    struct alias_rows rows = ask(db, &place->pool, "shop-77", "example.com");
    assert_int_equal(rows.state, ROWS_LIVE);
    assert_int_equal(rows.n_globs, 3); /* shop-7*, shop-*, ?hop-77 */
    bool found = false;
    for (size_t i = 0; i < rows.n_globs; i++)
        found =
            found || (strcmp(rows.globs[i].key, "shop-*") == 0 && strcmp(rows.globs[i].mailbox, "m@x") == 0);
    assert_true(found);
    assert_int_equal(ask(db, &place->pool, "shop", "example.com").n_globs, 0);
    assert_int_equal(ask(db, &place->pool, "shop-[7]7", "example.com").n_globs, 2);
    assert_string_equal(ask(db, &place->pool, "shop-exact", "example.com").full.key,
                        "shop-exact@example.com");
    run_on(place->path, "DELETE FROM alias_globs");
    assert_int_equal(ask(db, &place->pool, "shop-77", "example.com").n_globs, 0);
    run_on(place->path, "INSERT INTO alias_globs(domain, glob) VALUES ('example.com', '*')");
    assert_int_equal(ask(db, &place->pool, "shop-77", "example.com").n_globs, 1);
    aliases_free(db);
}

static void finds_senders(void **state)
{
    struct place *place = *state;
    make(place->path, "INSERT INTO sender_rules VALUES ('a@example.com','s@x','accept',NULL),"
                      "('a@example.com','@x','reject','no'),('*','*','defer',NULL),('*','@y','defer',NULL),"
                      "('other@example.com','s@x','reject',NULL);");
    struct aliases *db = open_db(place);
    struct sender_query query = {.scopes = {"a@example.com", "@example.com", "*"},
                                 .n_scopes = 3,
                                 .patterns = {"s@x", "@x", "*"},
                                 .n_patterns = 3};
    struct sender_rows rows;
    struct aliases_reading reading = aliases_begin(db);
    aliases_sender(&reading, &query, &place->pool, &rows);
    assert_int_equal(rows.state, ROWS_LIVE);
    assert_int_equal(rows.n_rows, 3);
    bool rejected = false;
    for (size_t i = 0; i < rows.n_rows; i++)
        if (strcmp(rows.rows[i].pattern, "@x") == 0)
            rejected = rows.rows[i].action == ACTION_REJECT && strcmp(rows.rows[i].reply, "no") == 0;
    assert_true(rejected);
    query.n_scopes = 0;
    aliases_sender(&reading, &query, &place->pool, &rows);
    assert_int_equal(rows.state, ROWS_LIVE);
    assert_int_equal(rows.n_rows, 0);
    aliases_end(&reading);
    aliases_free(db);
}

/* "senders clients", with a "-" for what is not there. */
static const char *rules_there(struct aliases *db)
{
    struct aliases_reading reading = aliases_begin(db);
    bool senders = aliases_has_senders(&reading), clients = aliases_has_clients(&reading);
    aliases_end(&reading);
    return senders ? (clients ? "senders clients" : "senders -") : clients ? "- clients" : "- -";
}

static void knows_which_rules_there_are(void **state)
{
    struct place *place = *state;
    make(place->path, "");
    struct aliases *db = open_db(place);
    assert_string_equal(rules_there(NULL), "- -");
    assert_string_equal(rules_there(db), "- -");
    run_on(place->path, "INSERT INTO sender_rules(scope, pattern, action) VALUES ('*', '*', 'reject')");
    assert_string_equal(rules_there(db), "senders -");
    run_on(place->path, "DELETE FROM sender_rules; INSERT INTO client_rules(network) VALUES ('192.0.2.7')");
    assert_string_equal(rules_there(db), "- clients");
    run_on(place->path, "DELETE FROM client_rules");
    assert_string_equal(rules_there(db), "- -");
    aliases_free(db);
    const struct aliases_config nowhere = {.path = "/nonexistent/aliases.db"};
    db = aliases_new(&nowhere);
    assert_non_null(db);
    assert_string_equal(rules_there(db), "senders clients"); /* nobody can tell */
    aliases_free(db);
}

static void expect_owner(struct aliases *db, struct pool *pool, const char *domain, const char *owner)
{
    struct alias_rows rows = ask(db, pool, "nobody", domain);
    assert_int_equal(rows.state, ROWS_LIVE);
    assert_non_null(rows.domain.domain);
    assert_string_equal(rows.domain.domain, domain);
    if (owner == NULL)
        assert_null(rows.domain.owner);
    else
        assert_string_equal(rows.domain.owner, owner);
}

static void expect_owners(struct aliases *db, struct pool *pool, int from, int n)
{
    char domain[32], owner[32];
    for (int i = from; i < from + n; i++) {
        snprintf(domain, sizeof domain, "d%d.example", i);
        snprintf(owner, sizeof owner, "o%d", i);
        expect_owner(db, pool, domain, owner);
    }
}

/* More than a handle remembers, each of them more than once, and what was remembered is not believed when it
 * has changed. */
static void domains_are_what_they_are_now(void **state)
{
    struct place *place = *state;
    make(place->path, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 149)"
                      " INSERT INTO domains(domain, owner) SELECT 'd' || i || '.example', 'o' || i FROM n");
    struct aliases *db = open_db(place);
    for (int round = 0; round < 3; round++)
        expect_owners(db, &place->pool, 0, 150);
    for (int round = 0; round < 3; round++)
        expect_owners(db, &place->pool, 7, 5);
    run_on(place->path, "UPDATE domains SET owner = 'new', action = 'defer' WHERE domain = 'd9.example';"
                        "UPDATE domains SET owner = NULL WHERE domain = 'd8.example'");
    expect_owner(db, &place->pool, "d9.example", "new");
    expect_owner(db, &place->pool, "d8.example", NULL);
    expect_owner(db, &place->pool, "d7.example", "o7");
    assert_int_equal(ask(db, &place->pool, "nobody", "d9.example").domain.action, ACTION_DEFER);
    run_on(place->path, "DELETE FROM domains WHERE domain = 'd9.example'");
    assert_null(ask(db, &place->pool, "nobody", "d9.example").domain.domain);
    expect_owner(db, &place->pool, "d7.example", "o7");
    aliases_free(db);
}

static const char *client_rule(struct aliases *db, struct pool *pool, const char *ip)
{
    struct network client = {0};
    struct client_row row;
    if (ip != NULL)
        assert_int_equal(network_parse(ip, &client, NULL), 0);
    struct aliases_reading reading = aliases_begin(db);
    aliases_client(&reading, &client, 1000, pool, &row);
    aliases_end(&reading);
    assert_int_equal(row.state, ROWS_LIVE);
    assert_true((row.network == NULL) == (row.action == ACTION_NONE));
    return row.network != NULL ? row.network : "none";
}

static void check_clients(struct aliases *db, struct pool *pool)
{
    assert_string_equal(client_rule(db, pool, "192.0.2.7"), "192.0.2.7");
    assert_string_equal(client_rule(db, pool, "192.0.2.8"), "192.0.2.0/24"); /* its own row expired at 1000 */
    assert_string_equal(client_rule(db, pool, "192.0.2.9"), "192.0.2.9");
    assert_string_equal(client_rule(db, pool, "192.0.9.9"), "192.0.0.0/16");
    assert_string_equal(client_rule(db, pool, "198.51.100.1"), "none");
    assert_string_equal(client_rule(db, pool, "2001:db8:1::5"), "2001:db8:1::/48");
    assert_string_equal(client_rule(db, pool, "2001:db8:2::5"), "2001:db8::/32");
    assert_string_equal(client_rule(db, pool, "2001:db9::5"), "none");
    assert_string_equal(client_rule(db, pool, "::ffff:192.0.2.7"), "192.0.2.7");
    assert_string_equal(client_rule(db, pool, NULL), "none");
}

static void finds_the_longest_prefix(void **state)
{
    struct place *place = *state;
    make(place->path,
         "INSERT INTO client_rules VALUES ('192.0.2.7','accept',NULL,NULL),('192.0.2.8','accept',NULL,1000),"
         "('192.0.2.9','accept',NULL,1001),('192.0.2.0/24','reject','r',NULL),('192.0.0.0/"
         "16','defer',NULL,NULL),"
         "('2001:db8::/32','reject',NULL,NULL),('2001:db8:1::/"
         "48','accept',NULL,NULL),('nonsense','reject',NULL,NULL);");
    struct aliases *db = open_db(place);
    check_clients(db, &place->pool);
    run_on(place->path,
           "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
           " INSERT INTO client_rules(network, action) SELECT '10.' || (i / 256) || '.' || (i % 256) || '.1',"
           " 'reject' FROM n");
    check_clients(db, &place->pool); /* more than are scanned for their lengths */
    assert_string_equal(client_rule(db, &place->pool, "10.3.4.1"), "10.3.4.1");
    run_on(place->path, "DELETE FROM client_rules");
    assert_string_equal(client_rule(db, &place->pool, "192.0.2.7"), "none");
    run_on(place->path, "INSERT INTO client_rules(network, action) VALUES ('0.0.0.0/0', 'reject')");
    assert_string_equal(client_rule(db, &place->pool, "192.0.2.7"), "0.0.0.0/0");
    assert_string_equal(client_rule(db, &place->pool, "2001:db8::1"), "none");
    aliases_free(db);
}

static void without_rules_nothing_is_there(void **state)
{
    struct place *place = *state;
    assert_int_equal(state_of(NULL, &place->pool), ROWS_LIVE);
    assert_null(ask(NULL, &place->pool, "a", "example.com").domain.domain);
    struct aliases_reading reading = aliases_begin(NULL);
    assert_true(aliases_generation(&reading) == aliases_generation(&reading));
    aliases_end(&reading);
    expect_no_condition(NULL);
}

/* --- rows that nobody may believe --- */

static void odd_rows_are_unknown(void **state)
{
    struct place *place = *state;
    static const struct {
        const char *local, *values; /* address, mailbox, owner, class, action, reply, expires_at */
    } rows[] = {
        {"action", "'x@y',NULL,NULL,'allow',NULL,NULL"},
        {"null", "'x@y',NULL,NULL,NULL,NULL,NULL"},
        {"number", "'x@y',NULL,NULL,7,NULL,NULL"},
        {"blob", "x'6162',NULL,NULL,'accept',NULL,NULL"},
        {"nul", "'a' || char(0) || 'b',NULL,NULL,'accept',NULL,NULL"},
        {"utf8", "CAST(x'ff41' AS TEXT),NULL,NULL,'accept',NULL,NULL"},
        {"surrogate", "NULL,CAST(x'eda080' AS TEXT),NULL,'accept',NULL,NULL"},
        {"long", "NULL,CAST(x'c080' AS TEXT),NULL,'accept',NULL,NULL"},
        {"cut", "NULL,CAST(x'e282' AS TEXT),NULL,'accept',NULL,NULL"},
        {"expires", "NULL,NULL,NULL,'accept',NULL,'soon'"},
        {"real", "NULL,NULL,NULL,'accept',NULL,1.5"},
    };
    /* a table without STRICT and CHECKs, as a careless application might make it */
    run_on(place->path, aliases_schema_sql);
    run_on(place->path, "DROP TABLE aliases; CREATE TABLE aliases (address, mailbox, owner, class, action, "
                        "reply, expires_at);"
                        "INSERT INTO domains(domain) VALUES ('example.com');"
                        "INSERT INTO aliases VALUES ('good@example.com','x@y',NULL,NULL,'accept',NULL,NULL)");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char sql[256];
        snprintf(sql, sizeof sql, "INSERT INTO aliases VALUES ('%s@example.com',%s)", rows[i].local,
                 rows[i].values);
        run_on(place->path, sql);
    }
    struct aliases *db = open_db(place);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct alias_rows got = ask(db, &place->pool, rows[i].local, "example.com");
        if (got.state != ROWS_UNKNOWN || got.full.key != NULL || got.domain.domain != NULL)
            fail_msg("the row \"%s\" was believed", rows[i].local);
        expect_condition(db, rows[i].local);
        assert_int_equal(ask(db, &place->pool, "good", "example.com").state,
                         ROWS_LIVE); /* only that row is lost */
    }
    run_on(place->path, "DELETE FROM aliases");
    assert_int_equal(state_of(db, &place->pool), ROWS_LIVE);
    expect_no_condition(db);
    aliases_free(db);
}

static void the_schema_refuses_what_never_matches(void **state)
{
    struct place *place = *state;
    static const char *const refused[] = {
        "aliases(address) VALUES ('A@example.com')",
        "aliases(address) VALUES (NULL)",
        "aliases(address, action) VALUES ('a@example.com', 'allow')",
        "aliases(address, action) VALUES ('a@example.com', NULL)",
        "aliases(address, expires_at) VALUES ('a@example.com', 'soon')",
        "domains(domain) VALUES ('Example.com')",
        "domains(domain, catch_all) VALUES ('example.com', 'defer')",
        "alias_globs(domain, glob) VALUES ('example.com', 'A*')",
        "sender_rules(scope, pattern) VALUES ('owner:Bob', '*')",
        "sender_rules(scope, pattern) VALUES ('*', '@X')",
        "sender_rules(scope) VALUES ('*')",
        "client_rules(network, action) VALUES ('192.0.2.0/24', '')",
    };
    make(
        place->path,
        "INSERT INTO aliases(address) VALUES ('\u00c4@example.com')"); /* lower case is asked of ASCII only */
    sqlite3 *db = outside(place->path);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        char sql[128];
        snprintf(sql, sizeof sql, "INSERT INTO %s", refused[i]);
        if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_CONSTRAINT)
            fail_msg("was not refused: %s", sql);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* --- a file that lives --- */

static void commits_hold_for_the_next_snapshot(void **state)
{
    struct place *place = *state;
    make(place->path, "INSERT INTO domains(domain) VALUES ('example.com')");
    sqlite3 *writer = outside(place->path);
    struct aliases *db = open_db(place);
    assert_null(ask(db, &place->pool, "a", "example.com").full.key);
    for (int n = 0; n < 50; n++) {
        struct alias_query query = {.full = {"a@example.com"}, .domain = {"example.com"}, .local_full = "a"};
        struct alias_rows rows;
        struct aliases_reading before = aliases_begin(db);
        run(writer,
            n % 2 == 0 ? "INSERT INTO aliases(address) VALUES ('a@example.com')" : "DELETE FROM aliases");
        aliases_alias(&before, &query, &place->pool, &rows); /* of the moment when it began */
        assert_true((rows.full.key != NULL) == (n % 2 != 0));
        aliases_end(&before);
        assert_true((ask(db, &place->pool, "a", "example.com").full.key != NULL) == (n % 2 == 0));
    }
    run(writer,
        "BEGIN IMMEDIATE; DELETE FROM aliases; DELETE FROM domains"); /* not committed: not seen, and nobody waits */
    assert_non_null(ask(db, &place->pool, "a", "example.com").domain.domain);
    run(writer, "ROLLBACK; PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(state_of(db, &place->pool), ROWS_LIVE);
    assert_int_equal(sqlite3_close(writer), SQLITE_OK);
    aliases_free(db);
}

static uint64_t generation(struct aliases *db)
{
    struct aliases_reading reading = aliases_begin(db);
    uint64_t now = aliases_generation(&reading);
    aliases_end(&reading);
    return now;
}

static void generations_follow_the_data(void **state)
{
    struct place *place = *state;
    make(place->path, "INSERT INTO domains(domain) VALUES ('example.com')");
    struct aliases *db = open_db(place);
    (void)generation(db); /* the first is the handle's own */
    uint64_t first = generation(db);
    assert_true(generation(db) == first);
    run_on(place->path, "INSERT INTO domains(domain) VALUES ('example.net')");
    uint64_t second = generation(db), third = generation(db);
    assert_true(second != first && third != first && third != second);
    assert_true(generation(db) == third);
    /* another handle, opened later, may have seen a later commit: never the same generation at once */
    struct aliases_reading a = aliases_begin(db), b = aliases_begin(db);
    assert_true(aliases_generation(&a) != aliases_generation(&b));
    aliases_end(&a);
    aliases_end(&b);
    aliases_free(db);
}

static void a_renamed_file_is_noticed(void **state)
{
    struct place *place = *state;
    char other[96];
    snprintf(other, sizeof other, "%s/other.db", place->dir);
    make(place->path, "INSERT INTO domains(domain) VALUES ('example.com')");
    make(other, "INSERT INTO domains(domain) VALUES ('example.com'); INSERT INTO aliases(address) VALUES "
                "('a@example.com')");
    struct aliases *db = open_db(place);
    assert_null(ask(db, &place->pool, "a", "example.com").full.key);
    struct aliases_reading held = aliases_begin(db); /* a reading of the old file is out meanwhile */
    assert_int_equal(rename(other, place->path), 0);
    nap(NOTICED_MS);
    (void)state_of(db, &place->pool);
    aliases_end(&held);
    struct alias_rows rows = ask(db, &place->pool, "a", "example.com");
    assert_int_equal(rows.state, ROWS_LIVE);
    assert_non_null(rows.full.key);
    aliases_free(db);
}

static void a_missing_file_is_not_created(void **state)
{
    struct place *place = *state;
    struct aliases *db = open_db(place);
    struct stat st;
    assert_int_equal(state_of(db, &place->pool), ROWS_UNKNOWN);
    expect_condition(db, "alias init");
    assert_int_equal(stat(place->path, &st), -1);
    make(place->path, "INSERT INTO domains(domain) VALUES ('example.com')");
    assert_true(wait_for(db, &place->pool, ROWS_LIVE) <= 5 * NOTICED_MS); /* a slow machine gets some grace */
    expect_no_condition(db);
    assert_int_equal(unlink(place->path), 0);
    assert_true(wait_for(db, &place->pool, ROWS_UNKNOWN) <= 5 * NOTICED_MS);
    expect_condition(db, "does not exist");
    aliases_free(db);
}

static void files_that_are_no_rules(void **state)
{
    struct place *place = *state;
    static const struct {
        const char *sql, *condition;
    } rows[] = {
        {"PRAGMA user_version = 2", "user_version 2"},
        {"PRAGMA user_version = 0", "user_version 0"},
        {"DROP TABLE sender_rules", "no table sender_rules"},
        {"ALTER TABLE client_rules DROP COLUMN reply", "client_rules.reply"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        make(place->path, "INSERT INTO domains(domain) VALUES ('example.com')");
        struct aliases *db = open_db(place);
        assert_int_equal(state_of(db, &place->pool), ROWS_LIVE);
        run_on(place->path, rows[i].sql); /* while it is in use */
        if (strstr(rows[i].sql, "DROP") == NULL)
            assert_int_equal(state_of(db, &place->pool), ROWS_UNKNOWN);
        aliases_free(db);
        db = open_db(place); /* and from the beginning */
        assert_int_equal(state_of(db, &place->pool), ROWS_UNKNOWN);
        expect_condition(db, rows[i].condition);
        aliases_free(db);
        assert_int_equal(unlink(place->path), 0);
    }
}

static void files_that_are_no_database(void **state)
{
    struct place *place = *state;
    FILE *out = fopen(place->path, "w");
    assert_non_null(out);
    for (int i = 0; i < 1000; i++)
        fputs("this is not a database\n", out);
    assert_int_equal(fclose(out), 0);
    struct aliases *db = open_db(place);
    assert_int_equal(state_of(db, &place->pool), ROWS_UNKNOWN);
    expect_condition(db, "is not an SQLite database");
    aliases_free(db);
    assert_int_equal(truncate(place->path, 0), 0);
    db = open_db(place);
    assert_int_equal(state_of(db, &place->pool), ROWS_UNKNOWN);
    expect_condition(db, "user_version 0");
    aliases_free(db);
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(mkdir(place->path, 0700), 0);
    db = open_db(place);
    assert_int_equal(state_of(db, &place->pool), ROWS_UNKNOWN);
    expect_condition(db, "no regular file");
    aliases_free(db);
}

/* A file that is cut while it is in use: never a miss for a row that was there. */
static void a_cut_file_is_never_a_miss(void **state)
{
    struct place *place = *state;
    make(place->path, "INSERT INTO domains(domain) VALUES ('example.com');"
                      "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
                      " INSERT INTO aliases(address, mailbox) SELECT 'a' || i || '@example.com', "
                      "'mailbox@example.net' FROM n;"
                      "PRAGMA wal_checkpoint(TRUNCATE)");
    struct aliases *db = open_db(place);
    assert_non_null(ask(db, &place->pool, "a7", "example.com").full.key);
    struct stat st;
    assert_int_equal(stat(place->path, &st), 0);
    int unknown = 0;
    for (int tenths = 9; tenths >= 0; tenths--) {
        assert_int_equal(truncate(place->path, st.st_size * tenths / 10), 0);
        for (int i = 0; i < 200; i++) {
            char local[16];
            snprintf(local, sizeof local, "a%d", i * 100);
            struct alias_rows rows = ask(db, &place->pool, local, "example.com");
            unknown += rows.state == ROWS_UNKNOWN;
            if (rows.state == ROWS_LIVE)
                assert_non_null(rows.full.key);
        }
        pool_reset(&place->pool);
    }
    assert_true(unknown > 0);
    aliases_free(db);
}

static void a_locked_file_is_unknown_soon(void **state)
{
    struct place *place = *state;
    make(place->path, "INSERT INTO domains(domain) VALUES ('example.com')");
    struct aliases *db = open_db(place);
    sqlite3 *locker = outside(place->path);
    run(locker, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
    int64_t start = clock_monotonic_ms();
    assert_int_equal(state_of(db, &place->pool), ROWS_UNKNOWN);
    assert_true(clock_monotonic_ms() - start < 5000);
    expect_condition(db, "locked");
    int waited = 0;
    for (int i = 0; i < 100; i++) {
        start = clock_monotonic_ms();
        assert_int_equal(state_of(db, &place->pool), ROWS_UNKNOWN);
        waited += clock_monotonic_ms() - start >= CONNECTION_BUSY_MS;
    }
    assert_true(waited < 50); /* not every look-up waits */
    run(locker, "COMMIT");
    assert_int_equal(sqlite3_close(locker), SQLITE_OK);
    (void)wait_for(db, &place->pool, ROWS_LIVE);
    expect_no_condition(db);
    aliases_free(db);
}

/* --- many threads --- */

enum { READERS = 8, ALIASES = 500 };

struct crowd {
    struct aliases *db;
    atomic_bool stop;
    atomic_long asked, unknown, wrong;
};

/* The even aliases are always there, 'never' never; the odd ones come and go, all in one transaction. */
static void *reader(void *context)
{
    struct crowd *crowd = context;
    struct pool pool = {0};
    unsigned seed = (unsigned)(uintptr_t)&pool;
    while (!atomic_load(&crowd->stop)) {
        struct alias_rows even, odd[2];
        struct aliases_reading reading = aliases_begin(crowd->db);
        const char *addresses[] = {pool_printf(&pool, "a%d@example.com", rand_r(&seed) % ALIASES * 2),
                                   pool_printf(&pool, "a%d@example.com", rand_r(&seed) % ALIASES * 2 + 1),
                                   pool_printf(&pool, "a%d@example.com", rand_r(&seed) % ALIASES * 2 + 1)};
        struct alias_rows *rows[] = {&even, &odd[0], &odd[1]};
        for (size_t i = 0; i < 3; i++) {
            struct alias_query query = {.full = {addresses[i]}, .domain = {"example.com"}, .local_full = "a"};
            aliases_alias(&reading, &query, &pool, rows[i]);
        }
        aliases_end(&reading);
        bool known = even.state == ROWS_LIVE && odd[0].state == ROWS_LIVE && odd[1].state == ROWS_LIVE;
        atomic_fetch_add(&crowd->asked, 1);
        atomic_fetch_add(&crowd->unknown, !known);
        if (!known)
            nap(1);
        if (known && (even.full.key == NULL || even.domain.domain == NULL ||
                      (odd[0].full.key == NULL) != (odd[1].full.key == NULL)))
            atomic_fetch_add(&crowd->wrong, 1);
        pool_reset(&pool);
    }
    pool_done(&pool);
    return NULL;
}

static void readers_beside_a_writer(void **state)
{
    struct place *place = *state;
    make(place->path, "INSERT INTO domains(domain) VALUES ('example.com');"
                      "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 2 FROM n WHERE i < 998)"
                      " INSERT INTO aliases(address) SELECT 'a' || i || '@example.com' FROM n");
    struct crowd crowd = {.db = open_db(place)};
    pthread_t threads[READERS];
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &crowd), 0);
    sqlite3 *writer = outside(place->path);
    int64_t start = clock_monotonic_ms();
    int commits = 0;
    for (; clock_monotonic_ms() - start < 2000; commits++) {
        run(writer, commits % 2 == 0
                        ? "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 2 FROM n WHERE i < 999)"
                          " INSERT INTO aliases(address) SELECT 'a' || i || '@example.com' FROM n"
                        : "DELETE FROM aliases WHERE CAST(substr(address, 2) AS INTEGER) % 2 = 1");
        if (commits % 10 == 0)
            run(writer, "PRAGMA wal_checkpoint(PASSIVE)");
    }
    atomic_store(&crowd.stop, true);
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(sqlite3_close(writer), SQLITE_OK);
    assert_int_equal(atomic_load(&crowd.wrong), 0);
    assert_true(commits > 5 && atomic_load(&crowd.asked) > 100);
    assert_true(atomic_load(&crowd.unknown) * 10 <
                atomic_load(&crowd.asked)); /* a busy machine may time out now and then */
    aliases_free(crowd.db);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(reads_a_row),
        TEST(the_key_is_that_of_the_row),
        TEST(finds_both_spellings),
        TEST(finds_globs),
        TEST(finds_senders),
        TEST(knows_which_rules_there_are),
        TEST(domains_are_what_they_are_now),
        TEST(finds_the_longest_prefix),
        TEST(without_rules_nothing_is_there),
        TEST(odd_rows_are_unknown),
        TEST(the_schema_refuses_what_never_matches),
        TEST(commits_hold_for_the_next_snapshot),
        TEST(generations_follow_the_data),
        TEST(a_renamed_file_is_noticed),
        TEST(a_missing_file_is_not_created),
        TEST(files_that_are_no_rules),
        TEST(files_that_are_no_database),
        TEST(a_cut_file_is_never_a_miss),
        TEST(a_locked_file_is_unknown_soon),
        TEST(readers_beside_a_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
