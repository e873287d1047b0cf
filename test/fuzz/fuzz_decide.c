/* fuzz_decide: rows as any program can write them, past our commands and with any text, through SQLite and the whole
 * decision: the reply is a clean line, what refuses stands on a row of that action or on an absence, and who was
 * accepted is not refused a moment later. */
#include "fuzz_gate.h"

#include "admin/explain.h"
#include "milter/decide.h"

static struct gate gate;
static sqlite3 *db;

static const char *const actions[] = {"accept", "defer", "reject", "discard"};
static const char *const keys[] = {"a@example.com", "b@example.com", "a+x@example.com", "*@example.com"};

static void start_once(void)
{
    static const char policy_text[] =
        "\"exempt\": {\"recipients\": []}, \"limits\": ["
        "{\"name\": \"one\", \"per\": \"mailbox\", \"max\": 1000000, \"window\": \"1d\"},"
        "{\"name\": \"two\", \"per\": [\"owner\", \"sender\"], \"max\": 1000000, \"window\": \"1d\"}]";
    if (db == NULL)
        db = fuzz_gate_start(&gate, policy_text,
                             "PRAGMA synchronous = OFF; PRAGMA ignore_check_constraints = ON");
}

/* NULL, or any text. */
static void bind_any(sqlite3_stmt *stmt, int at, struct fuzz_input *in)
{
    char text[256];
    unsigned how = fuzz_byte(in) % 4;
    if (how == 0)
        demand(sqlite3_bind_null(stmt, at) == SQLITE_OK);
    else
        demand(sqlite3_bind_text(stmt, at, fuzz_text(in, text, sizeof text), -1, SQLITE_TRANSIENT) ==
               SQLITE_OK);
}

/* columns: '?' for each, of which the first two are the keys and the action. */
static void insert(const char *sql, const char *key, const char *action, int n, struct fuzz_input *in)
{
    sqlite3_stmt *stmt = NULL;
    demand(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK);
    demand(sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC) == SQLITE_OK);
    demand(sqlite3_bind_text(stmt, 2, action, -1, SQLITE_STATIC) == SQLITE_OK);
    for (int i = 3; i <= n; i++)
        bind_any(stmt, i, in);
    int rc = sqlite3_step(stmt);
    demand(rc == SQLITE_DONE || rc == SQLITE_CONSTRAINT);
    sqlite3_finalize(stmt);
}

struct truth {
    bool domain, any[4]; /* a row with that action exists */
};

static void rows_make(struct fuzz_input *in, struct truth *truth)
{
    fuzz_gate_sql(
        db,
        "BEGIN; DELETE FROM domains; DELETE FROM aliases; DELETE FROM alias_globs; DELETE FROM sender_rules;"
        "DELETE FROM client_rules");
    for (unsigned n = fuzz_below(in, 5); n > 0; n--) {
        unsigned how = fuzz_byte(in), action = how % 4;
        truth->any[action] = true;
        switch (how / 4 % 5) {
        case 0:
            insert("INSERT OR REPLACE INTO aliases(address, action, mailbox, owner, class, reply) VALUES "
                   "(?,?,?,?,?,?)",
                   keys[how / 32 % 3], actions[action], 6, in);
            break;
        case 1:
            insert("INSERT OR REPLACE INTO alias_globs(domain, action, glob, mailbox, owner, class, reply)"
                   " VALUES (?,?,coalesce(?,'*'),?,?,?,?)",
                   "example.com", actions[action], 7, in);
            break;
        case 2:
            insert("INSERT OR REPLACE INTO sender_rules(scope, action, pattern, reply) VALUES "
                   "(?,?,coalesce(?,'*'),?)",
                   "*", actions[action], 4, in);
            break;
        case 3:
            insert("INSERT OR REPLACE INTO client_rules(network, action, reply) VALUES (?,?,?)",
                   "192.0.2.0/24", actions[action], 3, in);
            break;
        default:
            truth->domain = true;
            insert("INSERT OR REPLACE INTO domains(domain, action, owner, class, reply) VALUES (?,?,?,?,?)",
                   "example.com", actions[action], 5, in);
        }
    }
    fuzz_gate_sql(db, "COMMIT");
}

static void check_line(const struct reply_line *line, enum action action)
{
    for (const char *c = line->text; *c != '\0'; c++)
        demand((unsigned char)*c >= ' ' && (unsigned char)*c <= '~');
    if (action == ACTION_DEFER || action == ACTION_REJECT)
        demand(line->code[0] == (action == ACTION_REJECT ? '5' : '4') && line->dsn[0] == line->code[0] &&
               strncmp(line->code + 1, "21", 2) != 0);
    demand(strlen(line->code) + strlen(line->dsn) + strlen(line->text) <= REPLY_LINE_MAX);
}

static void check(const struct truth *truth, const struct verdict *verdict, const char *to)
{
    demand(verdict->action != ACTION_NONE);
    if (verdict->action == ACTION_DISCARD)
        demand(truth->any[3]);
    if (verdict->action == ACTION_REJECT) {
        demand(verdict->proof != NULL && verdict->proof[0] != '\0');
        demand(truth->any[2] || truth->domain || verdict->by == VERDICT_BY_ADDRESS);
    }
    (void)to;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct truth truth = {0};
    struct network client;
    struct address sender;
    struct pool pool = {0};
    start_once();
    rows_make(&in, &truth);
    char any[128];
    const char *from = fuzz_below(&in, 4) == 3 ? fuzz_text(&in, any, sizeof any) : "s@example.net";
    demand(network_parse("192.0.2.7", &client, NULL) == 0);
    const struct policy *policy = context_policy(&gate.context);
    address_parse(from, "+", &sender, NULL);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct facts facts = {.client = &client,
                                    .sender = &sender,
                                    .sender_raw = from,
                                    .recipient = keys[i],
                                    .resolved = true,
                                    .size = -1};
        struct decision decision, again;
        struct reply_line line;
        decide_recipient(policy, facts.recipient, &decision);
        decide(&gate, policy, &facts, true, &pool, &decision);
        decide_reply(&decision, &line);
        check_line(&line, decision.verdict.action);
        check(&truth, &decision.verdict, keys[i]);
        decide_recipient(policy, facts.recipient, &again);
        decide(&gate, policy, &facts, true, &pool, &again);
        demand(again.verdict.action == decision.verdict.action && again.verdict.by == decision.verdict.by);
        json_decref(explain_decision(policy, &decision));
    }
    policy_unref(policy);
    pool_done(&pool);
    return 0;
}
