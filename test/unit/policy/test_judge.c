/* The judge: who is heard, and that nothing is refused or dropped for good without a proof. */
#include "fixture.h"

#include "policy/judge.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

enum { ASKS = 3 };

/* --- verdicts by table --- */

struct judge_case {
    const char *name;
    const char *from; /* NULL: the fixture's */
    struct ruling ruling;
    struct limit limits[ASKS]; /* up to the first without a name */
    enum count_source source;
    enum when_down when_down;
    struct count_answer answers[ASKS];
    const char *want; /* action by proof-or-limit reply used/max wait */
    int64_t asked;    /* the asks' max where it is not the limit's: a local share */
};

#define ACCEPTED                                                                                             \
    {                                                                                                        \
        .action = ACTION_ACCEPT                                                                              \
    }
#define EXEMPT                                                                                               \
    {                                                                                                        \
        .action = ACTION_ACCEPT, .recipient_exempt = true                                                    \
    }
#define RULE(does, is, text, reply_of)                                                                       \
    {                                                                                                        \
        .action = (does), .by = (is), .proof = (text), .key = (reply_of)                                     \
    }
#define BACKEND                                                                                              \
    {                                                                                                        \
        .action = ACTION_DEFER, .by = VERDICT_BY_BACKEND, .key = REPLY_BACKEND                               \
    }
#define LIMIT(called, does) .name = (called), .max = 10, .over = (does)
#define OVER                                                                                                 \
    {                                                                                                        \
        .result = COUNT_OVER, .hard = true, .used = 10, .taken = 10, .wait_ms = 2000, .hard_ms = 2000        \
    }
#define HELD                                                                                                 \
    {                                                                                                        \
        .result = COUNT_HELD, .hard = true, .used = 3, .taken = 3, .wait_ms = 9000, .hard_ms = 9000          \
    }
#define OPEN                                                                                                 \
    {                                                                                                        \
        .result = COUNT_OVER, .used = 10, .taken = 9, .wait_ms = 2000                                        \
    }
#define ADMITTED                                                                                             \
    {                                                                                                        \
        .result = COUNT_ADMITTED, .used = 9                                                                  \
    }

