/* The plan: which limits a RCPT meets, under which keys. */
#include "fixture.h"

#include "policy/plan.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

/* Everything that a store would see of an ask, in words. */
static void add_ask(struct text *text, const struct count_ask *ask)
{
    text_addf(text, "%s %s %" PRId64 " %" PRId64 "/%" PRId64, ask->limit, ask->key, ask->max, ask->amount,
              ask->need);
    text_add(text, (ask->flags & COUNT_ATTEMPT) != 0 ? " attempt" : "");
    text_add(text, (ask->flags & COUNT_SHADOW) != 0 ? " shadow" : "");
    text_add(text, (ask->flags & COUNT_HOLD_ONLY) != 0 ? " hold-only" : "");
    text_add(text, (ask->flags & COUNT_HARD) != 0 ? " hard" : "");
    if (ask->hold_ms > 0 && (ask->flags & COUNT_HOLD_ONLY) == 0)
        text_addf(text, " hold %" PRId64, ask->hold_ms);
    if (ask->share_of >= 0)
        text_addf(text, " share of %d above %" PRId64, ask->share_of, ask->share_above);
    if (ask->overflow != NULL)
        text_addf(text, " spill %s of %" PRId64 " in %s", ask->overflow, ask->new_max, ask->new_key);
    text_add(text, "\n");
}

static const char *plan_text(const struct plan *plan, char *buffer, size_t size)
{
    struct text text;
    text_init(&text, buffer, size);
    for (size_t i = 0; i < plan->request.n; i++)
        add_ask(&text, &plan->request.asks[i]);
    assert_false(text.cut);
    return buffer;
}

#define LIMIT(called, subject, text)                                                                         \
    .name = (called), .per = {subject}, .n_per = 1, .per_name = (text), .max = 10, .window_ms = 60000,       \
    .over = ACTION_DEFER, .ttl_ms = 66000
#define OF2(called, one, two, text)                                                                          \
    .name = (called), .per = {one, two}, .n_per = 2, .per_name = (text), .max = 10, .window_ms = 60000,      \
    .over = ACTION_DEFER, .ttl_ms = 66000

/* One limit of each subject. */
static struct limit one_each[] = {
    {LIMIT("rcpt", SUBJECT_RECIPIENT, "recipient")},
    {LIMIT("mbox", SUBJECT_MAILBOX, "mailbox")},
    {LIMIT("mdom", SUBJECT_MAILBOX_DOMAIN, "mailbox_domain")},
    {LIMIT("ownr", SUBJECT_OWNER, "owner")},
    {LIMIT("rdom", SUBJECT_RECIPIENT_DOMAIN, "recipient_domain")},
    {LIMIT("from", SUBJECT_SENDER, "sender")},
    {LIMIT("sdom", SUBJECT_SENDER_DOMAIN, "sender_domain")},
    {LIMIT("clnt", SUBJECT_CLIENT, "client")},
    {LIMIT("user", SUBJECT_USER, "user")},
    {LIMIT("host", SUBJECT_HOST, "host")},
    {LIMIT("all", SUBJECT_ALL, "all")},
};
static struct limit attempts_each[COUNT_OF(one_each)]; /* the same, of attempts; filled in main */

static struct limit pairs[] = {
    {OF2("pair", SUBJECT_RECIPIENT, SUBJECT_CLIENT, "recipient+client")},
    {OF2("mix", SUBJECT_MAILBOX, SUBJECT_MAILBOX_DOMAIN, "mailbox+mailbox_domain")}};
static struct limit made_up[] = {{OF2("mu", SUBJECT_CLIENT, SUBJECT_RECIPIENT, "client+recipient")}};
static struct limit by_domain[] = {
    {OF2("hd", SUBJECT_HOST, SUBJECT_RECIPIENT_DOMAIN, "host+recipient_domain")},
    {.name = "hoc",
     .per = {SUBJECT_HOST, SUBJECT_OWNER, SUBJECT_CLIENT},
     .n_per = 3,
     .per_name = "host+owner+client",
     .max = 10,
     .window_ms = 60000,
     .over = ACTION_DEFER,
     .ttl_ms = 66000}};
static struct limit bytes[] = {{LIMIT("bytes", SUBJECT_CLIENT, "client"), .count = LIMIT_BYTES}};
static struct limit held_bytes[] = {
    {LIMIT("bytes", SUBJECT_CLIENT, "client"), .count = LIMIT_BYTES, .hold_ms = 9}};
static struct limit messages[] = {{LIMIT("msgs", SUBJECT_RECIPIENT, "recipient"), .count = LIMIT_MESSAGES},
                                  {LIMIT("msgs-c", SUBJECT_CLIENT, "client"), .count = LIMIT_MESSAGES}};
static struct limit shadow[] = {{LIMIT("dark", SUBJECT_CLIENT, "client"), .shadow = true, .hold_ms = 1000}};
static struct limit backlog[] = {{LIMIT("queue", SUBJECT_SENDER, "sender"), .count = LIMIT_BACKLOG}};
static struct limit hold[] = {
    {LIMIT("hold", SUBJECT_CLIENT, "client"), .hold_ms = 1000, .when = {.null_sender = YES}}};
static struct limit shared[] = {
    {LIMIT("mbox", SUBJECT_MAILBOX, "mailbox"), .hold_ms = 5,
     .share = {true, SUBJECT_SENDER, 3, 5, "mailbox+sender"}},
    {LIMIT("rcpt", SUBJECT_RECIPIENT, "recipient"),
     .share = {true, SUBJECT_CLIENT, 4, 0, "recipient+client"}},
    {LIMIT("host", SUBJECT_HOST, "host"), .share = {true, SUBJECT_RECIPIENT, 2, 0, "host+recipient"}}};

