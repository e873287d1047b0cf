/* The rules: queries, which row counts, and who is heard. */
#include "fixture.h"

#include "base/text.h"

#include <stdio.h>

static const char *join(char *buffer, size_t size, const char *const *list, size_t n)
{
    struct text text;
    text_init(&text, buffer, size);
    for (size_t i = 0; i < n; i++) {
        text_add(&text, i == 0 ? "" : " ");
        text_add(&text, list[i]);
    }
    assert_false(text.cut);
    return buffer;
}

static const char *or_dash(const char *string)
{
    return string == NULL ? "-" : string;
}

/* --- queries --- */

static void test_alias_query(void **state)
{
    static const struct {
        const char *to, *want; /* full full bare bare domain domain local local */
    } cases[] = {
        {"A@Example.com", "a@example.com - - - example.com - a -"},
        {"a+x@example.com", "a+x@example.com - a@example.com - example.com - a+x a"},
        {"a+x@b\303\274cher.example",
         "a+x@xn--bcher-kva.example a+x@b\303\274cher.example a@xn--bcher-kva.example "
         "a@b\303\274cher.example xn--bcher-kva.example b\303\274cher.example a+x a"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        struct alias_query q;
        char got[1024];
        fixture_init(&f);
        fixture_mail(&f, "", cases[i].to);
        assert_int_equal(rules_alias_query(&f.recipient, &f.pool, &q), 0);
        const char *all[] = {or_dash(q.full[0]),    or_dash(q.full[1]),   or_dash(q.bare[0]),
                             or_dash(q.bare[1]),    or_dash(q.domain[0]), or_dash(q.domain[1]),
                             or_dash(q.local_full), or_dash(q.local_bare)};
        assert_string_equal(join(got, sizeof got, all, COUNT_OF(all)), cases[i].want);
        pool_done(&f.pool);
    }
}

static void test_sender_query(void **state)
{
    static const struct {
        const char *from, *to, *owner, *scopes, *patterns;
    } cases[] = {
        {"b@sub.example.net", "a@example.com", NULL, "a@example.com @example.com @.com *",
         "b@sub.example.net @sub.example.net @.sub.example.net @.example.net @.net *"},
        {"b+t@example.net", "a+x@example.com", "Acme",
         "a+x@example.com a@example.com @example.com @.com owner:acme *",
         "b+t@example.net b@example.net @example.net @.example.net @.net *"},
        {"<>", "a@example.com", "", "a@example.com @example.com @.com *", "<> *"},
        {"b@[192.0.2.1]", "postmaster", NULL, "postmaster *", "b@[192.0.2.1] @[192.0.2.1] *"},
        /* the longest parents go: who owns example.net is not evaded by many labels */
        {"b@1.2.3.4.5.6.7.8.9.10.11.12.13.example.net", "a@example.com", NULL,
         "a@example.com @example.com @.com *",
         "b@1.2.3.4.5.6.7.8.9.10.11.12.13.example.net @1.2.3.4.5.6.7.8.9.10.11.12.13.example.net "
         "@.3.4.5.6.7.8.9.10.11.12.13.example.net @.4.5.6.7.8.9.10.11.12.13.example.net "
         "@.5.6.7.8.9.10.11.12.13.example.net @.6.7.8.9.10.11.12.13.example.net "
         "@.7.8.9.10.11.12.13.example.net "
         "@.8.9.10.11.12.13.example.net @.9.10.11.12.13.example.net @.10.11.12.13.example.net "
         "@.11.12.13.example.net @.12.13.example.net @.13.example.net @.example.net @.net *"},
        {"b@b\303\274cher.example", "a+x@b\303\274cher.example", "o",
         "a+x@xn--bcher-kva.example a+x@b\303\274cher.example a@xn--bcher-kva.example "
         "a@b\303\274cher.example "
         "@xn--bcher-kva.example @b\303\274cher.example @.example owner:o *",
         "b@xn--bcher-kva.example b@b\303\274cher.example @xn--bcher-kva.example @b\303\274cher.example "
         "@.xn--bcher-kva.example @.b\303\274cher.example @.example *"},
        /* of more parents than these the U-labels go first */
        {"<>", "a@p.q.r.s.b\303\274cher.example", NULL,
         "a@p.q.r.s.xn--bcher-kva.example a@p.q.r.s.b\303\274cher.example "
         "@p.q.r.s.xn--bcher-kva.example @p.q.r.s.b\303\274cher.example "
         "@.q.r.s.xn--bcher-kva.example @.q.r.s.b\303\274cher.example "
         "@.r.s.xn--bcher-kva.example @.r.s.b\303\274cher.example "
         "@.s.xn--bcher-kva.example @.s.b\303\274cher.example @.xn--bcher-kva.example "
         "@.b\303\274cher.example @.example *",
         "<> *"},
        {"<>", "a@o.p.q.r.s.b\303\274cher.example", "o",
         "a@o.p.q.r.s.xn--bcher-kva.example a@o.p.q.r.s.b\303\274cher.example "
         "@o.p.q.r.s.xn--bcher-kva.example @o.p.q.r.s.b\303\274cher.example "
         "@.p.q.r.s.xn--bcher-kva.example @.q.r.s.xn--bcher-kva.example "
         "@.r.s.xn--bcher-kva.example @.s.xn--bcher-kva.example @.xn--bcher-kva.example "
         "@.example owner:o *",
         "<> *"},
        {"<>", "a@1.2.3.4.5.6.7.8.9.10.11.12.13.14.example.com", "o",
         "a@1.2.3.4.5.6.7.8.9.10.11.12.13.14.example.com "
         "@1.2.3.4.5.6.7.8.9.10.11.12.13.14.example.com "
         "@.5.6.7.8.9.10.11.12.13.14.example.com @.6.7.8.9.10.11.12.13.14.example.com "
         "@.7.8.9.10.11.12.13.14.example.com @.8.9.10.11.12.13.14.example.com "
         "@.9.10.11.12.13.14.example.com @.10.11.12.13.14.example.com "
         "@.11.12.13.14.example.com @.12.13.14.example.com @.13.14.example.com "
         "@.14.example.com @.example.com @.com owner:o *",
         "<> *"},
        /* an address literal has none */
        {"<>", "a@[192.0.2.1]", "o", "a@[192.0.2.1] @[192.0.2.1] owner:o *", "<> *"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        struct sender_query q;
        char got[4096];
        fixture_init(&f);
        fixture_mail(&f, cases[i].from, cases[i].to);
        assert_int_equal(rules_sender_query(&f.sender, &f.recipient, cases[i].owner, &f.pool, &q), 0);
        assert_string_equal(join(got, sizeof got, q.scopes, q.n_scopes), cases[i].scopes);
        assert_string_equal(join(got, sizeof got, q.patterns, q.n_patterns), cases[i].patterns);
        pool_done(&f.pool);
    }
}

/* --- step one --- */

#define OURS                                                                                                 \
    {                                                                                                        \
        .domain = "example.com", .action = ACTION_ACCEPT, .catch_all = ACTION_REJECT                         \
    }
#define ROW(address, does)                                                                                   \
    {                                                                                                        \
        .key = (address), .action = (does)                                                                   \
    }
#define LAPSED(address)                                                                                      \
    {                                                                                                        \
        .key = (address), .action = ACTION_ACCEPT, .expires_at = FIXTURE_NOW                                 \
    }

static struct alias_row globs[] = {ROW("a*", ACTION_ACCEPT), ROW("*?b", ACTION_REJECT),
                                   ROW("a?*b", ACTION_DISCARD), ROW("*a*b", ACTION_DEFER)};
static struct alias_row two_equal[] = {ROW("b*", ACTION_DEFER), ROW("*b", ACTION_REJECT)};
static struct alias_row umlaut[] = {ROW("\xc3\xbc*", ACTION_REJECT), ROW("aa*", ACTION_DEFER)};
static struct alias_row one_each[] = {ROW("\xc3\xbc*", ACTION_REJECT), ROW("b*", ACTION_DEFER)};
static struct alias_row few_wild[] = {ROW("a?*?*", ACTION_REJECT), ROW("ab*", ACTION_DEFER)};

struct alias_case {
    const char *name;
    struct alias_rows rows;
    const char *to; /* NULL: a@example.com */
    enum alias_state want;
    enum alias_via via;
    enum action action;
    const char *row;
};

/* clang-format off */
static const struct alias_case alias_cases[] = {
    {"nothing could be read", {.state = ROWS_UNKNOWN}, NULL, ALIAS_STALE, VIA_NONE, ACTION_NONE, NULL},
    {"not ours", {.state = ROWS_LIVE}, NULL, ALIAS_NOT_OURS, VIA_NONE, ACTION_NONE, NULL},
    {"a copy cannot say so", {.state = ROWS_COPY}, NULL, ALIAS_STALE, VIA_NONE, ACTION_NONE, NULL},
    {"no domain, none of ours", {.state = ROWS_COPY}, "postmaster", ALIAS_NOT_OURS, VIA_NONE, ACTION_NONE,
     NULL},
    {"invalid", {.state = ROWS_LIVE, .domain = OURS}, "a..b@example.com", ALIAS_INVALID, VIA_NONE,
     ACTION_NONE, "example.com"},
    {"invalid, not ours", {.state = ROWS_LIVE}, "a..b@example.com", ALIAS_NOT_OURS, VIA_NONE, ACTION_NONE,
     NULL},
    {"absent", {.state = ROWS_LIVE, .domain = OURS}, NULL, ALIAS_UNKNOWN, VIA_NONE, ACTION_NONE,
     "example.com"},
    {"absent from a copy", {.state = ROWS_COPY, .domain = OURS}, NULL, ALIAS_STALE, VIA_NONE, ACTION_NONE,
     NULL},
    {"the row without the tag rejects in a copy", {.state = ROWS_COPY, .domain = OURS, .bare = ROW("bare",
     ACTION_REJECT)}, NULL, ALIAS_STALE, VIA_BARE, ACTION_NONE, "bare"},
    {"full before bare", {.state = ROWS_LIVE, .domain = OURS, .full = ROW("full", ACTION_ACCEPT),
     .bare = ROW("bare", ACTION_REJECT)}, NULL, ALIAS_FOUND, VIA_FULL, ACTION_ACCEPT, "full"},
    {"bare before globs", {.state = ROWS_LIVE, .domain = OURS, .bare = ROW("bare", ACTION_ACCEPT),
     .globs = globs, .n_globs = 4}, NULL, ALIAS_FOUND, VIA_BARE, ACTION_ACCEPT, "bare"},
    {"globs: most literals, then bytes", {.state = ROWS_LIVE, .domain = OURS, .globs = globs, .n_globs = 4},
     NULL, ALIAS_FOUND, VIA_GLOB, ACTION_DEFER, "*a*b"},
    {"globs: bytes", {.state = ROWS_LIVE, .domain = OURS, .globs = two_equal, .n_globs = 2}, NULL,
     ALIAS_FOUND, VIA_GLOB, ACTION_REJECT, "*b"},
    {"globs: characters", {.state = ROWS_LIVE, .domain = OURS, .globs = umlaut, .n_globs = 2}, NULL,
     ALIAS_FOUND, VIA_GLOB, ACTION_DEFER, "aa*"},
    {"globs: one character of two bytes", {.state = ROWS_LIVE, .domain = OURS, .globs = one_each, .n_globs = 2},
     NULL, ALIAS_FOUND, VIA_GLOB, ACTION_DEFER, "b*"},
    {"globs: wildcards are none", {.state = ROWS_LIVE, .domain = OURS, .globs = few_wild, .n_globs = 2}, NULL,
     ALIAS_FOUND, VIA_GLOB, ACTION_DEFER, "ab*"},
    {"expired ends the look-up", {.state = ROWS_LIVE, .domain = OURS, .full = LAPSED("full"),
     .bare = ROW("bare", ACTION_ACCEPT)}, NULL, ALIAS_EXPIRED, VIA_FULL, ACTION_NONE, "full"},
    {"not yet expired", {.state = ROWS_LIVE, .domain = OURS, .full = {.key = "full", .action = ACTION_ACCEPT,
     .expires_at = FIXTURE_NOW + 1}}, NULL, ALIAS_FOUND, VIA_FULL, ACTION_ACCEPT, "full"},
    {"expired in a copy", {.state = ROWS_COPY, .domain = OURS, .full = LAPSED("full")}, NULL, ALIAS_STALE,
     VIA_FULL, ACTION_NONE, NULL},
    {"reject in a copy", {.state = ROWS_COPY, .domain = OURS, .full = ROW("full", ACTION_REJECT)}, NULL,
     ALIAS_FOUND, VIA_FULL, ACTION_REJECT, "full"},
    {"glob that accepts in a copy", {.state = ROWS_COPY, .domain = OURS, .globs = globs, .n_globs = 1}, NULL,
     ALIAS_FOUND, VIA_GLOB, ACTION_ACCEPT, "a*"},
    {"glob that refuses in a copy", {.state = ROWS_COPY, .domain = OURS, .globs = globs, .n_globs = 4}, NULL,
     ALIAS_STALE, VIA_GLOB, ACTION_NONE, NULL},
    {"catch-all", {.state = ROWS_LIVE, .domain = {"example.com", ACTION_ACCEPT, ACTION_ACCEPT, NULL, NULL,
     NULL}}, NULL, ALIAS_FOUND, VIA_CATCH_ALL, ACTION_ACCEPT, "example.com"},
    {"catch-all in a copy", {.state = ROWS_COPY, .domain = {"example.com", ACTION_ACCEPT, ACTION_ACCEPT, NULL,
     NULL, NULL}}, NULL, ALIAS_FOUND, VIA_CATCH_ALL, ACTION_ACCEPT, "example.com"},
    {"catch-all of a domain that drops", {.state = ROWS_LIVE, .domain = {"example.com", ACTION_DISCARD,
     ACTION_ACCEPT, NULL, NULL, NULL}}, NULL, ALIAS_FOUND, VIA_CATCH_ALL, ACTION_DISCARD, "example.com"},
    {"... in a copy", {.state = ROWS_COPY, .domain = {"example.com", ACTION_DISCARD, ACTION_ACCEPT, NULL,
     NULL, NULL}}, NULL, ALIAS_STALE, VIA_CATCH_ALL, ACTION_NONE, NULL},
    {"the domain is harder", {.state = ROWS_LIVE, .domain = {"example.com", ACTION_REJECT, ACTION_REJECT,
     NULL, NULL, NULL}, .full = ROW("full", ACTION_DEFER)}, NULL, ALIAS_FOUND, VIA_FULL, ACTION_REJECT,
     "example.com"},
    {"... which a copy cannot say", {.state = ROWS_COPY, .domain = {"example.com", ACTION_REJECT,
     ACTION_REJECT, NULL, NULL, NULL}, .full = ROW("full", ACTION_DEFER)}, NULL, ALIAS_STALE, VIA_FULL,
     ACTION_NONE, NULL},
    {"the row is harder", {.state = ROWS_LIVE, .domain = {"example.com", ACTION_DEFER, ACTION_REJECT, NULL,
     NULL, NULL}, .full = ROW("full", ACTION_DISCARD)}, NULL, ALIAS_FOUND, VIA_FULL, ACTION_DISCARD, "full"},
    {"exempt: the domain's action does not hold", {.state = ROWS_LIVE, .domain = {"example.com",
     ACTION_REJECT, ACTION_REJECT, NULL, NULL, NULL}, .full = ROW("full", ACTION_DEFER)}, "abuse@example.com",
     ALIAS_FOUND, VIA_FULL, ACTION_DEFER, "full"},
    {"... nor does it make it softer", {.state = ROWS_LIVE, .domain = {"example.com", ACTION_REJECT,
     ACTION_REJECT, NULL, NULL, NULL}, .full = ROW("full", ACTION_ACCEPT)}, "abuse@example.com", ALIAS_FOUND,
     VIA_FULL, ACTION_ACCEPT, "full"},
    {"... where it would only defer, too", {.state = ROWS_LIVE, .domain = {"example.com", ACTION_DEFER,
     ACTION_REJECT, NULL, NULL, NULL}, .full = ROW("full", ACTION_ACCEPT)}, "abuse@example.com", ALIAS_FOUND,
     VIA_FULL, ACTION_ACCEPT, "full"},
    {"an action that nobody understands", {.state = ROWS_LIVE, .domain = OURS, .full = ROW("full",
     ACTION_NONE)}, NULL, ALIAS_STALE, VIA_FULL, ACTION_NONE, NULL},
};
/* clang-format on */

static struct pattern abuse[] = {{"abuse", NULL}, {"postmaster", NULL}};

static void test_alias(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(alias_cases); i++) {
        const struct alias_case *c = &alias_cases[i];
        struct fixture f;
        struct alias got;
        fixture_init(&f);
        f.policy.exempt.recipients = (struct patterns){abuse, 2};
        if (c->to != NULL)
            fixture_mail(&f, "b@example.net", c->to);
        rules_alias(&f.policy, &f.envelope, &c->rows, &got);
        if (got.state != c->want || got.via != c->via || got.action != c->action ||
            (c->row != NULL && strcmp(or_dash(got.row), c->row) != 0))
            fail_msg("%s: got state %d via %d action %s row %s", c->name, got.state, got.via,
                     action_name(got.action), or_dash(got.row));
        assert_int_equal(got.ours, c->rows.state != ROWS_UNKNOWN && c->rows.domain.domain != NULL);
        pool_done(&f.pool);
    }
}

/* The same rows with aliases.conceal: what a sender could tell apart is the same, and a copy proves as little
 * of either. */
static void test_alias_conceal(void **state)
{
    static const struct {
        const char *name;
        struct alias_rows rows;
        const char *to; /* NULL: a@example.com */
        enum alias_state want;
        bool concealed;
        const char *reply; /* its ruling's, "-" where it does not refuse */
    } cases[] = {
        {"lives", {.domain = OURS, .full = ROW("full", ACTION_ACCEPT)}, NULL, ALIAS_FOUND, false, "-"},
        {"never was", {.domain = OURS}, NULL, ALIAS_UNKNOWN, false, "unknown"},
        {"disabled",
         {.domain = OURS, .full = ROW("full", ACTION_REJECT)},
         NULL,
         ALIAS_FOUND,
         true,
         "unknown"},
        {"expired", {.domain = OURS, .full = LAPSED("full")}, NULL, ALIAS_EXPIRED, true, "unknown"},
        {"deferred",
         {.domain = OURS, .full = ROW("full", ACTION_DEFER)},
         NULL,
         ALIAS_FOUND,
         false,
         "alias_defer"},
        {"exempt",
         {.domain = OURS, .full = ROW("full", ACTION_REJECT)},
         "abuse@example.com",
         ALIAS_FOUND,
         false,
         "alias_reject"},
        {"never was, says a copy", {.state = ROWS_COPY, .domain = OURS}, NULL, ALIAS_STALE, false, "backend"},
        {"disabled, says a copy",
         {.state = ROWS_COPY, .domain = OURS, .full = ROW("full", ACTION_REJECT)},
         NULL,
         ALIAS_STALE,
         false,
         "backend"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        struct alias alias;
        struct ruling ruling;
        struct alias_rows rows = cases[i].rows;
        rows.state = rows.state == ROWS_COPY ? ROWS_COPY : ROWS_LIVE;
        fixture_init(&f);
        f.policy.aliases.conceal = true;
        f.policy.exempt.recipients = (struct patterns){abuse, 2};
        if (cases[i].to != NULL)
            fixture_mail(&f, "b@example.net", cases[i].to);
        rules_alias(&f.policy, &f.envelope, &rows, &alias);
        rules_rule(&f.policy, &f.envelope, &alias, &(struct sender_rows){.state = ROWS_LIVE},
                   &(struct client_row){.state = ROWS_LIVE}, &ruling);
        const char *reply = ruling.action == ACTION_ACCEPT ? "-" : reply_key_name(ruling.key);
        if (alias.state != cases[i].want || alias.concealed != cases[i].concealed ||
            strcmp(reply, cases[i].reply) != 0)
            fail_msg("%s: got state %d concealed %d reply %s", cases[i].name, alias.state, alias.concealed,
                     reply);
        pool_done(&f.pool);
    }
}

static void test_alias_unasked(void **state)
{
    struct fixture f;
    struct alias got;
    (void)state;
    fixture_init(&f);
    f.policy.aliases.database = NULL;
    rules_alias(&f.policy, &f.envelope, &(struct alias_rows){0}, &got);
    assert_int_equal(got.state, ALIAS_UNASKED);
    pool_done(&f.pool);
}

static void test_alias_details(void **state)
{
    static const struct {
        struct alias_row row;
        struct domain_row domain;
        const char *want; /* owner class reply mailboxes */
    } cases[] = {
        {{.key = "k", .action = ACTION_ACCEPT, .owner = "o", .class_name = "c", .mailbox = "M@example.org"},
         {"d", ACTION_ACCEPT, ACTION_REJECT, "O", "C", NULL},
         "o c - m@example.org"},
        {{.key = "k",
          .action = ACTION_ACCEPT,
          .mailbox = "m+1@example.org, m+2@example.org ,,x@y.example,<>, X@Y.example"},
         {"d", ACTION_ACCEPT, ACTION_REJECT, "O", "C", NULL},
         "O C - m@example.org x@y.example"},
        {{.key = "k",
          .action = ACTION_ACCEPT,
          .mailbox = "\"a,\\\"b\"@example.org,c@example.org",
          .owner = ""},
         {"d", ACTION_ACCEPT, ACTION_REJECT, NULL, NULL, NULL},
         "- - - \"a,\\\"b\"@example.org c@example.org"},
        {{.key = "k", .action = ACTION_ACCEPT, .owner = "", .class_name = ""},
         {"d", ACTION_ACCEPT, ACTION_REJECT, "", "", NULL},
         "- - -"},
        {{.key = "k", .action = ACTION_ACCEPT, .mailbox = "a@b,c@d,e@f,g@h,i@j,k@l"},
         {"d", ACTION_ACCEPT, ACTION_REJECT, NULL, NULL, NULL},
         "- - - a@b c@d e@f g@h i@j k@l"},
        {{.key = "k", .action = ACTION_REJECT, .reply = "550 mine"},
         {"d", ACTION_DEFER, ACTION_REJECT, NULL, NULL, "450 domain"},
         "- - 550 mine"},
        {{.key = "k", .action = ACTION_ACCEPT, .reply = "550 mine"},
         {"d", ACTION_DEFER, ACTION_REJECT, NULL, NULL, "450 domain"},
         "- - 450 domain"},
        {{.key = "k", .action = ACTION_DEFER},
         {"d", ACTION_DEFER, ACTION_REJECT, NULL, NULL, "450 domain"},
         "- - 450 domain"},
        {{.key = "k", .action = ACTION_REJECT},
         {"d", ACTION_DEFER, ACTION_REJECT, NULL, NULL, "450 domain"},
         "- - -"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        struct alias alias;
        char mailboxes[512], got[1024];
        struct alias_rows rows = {.state = ROWS_LIVE, .domain = cases[i].domain, .full = cases[i].row};
        fixture_init(&f);
        struct strings list;
        rules_alias(&f.policy, &f.envelope, &rows, &alias);
        assert_int_equal(rules_mailboxes(&f.policy, &alias, &f.pool, &list), 0);
        join(mailboxes, sizeof mailboxes, list.at, list.n);
        snprintf(got, sizeof got, "%s %s %s%s%s", or_dash(alias.owner), or_dash(alias.class_name),
                 or_dash(alias.reply), list.n > 0 ? " " : "", mailboxes);
        assert_string_equal(got, cases[i].want);
        pool_done(&f.pool);
    }
}

/* It is counted as it was written, up to the length that an address can have. */
static void test_a_long_invalid_mailbox(void **state)
{
    struct fixture f;
    struct strings list;
    char text[ADDRESS_MAX + 1] = "a..b@";
    (void)state;
    fixture_init(&f);
    memset(text + strlen(text), 'x', ADDRESS_MAX - strlen(text));
    assert_int_equal(rules_mailboxes(&f.policy, &(struct alias){.mailbox_text = text}, &f.pool, &list), 0);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.at[0], text);
    pool_done(&f.pool);
}

static void test_next_mailbox(void **state)
{
    static const struct {
        const char *list, *want[3];
    } cases[] = {
        {" a@example.org \t,, b@example.org", {"a@example.org", "", "b@example.org"}},
        {"a b ,c,", {"a b", "c", ""}},
        {"\"a\\\",b\",c", {"\"a\\\",b\"", "c", ""}},
        {"\"a\\\0,b,c,d", {"\"a\\", "", ""}}, /* behind the end nothing is read */
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct pool pool = {0};
        const char *at = cases[i].list;
        for (size_t k = 0; k < COUNT_OF(cases[i].want); k++)
            assert_string_equal(rules_next_mailbox(&at, &pool), cases[i].want[k]);
        assert_ptr_equal(at, cases[i].list + strlen(cases[i].list));
        pool_done(&pool);
    }
}

/* --- step two --- */

struct rule_case {
    const char *name;
    const char *from, *to; /* NULL: the fixture's */
    struct alias alias;
    struct client_row client;
    struct sender_row senders[3];
    enum rows_state senders_state;
    const char *want; /* action by proof key [flags] */
    bool unresolved;
};

#define LIVE ROWS_LIVE
#define NO_CLIENT                                                                                            \
    {                                                                                                        \
        .state = ROWS_LIVE                                                                                   \
    }
#define CLIENT(s, does)                                                                                      \
    {                                                                                                        \
        .state = (s), .network = "192.0.2.0/24", .action = (does)                                            \
    }
#define FOUND(does)                                                                                          \
    {                                                                                                        \
        .state = ALIAS_FOUND, .via = VIA_FULL, .ours = true, .row = "row", .action = (does)                  \
    }
#define IS(what)                                                                                             \
    {                                                                                                        \
        .state = (what), .ours = true, .row = "example.com"                                                  \
    }
#define SENDER(in, from, does)                                                                               \
    {                                                                                                        \
        .scope = (in), .pattern = (from), .action = (does)                                                   \
    }

/* clang-format off */
static const struct rule_case rule_cases[] = {
    {"nothing to say", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {{0}}, LIVE, "accept - -", false},
    {"no rules", NULL, NULL, {.state = ALIAS_UNASKED}, NO_CLIENT, {{0}}, LIVE, "accept - -", false},
    {"not ours", NULL, NULL, {.state = ALIAS_NOT_OURS}, NO_CLIENT, {{0}}, LIVE, "accept - -", false},
    {"unknown", NULL, NULL, IS(ALIAS_UNKNOWN), NO_CLIENT, {{0}}, LIVE,
     "reject alias example.com unknown alias_refused", false},
    {"expired", NULL, NULL, IS(ALIAS_EXPIRED), NO_CLIENT, {{0}}, LIVE,
     "reject alias example.com unknown alias_refused", false},
    {"invalid", NULL, NULL, IS(ALIAS_INVALID), NO_CLIENT, {{0}}, LIVE,
     "reject address example.com invalid alias_refused", false},
    {"stale", NULL, NULL, IS(ALIAS_STALE), NO_CLIENT, {{0}}, LIVE, "defer backend - backend alias_refused",
     false},
    {"alias reject", NULL, NULL, FOUND(ACTION_REJECT), NO_CLIENT, {{0}}, LIVE,
     "reject alias row alias_reject alias_refused", false},
    {"alias defer", NULL, NULL, FOUND(ACTION_DEFER), NO_CLIENT, {{0}}, LIVE,
     "defer alias row alias_defer alias_refused", false},
    {"alias discard", NULL, NULL, FOUND(ACTION_DISCARD), NO_CLIENT, {{0}}, LIVE, "discard alias row", false},
    /* client rules */
    {"client reject", NULL, NULL, FOUND(ACTION_ACCEPT), CLIENT(LIVE, ACTION_REJECT), {{0}}, LIVE,
     "reject client 192.0.2.0/24 client_reject", false},
    {"client defer", NULL, NULL, FOUND(ACTION_ACCEPT), CLIENT(LIVE, ACTION_DEFER), {{0}}, LIVE,
     "defer client 192.0.2.0/24 client_defer", false},
    {"client before alias", NULL, NULL, FOUND(ACTION_REJECT), CLIENT(LIVE, ACTION_REJECT), {{0}}, LIVE,
     "reject client 192.0.2.0/24 client_reject alias_refused", false},
    {"permanent before temporary", NULL, NULL, FOUND(ACTION_REJECT), CLIENT(LIVE, ACTION_DEFER), {{0}}, LIVE,
     "reject alias row alias_reject alias_refused", false},
    {"discard before temporary", NULL, NULL, FOUND(ACTION_DISCARD), CLIENT(LIVE, ACTION_DEFER), {{0}}, LIVE,
     "discard alias row", false},
    {"client rejects what is stale", NULL, NULL, IS(ALIAS_STALE), CLIENT(LIVE, ACTION_REJECT), {{0}}, LIVE,
     "reject client 192.0.2.0/24 client_reject alias_refused", false},
    {"stale hides more than a discard", NULL, NULL, IS(ALIAS_STALE), CLIENT(LIVE, ACTION_DISCARD), {{0}},
     LIVE, "defer backend - backend alias_refused", false},
    {"client in a copy", NULL, NULL, FOUND(ACTION_ACCEPT), CLIENT(ROWS_COPY, ACTION_REJECT), {{0}}, LIVE,
     "defer backend - backend", false},
    {"no client row in a copy", NULL, NULL, FOUND(ACTION_ACCEPT), {.state = ROWS_COPY}, {{0}}, LIVE,
     "accept - -", false},
    {"client unknown", NULL, NULL, FOUND(ACTION_ACCEPT), {.state = ROWS_UNKNOWN}, {{0}}, LIVE,
     "defer backend - backend", false},
    {"client unknown, alias unknown", NULL, NULL, IS(ALIAS_UNKNOWN), {.state = ROWS_UNKNOWN}, {{0}}, LIVE,
     "reject alias example.com unknown alias_refused", false},
    {"client accept skips sender rules", NULL, NULL, FOUND(ACTION_ACCEPT), CLIENT(LIVE, ACTION_ACCEPT),
     {SENDER("*", "*", ACTION_REJECT)}, LIVE, "accept - - client_exempt", false},
    {"client accept, alias rules hold", NULL, NULL, IS(ALIAS_UNKNOWN), CLIENT(LIVE, ACTION_ACCEPT), {{0}},
     LIVE, "reject alias example.com unknown alias_refused client_exempt", false},
    /* sender rules */
    {"sender reject", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("*", "@example.net",
     ACTION_REJECT)}, LIVE, "reject sender @example.net sender_reject", false},
    {"sender defer", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("*", "@example.net", ACTION_DEFER)},
     LIVE, "defer sender @example.net sender_defer", false},
    {"sender discard", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("*", "@example.net",
     ACTION_DISCARD)}, LIVE, "discard sender @example.net", false},
    {"allow list", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("a@example.com", "*", ACTION_REJECT),
     SENDER("a@example.com", "b@example.net", ACTION_ACCEPT)}, LIVE, "accept - -", false},
    {"* matches the null sender", "<>", NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("a@example.com", "*",
     ACTION_REJECT)}, LIVE, "reject sender * sender_reject", false},
    {"<> by name", "<>", NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("a@example.com", "*", ACTION_REJECT),
     SENDER("a@example.com", "<>", ACTION_ACCEPT)}, LIVE, "accept - -", false},
    {"the scope counts before the pattern", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("*",
     "b@example.net", ACTION_REJECT), SENDER("@example.com", "*", ACTION_ACCEPT)}, LIVE, "accept - -", false},
    {"alias before sender", NULL, NULL, FOUND(ACTION_REJECT), NO_CLIENT, {SENDER("*", "*", ACTION_REJECT)},
     LIVE, "reject alias row alias_reject alias_refused", false},
    {"sender rejects what is stale", NULL, NULL, IS(ALIAS_STALE), NO_CLIENT, {SENDER("*", "*",
     ACTION_REJECT)}, LIVE, "reject sender * sender_reject alias_refused", false},
    {"senders unknown", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {{0}}, ROWS_UNKNOWN,
     "defer backend - backend", false},
    {"senders unknown, alias discards", NULL, NULL, FOUND(ACTION_DISCARD), NO_CLIENT, {{0}}, ROWS_UNKNOWN,
     "defer backend - backend", false},
    {"senders unknown, alias rejects", NULL, NULL, FOUND(ACTION_REJECT), NO_CLIENT, {{0}}, ROWS_UNKNOWN,
     "reject alias row alias_reject alias_refused", false},
    {"exact in a copy", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("a@example.com", "b@example.net",
     ACTION_REJECT)}, ROWS_COPY, "reject sender b@example.net sender_reject", false},
    {"<> in a copy", "<>", NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("a@example.com", "<>",
     ACTION_REJECT)}, ROWS_COPY, "reject sender <> sender_reject", false},
    {"wide pattern in a copy", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("a@example.com",
     "@example.net", ACTION_REJECT)}, ROWS_COPY, "defer backend - backend", false},
    {"wide scope in a copy", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("@example.com",
     "b@example.net", ACTION_DISCARD)}, ROWS_COPY, "defer backend - backend", false},
    {"accept in a copy", NULL, NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("*", "*", ACTION_ACCEPT)},
     ROWS_COPY, "accept - -", false},
    {"exempt sender", "friend@example.org", NULL, FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("*", "*",
     ACTION_REJECT)}, LIVE, "accept - -", false},
    {"exempt sender, client rules hold", "friend@example.org", NULL, FOUND(ACTION_ACCEPT), CLIENT(LIVE,
     ACTION_REJECT), {{0}}, LIVE, "reject client 192.0.2.0/24 client_reject", false},
    /* exempt recipients */
    {"abuse unknown", NULL, "abuse@example.com", IS(ALIAS_UNKNOWN), NO_CLIENT, {{0}}, LIVE,
     "accept - - recipient_exempt", false},
    {"abuse+x unknown", NULL, "abuse+x@example.com", IS(ALIAS_UNKNOWN), NO_CLIENT, {{0}}, LIVE,
     "accept - - recipient_exempt", false},
    {"abuse expired", NULL, "abuse@example.com", IS(ALIAS_EXPIRED), NO_CLIENT, {{0}}, LIVE,
     "accept - - recipient_exempt", false},
    {"abuse rejected by its row", NULL, "abuse@example.com", FOUND(ACTION_REJECT), NO_CLIENT, {{0}}, LIVE,
     "reject alias row alias_reject alias_refused recipient_exempt", false},
    {"abuse, no database at all", NULL, "abuse@example.com", {.state = ALIAS_STALE}, {.state = ROWS_UNKNOWN},
     {{0}}, ROWS_UNKNOWN, "accept - - recipient_exempt", false},
    {"abuse, sender rules hold", NULL, "abuse@example.com", FOUND(ACTION_ACCEPT), NO_CLIENT, {SENDER("*", "*",
     ACTION_REJECT)}, LIVE, "reject sender * sender_reject recipient_exempt", false},
    {"invalid in an exempt domain", NULL, "a..b@exempt.example", IS(ALIAS_INVALID), NO_CLIENT, {{0}}, LIVE,
     "accept - - recipient_exempt", false},
    /* what Postfix did not resolve */
    {"percent", NULL, "u%example.org@example.com", IS(ALIAS_UNKNOWN), NO_CLIENT, {{0}}, LIVE,
     "defer backend - backend alias_refused", true},
    {"bang", NULL, "example.org!u@example.com", IS(ALIAS_UNKNOWN), NO_CLIENT, {{0}}, LIVE,
     "defer backend - backend alias_refused", true},
    {"unqualified", NULL, "root", {.state = ALIAS_NOT_OURS}, NO_CLIENT, {{0}}, LIVE,
     "defer backend - backend alias_refused", true},
    {"postmaster", NULL, "Postmaster", {.state = ALIAS_NOT_OURS}, NO_CLIENT, {{0}}, LIVE,
     "accept - - recipient_exempt", true},
    {"an ordinary address", NULL, NULL, IS(ALIAS_UNKNOWN), NO_CLIENT, {{0}}, LIVE,
     "reject alias example.com unknown alias_refused", true},
    {"percent, resolved", NULL, "u%example.org@example.com", IS(ALIAS_UNKNOWN), NO_CLIENT, {{0}}, LIVE,
     "reject alias example.com unknown alias_refused", false},
    {"unqualified, resolved", NULL, "root", {.state = ALIAS_NOT_OURS}, NO_CLIENT, {{0}}, LIVE, "accept - -",
     false},
    {"percent, client reject", NULL, "u%example.org@example.com", IS(ALIAS_UNKNOWN), CLIENT(LIVE,
     ACTION_REJECT), {{0}}, LIVE, "reject client 192.0.2.0/24 client_reject alias_refused", true},
};
/* clang-format on */