/* clang-format off */
static const struct judge_case cases[] = {
    {"undecided", NULL, {0}, {{0}}, COUNT_SOURCE_STORE, 0, {{0}}, "defer backend - 451 4.3.0 0/0 0", 0},
    {"nothing to say", NULL, ACCEPTED, {{0}}, COUNT_SOURCE_STORE, 0, {{0}}, "accept nobody - - 0/0 0", 0},
    {"nothing to say, nobody to ask", NULL, ACCEPTED, {{0}}, COUNT_SOURCE_NONE, 0, {{0}}, "accept nobody - - 0/0 0",
     0},
    {"within", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_STORE, 0, {ADMITTED},
     "accept nobody - - 0/0 0", 0},
    {"over, defer", NULL, ACCEPTED, {{LIMIT("l", ACTION_DEFER)}}, COUNT_SOURCE_STORE, 0, {OVER},
     "defer limit l 450 4.2.1 10/10 2000", 0},
    {"over, reject", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_STORE, 0, {OVER},
     "reject limit l 550 5.7.1 10/10 2000", 0},
    {"over, discard", NULL, ACCEPTED, {{LIMIT("l", ACTION_DISCARD)}}, COUNT_SOURCE_STORE, 0, {OVER},
     "discard limit l - 10/10 2000", 0},
    /* what messages under way reserve proves nothing */
    {"filled by reservations, reject", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_STORE, 0, {OPEN},
     "defer limit l 450 4.2.1 10/10 2000", 0},
    {"filled by reservations, discard", NULL, ACCEPTED, {{LIMIT("l", ACTION_DISCARD)}}, COUNT_SOURCE_STORE, 0, {OPEN},
     "defer limit l 450 4.2.1 10/10 2000", 0},
    {"filled by reservations, bytes", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT), .count = LIMIT_BYTES}},
     COUNT_SOURCE_STORE, 0, {OPEN}, "defer limit l 452 4.2.2 10/10 2000", 0},
    {"filled by reservations, this process alone", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_LOCAL, 0,
     {OPEN}, "defer limit l 450 4.2.1 10/10 2000", 0},
    {"a large message, and this process took less than max", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT),
     .count = LIMIT_BYTES}}, COUNT_SOURCE_LOCAL, 0, {{.result = COUNT_OVER, .hard = true, .used = 9, .taken = 9,
     .wait_ms = 5, .hard_ms = 5}}, "defer limit l 452 4.2.2 9/10 5", 0},
    {"held", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_STORE, 0, {HELD},
     "reject limit l 550 5.7.1 3/10 9000", 0},
    {"bytes", NULL, ACCEPTED, {{LIMIT("l", ACTION_DEFER), .count = LIMIT_BYTES}}, COUNT_SOURCE_STORE, 0, {OVER},
     "defer limit l 452 4.2.2 10/10 2000", 0},
    {"bytes, reject", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT), .count = LIMIT_BYTES}}, COUNT_SOURCE_STORE, 0,
     {OVER}, "reject limit l 552 5.2.2 10/10 2000", 0},
    {"own reply", NULL, ACCEPTED, {{LIMIT("l", ACTION_DEFER), .reply = {"451", "4.7.9", "own"}}},
     COUNT_SOURCE_STORE, 0, {OVER}, "defer limit l 451 4.7.9 10/10 2000", 0},
    {"own reply of another class", NULL, ACCEPTED, {{LIMIT("l", ACTION_DEFER), .reply = {"550", "5.7.9",
     "own"}}}, COUNT_SOURCE_STORE, 0, {OVER}, "defer limit l 450 4.2.1 10/10 2000", 0},
    {"the hardest", NULL, ACCEPTED, {{LIMIT("a", ACTION_DEFER)}, {LIMIT("b", ACTION_DISCARD)}, {LIMIT("c",
     ACTION_REJECT)}}, COUNT_SOURCE_STORE, 0, {OVER, OVER, OVER}, "reject limit c 550 5.7.1 10/10 2000", 0},
    {"discard before defer", NULL, ACCEPTED, {{LIMIT("a", ACTION_DEFER)}, {LIMIT("b", ACTION_DISCARD)}},
     COUNT_SOURCE_STORE, 0, {OVER, OVER}, "discard limit b - 10/10 2000", 0},
    {"the first among equals", NULL, ACCEPTED, {{LIMIT("a", ACTION_DEFER)}, {LIMIT("b", ACTION_DEFER)}},
     COUNT_SOURCE_STORE, 0, {OVER, OVER}, "defer limit a 450 4.2.1 10/10 2000", 0},
    {"shadow refuses nothing", NULL, ACCEPTED, {{LIMIT("a", ACTION_REJECT), .shadow = true}}, COUNT_SOURCE_STORE, 0,
     {OVER}, "accept nobody - - 0/0 0", 0},
    {"shadow that is unknown", NULL, ACCEPTED, {{LIMIT("a", ACTION_REJECT), .shadow = true}}, COUNT_SOURCE_STORE, 0,
     {{0}}, "accept nobody - - 0/0 0", 0},
    /* ramps: OVER has used 10, HELD 3 */
    {"a ramp", NULL, ACCEPTED, {{.name = "l", .max = 40, .over = ACTION_REJECT, .ramp_ms = 36}}, COUNT_SOURCE_STORE, 0,
     {OVER}, "defer ramp l 451 4.3.2 10/4 0", 4},
    {"a ramp, the whole max reached", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT), .ramp_ms = 6}}, COUNT_SOURCE_STORE,
     0, {OVER}, "reject limit l 550 5.7.1 10/4 2000", 4},
    {"a hold was tripped by a whole max", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT), .ramp_ms = 6}},
     COUNT_SOURCE_STORE, 0, {HELD}, "reject limit l 550 5.7.1 3/4 9000", 4},
    {"a ramp of a local share", NULL, ACCEPTED, {{.name = "l", .max = 40, .over = ACTION_REJECT, .ramp_ms = 16}},
     COUNT_SOURCE_LOCAL, 0, {OVER}, "defer ramp l 451 4.3.2 10/4 0", 4},
    {"a ramp, the local share reached", NULL, ACCEPTED, {{.name = "l", .max = 40, .over = ACTION_REJECT,
     .ramp_ms = 6}}, COUNT_SOURCE_LOCAL, 0, {OVER}, "defer limit l 450 4.2.1 10/4 2000", 4},
    {"a ramp in shadow", NULL, ACCEPTED, {{.name = "l", .max = 40, .over = ACTION_REJECT, .ramp_ms = 36,
     .shadow = true}}, COUNT_SOURCE_STORE, 0, {OVER}, "accept nobody - - 0/0 0", 4},
    /* who gets 4xx at most */
    {"null sender", "<>", ACCEPTED, {{LIMIT("l", ACTION_REJECT), .reply = {"550", "5.7.9", "own"}}},
     COUNT_SOURCE_STORE, 0, {OVER}, "defer limit l 450 4.2.1 10/10 2000", 0},
    {"null sender, discard", "<>", ACCEPTED, {{LIMIT("l", ACTION_DISCARD)}}, COUNT_SOURCE_STORE, 0, {OVER},
     "defer limit l 450 4.2.1 10/10 2000", 0},
    {"a limit for null senders", "<>", ACCEPTED, {{LIMIT("l", ACTION_REJECT), .when = {.null_sender = YES}}},
     COUNT_SOURCE_STORE, 0, {OVER}, "reject limit l 550 5.7.1 10/10 2000", 0},
    {"exempt recipient", NULL, EXEMPT, {{LIMIT("l", ACTION_REJECT), .count = LIMIT_BYTES}}, COUNT_SOURCE_STORE, 0,
     {HELD}, "defer limit l 452 4.2.2 3/10 9000", 0},
    {"exempt recipient, a limit for null senders", "<>", EXEMPT, {{LIMIT("l", ACTION_REJECT),
     .when = {.null_sender = YES}}}, COUNT_SOURCE_STORE, 0, {OVER}, "defer limit l 450 4.2.1 10/10 2000", 0},
    /* rules and limits */
    {"rule first among equals", NULL, RULE(ACTION_REJECT, VERDICT_BY_ALIAS, "row", REPLY_UNKNOWN), {{LIMIT("l",
     ACTION_REJECT)}}, COUNT_SOURCE_STORE, 0, {OVER}, "reject alias row 550 5.1.1 0/0 0", 0},
    {"a harder limit", NULL, RULE(ACTION_DEFER, VERDICT_BY_CLIENT_RULE, "net", REPLY_CLIENT_DEFER), {{LIMIT("l",
     ACTION_REJECT)}}, COUNT_SOURCE_STORE, 0, {OVER}, "reject limit l 550 5.7.1 10/10 2000", 0},
    {"rule defers", NULL, RULE(ACTION_DEFER, VERDICT_BY_CLIENT_RULE, "net", REPLY_CLIENT_DEFER), {{0}}, COUNT_SOURCE_STORE,
     0, {{0}}, "defer client net 450 4.7.1 0/0 0", 0},
    {"rule drops", NULL, RULE(ACTION_DISCARD, VERDICT_BY_SENDER_RULE, "*", REPLY_SENDER_DEFER), {{LIMIT("l",
     ACTION_DEFER)}}, COUNT_SOURCE_STORE, 0, {ADMITTED}, "discard sender * - 0/0 0", 0},
    {"rule drops, limit defers", NULL, RULE(ACTION_DISCARD, VERDICT_BY_ALIAS, "row", REPLY_ALIAS_DEFER), {{LIMIT("l",
     ACTION_DEFER)}}, COUNT_SOURCE_STORE, 0, {OVER}, "defer limit l 450 4.2.1 10/10 2000", 0},
    {"not an address", NULL, RULE(ACTION_REJECT, VERDICT_BY_ADDRESS, "example.com", REPLY_INVALID), {{0}},
     COUNT_SOURCE_STORE, 0, {{0}}, "reject address example.com 553 5.1.3 0/0 0", 0},
    {"row's own reply", NULL, {.action = ACTION_REJECT, .by = VERDICT_BY_ALIAS, .proof = "row",
     .reply = "554 5.4.4 gone", .key = REPLY_ALIAS_REJECT}, {{0}}, COUNT_SOURCE_STORE, 0, {{0}},
     "reject alias row 554 5.4.4 0/0 0", 0},
    {"row's own reply of another class", NULL, {.action = ACTION_REJECT, .by = VERDICT_BY_ALIAS, .proof = "row",
     .reply = "450 4.4.4 gone", .key = REPLY_ALIAS_REJECT}, {{0}}, COUNT_SOURCE_STORE, 0, {{0}},
     "reject alias row 550 5.2.1 0/0 0", 0},
    {"cannot tell", NULL, BACKEND, {{0}}, COUNT_SOURCE_STORE, 0, {{0}}, "defer backend - 451 4.3.0 0/0 0", 0},
    {"cannot tell, but the client is over", NULL, BACKEND, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_STORE, 0,
     {OVER}, "reject limit l 550 5.7.1 10/10 2000", 0},
    /* a store that is down */
    {"down, local, and that could not either", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_NONE,
     WHEN_DOWN_LOCAL, {OVER}, "defer backend - 451 4.3.0 0/0 0", 0},
    {"down, defer", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_NONE, WHEN_DOWN_DEFER, {OVER},
     "defer backend - 451 4.3.0 0/0 0", 0},
    {"down, accept", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_NONE, WHEN_DOWN_ACCEPT, {OVER},
     "accept nobody - - 0/0 0", 0},
    {"down, only shadow limits", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT), .shadow = true}}, COUNT_SOURCE_NONE,
     WHEN_DOWN_DEFER, {OVER}, "accept nobody - - 0/0 0", 0},
    {"down, rule rejects", NULL, RULE(ACTION_REJECT, VERDICT_BY_ALIAS, "row", REPLY_UNKNOWN), {{LIMIT("l",
     ACTION_REJECT)}}, COUNT_SOURCE_NONE, WHEN_DOWN_DEFER, {{0}}, "reject alias row 550 5.1.1 0/0 0", 0},
    {"down, rule drops", NULL, RULE(ACTION_DISCARD, VERDICT_BY_ALIAS, "row", REPLY_ALIAS_DEFER), {{LIMIT("l",
     ACTION_REJECT)}}, COUNT_SOURCE_NONE, WHEN_DOWN_DEFER, {{0}}, "defer backend - 451 4.3.0 0/0 0", 0},
    {"one unknown", NULL, ACCEPTED, {{LIMIT("a", ACTION_DEFER)}, {LIMIT("b", ACTION_DEFER)}}, COUNT_SOURCE_STORE,
     WHEN_DOWN_LOCAL, {ADMITTED, {0}}, "defer backend - 451 4.3.0 0/0 0", 0},
    {"one unknown may hide more than a discard", NULL, ACCEPTED, {{LIMIT("a", ACTION_DISCARD)}, {LIMIT("b",
     ACTION_REJECT)}}, COUNT_SOURCE_STORE, WHEN_DOWN_LOCAL, {OVER, {0}}, "defer backend - 451 4.3.0 0/0 0", 0},
    {"one unknown, one rejects", NULL, ACCEPTED, {{LIMIT("a", ACTION_REJECT)}, {LIMIT("b", ACTION_DEFER)}},
     COUNT_SOURCE_STORE, WHEN_DOWN_LOCAL, {OVER, {0}}, "reject limit a 550 5.7.1 10/10 2000", 0},
    {"one unknown, accept", NULL, ACCEPTED, {{LIMIT("a", ACTION_DEFER)}, {LIMIT("b", ACTION_DEFER)}},
     COUNT_SOURCE_STORE, WHEN_DOWN_ACCEPT, {OVER, {0}}, "defer limit a 450 4.2.1 10/10 2000", 0},
    /* this process alone */
    {"local, whole max", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_LOCAL, 0, {OVER},
     "reject limit l 550 5.7.1 10/10 2000", 0},
    {"local, over a share that is used up", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_LOCAL, 0,
     {{.result = COUNT_OVER, .used = 5, .wait_ms = 7}}, "defer limit l 450 4.2.1 5/5 7", 5},
    {"local, the whole max though only a share was asked", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}},
     COUNT_SOURCE_LOCAL, 0, {OVER}, "reject limit l 550 5.7.1 10/5 2000", 5},
    {"local, held since its share was used up", NULL, ACCEPTED, {{LIMIT("l", ACTION_REJECT)}}, COUNT_SOURCE_LOCAL,
     0, {HELD}, "defer limit l 450 4.2.1 3/5 9000", 5},
};
/* clang-format on */