#define FOUND(v, does)                                                                                       \
    {                                                                                                        \
        .state = ALIAS_FOUND, .via = (v), .ours = true, .row = "row", .owner = "Owner 1",                    \
        .class_name = "gold", .action = (does), .mailbox_text = "m@example.org,x@y.example,n@example.org"    \
    }
#define ACCEPTED                                                                                             \
    {                                                                                                        \
        .action = ACTION_ACCEPT, .alias = FOUND(VIA_FULL, ACTION_ACCEPT)                                     \
    }
#define DROPPED                                                                                              \
    {                                                                                                        \
        .action = ACTION_DISCARD, .by = VERDICT_BY_ALIAS, .alias = FOUND(VIA_FULL, ACTION_DISCARD)           \
    }
#define UNKNOWN                                                                                              \
    {                                                                                                        \
        .action = ACTION_REJECT, .by = VERDICT_BY_ALIAS, .alias_refused = true, .alias = {                   \
            .state = ALIAS_UNKNOWN,                                                                          \
            .ours = true                                                                                     \
        }                                                                                                    \
    }

struct plan_case {
    const char *name, *from, *to, *client, *user;
    int64_t size;
    struct ruling ruling;
    struct limit *limits;
    size_t n_limits;
    const char *want;
};

#define USUAL "b@example.net", "a+x@example.com", "192.0.2.7", NULL, -1
#define ALL_OF(limits) limits, COUNT_OF(limits)

