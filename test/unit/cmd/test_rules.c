/* alias, domain, sender, client, as from a command line, on a real database in a temporary directory. */
#include "command.h"
#include "rule_inert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 16, LINE = 512, CANNOT_CREATE = 73 };

struct place {
    char dir[64], path[80], policy[80];
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    strcpy(place->dir, "/tmp/test_cmd_rules.XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->path, sizeof place->path, "%s/aliases.db", place->dir);
    snprintf(place->policy, sizeof place->policy, "%s/policy.json", place->dir);
    FILE *out = fopen(place->policy, "w");
    assert_non_null(out);
    fprintf(out, "{\"aliases\": {\"database\": \"%s\"}}", place->path);
    assert_int_equal(fclose(out), 0);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    unlink(place->policy);
    for (size_t i = 0; i < 3; i++) {
        char file[128];
        snprintf(file, sizeof file, "%s%s", place->path, suffixes[i]);
        unlink(file);
    }
    int rc = rmdir(place->dir);
    free(place);
    return rc;
}

/* The words of a line, separated by one space each ("_" in a word stands for a space, "''" for nothing). */
static int run(const struct place *place, const char *line)
{
    char copy[LINE], *argv[WORDS + 1], *rest = copy;
    int argc = 0;
    snprintf(copy, sizeof copy, "%s -c %s", line, place->policy);
    for (char *word = strsep(&rest, " "); word != NULL && argc < WORDS; word = strsep(&rest, " ")) {
        if (strcmp(word, "''") == 0)
            word = word + 2;
        for (char *c = word; strstr(word, "@") == NULL && *c != '\0' && c[0] != '/'; c++)
            if (*c == '_')
                *c = ' ';
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    return cmd_rules(argc, argv);
}

/* One row of a query as text, columns joined by '|'; "" for none. */
static const char *query(const struct place *place, const char *sql)
{
    static char out[LINE];
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    out[0] = '\0';
    assert_int_equal(sqlite3_open_v2(place->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    if (sqlite3_step(stmt) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(stmt); i++) {
            const char *text = (const char *)sqlite3_column_text(stmt, i);
            snprintf(out + strlen(out), sizeof out - strlen(out), "%s%s", i > 0 ? "|" : "",
                     text != NULL ? text : "-");
        }
    }
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return out;
}

static void commands_and_rows(void **state)
{
    struct place *place = *state;
    static const struct {
        const char *line;
        int status;
        const char *sql, *want; /* NULL: not looked at */
    } rows[] = {
        {"alias list", EXIT_REFUSED, NULL, NULL},
        {"alias remove a@example.com", EXIT_REFUSED, NULL, NULL},
        {"alias add Shop@Example.COM. Me@example.net", EXIT_DONE,
         "SELECT address, mailbox, action FROM aliases", "shop@example.com|Me@example.net|accept"},
        {"alias init", EXIT_REFUSED, NULL, NULL},
        {"alias add \"shop\"@example.com", EXIT_REFUSED, NULL, NULL}, /* the same alias */
        {"alias add two@example.com a@x.example,b@y.example --owner Bob --class gold --expires 2027-01-31",
         EXIT_DONE, "SELECT mailbox, owner, class, expires_at FROM aliases WHERE address LIKE 'two@%'",
         "a@x.example,b@y.example|Bob|gold|1801353600"},
        {"alias set two@example.com --owner '' --expires never --action reject", EXIT_DONE,
         "SELECT mailbox, owner, class, expires_at, action FROM aliases WHERE address LIKE 'two@%'",
         "a@x.example,b@y.example|-|gold|-|reject"},
        {"alias set two@example.com --reply 450_4.2.1_later", EXIT_REFUSED, NULL, NULL},
        {"alias set two@example.com --reply 550_5.2.1_gone", EXIT_DONE,
         "SELECT reply FROM aliases WHERE address LIKE 'two@%'", "550 5.2.1 gone"},
        {"alias set two@example.com --action defer", EXIT_REFUSED,
         "SELECT action FROM aliases WHERE address LIKE 'two@%'", "reject"},
        {"alias set two@example.com --action defer --reply ''", EXIT_DONE,
         "SELECT action, reply FROM aliases WHERE address LIKE 'two@%'", "defer|-"},
        {"alias set two@example.com --mailbox <Me@x.example>,\"b,c\"@Y.example.", EXIT_DONE,
         "SELECT mailbox FROM aliases WHERE address LIKE 'two@%'", "me@x.example,\"b,c\"@y.example"},
        {"alias set two@example.com --mailbox a@x.example,", EXIT_REFUSED, NULL, NULL},
        {"alias set two@example.com", EXIT_REFUSED, NULL, NULL},
        {"alias set nobody@example.com --owner x", EXIT_REFUSED, NULL, NULL},
        {"alias add three@example.com not-an-address", EXIT_REFUSED, NULL, NULL},
        {"alias add three@example.com --action allow", EXIT_REFUSED, NULL, NULL},
        {"alias add three@example.com --expires soon", EXIT_REFUSED, NULL, NULL},
        {"alias add three@example.com a@b.example c@d.example", EXIT_USAGE, NULL, NULL},
        {"alias add three@example.com --catch-all accept", EXIT_USAGE, NULL, NULL},
        {"alias add postmaster", EXIT_REFUSED, "SELECT count(*) FROM aliases", "2"},
        {"alias add SH?P-*@example.com a@b.example --action discard", EXIT_DONE,
         "SELECT domain, glob, mailbox, action FROM alias_globs", "example.com|sh?p-*|a@b.example|discard"},
        {"alias add x*@example.com --expires 1d", EXIT_REFUSED, "SELECT count(*) FROM alias_globs", "1"},
        {"alias add \"x*\"@example.com", EXIT_DONE, "SELECT count(*) FROM aliases", "3"},
        {"alias remove sh?p-*@EXAMPLE.com two@example.com", EXIT_DONE,
         "SELECT (SELECT count(*) FROM alias_globs), (SELECT count(*) FROM aliases)", "0|2"},
        {"alias remove shop@example.com two@example.com", EXIT_REFUSED, "SELECT count(*) FROM aliases",
         "2"}, /* all or nothing */
        {"alias list shop*", EXIT_DONE, NULL, NULL},
        {"alias list --json", EXIT_DONE, NULL, NULL},
        {"domain add B\u00dccher.example. --catch-all accept --owner Bob", EXIT_DONE,
         "SELECT domain, action, catch_all, owner FROM domains", "xn--bcher-kva.example|accept|accept|Bob"},
        {"domain set xn--bcher-kva.example --catch-all ''", EXIT_DONE, "SELECT catch_all FROM domains", "-"},
        {"domain add bad..example", EXIT_REFUSED, NULL, NULL},
        {"domain add ..example.com", EXIT_REFUSED, NULL, NULL},
        {"domain add .", EXIT_REFUSED, NULL, NULL},
        {"domain add .Example.com. --owner o", EXIT_DONE, "SELECT domain FROM domains WHERE owner = 'o'",
         ".example.com"},
        {"alias add a@.example.com b@example.net", EXIT_REFUSED, NULL, NULL},
        {"alias add X-*@.B\303\274cher.example b@example.net", EXIT_DONE,
         "SELECT domain || ' ' || glob FROM alias_globs WHERE domain GLOB '.*'",
         ".xn--bcher-kva.example x-*"},
        {"alias remove x-*@.b\303\274cher.example", EXIT_DONE,
         "SELECT count(*) FROM alias_globs WHERE domain GLOB '.*'", "0"},
        {"sender add @.Example.com x@example.net reject", EXIT_DONE,
         "SELECT scope FROM sender_rules WHERE scope GLOB '@.*'", "@.example.com"},
        {"sender remove @.example.com x@example.net", EXIT_DONE,
         "SELECT count(*) FROM sender_rules WHERE scope GLOB '@.*'", "0"},
        {"domain remove .example.com", EXIT_DONE, "SELECT count(*) FROM domains WHERE owner = 'o'", "0"},
        {"domain add a.example b.example", EXIT_USAGE, "SELECT count(*) FROM domains", "1"},
        {"sender add @Spam.example", EXIT_USAGE, NULL, NULL},
        {"sender add @Spam.example reject", EXIT_DONE, "SELECT scope, pattern, action FROM sender_rules",
         "*|@spam.example|reject"},
        {"sender add Shop@example.com * reject", EXIT_DONE,
         "SELECT scope, pattern, action FROM sender_rules WHERE scope LIKE 'shop%'",
         "shop@example.com|*|reject"},
        {"sender add owner:Bob <> --action accept", EXIT_DONE,
         "SELECT scope, pattern, action FROM sender_rules WHERE pattern = '<>'", "owner:bob|<>|accept"},
        {"sender add @.Spam.example defer --scope @Example.com --reply 450_4.7.1_later", EXIT_DONE,
         "SELECT pattern, action, reply FROM sender_rules WHERE scope = '@example.com'",
         "@.spam.example|defer|450 4.7.1 later"},
        {"sender add @example.com @x.example reject --scope *", EXIT_USAGE, NULL, NULL},
        {"sender add spam.example reject", EXIT_REFUSED, NULL, NULL},
        {"sender set owner:BOB <> discard", EXIT_DONE, "SELECT action FROM sender_rules WHERE pattern = '<>'",
         "discard"},
        {"sender remove owner:bob <>", EXIT_DONE, "SELECT count(*) FROM sender_rules", "3"},
        {"sender remove @spam.example", EXIT_DONE, "SELECT count(*) FROM sender_rules", "2"},
        {"sender remove a b c", EXIT_USAGE, NULL, NULL},
        {"sender add *@x.example reject", EXIT_REFUSED, NULL, NULL}, /* would match nobody */
        {"sender add sh?p@example.com * reject", EXIT_REFUSED, "SELECT count(*) FROM sender_rules", "2"},
        {"sender add \"*\"@x.example reject", EXIT_DONE,
         "SELECT action FROM sender_rules WHERE pattern = '*@x.example'", "reject"},
        {"client add 2001:DB8::/32 reject", EXIT_DONE, "SELECT network, action, expires_at FROM client_rules",
         "2001:db8::/32|reject|-"},
        {"client add ::ffff:192.0.2.7 accept --for 1h", EXIT_DONE,
         "SELECT network, expires_at > unixepoch() + 3500 FROM client_rules WHERE expires_at > 0",
         "192.0.2.7|1"},
        {"client add 192.0.2.1/24 reject", EXIT_REFUSED, NULL, NULL},
        {"client add 192.0.2.0/24", EXIT_USAGE, NULL, NULL},
        {"client add 192.0.2.0/24 reject --for 1h --expires 1h", EXIT_USAGE, NULL, NULL},
        {"client remove 192.0.2.7", EXIT_DONE, "SELECT count(*) FROM client_rules", "1"},
        {"client init", EXIT_USAGE, NULL, NULL},
        {"client", EXIT_USAGE, NULL, NULL},
        {"alias add", EXIT_USAGE, NULL, NULL},
        {"alias frob x@example.com", EXIT_USAGE, NULL, NULL},
        {"alias add y@example.com --json", EXIT_USAGE, NULL, NULL},
        {"alias init --database /dev/null/no/such/aliases.db", CANNOT_CREATE, NULL, NULL},
        {"alias list --database /dev/null/no/such/aliases.db", EXIT_REFUSED, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int status = run(place, rows[i].line);
        if (status != rows[i].status)
            fail_msg("%s: exit status %d, not %d", rows[i].line, status, rows[i].status);
        if (rows[i].sql != NULL && strcmp(query(place, rows[i].sql), rows[i].want) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", rows[i].line, query(place, rows[i].sql), rows[i].want);
    }
}

static int execute(const struct place *place, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(place->path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_close(db);
    return rc;
}

/* What the schema can see of rows that would never act. */
static void the_schema_refuses(void **state)
{
    struct place *place = *state;
    static const char *const rows[] = {
        "domains(domain) VALUES ('example.com.')",
        "domains(domain) VALUES ('example.com ')",
        "domains(domain) VALUES ('')",
        "domains(domain) VALUES ('a@example.com')",
        "aliases(address) VALUES ('a@example.com.')",
        "aliases(address) VALUES ('a@example.com ')",
        "aliases(address) VALUES (' a@example.com')",
        "aliases(address, expires_at) VALUES ('a@example.com', 1801353600000)",
        "alias_globs(domain, glob) VALUES ('example.com.', 'a*')",
        "sender_rules(scope, pattern) VALUES ('example.com', '*')",
        "sender_rules(scope, pattern) VALUES ('*', 'spam.test')",
        "sender_rules(scope, pattern) VALUES ('*', '*@.spam.test')",
        "sender_rules(scope, pattern) VALUES ('*', '@spam.test.')",
        "sender_rules(scope, pattern) VALUES ('@example.com ', '*')",
        "client_rules(network) VALUES ('192.0.2.7/32')",
        "client_rules(network) VALUES ('2001:db8::1/128')",
        "client_rules(network) VALUES ('192.0.2.7 ')",
        "client_rules(network, expires_at) VALUES ('192.0.2.7', 1801353600000)",
    };
    static const char *const good[] = {
        "domains(domain) VALUES ('.example.com')",
        "aliases(address, expires_at) VALUES ('\"a b\"@example.com', 253402300799)",
        "sender_rules(scope, pattern) VALUES ('owner:bob & sons.', '<>')",
        "sender_rules(scope, pattern) VALUES ('@.example.com', '@.spam.test')",
        "sender_rules(scope, pattern) VALUES ('a@example.com', '*@spam.test')",
        "client_rules(network) VALUES ('2001:db8::/32')",
    };
    char sql[200];
    assert_int_equal(run(place, "alias init"), EXIT_DONE);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO %s", rows[i]);
        if (execute(place, sql) != SQLITE_CONSTRAINT)
            fail_msg("%s is taken", sql);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO %s", good[i]);
        if (execute(place, sql) != SQLITE_OK)
            fail_msg("%s is refused", sql);
    }
}

struct named {
    size_t n;
    char all[4000];
};

static void name(const struct error *why, void *context)
{
    struct named *named = context;
    size_t at = strlen(named->all);
    named->n++;
    snprintf(named->all + at, sizeof named->all - at, "%s\n", why->text);
}

/* In a file without today's CHECKs such rows are named, and removed by what is stored. */
static void rows_that_never_act(void **state)
{
    struct place *place = *state;
    static const char *const says[] = {
        "client_rules: 192.0.2.7/32 can never match: write it as 192.0.2.7",
        "client_rules: 192.0.2.9/24 can never match: \"192.0.2.9/24\" has bits set",
        "client_rules: 2001:db8:0::/32 can never match: write it as 2001:db8::/32",
        "sender_rules: * *@.spam.test can never match",
        "sender_rules: * spam.test can never match",
        "aliases: a@example.com. can never match: write it as a@example.com",
        "aliases: ms@example.com never ends: its expires_at is in milliseconds",
        "domains: .i\u2764\ufe0f.example can never match: write it as .xn--i-7iq.example",
        "aliases: a@bu\u0308cher.example can never match: write it as a@xn--bcher-kva.example",
        "sender_rules: @b\u00fccher.example @.\u00c9.example can never match: write it as",
        "sender_rules: * *@all.test matches nobody, as a * stands for itself there: write it as @domain",
        "aliases: *@example.com matches nobody, as a * stands for itself there: write it as the glob *",
    };
    struct named named = {0};
    assert_int_equal(run(place, "alias init"), EXIT_DONE);
    assert_int_equal(
        execute(
            place,
            "PRAGMA ignore_check_constraints = 1;"
            "INSERT INTO client_rules(network) VALUES ('192.0.2.7/32'), ('192.0.2.9/24'), "
            "('2001:db8:0::/32'), ('192.0.2.7'), ('2001:db8::/48');"
            "INSERT INTO sender_rules(scope, pattern) VALUES ('*', '*@.spam.test'), ('*', 'spam.test'), "
            "('*', '@spam.test'), ('*', '*@all.test'), ('*', '*x@all.test'), ('owner:bob', '<>'), "
            "('a@example.com', '*'), "
            "('@b\u00fccher.example', '@.\u00c9.example'), ('owner:\u00fc', '@.b\u00fccher.example'), "
            "('@.b\u00fccher.example', '\u00fc@b\u00fccher.example');"
            "INSERT INTO domains(domain) VALUES ('example.com'), ('b\u00fccher.example'), "
            "('.b\u00fccher.example'), ('.i\u2764\ufe0f.example');"
            "INSERT INTO alias_globs(domain, glob) VALUES ('example.com', 'a*');"
            "INSERT INTO aliases(address, expires_at) VALUES ('a@example.com.', NULL), "
            "('\u00fc@b\u00fccher.example', NULL), ('a@i\u2764.example', NULL), "
            "('a@bu\u0308cher.example', NULL), "
            "('ms@example.com', 1801353600000), ('*@example.com', NULL), ('a+b@example.com', 1801353600);"),
        SQLITE_OK);
    assert_int_equal(rule_inert_scan(place->path, "+", 1000, name, &named), sizeof says / sizeof says[0]);
    for (size_t i = 0; i < sizeof says / sizeof says[0]; i++)
        if (strstr(named.all, says[i]) == NULL)
            fail_msg("\"%s\" is not in\n%s", says[i], named.all);
    assert_int_equal(run(place, "client list"), EXIT_DONE);
    assert_int_equal(run(place, "client remove 192.0.2.7/32 192.0.2.9/24 2001:db8:0::/32"), EXIT_DONE);
    assert_int_equal(run(place, "sender remove *@.spam.test"), EXIT_DONE);
    assert_int_equal(run(place, "sender remove spam.test"), EXIT_DONE);
    assert_int_equal(run(place, "alias remove a@example.com. ms@example.com a@bu\u0308cher.example"),
                     EXIT_DONE);
    assert_int_equal(run(place, "domain remove .i\u2764\ufe0f.example"), EXIT_DONE);
    assert_int_equal(execute(place, "DELETE FROM sender_rules WHERE pattern = '@.\u00c9.example'"),
                     SQLITE_OK);
    assert_int_equal(execute(place, "DELETE FROM aliases WHERE address = '*@example.com'"), SQLITE_OK);
    assert_int_equal(execute(place, "DELETE FROM sender_rules WHERE pattern = '*@all.test'"), SQLITE_OK);
    assert_string_equal(query(place, "SELECT count(*), min(network) FROM client_rules"), "2|192.0.2.7");
    assert_int_equal(rule_inert_scan(place->path, "+", 1000, NULL, NULL), 0);
    assert_int_equal(run(place, "client remove 192.0.2.7/32"), EXIT_DONE); /* as it is typed elsewhere, too */
    assert_int_equal(run(place, "client remove 192.0.2.9/24"), EXIT_REFUSED);
}

static void a_policy_without_rules_is_78(void **state)
{
    struct place *place = *state;
    FILE *out = fopen(place->policy, "w");
    assert_non_null(out);
    fputs("{}", out);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(run(place, "alias list"), EXIT_CONFIG);
    assert_int_equal(unlink(place->policy), 0);
    assert_int_equal(run(place, "alias list"), EXIT_CONFIG);
    assert_int_equal(access(place->path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(commands_and_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_schema_refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_that_never_act, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_policy_without_rules_is_78, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