/* As answered by whoever that is. */
static const struct count_answer *answered_by(enum count_source source, struct plan *plan,
                                              const struct count_answer *from, struct count_answer *to)
{
    plan->request.local = plan->request.asks;
    for (size_t i = 0; i < plan->request.n; i++) {
        to[i] = from[i];
        to[i].local = source == COUNT_SOURCE_LOCAL;
    }
    return to;
}

static struct reply reply_of(const struct verdict *v)
{
    struct reply reply = {0};
    (void)verdict_reply(v, &reply);
    return reply;
}

static const char *verdict_text(const struct verdict *v, char *buffer, size_t size)
{
    const char *proof = v->limit != NULL ? v->limit->name : v->proof[0] != '\0' ? v->proof : "-";
    const struct reply reply = reply_of(v);
    snprintf(buffer, size, "%s %s %s %s%s%s %" PRId64 "/%" PRId64 " %" PRId64, action_name(v->action),
             verdict_by_name(v->by), proof, reply.code[0] != '\0' ? reply.code : "-",
             reply.code[0] != '\0' ? " " : "", reply.dsn, v->used, v->max, v->wait_ms);
    return buffer;
}

static void test_verdicts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct judge_case *c = &cases[i];
        struct fixture f;
        struct count_ask asks[ASKS] = {{0}};
        const struct limit *limits[ASKS];
        struct plan plan = {.request = {.asks = asks}, .limits = limits};
        char got[256];
        fixture_init(&f);
        fixture_mail(&f, c->from != NULL ? c->from : "b@example.net", "a@example.com");
        f.policy.counters.when_down = c->when_down;
        for (size_t n = 0; n < ASKS && c->limits[n].name != NULL; plan.request.n = ++n) {
            limits[n] = &c->limits[n];
            asks[n] = (struct count_ask){.limit = limits[n]->name,
                                         .max = c->asked > 0 ? c->asked : limits[n]->max,
                                         .headroom = limits[n]->ramp_ms, /* in this table */
                                         .amount = 1,
                                         .need = 1,
                                         .share_of = -1};
        }
        struct count_answer answers[ASKS];
        struct verdict verdict = judge(&f.policy, &f.envelope, &c->ruling, &plan, c->source,
                                       answered_by(c->source, &plan, c->answers, answers));
        if (strcmp(verdict_text(&verdict, got, sizeof got), c->want) != 0)
            fail_msg("%s:\n got  %s\n want %s", c->name, got, c->want);
    }
}