/* clang-format off */
static const struct plan_case cases[] = {
    {"every subject", "b+t@example.net", "a+x@example.com", "2001:db8::1", "login", -1, ACCEPTED,
     ALL_OF(one_each),
     "rcpt recipient:{a@example.com} 10 1/1\n"
     "mbox mailbox:{m@example.org} 10 1/1\nmbox mailbox:{x@y.example} 10 1/1\n"
      "mbox mailbox:{n@example.org} 10 1/1\n"
     "mdom mailbox_domain:{example.org} 10 1/1\nmdom mailbox_domain:{y.example} 10 1/1\n"
     "ownr owner:{Owner%201} 10 1/1\nrdom recipient_domain:{example.com} 10 1/1\n"
     "from sender:{b@example.net} 10 1/1 spill sender:{*}|* of 100000 in new:{*}|from\n"
     "sdom sender_domain:{example.net} 10 1/1 spill sender_domain:{*}|* of 100000 in new:{*}|sdom\n"
     "clnt client:{2001:db8::/64} 10 1/1 spill client:{*}|* of 100000 in new:{*}|clnt\nuser user:{login} 10 1/1\n"
     "host host:{mx1.example.com} 10 1/1\nall all:{*} 10 1/1\n"},
    {"each domain of the mailboxes once", USUAL, {.action = ACTION_ACCEPT, .alias = {.state = ALIAS_FOUND,
     .action = ACTION_ACCEPT, .mailbox_text = "m@example.org,x@y.example,n@y.example"}}, &one_each[2], 1,
     "mdom mailbox_domain:{example.org} 10 1/1\nmdom mailbox_domain:{y.example} 10 1/1\n"},
    {"what is lacking does not apply", "<>", "a@example.com", NULL, NULL, -1,
     {.action = ACTION_ACCEPT, .alias = {.state = ALIAS_NOT_OURS}}, ALL_OF(one_each),
     "rcpt recipient:{a@example.com} 10 1/1\nrdom recipient_domain:{example.com} 10 1/1\n"
     "host host:{mx1.example.com} 10 1/1\nall all:{*} 10 1/1\n"},
    {"an exempt client", USUAL, {.action = ACTION_ACCEPT, .client_exempt = true, .alias = FOUND(VIA_FULL,
     ACTION_ACCEPT)},
     ALL_OF(one_each), ""},
    {"no exempt client's hold", USUAL, {.action = ACTION_ACCEPT, .client_exempt = true}, ALL_OF(hold), ""},
    {"dropped", USUAL, DROPPED, ALL_OF(one_each),
     "clnt client:{192.0.2.7} 10 1/1\nhost host:{mx1.example.com} 10 1/1\nall all:{*} 10 1/1\n"},
    {"refused by the alias rules", USUAL, UNKNOWN, ALL_OF(one_each), ""},
    {"... which attempts count", USUAL, UNKNOWN, ALL_OF(attempts_each),
     "rdom recipient_domain:{example.com} 10 1/1 attempt\nclnt client:{192.0.2.7} 10 1/1 attempt\n"
     "host host:{mx1.example.com} 10 1/1 attempt\nall all:{*} 10 1/1 attempt\n"},
    {"... in a domain that may not be ours", USUAL,
     {.action = ACTION_DEFER, .by = VERDICT_BY_BACKEND, .alias_refused = true, .alias = {.state = ALIAS_STALE}},
     ALL_OF(attempts_each),
     "clnt client:{192.0.2.7} 10 1/1 attempt\nhost host:{mx1.example.com} 10 1/1 attempt\n"
     "all all:{*} 10 1/1 attempt\n"},
    {"refused by a sender rule", USUAL,
     {.action = ACTION_REJECT, .by = VERDICT_BY_SENDER_RULE, .alias = {.state = ALIAS_FOUND, .ours = true}},
     ALL_OF(one_each), ""},
    {"... which attempts count", USUAL,
     {.action = ACTION_REJECT, .by = VERDICT_BY_SENDER_RULE, .alias = {.state = ALIAS_FOUND, .ours = true}},
     attempts_each, 1, "rcpt recipient:{a@example.com} 10 1/1 attempt\n"},
    {"a dropped alias refused by a sender rule", USUAL,
     {.action = ACTION_REJECT, .by = VERDICT_BY_SENDER_RULE, .alias = FOUND(VIA_FULL, ACTION_DISCARD)},
     attempts_each, 1, ""},
    {"lists", USUAL, ACCEPTED, ALL_OF(pairs),
     "pair recipient+client:{a@example.com}|192.0.2.7 10 1/1 spill recipient+client:{a@example.com}|* of 1000 in "
     "new:{a@example.com}|*\n"
     "mix mailbox+mailbox_domain:{m@example.org}|example.org 10 1/1\n"
     "mix mailbox+mailbox_domain:{m@example.org}|y.example 10 1/1\n"
     "mix mailbox+mailbox_domain:{x@y.example}|example.org 10 1/1\n"
     "mix mailbox+mailbox_domain:{x@y.example}|y.example 10 1/1\n"
     "mix mailbox+mailbox_domain:{n@example.org}|example.org 10 1/1\n"
     "mix mailbox+mailbox_domain:{n@example.org}|y.example 10 1/1\n"},
    {"only strangers bound a list: a domain of ours is none, who comes third may be", USUAL, ACCEPTED, ALL_OF(by_domain),
     "hd host+recipient_domain:{mx1.example.com}|example.com 10 1/1\n"
     "hoc host+owner+client:{mx1.example.com}|Owner%201|192.0.2.7 10 1/1 spill host+owner+client:{mx1.example.com}|* of 1000 in "
     "new:{mx1.example.com}|*\n"},
    {"... a domain of others is one", USUAL, {.action = ACTION_ACCEPT, .alias = {.state = ALIAS_NOT_OURS}}, by_domain, 1,
     "hd host+recipient_domain:{mx1.example.com}|example.com 10 1/1 spill host+recipient_domain:{mx1.example.com}|* of 1000 in "
     "new:{mx1.example.com}|*\n"},
    {"bytes, one", "b@example.net", "a@example.com", "192.0.2.7", NULL, 1, ACCEPTED, ALL_OF(bytes),
     "bytes client:{192.0.2.7} 10 1/1\n"},
    {"bytes, no size", USUAL, ACCEPTED, ALL_OF(bytes), "bytes client:{192.0.2.7} 10 0/1\n"},
    {"bytes, a size", "b@example.net", "a@example.com", "192.0.2.7", NULL, 4096, ACCEPTED, ALL_OF(bytes),
     "bytes client:{192.0.2.7} 10 4096/4096\n"},
    {"shadow", USUAL, ACCEPTED, ALL_OF(shadow), "dark client:{192.0.2.7} 10 1/1 shadow hard hold 1000\n"},
    {"shadow hold", USUAL, UNKNOWN, ALL_OF(shadow), "dark client:{192.0.2.7} 10 0/0 shadow hold-only\n"},
    {"backlog asks no store", USUAL, ACCEPTED, ALL_OF(backlog), ""},
    {"a hold covers what when does not", USUAL, ACCEPTED, ALL_OF(hold),
     "hold client:{192.0.2.7} 10 0/0 hold-only\n"},
    {"... and what it does", "<>", "a@example.com", "192.0.2.7", NULL, -1, ACCEPTED, ALL_OF(hold),
     "hold client:{192.0.2.7} 10 1/1 hard hold 1000\n"},
    {"a hold covers the refused", USUAL, UNKNOWN, ALL_OF(hold), "hold client:{192.0.2.7} 10 0/0 hold-only\n"},
    {"no client, no hold", "b@example.net", "a@example.com", NULL, NULL, -1, ACCEPTED, ALL_OF(hold), ""},
    {"shares", USUAL, ACCEPTED, ALL_OF(shared),
     "mbox mailbox:{m@example.org} 10 1/1 hard hold 5\n"
      "mbox mailbox+sender:{m@example.org}|b@example.net 3 1/1 share of 0 above 5 spill mailbox+sender:{m@example.org}|* of 1000 in "
      "new:{m@example.org}|*\n"
     "mbox mailbox:{x@y.example} 10 1/1 hard hold 5\n"
      "mbox mailbox+sender:{x@y.example}|b@example.net 3 1/1 share of 2 above 5 spill mailbox+sender:{x@y.example}|* of 1000 in "
      "new:{x@y.example}|*\n"
     "mbox mailbox:{n@example.org} 10 1/1 hard hold 5\n"
      "mbox mailbox+sender:{n@example.org}|b@example.net 3 1/1 share of 4 above 5 spill mailbox+sender:{n@example.org}|* of 1000 in "
      "new:{n@example.org}|*\n"
     "rcpt recipient:{a@example.com} 10 1/1\n"
     "rcpt recipient+client:{a@example.com}|192.0.2.7 4 1/1 share of 6 above 0 spill recipient+client:{a@example.com}|* "
     "of 1000 in new:{a@example.com}|*\n"
     "host host:{mx1.example.com} 10 1/1\n"
     "host host+recipient:{mx1.example.com}|a@example.com 2 1/1 share of 8 above 0 spill host+recipient:{mx1.example.com}|* "
     "of 1000 in new:{mx1.example.com}|*\n"},
    {"no sender, no share; a catch-all spills", "<>", "a@example.com", "192.0.2.7", NULL, -1,
     {.action = ACTION_ACCEPT, .alias = FOUND(VIA_CATCH_ALL, ACTION_ACCEPT)}, ALL_OF(shared),
     "mbox mailbox:{m@example.org} 10 1/1 hard hold 5\nmbox mailbox:{x@y.example} 10 1/1 hard hold 5\n"
      "mbox mailbox:{n@example.org} 10 1/1 hard hold 5\n"
     "rcpt recipient:{a@example.com} 10 1/1 spill recipient:{@example.com} of 1000 in new:{example.com}\n"
     "rcpt recipient+client:{a@example.com}|192.0.2.7 4 1/1 share of 3 above 0 spill "
     "recipient+client:{@example.com}|* of 1000 in new:{example.com}\n"
     "host host:{mx1.example.com} 10 1/1\n"
     "host host+recipient:{mx1.example.com}|a@example.com 2 1/1 share of 5 above 0 spill "
     "host+recipient:{mx1.example.com}|* of 1000 in new:{mx1.example.com}|*\n"},
    {"bytes that could confuse", "b@example.net", "\"a}|b %\"@example.com", "192.0.2.7", NULL, -1, ACCEPTED,
     ALL_OF(pairs) - 1, "pair recipient+client:{\"a%7D%7Cb%20%25\"@example.com}|192.0.2.7 10 1/1 spill "
     "recipient+client:{\"a%7D%7Cb%20%25\"@example.com}|* of 1000 in new:{\"a%7D%7Cb%20%25\"@example.com}|*\n"},
    {"a list of what can be made up is bounded as such", "b@example.net", "a@example.com", "2001:db8::1", NULL, -1, ACCEPTED,
     ALL_OF(made_up), "mu client+recipient:{2001:db8::/64}|a@example.com 10 1/1 spill client+recipient:{*}|* of 100000 in "
     "new:{*}|mu\n"},
    {"... and of an IPv4 client by it", USUAL, ACCEPTED, ALL_OF(made_up),
     "mu client+recipient:{192.0.2.7}|a@example.com 10 1/1 spill client+recipient:{192.0.2.7}|* of 1000 in new:{192.0.2.7}|*\n"},
    {"an invalid recipient that is not ours", "b@example.net", "A..B@example.com", "192.0.2.7", NULL, -1,
     {.action = ACTION_ACCEPT, .alias = {.state = ALIAS_NOT_OURS}}, ALL_OF(pairs),
     "pair recipient+client:{a..b@example.com}|192.0.2.7 10 1/1 spill recipient+client:{a..b@example.com}|* of 1000 in "
     "new:{a..b@example.com}|*\n"},
};
/* clang-format on */