static struct pattern exempt_recipients[] = {{"abuse", NULL}, {NULL, "exempt.example"}};
static struct pattern exempt_senders[] = {{NULL, "example.org"}};

static const char *ruling_text(const struct ruling *ruling, char *buffer, size_t size)
{
    const char *by = ruling->by != VERDICT_BY_NOBODY ? verdict_by_name(ruling->by) : "-";
    struct text text;
    text_init(&text, buffer, size);
    text_addf(&text, "%s %s %s", action_name(ruling->action), by, or_dash(ruling->proof));
    if (ruling->action == ACTION_DEFER || ruling->action == ACTION_REJECT)
        text_addf(&text, " %s", reply_key_name(ruling->key));
    text_add(&text, ruling->alias_refused ? " alias_refused" : "");
    text_add(&text, ruling->client_exempt ? " client_exempt" : "");
    text_add(&text, ruling->recipient_exempt ? " recipient_exempt" : "");
    return buffer;
}

static void test_rule(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rule_cases); i++) {
        const struct rule_case *c = &rule_cases[i];
        struct fixture f;
        struct ruling ruling;
        struct sender_row rows[3];
        struct sender_rows senders = {.state = c->senders_state, .rows = rows};
        char got[256];
        fixture_init(&f);
        fixture_mail(&f, c->from != NULL ? c->from : "b@example.net",
                     c->to != NULL ? c->to : "a@example.com");
        f.policy.exempt.recipients = (struct patterns){exempt_recipients, 2};
        f.policy.exempt.senders = (struct patterns){exempt_senders, 1};
        f.envelope.resolved = !c->unresolved;
        for (; senders.n_rows < 3 && c->senders[senders.n_rows].scope != NULL; senders.n_rows++)
            rows[senders.n_rows] = c->senders[senders.n_rows];
        rules_rule(&f.policy, &f.envelope, &c->alias, &senders, &c->client, &ruling);
        if (strcmp(ruling_text(&ruling, got, sizeof got), c->want) != 0)
            fail_msg("%s:\n got  %s\n want %s", c->name, got, c->want);
        pool_done(&f.pool);
    }
}