/* A number that was read long ago refuses nobody for good. */
static void test_old_backlog(void **state)
{
    (void)state;
    struct fixture f;
    const struct limit limit = {LIMIT("waiting", ACTION_REJECT), .count = LIMIT_BACKLOG};
    struct backlog_ask backlog = {.limit = &limit, .subject = "s", .max = 10, .known = true, .waiting = 10};
    const struct plan plan = {.backlogs = &backlog, .n_backlogs = 1};
    const struct ruling accepted = ACCEPTED;
    fixture_init(&f);
    f.policy.queue.every_ms = 15000;
    backlog.age_ms = 45000;
    assert_int_equal(judge(&f.policy, &f.envelope, &accepted, &plan, COUNT_SOURCE_NONE, NULL).action,
                     ACTION_REJECT);
    backlog.age_ms = 45001;
    assert_int_equal(judge(&f.policy, &f.envelope, &accepted, &plan, COUNT_SOURCE_NONE, NULL).action,
                     ACTION_DEFER);
}

static void test_shadow(void **state)
{
    struct fixture f;
    const struct limit counters = {LIMIT("counts", ACTION_REJECT)},
                       soft = {LIMIT("soft", ACTION_DEFER), .shadow = true},
                       hard = {LIMIT("hard", ACTION_REJECT), .shadow = true};
    const struct limit *limits[] = {&counters, &soft, &hard};
    const struct count_ask asks[] = {
        {.max = 10, .share_of = -1}, {.max = 10, .share_of = -1}, {.max = 10, .share_of = -1}};
    const struct plan plan = {.request = {.asks = asks, .n = 3}, .limits = limits};
    const struct count_answer both[] = {OVER, OVER, OVER}, one[] = {OVER, OVER, ADMITTED},
                              none[] = {OVER, ADMITTED, {0}};
    const struct ruling accepted = ACCEPTED;
    const struct {
        const struct count_answer *answers;
        enum count_source source;
        const char *want;
    } shadows[] = {{both, COUNT_SOURCE_STORE, "reject limit hard 550 5.7.1 10/10 2000"},
                   {one, COUNT_SOURCE_STORE, "defer limit soft 450 4.2.1 10/10 2000"},
                   {none, COUNT_SOURCE_STORE, "accept nobody - - 0/0 0"},
                   {NULL, COUNT_SOURCE_NONE, "accept nobody - - 0/0 0"}};
    (void)state;
    fixture_init(&f);
    for (size_t i = 0; i < COUNT_OF(shadows); i++) {
        char got[256];
        struct verdict verdict =
            judge_shadow(&f.policy, &f.envelope, &accepted, &plan, shadows[i].source, shadows[i].answers);
        assert_string_equal(verdict_text(&verdict, got, sizeof got), shadows[i].want);
    }
}