static void prepare(struct fixture *f, const struct plan_case *c)
{
    fixture_init(f);
    fixture_mail(f, c->from, c->to);
    fixture_client(f, c->client);
    f->envelope.user = c->user;
    f->envelope.size = c->size;
    f->policy.limits = c->limits;
    f->policy.n_limits = c->n_limits;
}

/* What the text does not show. */
static void check_ask(const struct count_ask *ask, const struct limit *limit)
{
    assert_string_equal(ask->limit, limit->name);
    assert_int_equal(ask->window_ms, limit->window_ms);
    assert_int_equal(ask->ttl_ms, limit->ttl_ms);
}

/* What was made stays, whatever else the pool hands out. */
static void use_pool(struct fixture *f)
{
    memset(pool_alloc(&f->pool, 2000), 0xff, 2000);
}

static void test_plans(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        struct plan plan;
        char got[4096];
        prepare(&f, &cases[i]);
        assert_int_equal(plan_make(&f.policy, &f.envelope, &cases[i].ruling, NULL, &f.pool, &plan), 0);
        use_pool(&f);
        if (strcmp(plan_text(&plan, got, sizeof got), cases[i].want) != 0)
            fail_msg("%s:\ngot\n%swant\n%s", cases[i].name, got, cases[i].want);
        bool attempt = strstr(got, " attempt") != NULL;
        assert_int_equal(plan.request.pair != NULL, attempt);
        for (size_t k = 0; k < plan.request.n; k++)
            check_ask(&plan.request.asks[k], plan.limits[k]);
        pool_done(&f.pool);
    }
}

/* It is counted as it was written, up to the length that an address can have. */
static void test_a_long_invalid_recipient(void **state)
{
    (void)state;
    struct fixture f;
    struct plan plan;
    const struct ruling accepted = ACCEPTED;
    char to[ADDRESS_MAX + 1] = "a..b@", want[sizeof to + sizeof "recipient:{}"];
    memset(to + strlen(to), 'x', ADDRESS_MAX - strlen(to));
    fixture_init(&f);
    fixture_mail(&f, "b@example.net", to);
    f.policy.limits = &one_each[0];
    f.policy.n_limits = 1;
    assert_int_equal(plan_make(&f.policy, &f.envelope, &accepted, NULL, &f.pool, &plan), 0);
    snprintf(want, sizeof want, "recipient:{%s}", to);
    assert_string_equal(plan.request.asks[0].key, want);
    pool_done(&f.pool);
}