static void test_blocks(void **state)
{
    static const struct {
        const char *name, *to;
        enum action block;
        struct client_row client;
        bool exempt;
        const char *want;
        bool at_connect;
    } cases[] = {
        {"reject", NULL, ACTION_REJECT, NO_CLIENT, false, "reject block 192.0.2.0/25 client_reject", true},
        {"defer", NULL, ACTION_DEFER, NO_CLIENT, false, "defer block 192.0.2.0/25 client_defer", false},
        {"a client rule speaks first", NULL, ACTION_REJECT, CLIENT(LIVE, ACTION_REJECT), false,
         "reject client 192.0.2.0/24 client_reject", true},
        {"permanent before temporary", NULL, ACTION_REJECT, CLIENT(LIVE, ACTION_DEFER), false,
         "reject block 192.0.2.0/25 client_reject", true},
        {"accept beats it", NULL, ACTION_REJECT, CLIENT(LIVE, ACTION_ACCEPT), false,
         "accept - - client_exempt", false},
        {"accept in a copy beats it", NULL, ACTION_REJECT, CLIENT(ROWS_COPY, ACTION_ACCEPT), false,
         "accept - - client_exempt", false},
        {"an exempt client", NULL, ACTION_REJECT, NO_CLIENT, true, "accept - - client_exempt", false},
        {"a copy takes nothing from it",
         NULL,
         ACTION_REJECT,
         {.state = ROWS_COPY},
         false,
         "reject block 192.0.2.0/25 client_reject",
         true},
        {"nobody can tell who is exempt",
         NULL,
         ACTION_REJECT,
         {.state = ROWS_UNKNOWN},
         false,
         "defer backend - backend",
         false},
        {"an exempt recipient is no help", "abuse@example.com", ACTION_REJECT, NO_CLIENT, false,
         "reject block 192.0.2.0/25 client_reject recipient_exempt", true},
    };
    static const struct alias found = FOUND(ACTION_ACCEPT);
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct block_row block = {"192.0.2.0/25", cases[i].block};
        const struct sender_rows senders = {.state = LIVE};
        struct fixture f;
        struct ruling ruling, early;
        char got[256];
        fixture_init(&f);
        fixture_mail(&f, "b@example.net", cases[i].to != NULL ? cases[i].to : "a@example.com");
        f.policy.exempt.recipients = (struct patterns){exempt_recipients, 2};
        f.policy.exempt.authenticated = true;
        f.envelope.user = cases[i].exempt ? "bob" : NULL;
        f.envelope.resolved = true;
        f.envelope.block = &block;
        rules_rule(&f.policy, &f.envelope, &found, &senders, &cases[i].client, &ruling);
        if (strcmp(ruling_text(&ruling, got, sizeof got), cases[i].want) != 0)
            fail_msg("%s:\n got  %s\n want %s", cases[i].name, got, cases[i].want);
        rules_client(&f.policy, &f.envelope, &cases[i].client, &early);
        if ((early.action == ACTION_REJECT) != cases[i].at_connect ||
            early.client_exempt != ruling.client_exempt ||
            (cases[i].at_connect && (early.by != ruling.by || strcmp(early.proof, ruling.proof) != 0)))
            fail_msg("%s: another answer at connect", cases[i].name);
        pool_done(&f.pool);
    }
}