/* One limit of a max of 40 and a share of 10, asked of one store; what the verdict is. */
static void expect_one(struct fixture *f, const struct count_ask *ask, enum count_source source,
                       const struct count_answer *answer, const char *want)
{
    const struct limit limit = {
        .name = "l", .max = 40, .over = ACTION_REJECT, .ramp_ms = 10000, .share = {.set = true, .max = 10}};
    const struct limit *limits[] = {&limit, &limit};
    const struct count_ask asks[] = {{.max = 40, .share_of = -1}, *ask};
    struct count_answer answers[] = {ADMITTED, *answer};
    struct plan plan = {.request = {.asks = asks, .n = 2}, .limits = limits};
    const struct ruling accepted = ACCEPTED;
    char got[256];
    struct verdict verdict = judge(&f->policy, &f->envelope, &accepted, &plan, source,
                                   answered_by(source, &plan, answers, answers));
    assert_string_equal(verdict_text(&verdict, got, sizeof got), want);
}

static void test_this_process_saw_all_of_it(void **state)
{
    (void)state;
    struct fixture f;
    const struct count_answer over = OVER, held = HELD;
    fixture_init(&f);
    expect_one(&f, &(struct count_ask){.max = 10, .need = 1, .share_of = 0}, COUNT_SOURCE_LOCAL, &over,
               "reject limit l 550 5.7.1 10/10 2000"); /* of the share */
    expect_one(&f, &(struct count_ask){.max = 10, .need = 1, .share_of = -1}, COUNT_SOURCE_LOCAL, &over,
               "defer limit l 450 4.2.1 10/10 2000");
    expect_one(&f, &(struct count_ask){.max = 40, .need = 1, .share_of = -1}, COUNT_SOURCE_LOCAL, &held,
               "reject limit l 550 5.7.1 3/40 9000");
}

/* A limit of 40 whose share of 1 binds where 20 are used, or 3 as far as a ramp has come. used and taken are those of the limit. */
static void expect_share(struct fixture *f, int64_t used, int64_t taken, const char *want)
{
    const struct limit limit = {.name = "l",
                                .max = 40,
                                .over = ACTION_DISCARD,
                                .ramp_ms = 10000,
                                .share = {.set = true, .max = 1, .above = 20}};
    const struct limit *limits[] = {&limit, &limit};
    const struct count_ask asks[] = {
        {.max = 7, .headroom = 33, .need = 1, .share_of = -1},
        {.key = "l:{b}|a", .max = 1, .need = 1, .share_of = 0, .share_above = 3}};
    struct count_answer answers[] = {
        {.result = COUNT_ADMITTED, .used = used, .taken = taken},
        {.result = COUNT_OVER, .hard = true, .used = 1, .taken = 1, .wait_ms = 60000}};
    struct plan plan = {.request = {.asks = asks, .n = 2}, .limits = limits};
    const struct ruling accepted = ACCEPTED;
    char got[256];
    f->envelope.ramp_since_ms = f->envelope.now_ms - 1000;
    struct verdict verdict = judge(&f->policy, &f->envelope, &accepted, &plan, COUNT_SOURCE_STORE, answers);
    assert_string_equal(verdict_text(&verdict, got, sizeof got), want);
}

static void test_a_share_that_a_ramp_makes_bind(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    expect_share(&f, 5, 5, "defer ramp l 451 4.3.2 1/1 1223"); /* until it has come to 6 */
    expect_share(&f, 19, 19, "defer ramp l 451 4.3.2 1/1 9000");
    expect_share(&f, 20, 19, "defer limit l 450 4.2.1 1/1 60000");
    expect_share(&f, 20, 20, "discard limit l - 1/1 60000");
}

static void test_a_ramp_tells_when_it_lets_through(void **state)
{
    (void)state;
    struct fixture f;
    const struct count_ask ask = {.max = 7, .headroom = 33, .need = 1, .share_of = -1};
    fixture_init(&f);
    f.envelope.ramp_since_ms = f.envelope.now_ms - 1000;
    /* 4 + 36 t / 10 s lets 11 through after 1,945 ms */
    expect_one(&f, &ask, COUNT_SOURCE_STORE,
               &(struct count_answer){.result = COUNT_OVER, .used = 10, .wait_ms = 2000},
               "defer ramp l 451 4.3.2 10/7 945");
    expect_one(&f, &ask, COUNT_SOURCE_STORE,
               &(struct count_answer){.result = COUNT_OVER, .used = 10, .wait_ms = 900},
               "defer ramp l 451 4.3.2 10/7 900");
    expect_one(&f, &ask, COUNT_SOURCE_STORE,
               &(struct count_answer){.result = COUNT_OVER, .used = 39, .wait_ms = 20000},
               "defer ramp l 451 4.3.2 39/7 9000"); /* all of max */
}