/* Each condition of `when`, met and not met. */
static void test_when(void **state)
{
    static const char *gold[] = {"gold"}, *lead[] = {"tin", "lead"}, *com[] = {"example.com"},
                      *net[] = {"example.net"};
    static struct network v4 = {0}, v6 = {0};
    const struct ruling exact = ACCEPTED, none = UNKNOWN;
    const struct ruling by_glob = {.action = ACTION_ACCEPT, .alias = FOUND(VIA_GLOB, ACTION_ACCEPT)};
    const struct ruling exempt = {
        .action = ACTION_ACCEPT, .recipient_exempt = true, .alias = {.state = ALIAS_UNKNOWN, .ours = true}};
    const struct {
        struct when when;
        const char *from, *user;
        const struct ruling *ruling;
        bool want;
    } whens[] = {
        {{.class_name = {gold, 1}}, "b@example.net", NULL, &exact, true},
        {{.class_name = {lead, 2}}, "b@example.net", NULL, &exact, false},
        {{.class_name = {gold, 1}}, "b@example.net", NULL, &none, false},
        {{.recipient_domain = {com, 1}}, "b@example.net", NULL, &exact, true},
        {{.recipient_domain = {net, 1}}, "b@example.net", NULL, &exact, false},
        {{.sender_domain = {net, 1}}, "b@example.net", NULL, &exact, true},
        {{.sender_domain = {net, 1}}, "<>", NULL, &exact, false},
        {{.client = {&v4, 1}}, "b@example.net", NULL, &exact, true},
        {{.client = {&v6, 1}}, "b@example.net", NULL, &exact, false},
        {{.null_sender = YES}, "<>", NULL, &exact, true},
        {{.null_sender = YES}, "b@example.net", NULL, &exact, false},
        {{.null_sender = NO}, "b@example.net", NULL, &exact, true},
        {{.authenticated = YES}, "b@example.net", "u", &exact, true},
        {{.authenticated = NO}, "b@example.net", "u", &exact, false},
        {{.catch_all = YES}, "b@example.net", NULL, &by_glob, true},
        {{.catch_all = YES}, "b@example.net", NULL, &exact, false},
        {{.catch_all = NO}, "b@example.net", NULL, &by_glob, false},
        {{.unknown = YES}, "b@example.net", NULL, &none, true},
        {{.unknown = YES}, "b@example.net", NULL, &exact, false},
        {{.unknown = YES}, "b@example.net", NULL, &exempt, false},
        {{.null_sender = NO, .authenticated = YES}, "b@example.net", NULL, &exact, false},
    };
    (void)state;
    assert_int_equal(network_parse("192.0.2.0/24", &v4, NULL), 0);
    assert_int_equal(network_parse("2001:db8::/32", &v6, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(whens); i++) {
        struct fixture f;
        struct plan plan;
        struct limit limit = {LIMIT("l", SUBJECT_HOST, "host"), .count = LIMIT_ATTEMPTS,
                              .when = whens[i].when};
        fixture_init(&f);
        fixture_mail(&f, whens[i].from, "a@example.com");
        f.envelope.user = whens[i].user;
        f.policy.limits = &limit;
        f.policy.n_limits = 1;
        assert_int_equal(plan_make(&f.policy, &f.envelope, whens[i].ruling, NULL, &f.pool, &plan), 0);
        if (plan.request.n != whens[i].want)
            fail_msg("case %zu: got %zu asks", i, plan.request.n);
        pool_done(&f.pool);
    }
}

/* Only what may be refused for good, or held, is open until its message has ended. */
static void test_hard(void **state)
{
    (void)state;
    static const struct {
        enum action over;
        int64_t hold_ms;
        enum limit_count count;
        bool want;
    } rows[] = {
        {ACTION_DEFER, 0, LIMIT_RECIPIENTS, false}, {ACTION_DEFER, 1, LIMIT_RECIPIENTS, true},
        {ACTION_REJECT, 0, LIMIT_BYTES, true},      {ACTION_DISCARD, 0, LIMIT_MESSAGES, true},
        {ACTION_REJECT, 5, LIMIT_ATTEMPTS, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fixture f;
        struct plan plan;
        const struct ruling ruling = ACCEPTED;
        struct limit limit = {LIMIT("l", SUBJECT_HOST, "host"), .count = rows[i].count};
        limit.over = rows[i].over;
        limit.hold_ms = rows[i].hold_ms;
        fixture_init(&f);
        f.policy.limits = &limit;
        f.policy.n_limits = 1;
        assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, NULL, &f.pool, &plan), 0);
        assert_int_equal((plan.request.asks[0].flags & COUNT_HARD) != 0, rows[i].want);
        pool_done(&f.pool);
    }
}

/* Whether the answer would be a 5xx, which the null sender and exempt recipients get of no limit that does not name them. */
static void test_rejects(void **state)
{
    (void)state;
    static const struct {
        enum action over;
        enum limit_count count;
        bool shadow;
        const char *from;
        enum tristate null_sender;
        bool exempt, want;
    } rows[] = {
        {ACTION_REJECT, LIMIT_RECIPIENTS, false, "b@example.net", ANY, false, true},
        {ACTION_DISCARD, LIMIT_RECIPIENTS, false, "b@example.net", ANY, false, false},
        {ACTION_REJECT, LIMIT_ATTEMPTS, false, "b@example.net", ANY, false, false},
        {ACTION_REJECT, LIMIT_RECIPIENTS, true, "b@example.net", ANY, false, false},
        {ACTION_REJECT, LIMIT_RECIPIENTS, false, "b@example.net", ANY, true, false},
        {ACTION_REJECT, LIMIT_RECIPIENTS, false, "<>", ANY, false, false},
        {ACTION_REJECT, LIMIT_RECIPIENTS, false, "<>", YES, false, true},
        {ACTION_REJECT, LIMIT_RECIPIENTS, false, "<>", YES, true, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fixture f;
        struct plan plan;
        struct ruling ruling = ACCEPTED;
        struct limit limit = {LIMIT("l", SUBJECT_HOST, "host"), .count = rows[i].count,
                              .shadow = rows[i].shadow, .when = {.null_sender = rows[i].null_sender}};
        limit.over = rows[i].over;
        ruling.recipient_exempt = rows[i].exempt;
        fixture_init(&f);
        fixture_mail(&f, rows[i].from, "a@example.com");
        f.policy.limits = &limit;
        f.policy.n_limits = 1;
        assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, NULL, &f.pool, &plan), 0);
        if (((plan.request.asks[0].flags & COUNT_REJECT) != 0) != rows[i].want)
            fail_msg("row %zu: not %d", i, rows[i].want);
        pool_done(&f.pool);
    }
}