static void test_exempt_clients(void **state)
{
    static const struct {
        const char *client, *user;
        bool authenticated, want;
    } cases[] = {
        {"192.0.2.7", NULL, false, false}, {"192.0.2.7", NULL, true, false}, {"192.0.2.7", "u", false, false},
        {"192.0.2.7", "u", true, true},    {"127.0.0.9", NULL, false, true}, {NULL, NULL, false, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        struct network loopback;
        const struct client_row none = {.state = ROWS_LIVE};
        fixture_init(&f);
        assert_int_equal(network_parse("127.0.0.0/8", &loopback, NULL), 0);
        fixture_client(&f, cases[i].client);
        f.policy.exempt.clients = (struct networks){&loopback, 1};
        f.policy.exempt.authenticated = cases[i].authenticated;
        f.envelope.user = cases[i].user;
        assert_int_equal(rules_client_exempt(&f.policy, &f.envelope, &none), cases[i].want);
    }
}

/* Whatever the query lists earlier wins over what it lists later, in whatever order the rows come. */
static void test_specificity_is_query_order(void **state)
{
    static const char *const froms[] = {"b+t@x.sub.b\303\274cher.example", "b@a.b.c.example.net", "<>"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(froms); i++) {
        struct fixture f;
        struct sender_query q;
        fixture_init(&f);
        fixture_mail(&f, froms[i], i == 0 ? "a+x@example.com" : "a+x@v.w.example.com");
        assert_int_equal(rules_sender_query(&f.sender, &f.recipient, "o", &f.pool, &q), 0);
        size_t n = q.n_scopes * q.n_patterns;
        for (size_t a = 0; a < n; a++) {
            for (size_t b = 0; b < n; b++) {
                struct sender_row rows[] = {
                    SENDER(q.scopes[a / q.n_patterns], q.patterns[a % q.n_patterns], ACTION_DEFER),
                    SENDER(q.scopes[b / q.n_patterns], q.patterns[b % q.n_patterns], ACTION_DEFER)};
                const struct sender_rows senders = {ROWS_LIVE, rows, 2};
                const struct alias alias = FOUND(ACTION_ACCEPT);
                const struct client_row client = NO_CLIENT;
                struct ruling ruling;
                rules_rule(&f.policy, &f.envelope, &alias, &senders, &client, &ruling);
                const struct sender_row *want = &rows[a <= b ? 0 : 1];
                assert_string_equal(ruling.scope, want->scope);
                assert_string_equal(ruling.proof, want->pattern);
            }
        }
        pool_done(&f.pool);
    }
}

/* A- and U-labels of the same domain are one rank: those of the scope decide, then those of the pattern. */
static void test_labels_of_one_rank(void **state)
{
    static const char *const scopes[] = {"@xn--bcher-kva.example", "@b\303\274cher.example"};
    (void)state;
    for (size_t a = 0; a < 4; a++)
        for (size_t b = 0; b < 4; b++) {
            struct fixture f;
            fixture_init(&f);
            fixture_mail(&f, "b@b\303\274cher.example", "a@b\303\274cher.example");
            struct sender_row rows[] = {SENDER(scopes[a / 2], scopes[a % 2], ACTION_DEFER),
                                        SENDER(scopes[b / 2], scopes[b % 2], ACTION_DEFER)};
            const struct sender_rows senders = {ROWS_LIVE, rows, 2};
            const struct alias alias = FOUND(ACTION_ACCEPT);
            const struct client_row client = NO_CLIENT;
            struct ruling ruling;
            rules_rule(&f.policy, &f.envelope, &alias, &senders, &client, &ruling);
            const struct sender_row *want = &rows[a <= b ? 0 : 1];
            assert_string_equal(ruling.scope, want->scope);
            assert_string_equal(ruling.proof, want->pattern);
            pool_done(&f.pool);
        }
}

/* --- the second reading --- */

#define RULED(does, who, of, ...)                                                                            \
    {                                                                                                        \
        .action = (does), .by = (who), .proof = (of), __VA_ARGS__                                            \
    }
#define ALIAS(is, how, key) .alias = {.state = (is), .via = (how), .row = (key)}

/* clang-format off */
static const struct {
    const char *name, *to;
    struct ruling ruling;
    bool want;
} exact_cases[] = {
    {"goes on", NULL, RULED(ACTION_ACCEPT, VERDICT_BY_NOBODY, NULL, ALIAS(ALIAS_FOUND, VIA_GLOB, "a*")), true},
    {"comes back", NULL, RULED(ACTION_DEFER, VERDICT_BY_ALIAS, "a*", ALIAS(ALIAS_FOUND, VIA_GLOB, "a*")), true},
    {"is not ours", NULL, RULED(ACTION_ACCEPT, VERDICT_BY_NOBODY, NULL, ALIAS(ALIAS_NOT_OURS, VIA_NONE, NULL)), false},
    {"its row", NULL, RULED(ACTION_REJECT, VERDICT_BY_ALIAS, "a@example.com", ALIAS(ALIAS_FOUND, VIA_FULL, "a@example.com")), true},
    {"its row, expired", NULL, RULED(ACTION_REJECT, VERDICT_BY_ALIAS, "a@example.com", ALIAS(ALIAS_EXPIRED, VIA_FULL,
     "a@example.com")), true},
    {"its row with the tag", "a+x@example.com", RULED(ACTION_DISCARD, VERDICT_BY_ALIAS, "a+x@example.com", ALIAS(ALIAS_FOUND,
     VIA_FULL, "a+x@example.com")), true},
    {"the row without the tag", "a+x@example.com", RULED(ACTION_REJECT, VERDICT_BY_ALIAS, "a@example.com", ALIAS(ALIAS_FOUND,
     VIA_BARE, "a@example.com")), false},
    {"a row in U-labels", "a@b\303\274cher.example", RULED(ACTION_REJECT, VERDICT_BY_ALIAS, "a@b\303\274cher.example",
     ALIAS(ALIAS_FOUND, VIA_FULL, "a@b\303\274cher.example")), false},
    {"its row, but the domain speaks", NULL, RULED(ACTION_REJECT, VERDICT_BY_ALIAS, "example.com", ALIAS(ALIAS_FOUND, VIA_FULL,
     "example.com")), false},
    {"a glob", NULL, RULED(ACTION_DISCARD, VERDICT_BY_ALIAS, "a*", ALIAS(ALIAS_FOUND, VIA_GLOB, "a*")), false},
    {"absent", NULL, RULED(ACTION_REJECT, VERDICT_BY_ALIAS, "example.com", ALIAS(ALIAS_UNKNOWN, VIA_NONE, "example.com")), false},
    {"no address", NULL, RULED(ACTION_REJECT, VERDICT_BY_ADDRESS, "example.com", ALIAS(ALIAS_INVALID, VIA_NONE, "example.com")), true},
    {"this sender", NULL, RULED(ACTION_REJECT, VERDICT_BY_SENDER_RULE, "b@example.net", .scope = "a@example.com"), true},
    {"all senders", NULL, RULED(ACTION_REJECT, VERDICT_BY_SENDER_RULE, "*", .scope = "a@example.com"), false},
    {"this sender, in the domain", NULL, RULED(ACTION_REJECT, VERDICT_BY_SENDER_RULE, "b@example.net", .scope = "@example.com"), false},
    {"this sender, without the tag", "a+x@example.com", RULED(ACTION_REJECT, VERDICT_BY_SENDER_RULE, "b@example.net",
     .scope = "a@example.com"), false},
    {"this client", NULL, RULED(ACTION_REJECT, VERDICT_BY_CLIENT_RULE, "192.0.2.7"), true},
    {"its network", NULL, RULED(ACTION_REJECT, VERDICT_BY_CLIENT_RULE, "192.0.2.0/24"), false},
    {"a block", NULL, RULED(ACTION_REJECT, VERDICT_BY_BLOCK, "192.0.2.7"), false},
};
/* clang-format on */

static void test_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(exact_cases); i++) {
        struct fixture f;
        fixture_init(&f);
        fixture_mail(&f, "b@example.net", exact_cases[i].to != NULL ? exact_cases[i].to : "a@example.com");
        if (rules_are_exact(&f.envelope, &exact_cases[i].ruling) != exact_cases[i].want)
            fail_msg("%s: not %d", exact_cases[i].name, exact_cases[i].want);
    }
}