/* Backlogs and counts that say the same: the first in the file speaks. */
static void test_a_backlog_and_a_limit_are_equals(void **state)
{
    (void)state;
    struct fixture f;
    const struct limit in_file[] = {{LIMIT("first", ACTION_DEFER)}, {LIMIT("second", ACTION_DEFER)}};
    const struct count_ask ask = {.max = 10, .need = 1, .share_of = -1};
    const struct count_answer over = OVER;
    const struct ruling accepted = ACCEPTED;
    fixture_init(&f);
    for (int i = 0; i < 2; i++) {
        const struct limit *counted[] = {&in_file[i]};
        struct backlog_ask backlog = {.limit = &in_file[1 - i], .max = 10, .known = true, .waiting = 10};
        const struct plan plan = {
            .request = {.asks = &ask, .n = 1}, .limits = counted, .backlogs = &backlog, .n_backlogs = 1};
        struct verdict verdict = judge(&f.policy, &f.envelope, &accepted, &plan, COUNT_SOURCE_STORE, &over);
        assert_string_equal(verdict.limit->name, "first");
    }
}

/* A recipient with two mailboxes has two backlogs of one limit. */
static void test_the_first_of_two_backlogs_speaks(void **state)
{
    (void)state;
    struct fixture f;
    const struct limit limit = {LIMIT("waiting", ACTION_DEFER), .count = LIMIT_BACKLOG};
    struct backlog_ask backlogs[] = {
        {.limit = &limit, .subject = "a", .max = 10, .known = true, .waiting = 11},
        {.limit = &limit, .subject = "b", .max = 10, .known = true, .waiting = 12}};
    const struct plan plan = {.backlogs = backlogs, .n_backlogs = 2};
    const struct ruling accepted = ACCEPTED;
    fixture_init(&f);
    assert_int_equal(judge(&f.policy, &f.envelope, &accepted, &plan, COUNT_SOURCE_NONE, NULL).used, 11);
}

static void test_what_is_accepted_has_no_reply(void **state)
{
    (void)state;
    const struct verdict verdict = verdict_accept();
    struct reply reply;
    assert_false(verdict_reply(&verdict, &reply));
}

static void test_names(void **state)
{
    static const char *const want[] = {[VERDICT_BY_NOBODY] = "nobody",   [VERDICT_BY_CLIENT_RULE] = "client",
                                       [VERDICT_BY_ALIAS] = "alias",     [VERDICT_BY_SENDER_RULE] = "sender",
                                       [VERDICT_BY_ADDRESS] = "address", [VERDICT_BY_LIMIT] = "limit",
                                       [VERDICT_BY_BLOCK] = "block",     [VERDICT_BY_BACKEND] = "backend",
                                       [VERDICT_BY_RAMP] = "ramp"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(want); i++)
        if (want[i] != NULL)
            assert_string_equal(verdict_by_name((enum verdict_by)i), want[i]);
    assert_string_equal(verdict_by_name(VERDICT_BYS), "nobody");
}

/* --- the property: the whole decision, over random policies, rows and answers --- */

static uint64_t random_state = 1;