/* A key that was charged to its overflow key is held all the same. */
static void test_held_overflowed(void **state)
{
    (void)state;
    struct fixture f;
    struct plan plan;
    const struct ruling ruling = {.action = ACTION_ACCEPT, .alias = FOUND(VIA_CATCH_ALL, ACTION_ACCEPT)};
    struct limit limit = {LIMIT("msgs", SUBJECT_RECIPIENT, "recipient"), .count = LIMIT_MESSAGES};
    const struct receipt held = {
        .limit = &limit, .key = "recipient:{a@example.com}", .charge = {.key = "recipient:{@example.com}"}};
    fixture_init(&f);
    fixture_mail(&f, "b@example.net", "a+two@example.com");
    f.policy.limits = &limit;
    f.policy.n_limits = 1;
    assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, &held, &f.pool, &plan), 0);
    assert_int_equal(plan.request.n, 0);
    fixture_mail(&f, "b@example.net", "c@example.com"); /* another one */
    assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, &held, &f.pool, &plan), 0);
    assert_int_equal(plan.request.n, 1);
    pool_done(&f.pool);
}

/* What a message was charged for by an earlier recipient is not asked again. */
static void test_held(void **state)
{
    static const struct {
        struct limit *limits;
        size_t n_limits, charged;
        const char *key, *want;
    } helds[] = {
        {ALL_OF(messages), 1, "client:{192.0.2.7}", "msgs recipient:{a@example.com} 10 1/1\n"},
        {ALL_OF(messages), 0, "recipient:{other@example.com}",
         "msgs recipient:{a@example.com} 10 1/1\nmsgs-c client:{192.0.2.7} 10 1/1\n"},
        {ALL_OF(bytes), 0, "client:{192.0.2.7}", ""},
        {ALL_OF(held_bytes), 0, "client:{192.0.2.7}", "bytes client:{192.0.2.7} 10 0/0 hold-only\n"},
        {one_each, 1, 0, "recipient:{a@example.com}", "rcpt recipient:{a@example.com} 10 1/1\n"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(helds); i++) {
        struct fixture f;
        struct plan plan;
        char got[1024];
        const struct ruling ruling = ACCEPTED;
        struct receipt held = {.limit = &helds[i].limits[helds[i].charged], .key = helds[i].key};
        const struct receipt newest = {.limit = &one_each[10], .key = "all:{*}", .next = &held};
        fixture_init(&f);
        f.policy.limits = helds[i].limits;
        f.policy.n_limits = helds[i].n_limits;
        assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, &newest, &f.pool, &plan), 0);
        assert_string_equal(plan_text(&plan, got, sizeof got), helds[i].want);
        pool_done(&f.pool);
    }
}

static const char *retry(struct fixture *f, const char *client, const char *from, const char *to)
{
    struct plan plan;
    const struct ruling ruling = ACCEPTED;
    fixture_client(f, client);
    fixture_mail(f, from, to);
    f->policy.limits = attempts_each;
    f->policy.n_limits = COUNT_OF(attempts_each);
    assert_int_equal(plan_make(&f->policy, &f->envelope, &ruling, NULL, &f->pool, &plan), 0);
    assert_int_equal(strlen(plan.request.pair->id), 32);
    assert_int_equal(strspn(plan.request.pair->id, "0123456789abcdef"), 32);
    assert_true(network_equal(&plan.request.pair->client, &f->envelope.client_subject));
    return plan.request.pair->id;
}

static void test_retry(void **state)
{
    struct fixture f;
    char whole[ADDRESS_MAX + 1] = "a..b@", other[sizeof whole];
    (void)state;
    memset(whole + strlen(whole), 'x', ADDRESS_MAX - strlen(whole));
    memcpy(other, whole, sizeof whole);
    other[ADDRESS_MAX - 1] = 'y';
    fixture_init(&f);
    f.envelope.sender_raw = whole;
    assert_string_not_equal(retry(&f, NULL, whole, whole), retry(&f, NULL, whole, other));
    f.envelope.sender_raw = NULL;
    const char *first = retry(&f, "2001:db8::1", "b@example.net", "a@example.com");
    assert_string_equal(first, "e8905fd4a44f2c6e7b4cf0c8f1309915"); /* gates of several versions share them */
    assert_string_equal(first, retry(&f, "2001:db8::2", "B@Example.net", "A@example.com"));
    assert_string_equal(first, retry(&f, "2001:db8:1::1", "b@example.net", "a@example.com"));
    assert_string_equal(first, retry(&f, NULL, "b@example.net", "a@example.com"));
    assert_string_not_equal(first, retry(&f, "2001:db8::1", "<>", "a@example.com"));
    assert_string_not_equal(first, retry(&f, "2001:db8::1", "b@example.net", "a+1@example.com"));
    assert_string_not_equal(retry(&f, NULL, "b@example.net", "a..a@example.com"),
                            retry(&f, NULL, "b@example.net", "a..b@example.com"));
    first = retry(&f, "2001:db8::1", "<>",
                  "a@example.com"); /* of the null sender, the client network belongs to it */
    assert_string_equal(first, retry(&f, "2001:db8::2", "<>", "a@example.com"));
    assert_string_not_equal(first, retry(&f, "2001:db8:1::1", "<>", "a@example.com"));
    pool_done(&f.pool);
}