static void test_agree(void **state)
{
    static const struct ruling
        glob = RULED(ACTION_REJECT, VERDICT_BY_ALIAS, "a*", .key = REPLY_ALIAS_REJECT,
                     ALIAS(ALIAS_FOUND, VIA_GLOB, "a*")),
        absent = RULED(ACTION_REJECT, VERDICT_BY_ALIAS, "example.com", .key = REPLY_UNKNOWN,
                       ALIAS(ALIAS_UNKNOWN, VIA_NONE, "example.com")),
        drops = RULED(ACTION_DISCARD, VERDICT_BY_ALIAS, "a*", ALIAS(ALIAS_FOUND, VIA_GLOB, "a*")),
        goes_on = RULED(ACTION_ACCEPT, VERDICT_BY_NOBODY, NULL, ALIAS(ALIAS_FOUND, VIA_GLOB, "a*")),
        not_ours = RULED(ACTION_ACCEPT, VERDICT_BY_NOBODY, NULL, ALIAS(ALIAS_NOT_OURS, VIA_NONE, NULL)),
        by_sender = RULED(ACTION_REJECT, VERDICT_BY_SENDER_RULE, "*", .scope = "*"),
        exempt = RULED(ACTION_REJECT, VERDICT_BY_ALIAS, "a*", .client_exempt = true),
        unread = RULED(ACTION_DEFER, VERDICT_BY_BACKEND, NULL, ALIAS(ALIAS_STALE, VIA_NONE, NULL));
    static const struct {
        const struct ruling *live, *copy;
        bool want;
    } cases[] = {
        {&glob, &glob, true},        {&glob, &absent, false},      {&glob, &drops, false},
        {&glob, &goes_on, false},    {&glob, &exempt, false},      {&glob, &by_sender, false},
        {&glob, &unread, false},     {&drops, &glob, false},       {&absent, &not_ours, false},
        {&not_ours, &absent, false}, {&not_ours, &goes_on, false}, {&not_ours, &not_ours, true},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (rules_agree(cases[i].live, cases[i].copy) != cases[i].want)
            fail_msg("row %zu: not %d", i, cases[i].want);
}

static void test_agree_on_limit(void **state)
{
    const struct ruling glob =
                            RULED(ACTION_ACCEPT, VERDICT_BY_NOBODY, NULL, ALIAS(ALIAS_FOUND, VIA_GLOB, "a*")),
                        row = RULED(ACTION_ACCEPT, VERDICT_BY_NOBODY, NULL,
                                    ALIAS(ALIAS_FOUND, VIA_FULL, "a@example.com")),
                        unknown =
                            RULED(ACTION_REJECT, VERDICT_BY_ALIAS, "example.com", .alias_refused = true),
                        exempt = RULED(ACTION_ACCEPT, VERDICT_BY_NOBODY, NULL, .client_exempt = true);
    struct ruling forwards = glob, elsewhere = glob, owned = glob, blocked = glob, twin = glob;
    char same_row[] = "a*";
    static const struct limit
        of_owner = {.count = LIMIT_RECIPIENTS, .per = {SUBJECT_OWNER}, .n_per = 1},
        of_client = {.count = LIMIT_ATTEMPTS, .per = {SUBJECT_CLIENT}, .n_per = 1},
        of_unknown = {.count = LIMIT_ATTEMPTS, .per = {SUBJECT_CLIENT}, .n_per = 1, .when.unknown = YES},
        of_all = {.count = LIMIT_ATTEMPTS, .per = {SUBJECT_CLIENT, SUBJECT_ALL}, .n_per = 2},
        of_senders = {.count = LIMIT_ATTEMPTS, .per = {SUBJECT_CLIENT, SUBJECT_SENDER_DOMAIN}, .n_per = 2},
        of_domain = {.count = LIMIT_ATTEMPTS, .per = {SUBJECT_RECIPIENT_DOMAIN}, .n_per = 1},
        with_hold = {.count = LIMIT_BYTES, .per = {SUBJECT_CLIENT}, .n_per = 1, .hold_ms = 1};
    struct fixture f;
    (void)state;
    fixture_init(&f);
    forwards.alias.mailbox_text = "m@x";
    elsewhere.alias.mailbox_text = "n@x";
    owned.alias.owner = "o";
    blocked.by = VERDICT_BY_BLOCK;
    twin.alias.row = same_row;
    assert_true(rules_agree_on_limit(&f.envelope, &of_owner, &glob, &glob));
    assert_true(
        rules_agree_on_limit(&f.envelope, &of_owner, &glob, &blocked)); /* of the alias they say the same */
    assert_true(rules_agree_on_limit(&f.envelope, &of_owner, &row, &glob)); /* its row is its own proof */
    assert_true(rules_agree_on_limit(&f.envelope, &of_client, &unknown, &glob)); /* counts no alias */
    assert_true(rules_agree_on_limit(&f.envelope, &of_all, &unknown, &glob));
    assert_false(rules_agree_on_limit(&f.envelope, &of_senders, &unknown, &glob));
    assert_true(rules_agree_on_limit(&f.envelope, &with_hold, &unknown, &glob));
    assert_true(rules_agree_on_limit(&f.envelope, NULL, &unknown, &glob));
    assert_false(rules_agree_on_limit(&f.envelope, &of_unknown, &unknown, &glob));
    assert_false(rules_agree_on_limit(&f.envelope, &of_domain, &unknown, &glob)); /* which may drop */
    assert_false(rules_agree_on_limit(&f.envelope, &of_client, &unknown, &exempt));
    assert_false(rules_agree_on_limit(&f.envelope, &of_owner, &glob, &row));
    assert_true(rules_agree_on_limit(&f.envelope, &of_owner, &glob, &twin));
    assert_false(rules_agree_on_limit(&f.envelope, &of_owner, &glob, &owned));
    assert_false(rules_agree_on_limit(&f.envelope, &of_owner, &owned, &glob));
    assert_false(rules_agree_on_limit(&f.envelope, &of_owner, &glob, &forwards));
    assert_false(rules_agree_on_limit(&f.envelope, &of_owner, &forwards, &elsewhere));
    assert_false(rules_agree_on_limit(&f.envelope, &of_owner, &row, &exempt));
}

static void test_cannot_notify(void **state)
{
    struct ruling ruling = RULED(ACTION_DISCARD, VERDICT_BY_ALIAS, "a*", ALIAS(ALIAS_FOUND, VIA_GLOB, "a*"));
    char got[256];
    (void)state;
    ruling.alias.concealed = true;
    rules_cannot_say(&ruling);
    assert_string_equal(ruling_text(&ruling, got, sizeof got), "defer backend - backend alias_refused");
    assert_int_equal(ruling.alias.state, ALIAS_STALE);
    assert_false(ruling.alias.concealed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alias_query),
        cmocka_unit_test(test_sender_query),
        cmocka_unit_test(test_alias),
        cmocka_unit_test(test_alias_conceal),
        cmocka_unit_test(test_alias_unasked),
        cmocka_unit_test(test_alias_details),
        cmocka_unit_test(test_a_long_invalid_mailbox),
        cmocka_unit_test(test_next_mailbox),
        cmocka_unit_test(test_rule),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_exempt_clients),
        cmocka_unit_test(test_specificity_is_query_order),
        cmocka_unit_test(test_labels_of_one_rank),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_agree),
        cmocka_unit_test(test_agree_on_limit),
        cmocka_unit_test(test_cannot_notify),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