static unsigned any(unsigned n) /* 0..n-1; xorshift64* */
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (unsigned)((random_state * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % n;
}

static enum action any_action(void)
{
    return (enum action)(ACTION_ACCEPT + (int)any(4));
}

static struct alias_row any_row(const char *key)
{
    if (any(2) == 0)
        return (struct alias_row){0};
    return (struct alias_row){.key = key,
                              .mailbox = any(2) == 0 ? "m@example.org,n@example.org" : NULL,
                              .owner = any(2) == 0 ? "owner" : NULL,
                              .reply = any(3) == 0 ? "550 5.1.1 no" : NULL,
                              .action = any_action(),
                              .expires_at = any(4) == 0 ? FIXTURE_NOW - 1 + (int)any(3) : 0};
}

enum { LIMITS = 4 };

struct world { /* all that a decision is made from */
    struct fixture f;
    struct limit limits[LIMITS];
    struct alias_row globs[2];
    struct alias_rows rows;
    struct sender_row sender_row[2];
    struct sender_rows senders;
    struct client_row client;
    struct block_row block;
};

static struct limit any_limit(void)
{
    struct limit limit = {.name = "l",
                          .n_per = 1 + any(2),
                          .per_name = "per",
                          .max = any(20),
                          .window_ms = 60000,
                          .count = (enum limit_count)any(LIMIT_BACKLOG + 1),
                          .over = (enum action)(ACTION_DEFER + (int)any(3)),
                          .hold_ms = any(2),
                          .ramp_ms = any(2) == 0 ? 60000 : 0,
                          .shadow = any(4) == 0};
    for (size_t i = 0; i < limit.n_per; i++)
        limit.per[i] = (enum subject)any(SUBJECTS);
    limit.when.null_sender = (enum tristate)(any(2) * any(3));
    limit.when.unknown = (enum tristate)(any(2) * any(3));
    limit.share = (struct share){any(3) == 0, SUBJECT_CLIENT, 1 + any(3), any(3), "per+client"};
    return limit;
}

static void any_rows(struct world *w)
{
    w->rows = (struct alias_rows){.state = (enum rows_state)any(3),
                                  .full = any_row("a@example.com"),
                                  .bare = any_row("bare@example.com"),
                                  .globs = w->globs};
    if (any(4) > 0)
        w->rows.domain = (struct domain_row){.domain = "example.com",
                                             .action = any(3) > 0 ? ACTION_ACCEPT : any_action(),
                                             .catch_all = any(2) == 0 ? ACTION_ACCEPT : ACTION_REJECT};
    for (; w->rows.n_globs < any(3); w->rows.n_globs++)
        w->globs[w->rows.n_globs] = (struct alias_row){.key = "a*", .action = any_action()};
    static const char *const scopes[] = {"*", "@example.com", "a@example.com", "owner:owner"};
    static const char *const patterns[] = {"*", "@example.net", "b@example.net", "@.net"};
    w->senders = (struct sender_rows){.state = (enum rows_state)any(3), .rows = w->sender_row};
    for (; w->senders.n_rows < any(3); w->senders.n_rows++)
        w->sender_row[w->senders.n_rows] =
            (struct sender_row){.scope = scopes[any(4)], .pattern = patterns[any(4)], .action = any_action()};
    w->client = (struct client_row){.state = (enum rows_state)any(3)};
    if (any(3) == 0) {
        w->client.network = "192.0.2.0/24";
        w->client.action = any_action();
    }
    w->block = (struct block_row){"192.0.2.7", any(2) == 0 ? ACTION_REJECT : ACTION_DEFER};
    w->f.envelope.block = any(4) == 0 ? &w->block : NULL;
}

static void any_world(struct world *w)
{
    static const char *const froms[] = {"b@example.net", "<>", "b..b@example.net", "b"};
    static const char *const tos[] = {"a@example.com",    "a+x@example.com", "abuse@example.com",
                                      "a..a@example.com", "postmaster",      "root",
                                      "a%b@example.com"};
    static struct pattern abuse = {"abuse", NULL};
    fixture_init(&w->f);
    fixture_mail(&w->f, froms[any(COUNT_OF(froms))], tos[any(COUNT_OF(tos))]);
    w->f.envelope.resolved = any(2) == 0;
    w->f.envelope.ramp_since_ms = any(4) > 0 ? w->f.envelope.now_ms - any(60000) : 0;
    w->f.envelope.user = any(3) == 0 ? "user" : NULL;
    w->f.policy.exempt.recipients = (struct patterns){&abuse, 1};
    w->f.policy.exempt.authenticated = any(4) == 0;
    w->f.policy.counters.when_down = (enum when_down)any(3);
    w->f.policy.counters.local_share = 1 + (int)any(100);
    if (any(8) == 0)
        w->f.policy.aliases.database = NULL;
    w->f.policy.limits = w->limits;
    w->f.policy.n_limits = any(LIMITS + 1);
    for (size_t i = 0; i < LIMITS; i++)
        w->limits[i] = any_limit();
    any_rows(w);
}

static bool is_proved_by_rule(const struct world *w, const struct verdict *v, const struct ruling *ruling)
{
    const enum alias_state state = ruling->alias.state;
    switch (v->by) {
    case VERDICT_BY_CLIENT_RULE:
        return w->client.state == ROWS_LIVE && v->action == w->client.action;
    case VERDICT_BY_BLOCK:
        return w->f.envelope.block != NULL && v->action == w->block.action &&
               w->client.state != ROWS_UNKNOWN &&
               (w->client.network == NULL || w->client.action != ACTION_ACCEPT) &&
               strcmp(v->proof, "192.0.2.7") == 0;
    case VERDICT_BY_SENDER_RULE:
        return w->senders.state == ROWS_LIVE ||
               (w->senders.state == ROWS_COPY && strcmp(ruling->scope, "a@example.com") == 0 &&
                strcmp(v->proof, "b@example.net") == 0);
    case VERDICT_BY_ADDRESS:
        return w->f.recipient.kind == ADDRESS_INVALID && w->rows.state != ROWS_UNKNOWN &&
               w->rows.domain.domain != NULL;
    case VERDICT_BY_ALIAS:
        if (state == ALIAS_UNKNOWN || state == ALIAS_EXPIRED)
            return w->rows.state == ROWS_LIVE && v->action == ACTION_REJECT;
        return state == ALIAS_FOUND &&
               (w->rows.state == ROWS_LIVE ||
                (w->rows.state == ROWS_COPY && strcmp(v->proof, "a@example.com") == 0));
    default:
        return false;
    }
}

/* A refusing answer of that limit was read, and nothing made it too weak for good. */
static bool is_proved_by_limit(const struct world *w, const struct verdict *v, const struct plan *plan,
                               enum count_source source, const struct count_answer *answers)
{
    bool soft = w->f.sender.kind == ADDRESS_NULL && v->limit->when.null_sender != YES;
    for (size_t i = 0; i < plan->request.n; i++) {
        const struct count_ask *ask = answers[i].local ? &plan->request.local[i] : &plan->request.asks[i];
        int64_t whole = ask->share_of < 0 ? v->limit->max : v->limit->share.max;
        int64_t most = ask->max + ask->headroom;
        if (source == COUNT_SOURCE_LOCAL)
            most = plan_local_max(&w->f.policy, most);
        bool held = answers[i].result == COUNT_HELD && most >= whole;
        bool weak = !answers[i].hard || (source == COUNT_SOURCE_LOCAL && !held && answers[i].taken < whole);
        weak = weak || (ask->share_of >= 0 && answers[ask->share_of].taken < v->limit->share.above);
        bool refused = answers[i].result == COUNT_OVER || answers[i].result == COUNT_HELD;
        bool ramped = answers[i].result == COUNT_OVER && ask->max < whole && v->used + ask->need <= most;
        if (plan->limits[i] == v->limit && answers[i].used == v->used && refused && !weak && !ramped)
            return source != COUNT_SOURCE_NONE && !soft && !v->limit->shadow && v->limit->over == v->action;
    }
    return false;
}

static struct verdict decide(struct world *w, struct ruling *ruling, struct plan *plan,
                             enum count_source source, struct count_answer *answers)
{
    struct fixture *f = &w->f;
    struct alias alias;
    rules_alias(&f->policy, &f->envelope, &w->rows, &alias);
    rules_rule(&f->policy, &f->envelope, &alias, &w->senders, &w->client, ruling);
    assert_int_equal(plan_make(&f->policy, &f->envelope, ruling, NULL, &f->pool, plan), 0);
    if (source == COUNT_SOURCE_LOCAL)
        assert_int_equal(plan_localise(&f->policy, plan, &f->pool), 0);
    for (size_t i = 0; i < plan->request.n; i++) {
        unsigned used = any(25), taken = any(2) == 0 ? used : any(used + 1);
        answers[i] = (struct count_answer){.result = any(3) > 0 ? COUNT_ADMITTED : (enum count_result)any(4),
                                           .used = used,
                                           .taken = taken,
                                           .local = source == COUNT_SOURCE_LOCAL,
                                           .hard = any(3) > 0};
    }
    return judge(&f->policy, &f->envelope, ruling, plan, source, answers);
}

static void check_decision(const struct world *w, unsigned round, const struct verdict *v,
                           const struct ruling *ruling, const struct plan *plan, enum count_source source,
                           const struct count_answer *answers)
{
    char text[256];
    bool for_good = v->action == ACTION_REJECT || v->action == ACTION_DISCARD;
    bool proved = v->by == VERDICT_BY_LIMIT ? is_proved_by_limit(w, v, plan, source, answers)
                                            : is_proved_by_rule(w, v, ruling);
    if (for_good && !proved)
        fail_msg("round %u: %s without proof", round, verdict_text(v, text, sizeof text));
    if (v->action == ACTION_NONE)
        fail_msg("round %u: undecided", round);
    const char class = v->action == ACTION_REJECT ? '5' : v->action == ACTION_DEFER ? '4' : '\0';
    if (reply_of(v).code[0] != class)
        fail_msg("round %u: %s has the wrong reply", round, verdict_text(v, text, sizeof text));
    if (ruling->recipient_exempt && v->by == VERDICT_BY_LIMIT && v->action != ACTION_DEFER)
        fail_msg("round %u: an exempt recipient got %s", round, verdict_text(v, text, sizeof text));
}

static void test_no_refusal_without_proof(void **state)
{
    unsigned seen[ACTION_REJECT + 1][VERDICT_BYS] = {{0}};
    (void)state;
    for (unsigned round = 0; round < 200000; round++) {
        struct world w = {0};
        struct ruling ruling;
        struct plan plan;
        struct count_answer answers[256] = {{0}};
        enum count_source source = (enum count_source)any(3);
        any_world(&w);
        struct verdict verdict = decide(&w, &ruling, &plan, source, answers);
        check_decision(&w, round, &verdict, &ruling, &plan, source, answers);
        seen[verdict.action][verdict.by]++;
        pool_done(&w.f.pool);
    }
    /* Not vacuously: each way to refuse or drop for good was taken often. */
    const enum verdict_by rules[] = {VERDICT_BY_CLIENT_RULE, VERDICT_BY_ALIAS, VERDICT_BY_SENDER_RULE,
                                     VERDICT_BY_LIMIT};
    assert_true(seen[ACTION_DEFER][VERDICT_BY_RAMP] > 50);
    assert_int_equal(seen[ACTION_REJECT][VERDICT_BY_RAMP] + seen[ACTION_DISCARD][VERDICT_BY_RAMP], 0);
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        assert_true(seen[ACTION_REJECT][rules[i]] > 100);
        assert_true(seen[ACTION_DISCARD][rules[i]] > 100);
        assert_true(seen[ACTION_DEFER][rules[i]] > 100);
    }
    assert_true(seen[ACTION_REJECT][VERDICT_BY_ADDRESS] > 100);
    assert_true(seen[ACTION_REJECT][VERDICT_BY_BLOCK] > 100);
    assert_true(seen[ACTION_DEFER][VERDICT_BY_BLOCK] > 100);
    assert_true(seen[ACTION_DEFER][VERDICT_BY_BACKEND] > 100);
    assert_true(seen[ACTION_ACCEPT][VERDICT_BY_NOBODY] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_shadow),
        cmocka_unit_test(test_old_backlog),
        cmocka_unit_test(test_this_process_saw_all_of_it),
        cmocka_unit_test(test_a_share_that_a_ramp_makes_bind),
        cmocka_unit_test(test_a_ramp_tells_when_it_lets_through),
        cmocka_unit_test(test_a_backlog_and_a_limit_are_equals),
        cmocka_unit_test(test_the_first_of_two_backlogs_speaks),
        cmocka_unit_test(test_what_is_accepted_has_no_reply),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_refusal_without_proof),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