/* Asked again: attempts are counted already, and whoever came since is no reason to refuse this one; of a shadow limit the answer stays. */
static void test_again(void **state)
{
    static struct limit limits[] = {
        {LIMIT("rcpt", SUBJECT_RECIPIENT, "recipient"), .hold_ms = 5},
        {LIMIT("tries", SUBJECT_CLIENT, "client"), .count = LIMIT_ATTEMPTS, .hold_ms = 1000},
        {LIMIT("dark", SUBJECT_CLIENT, "client"), .count = LIMIT_ATTEMPTS, .shadow = true},
    };
    const struct ruling ruling = ACCEPTED;
    struct fixture f;
    struct plan plan;
    char got[1024];
    (void)state;
    fixture_init(&f);
    f.policy.limits = limits;
    f.policy.n_limits = COUNT_OF(limits);
    assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, NULL, &f.pool, &plan), 0);
    assert_non_null(plan.request.pair);
    struct count_answer answers[] = {
        {.result = COUNT_OVER}, {.result = COUNT_ADMITTED}, {.result = COUNT_OVER}};
    for (int looks = 0; looks < 2; looks++) {
        answers[0].result = looks == 0 ? COUNT_OVER : COUNT_ADMITTED;
        assert_int_equal(plan_again(&plan, answers, &f.pool), 0);
        use_pool(&f);
        assert_int_equal(plan.request.asks[0].flags & COUNT_AGAIN, looks == 0 ? COUNT_AGAIN : 0);
        assert_int_equal(plan.request.asks[1].flags & COUNT_AGAIN, 0);
        assert_int_equal(plan.request.asks[2].flags & COUNT_AGAIN, COUNT_AGAIN);
        assert_null(plan.request.pair); /* no other retry is used up */
        assert_string_equal(plan_text(&plan, got, sizeof got),
                            "rcpt recipient:{a@example.com} 10 1/1 hard hold 5\n"
                            "tries client:{192.0.2.7} 10 0/0 attempt hold-only\n"
                            "dark client:{192.0.2.7} 10 0/0 attempt shadow\n");
        assert_int_equal(plan.request.asks[1].hold_ms, 1000);
    }
    pool_done(&f.pool);
}

static void test_connect(void **state)
{
    static struct limit limits[] = {
        {LIMIT("defers", SUBJECT_CLIENT, "client"), .hold_ms = 1},
        {LIMIT("rejects", SUBJECT_CLIENT, "client"), .hold_ms = 1},
        {LIMIT("forgets", SUBJECT_CLIENT, "client")},
        {LIMIT("dark", SUBJECT_CLIENT, "client"), .hold_ms = 1, .shadow = true},
        {OF2("pair", SUBJECT_CLIENT, SUBJECT_USER, "client+user"), .hold_ms = 1},
        {LIMIT("behind", SUBJECT_CLIENT, "client"), .hold_ms = 1}, /* of another policy */
    };
    static const struct {
        const char *client, *want;
    } connects[] = {
        {"2001:db8::1", "rejects client:{2001:db8::/64} 10 0/0 hold-only\n"},
        {"127.0.0.1", ""},
        {NULL, ""},
    };
    (void)state;
    for (size_t i = 1; i < COUNT_OF(limits); i++)
        limits[i].over = ACTION_REJECT;
    for (size_t i = 0; i < COUNT_OF(connects); i++) {
        struct fixture f;
        struct plan plan;
        struct network loopback;
        char got[1024];
        fixture_init(&f);
        assert_int_equal(network_parse("127.0.0.0/8", &loopback, NULL), 0);
        fixture_client(&f, connects[i].client);
        f.policy.exempt.clients = (struct networks){&loopback, 1};
        f.policy.limits = limits;
        f.policy.n_limits = COUNT_OF(limits) - 1;
        assert_int_equal(plan_connect(&f.policy, &f.client, &f.pool, &plan), 0);
        assert_string_equal(plan_text(&plan, got, sizeof got), connects[i].want);
        pool_done(&f.pool);
    }
}

static void test_looks_at_connect(void **state)
{
    static const struct {
        struct limit limit;
        bool want;
    } rows[] = {
        {{.n_per = 1, .per = {SUBJECT_CLIENT}, .over = ACTION_REJECT, .hold_ms = 1}, true},
        {{.n_per = 1, .per = {SUBJECT_CLIENT}, .over = ACTION_REJECT}, false},
        {{.n_per = 1, .per = {SUBJECT_CLIENT}, .over = ACTION_DEFER, .hold_ms = 1}, false},
        {{.n_per = 1, .per = {SUBJECT_RECIPIENT}, .over = ACTION_REJECT, .hold_ms = 1}, false},
        {{.n_per = 2, .per = {SUBJECT_CLIENT, SUBJECT_USER}, .over = ACTION_REJECT, .hold_ms = 1}, false},
        {{.n_per = 1, .per = {SUBJECT_CLIENT}, .over = ACTION_REJECT, .hold_ms = 1, .shadow = true}, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct limit limits[] = {{.n_per = 1}, rows[i].limit, rows[0].limit};
        const struct policy policy = {.limits = limits, .n_limits = 2};
        const struct policy alone = {.limits = limits + 1, .n_limits = 1};
        assert_int_equal(plan_looks_at_connect(&policy), rows[i].want);
        assert_int_equal(plan_looks_at_connect(&alone), rows[i].want);
    }
}

static void test_localise(void **state)
{
    static const struct {
        int share;
        int64_t max, want;
    } shares[] = {{100, 10, 10}, {50, 10, 5}, {33, 10, 3},
                  {1, 10, 1},    {50, 0, 0},  {99, 1000000000000000, 990000000000000}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shares); i++) {
        struct fixture f;
        struct plan plan;
        const struct ruling ruling = ACCEPTED;
        struct limit limit = {LIMIT("l", SUBJECT_HOST, "host")};
        fixture_init(&f);
        limit.max = shares[i].max;
        limit.share = (struct share){true, SUBJECT_CLIENT, shares[i].max, shares[i].max, "host+client"};
        f.policy.counters.local_share = shares[i].share;
        f.policy.limits = &limit;
        f.policy.n_limits = 1;
        assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, NULL, &f.pool, &plan), 0);
        assert_int_equal(plan_localise(&f.policy, &plan, &f.pool), 0);
        use_pool(&f);
        assert_int_equal(plan.request.n, 2);
        for (size_t k = 0; k < 2; k++) {
            assert_int_equal(plan.request.local[k].max, shares[i].want);
            assert_int_equal(plan.request.local[k].headroom, shares[i].max - shares[i].want);
        }
        assert_int_equal(plan.request.local[1].share_above, shares[i].want);
        limit.share.set = false;
        assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, NULL, &f.pool, &plan), 0);
        assert_int_equal(plan_localise(&f.policy, &plan, &f.pool), 0);
        assert_int_equal(plan.request.n, 1);
        assert_int_equal(plan.request.local[0].max, shares[i].want);
        pool_done(&f.pool);
    }
}

/* What a ramp, or a local share, lowers comes back as slack, also in a share of a limit. */
static void test_ramp_in_plan(void **state)
{
    static const struct {
        int64_t since;
        int share;
        int64_t max, headroom, share_max, share_headroom, above;
    } ramps[] = {{0, 100, 10, 90, 5, 45, 2},      {30000, 100, 55, 45, 27, 23, 11},
                 {60000, 100, 100, 0, 50, 0, 20}, {0, 50, 5, 95, 2, 48, 1},
                 {70000, 50, 50, 50, 25, 25, 10}, {-9, 100, 10, 90, 5, 45, 2},
                 {30000, 10, 5, 95, 2, 48, 1}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(ramps); i++) {
        struct fixture f;
        struct plan plan;
        const struct ruling ruling = ACCEPTED;
        struct limit limit = {LIMIT("l", SUBJECT_HOST, "host"), .ramp_ms = 60000};
        fixture_init(&f);
        limit.max = 100;
        limit.share = (struct share){true, SUBJECT_CLIENT, 50, 20, "host+client"};
        f.policy.counters.local_share = ramps[i].share;
        f.policy.limits = &limit;
        f.policy.n_limits = 1;
        f.envelope.ramp_since_ms = f.envelope.now_ms - ramps[i].since;
        assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, NULL, &f.pool, &plan), 0);
        assert_int_equal(plan_localise(&f.policy, &plan, &f.pool), 0);
        use_pool(&f);
        assert_int_equal(plan.request.n, 2);
        assert_int_equal(plan.request.local[0].max, ramps[i].max);
        assert_int_equal(plan.request.local[0].headroom, ramps[i].headroom);
        assert_int_equal(plan.request.local[1].max, ramps[i].share_max);
        assert_int_equal(plan.request.local[1].headroom, ramps[i].share_headroom);
        assert_int_equal(plan.request.local[1].share_above, ramps[i].above);
        pool_done(&f.pool);
    }
}

static int64_t since_of_a(void *arg, const char *key)
{
    return strstr(key, "{a") != NULL ? *(int64_t *)arg : 0;
}

/* What is counted under one key may have come back later than the rest, and ramps alone. */
static void test_ramp_of_a_key(void **state)
{
    struct fixture f;
    struct plan plan;
    int64_t since;
    const struct ruling ruling = ACCEPTED;
    struct limit limits[] = {{LIMIT("a", SUBJECT_RECIPIENT, "recipient"), .ramp_ms = 60000},
                             {LIMIT("b", SUBJECT_HOST, "host"), .ramp_ms = 60000},
                             {LIMIT("c", SUBJECT_RECIPIENT, "recipient")},
                             {LIMIT("d", SUBJECT_RECIPIENT, "recipient"), .ramp_ms = 1}};
    (void)state;
    fixture_init(&f);
    for (size_t i = 0; i < COUNT_OF(limits); i++)
        limits[i].max = 100;
    f.policy.limits = limits;
    f.policy.n_limits = COUNT_OF(limits);
    fixture_mail(&f, "b@example.net", "a@example.com");
    since = f.envelope.now_ms - 30000;
    f.envelope.ramp_since_ms = f.envelope.now_ms - 100000;
    f.envelope.ramp_since = since_of_a;
    f.envelope.ramp_arg = &since;
    assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, NULL, &f.pool, &plan), 0);
    assert_int_equal(plan.request.n, 4);
    assert_int_equal(plan.request.asks[0].max, 55);
    assert_int_equal(plan.request.asks[1].max, 100);
    assert_int_equal(plan.request.asks[2].max, 100);
    assert_int_equal(plan.request.asks[3].max, 100);
    since = 0; /* not later than the rest */
    assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, NULL, &f.pool, &plan), 0);
    assert_int_equal(plan.request.asks[0].max, 100);
    since = f.envelope.now_ms;
    assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, NULL, &f.pool, &plan), 0);
    assert_int_equal(plan.request.asks[0].max, 10);
    assert_int_equal(plan.request.asks[3].max, 10);
    since++; /* the clock was set back */
    assert_int_equal(plan_make(&f.policy, &f.envelope, &ruling, NULL, &f.pool, &plan), 0);
    assert_int_equal(plan.request.asks[0].max, 100);
    pool_done(&f.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ramp_in_plan), cmocka_unit_test(test_ramp_of_a_key),
        cmocka_unit_test(test_plans),        cmocka_unit_test(test_a_long_invalid_recipient),
        cmocka_unit_test(test_when),         cmocka_unit_test(test_held),
        cmocka_unit_test(test_hard),         cmocka_unit_test(test_held_overflowed),
        cmocka_unit_test(test_retry),        cmocka_unit_test(test_again),
        cmocka_unit_test(test_connect),      cmocka_unit_test(test_looks_at_connect),
        cmocka_unit_test(test_localise),     cmocka_unit_test(test_rejects),
    };
    memcpy(attempts_each, one_each, sizeof one_each);
    for (size_t i = 0; i < COUNT_OF(attempts_each); i++)
        attempts_each[i].count = LIMIT_ATTEMPTS;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
