/* address: the corpus of test/data/addresses.txt, what it cannot say, and properties of random input. */
#include "policy/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void same(const char *what, const char *raw, const char *got, const char *want)
{
    if (strcmp(got, want) != 0)
        fail_msg("%s of \"%.300s\" is \"%.400s\", not \"%.400s\"", what, raw, got, want);
}

/* Their strings: what is behind the end of one is nobody's. */
static void same_address(const char *raw, const struct address *got, const struct address *want)
{
    assert_int_equal(got->kind, want->kind);
    assert_int_equal(got->percent_or_bang, want->percent_or_bang);
    same("full", raw, got->full, want->full);
    same("bare", raw, got->bare, want->bare);
    same("local_full", raw, got->local_full, want->local_full);
    same("local_bare", raw, got->local_bare, want->local_bare);
    same("domain", raw, got->domain, want->domain);
}

/* Usual addresses have a way of their own, which a blank in front closes: both lead to the same, whatever was there before. */
static void check_both_ways(const char *raw, const char *subaddress)
{
    struct address got, slow;
    char spaced[2000];
    memset(&got, 'x', sizeof got);
    memset(&slow, 1, sizeof slow);
    if (strlen(raw) >= sizeof spaced - 1)
        return;
    (void)stpcpy(stpcpy(spaced, " "), raw);
    assert_int_equal(address_parse(raw, subaddress, &got, NULL),
                     address_parse(spaced, subaddress, &slow, NULL));
    same_address(raw, &got, &slow);
    address_parse_sender(raw, subaddress, &got, NULL);
    address_parse_sender(spaced, subaddress, &slow, NULL);
    same_address(raw, &got, &slow);
}

/* What holds for every address that was parsed, whatever the input was. */
static void check_properties(const char *raw, const char *subaddress)
{
    struct address got, again, bare;
    struct error err = {0}, none = {0};
    check_both_ways(raw, subaddress);
    const enum address_kind kind = address_parse(raw, subaddress, &got, &err);
    assert_int_equal(got.kind, kind);
    assert_int_equal(err.text[0] != '\0', kind == ADDRESS_INVALID);
    if (got.usual)
        assert_int_equal(strspn(got.full, "abcdefghijklmnopqrstuvwxyz0123456789-_.@"), strlen(got.full));
    if (kind != ADDRESS_BARE && kind != ADDRESS_MAILBOX) {
        same("full", raw, got.full, "");
        same("bare", raw, got.bare, "");
        same("local_full", raw, got.local_full, "");
        same("local_bare", raw, got.local_bare, "");
    } else {
        assert_true(strlen(got.full) <= ADDRESS_MAX && strlen(got.bare) <= ADDRESS_MAX);
        assert_true(strlen(got.local_full) <= ADDRESS_LOCAL_MAX &&
                    strlen(got.local_bare) <= ADDRESS_LOCAL_MAX);
        for (const char *c = got.full; *c != '\0'; c++)
            if ((unsigned char)*c < ' ' || *c == 0x7f || (*c >= 'A' && *c <= 'Z'))
                fail_msg("\"%.300s\" has the byte %d", got.full, *c);
        assert_int_equal(address_parse(got.full, subaddress, &again, &none), kind);
        same_address(raw, &again, &got);
        assert_int_equal(address_parse(got.bare, subaddress, &bare, &none), kind);
        same("full of bare", raw, bare.full, got.bare);
        same("bare of bare", raw, bare.bare, got.bare);
        same("domain of bare", raw, bare.domain, got.domain);
    }
    if (got.domain[0] != '\0') {
        char domain[ADDRESS_DOMAIN_MAX + 1];
        for (const char *c = got.domain; *c != '\0'; c++)
            assert_non_null(strchr("abcdefghijklmnopqrstuvwxyz0123456789.-_[]:", *c));
        assert_int_equal(address_domain(got.domain, domain, &none), 0);
        same("domain of domain", raw, domain, got.domain);
    }
    same("error", raw, none.text, "");
}

/* ---- the corpus ---- */

enum { FIELD = 40000 };

/* Undoes \xNN and \rep(N,TEXT). TEXT has at least one byte and goes on to the first ')' after that. */
static void unescape(const char *in, size_t n, char out[FIELD])
{
    size_t len = 0;
    for (const char *s = in, *end = in + n; s < end;) {
        unsigned byte = 0, times = 1;
        int used = 0;
        const char *text = s;
        size_t text_len = 1;
        char one;
        if (sscanf(s, "\\x%2x%n", &byte, &used) == 1 && used == 4) {
            one = (char)byte;
            text = &one;
        } else if (sscanf(s, "\\rep(%u,%n", &times, &used) == 1 && used > 0) {
            text = s + used;
            const char *close = memchr(text + 1, ')', (size_t)(end - text - 1));
            assert_non_null(close);
            text_len = (size_t)(close - text);
            used += (int)text_len + 1;
        } else {
            times = 1;
            used = 1;
        }
        assert_true(len + times * text_len < FIELD);
        for (unsigned i = 0; i < times; i++, len += text_len)
            memcpy(out + len, text, text_len);
        s += used;
    }
    out[len] = '\0';
}

static void check_row(const char *raw, const char *key, const char *third)
{
    struct address got;
    struct error err = {0};
    const enum address_kind kind = address_parse(raw, "+", &got, &err);
    if (strcmp(key, "INVALID") == 0) {
        if (kind != ADDRESS_INVALID)
            fail_msg("\"%.300s\" was taken as \"%s\"", raw, got.full);
        same("domain", raw, got.domain, third);
    } else if (strcmp(key, "NULL") == 0) {
        assert_int_equal(kind, ADDRESS_NULL);
    } else {
        const char *at = strrchr(key, '@');
        if (kind == ADDRESS_INVALID)
            fail_msg("\"%.300s\" was refused: %s", raw, err.text);
        assert_int_equal(kind, at != NULL ? ADDRESS_MAILBOX : ADDRESS_BARE);
        same("key", raw, got.bare, key);
        same("full", raw, got.full, third[0] != '\0' ? third : key);
        same("domain", raw, got.domain, at != NULL ? at + 1 : "");
    }
    check_properties(raw, "+");
}

static void test_corpus(void **state)
{
    (void)state;
    static char fields[3][FIELD];
    char *line = NULL;
    size_t size = 0, rows = 0;
    FILE *file = fopen(SOURCE_DIR "/test/data/addresses.txt", "r");
    assert_non_null(file);
    while (getline(&line, &size, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '\0' || (line[0] == '#' && (line[1] == ' ' || line[1] == '\0')))
            continue;
        const char *at = line;
        for (int i = 0; i < 3; i++) {
            const size_t n = strcspn(at, "\t");
            unescape(at, n, fields[i]);
            at += n + (at[n] == '\t');
        }
        assert_string_not_equal(fields[1], "");
        check_row(fields[0], fields[1], fields[2]);
        rows++;
    }
    assert_false(ferror(file));
    assert_int_equal(fclose(file), 0);
    free(line);
    assert_true(rows >= 150);
}

/* ---- what the corpus cannot say ---- */

static void test_percent_or_bang(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        bool want;
    } rows[] = {
        {"a@example.com", false},
        {"a%b@example.com", true},
        {"b!a@example.com", true},
        {"b!a", true},
        {"a%b", true},
        {"\"a%b\"@example.com", true}, /* the quotes were needless: it is the one above */
        {"\"a %b\"@example.com", false},
        {"\"a..%b\"@example.com", false},
        {"a(%)@example.com", false},
        {"a+x%y@example.com", true},
        {"a%b@", true}, /* no address, and a route all the same */
        {"a..b%c@example.com", true},
        {"a b!c@example.com", true},
        {"a..b@example.com", false},
        {"a..b@exam%ple.com", false},
        {"\"a b%\"x@example.com", false},
        {"a b", false},
        {"<>", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address got;
        address_parse(rows[i].raw, "+", &got, NULL);
        if (got.percent_or_bang != rows[i].want)
            fail_msg("%s", rows[i].raw);
    }
}

static void test_separators(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *separators, *bare;
    } rows[] = {
        {"a+b@example.com", "", "a+b@example.com"},
        {"a+b-c@example.com", "-+", "a@example.com"},
        {"a-b+c@example.com", "+", "a-b@example.com"},
        {"a-b+c@example.com", "+-", "a@example.com"},
        {"-a+c@example.com", "+-", "-a+c@example.com"},
        {"\"a b-c\"@example.com", "-", "\"a b\"@example.com"},
        {"a.b@example.com", ".", "a@example.com"},
        {"a-b@example.com", ",-", "a@example.com"},
        {"a\xc4\x80@example.com", "\xe2\x80\x93", "a\xc4\x80@example.com"}, /* only ASCII separates */
        /* What Postfix does not split either. */
        {"owner-list@example.com", "-", "owner-list@example.com"},
        {"Owner-list+x@example.com", "+-", "owner-list+x@example.com"},
        {"owner-list+x@example.com", "+", "owner-list@example.com"},
        {"list-request@example.com", "-", "list-request@example.com"},
        {"-request@example.com", "-", "-request@example.com"},
        {"list-requests@example.com", "-", "list@example.com"},
        {"double-bounce@example.com", "-", "double-bounce@example.com"},
        {"MAILER-DAEMON@example.com", "-", "mailer-daemon@example.com"},
        {"mailer-daemon-x@example.com", "-", "mailer@example.com"},
        /* Return paths that were signed. */
        {"SRS0=4f+a=TT=example.net=joe+x@example.com", "+", "srs0=4f+a=tt=example.net=joe+x@example.com"},
        {"SRS0+hash=TT=example.net=joe@example.com", "+", "srs0+hash=tt=example.net=joe@example.com"},
        {"SRS1-hash=x.example==hash=TT=a=joe@example.com",
         "+-=", "srs1-hash=x.example==hash=tt=a=joe@example.com"},
        {"srs1+x@example.com", "+", "srs1+x@example.com"},
        {"srs0@example.com", "+", "srs0@example.com"},
        {"srs0+@example.com", "+", "srs0@example.com"},
        {"srs2+x@example.com", "+", "srs2@example.com"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address got;
        assert_int_equal(address_parse(rows[i].raw, rows[i].separators, &got, NULL), ADDRESS_MAILBOX);
        same("bare", rows[i].raw, got.bare, rows[i].bare);
        check_properties(rows[i].raw, rows[i].separators);
    }
}

static void test_batv(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *full, *bare;
    } rows[] = {
        {"<prvs=0123ABCDEF=joe@example.com>", "joe@example.com", "joe@example.com"},
        {"PRVS=0123abcdef=Joe+x@example.com", "joe+x@example.com", "joe@example.com"},
        {"btv1==012==joe=x@example.com", "joe=x@example.com", "joe=x@example.com"},
        {"prvs=0=joe@example.com", "joe@example.com", "joe@example.com"},
        {"\"prvs=0123ABCDEF=a b\"@example.com", "\"a b\"@example.com", "\"a b\"@example.com"},
        {"prvs=0123ABCDEF=@example.com", "prvs=0123abcdef=@example.com", "prvs=0123abcdef=@example.com"},
        {"prvs==joe@example.com", "prvs==joe@example.com", "prvs==joe@example.com"},
        {"prvs=joe@example.com", "prvs=joe@example.com", "prvs=joe@example.com"},
        {"btv1==012=joe@example.com", "btv1==012=joe@example.com", "btv1==012=joe@example.com"},
        {"btv1====joe@example.com", "btv1====joe@example.com", "btv1====joe@example.com"},
        {"xprvs=012=joe@example.com", "xprvs=012=joe@example.com", "xprvs=012=joe@example.com"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address got;
        assert_int_equal(address_parse_sender(rows[i].raw, "+", &got, NULL), ADDRESS_MAILBOX);
        same("full", rows[i].raw, got.full, rows[i].full);
        same("bare", rows[i].raw, got.bare, rows[i].bare);
    }
    struct address recipient; /* a tag there is part of the address */
    assert_int_equal(address_parse("prvs=0123=joe@example.com", "+", &recipient, NULL), ADDRESS_MAILBOX);
    assert_string_equal(recipient.full, "prvs=0123=joe@example.com");
    assert_int_equal(address_parse_sender("<>", "+", &recipient, NULL), ADDRESS_NULL);
}

static void test_srs(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        enum address_srs want;
        const char *original, *forwarder;
    } rows[] = {
        {"SRS0=Ab1c=TT=sender.example=joe@example.com", ADDRESS_SRS_ORIGINAL, "joe@sender.example",
         "example.com"},
        {"<srs0+Ab1c=TT=sender.example=joe@Example.COM.>", ADDRESS_SRS_ORIGINAL, "joe@sender.example",
         "example.com"},
        {"SRS0-Ab+/=T2=sender.example=joe+tag=x@example.com", ADDRESS_SRS_ORIGINAL,
         "joe+tag=x@sender.example", "example.com"},
        {"\"SRS0=Ab1c=TT=sender.example=a b\"@example.com", ADDRESS_SRS_ORIGINAL, "\"a b\"@sender.example",
         "example.com"},
        {"SRS1=Cd2e=far.example==Ab1c=TT=sender.example=joe@example.com", ADDRESS_SRS_ORIGINAL,
         "SRS0=Ab1c=TT=sender.example=joe@far.example", "example.com"},
        {"SRS1+Cd2e=far.example=-Ab1c=TT=sender.example=joe@example.com", ADDRESS_SRS_ORIGINAL,
         "SRS0-Ab1c=TT=sender.example=joe@far.example", "example.com"},
        {"<SRS0=Ab1c=TT=sender.example=joe@example.com>", ADDRESS_SRS_ORIGINAL, "joe@sender.example",
         "example.com"},
        {"SRS0=Ab1c=TT=sender.example=joe\"@example.com", ADDRESS_SRS_ORIGINAL, "joe\"@sender.example",
         "example.com"},
        {"<SRS0=Ab1c=TT=sender.example=joe@example.com", ADDRESS_SRS_NONE, "", ""},
        {"\"SRS0=Ab1c=TT=sender.example=joe@example.com", ADDRESS_SRS_NONE, "", ""},
        {"SRS0=x@example.com", ADDRESS_SRS_OPAQUE, "", "example.com"},
        {"SRS0=0123456789@example.com", ADDRESS_SRS_OPAQUE, "", "example.com"},
        {"SRS1=h=f.example==@example.com", ADDRESS_SRS_OPAQUE, "", "example.com"},
        {"SRS1=h=f.example==x@example.com", ADDRESS_SRS_ORIGINAL, "SRS0=x@f.example", "example.com"},
        {"SRS0=a=b=c=@example.com", ADDRESS_SRS_OPAQUE, "", "example.com"},
        {"SRS1=a=b=c=d@example.com", ADDRESS_SRS_OPAQUE, "", "example.com"},
        {"SRS0=a=b=c=d", ADDRESS_SRS_NONE, "", ""},
        {"SRS2=a=b=c=d@example.com", ADDRESS_SRS_NONE, "", ""},
        {"srs0@example.com", ADDRESS_SRS_NONE, "", ""},
        {"srs0=@example.com", ADDRESS_SRS_NONE, "", ""},
        {"srs0x=a=b=c@example.com", ADDRESS_SRS_NONE, "", ""},
        {"SRS0=a=b=c=d@..", ADDRESS_SRS_NONE, "", ""},
        {"", ADDRESS_SRS_NONE, "", ""},
        {"<>", ADDRESS_SRS_NONE, "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char original[100] = "", forwarder[ADDRESS_DOMAIN_MAX + 1] = "";
        assert_int_equal(address_srs(rows[i].raw, original, sizeof original, forwarder), rows[i].want);
        same("original", rows[i].raw, original, rows[i].original);
        same("forwarder", rows[i].raw, forwarder, rows[i].forwarder);
    }
    char small[8] = "", forwarder[ADDRESS_DOMAIN_MAX + 1];
    assert_int_equal(address_srs(rows[0].raw, small, sizeof small, forwarder), ADDRESS_SRS_OPAQUE);
    assert_string_equal(small, "");
    char just[sizeof "joe@sender.example"];
    const char *raw = "SRS0=h=t=sender.example=joe@example.com";
    assert_int_equal(address_srs(raw, just, sizeof just - 1, forwarder), ADDRESS_SRS_OPAQUE);
    memset(just, 'x', sizeof just);
    assert_int_equal(address_srs(raw, just, sizeof just, forwarder), ADDRESS_SRS_ORIGINAL);
    assert_string_equal(just, "joe@sender.example");
    /* A forwarder's U-labels can be longer than 255 octets. */
    char longest[1000] = "SRS0=h=t=sender.example=joe@", again[ADDRESS_DOMAIN_MAX + 1];
    for (size_t i = 0; i < 150; i++)
        strcat(longest, i % 50 < 49 ? "\xf0\xa0\x80\x80" : ".");
    assert_int_equal(address_domain(strchr(longest, '@') + 1, again, NULL), 0);
    assert_int_equal(address_srs(longest, just, sizeof just, forwarder), ADDRESS_SRS_ORIGINAL);
    assert_string_equal(forwarder, again);
}

static void test_locals(void **state)
{
    (void)state;
    struct address got;
    assert_int_equal(address_parse("\"A b+C\"@EXAMPLE.com", "+", &got, NULL), ADDRESS_MAILBOX);
    assert_string_equal(got.local_full, "\"a b+c\"");
    assert_string_equal(got.local_bare, "\"a b\"");
    assert_string_equal(got.domain, "example.com");
}

/* Each ASCII character between two letters: of an atom, of a label, both, or neither. */
static void test_every_character(void **state)
{
    (void)state;
    static const char alnum[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char atext[] = "!#$%&'*+-/=?^_`{|}~"; /* RFC 5322 3.2.3 */
    for (char c = 1; c < 0x7f; c++) {
        struct address got;
        char raw[] = "axb@example.com", domain[] = "axb.example", out[ADDRESS_DOMAIN_MAX + 1];
        raw[1] = domain[1] = c;
        bool known = strchr(alnum, c) != NULL || c == '.';
        if (c != '\\' && c != '@') /* an escape; a domain of two parts */
            assert_int_equal(address_parse(raw, "", &got, NULL) == ADDRESS_MAILBOX,
                             known || strchr(atext, c) != NULL);
        assert_int_equal(address_domain(domain, out, NULL) == 0, known || c == '-' || c == '_');
    }
}

/* Each cause has its own words. */
static void test_errors(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"a\x01@example.com", "control"},
        {"a\xff@example.com", "UTF-8"},
        {"a\x80@example.com", "UTF-8"},
        {"a@[", "literal"},
        {"<a@example.com", "'<'"},
        {"\"a@example.com", "quoted string is not closed"},
        {"\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab@example.com", "longer than 64"},
        {"a\\\tb@example.com", "quotes"},
        {"a(b@example.com", "comment"},
        {"@example.com", "empty"},
        {"a b@example.com", "quotes"},
        {"a@", "domain is empty"},
        {"a@.", "domain is empty"},
        {"a@-b", "hyphen"},
        {"a@b..c", "label"},
        {"a@b$c", "character"},
        {"a@[x]", "literal"},
        {"a@b c", "behind the domain"},
        {"a@\xcc\x88.de", "internationalised"},
        {"@one.example,@two:", "empty"},
        {"@one.example?", "colon"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address got;
        struct error err = {0};
        assert_int_equal(address_parse(rows[i][0], "+", &got, &err), ADDRESS_INVALID);
        if (strstr(err.text, rows[i][1]) == NULL)
            fail_msg("\"%s\": \"%s\" does not say \"%s\"", rows[i][0], err.text, rows[i][1]);
    }
    char raw[1200] = "a@";
    struct address got;
    struct error err = {0};
    memset(raw + 2, 'x', 1100);
    memcpy(raw + 1102, " .y", sizeof " .y");
    assert_int_equal(address_parse(raw, "+", &got, &err), ADDRESS_INVALID);
    assert_string_equal(err.text, "the domain is longer than 255 octets");
    assert_int_equal(address_parse("a..b@example.com(@x.example)", "+", &got, NULL), ADDRESS_INVALID);
    assert_string_equal(got.domain, "example.com"); /* what is in a comment names no domain */
    assert_int_equal(address_parse("a..b@example.com(@x.example", "+", &got, NULL), ADDRESS_INVALID);
    assert_string_equal(got.domain, "x.example");                           /* unless it is none */
    assert_int_equal(address_parse("a\\b", "+", &got, NULL), ADDRESS_BARE); /* an escape at the end */
    assert_string_equal(got.full, "ab");
}

static void test_domain(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *want; /* want NULL: an error */
    } rows[] = {
        {"Example.COM", "example.com"},
        {"example.com.", "example.com"},
        {"m\xc3\xbcnchen.de", "xn--mnchen-3ya.de"},
        {"XN--mnchen-3ya.de", "xn--mnchen-3ya.de"},
        {"[192.0.2.7]", "[192.0.2.7]"},
        {"[IPv6:2001:db8::1]", "[ipv6:2001:db8::1]"},
        {"", NULL},
        {".", NULL},
        {"a b", NULL},
        {"a@b", NULL},
        {"*.example.com", NULL},
        {"_a.example", "_a.example"},
        {"ab--c.example", "ab--c.example"},
        {"xn--a.example", "xn--a.example"}, /* whatever libidn2 thinks of it */
        {"m\xfcnchen.de", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[ADDRESS_DOMAIN_MAX + 1] = "untouched";
        struct error err = {0};
        const int rc = address_domain(rows[i].raw, out, &err);
        assert_int_equal(rc, rows[i].want == NULL ? -1 : 0);
        same("domain", rows[i].raw, out, rows[i].want == NULL ? "untouched" : rows[i].want);
        assert_int_equal(err.text[0] != '\0', rc != 0);
    }
    char out[ADDRESS_DOMAIN_MAX + 1];
    struct error err = {0};
    const char dot[] = "."; /* before what is read */
    assert_int_equal(address_domain(dot + 1, out, &err), -1);
    assert_string_equal(err.text, "the domain is empty");
    err.text[0] = '\0';
    char giant[2 * 600 + 1] = "";
    for (size_t i = 0; i + 1 < sizeof giant; i += 2)
        memcpy(giant + i, "\xc3\xbc", sizeof "\xc3\xbc");
    assert_int_equal(address_domain(giant, out, &err), -1);
    assert_string_equal(err.text, "the domain is longer than 255 octets");
}

static void test_domain_unicode(void **state)
{
    (void)state;
    char out[ADDRESS_DOMAIN_MAX + 1] = "untouched";
    assert_false(address_domain_unicode("example.com", out, sizeof out));
    assert_false(address_domain_unicode("", out, sizeof out));
    assert_false(address_domain_unicode("[192.0.2.7]", out, sizeof out));
    assert_false(address_domain_unicode("xn--zzzzzzzz.example", out, sizeof out));
    assert_false(address_domain_unicode("xn--abc-.example", out, sizeof out)); /* hides plain ASCII */
    assert_false(address_domain_unicode("axn--b.example", out, sizeof out));
    assert_false(address_domain_unicode("xn--kha.example", out, sizeof out)); /* a long s: s.example */
    assert_false(address_domain_unicode("xn--mnchen-3ya.de", out, 11));
    assert_string_equal(out, "untouched");
    assert_true(address_domain_unicode("xn--mnchen-3ya.de", out, 12));
    assert_string_equal(out, "m\xc3\xbcnchen.de");
    assert_true(address_domain_unicode("a.xn--r8jz45g.xn--zckzah", out, sizeof out));
    assert_string_equal(out, "a.\xe4\xbe\x8b\xe3\x81\x88.\xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88");
    assert_true(address_domain_unicode("xn--rr8h.example", out, sizeof out));
    assert_string_equal(out, "\xf0\x9f\x92\x8c.example");
}

static void test_fallback_key(void **state)
{
    (void)state;
    char out[ADDRESS_MAX + 1], other[ADDRESS_MAX + 1], small[8], giant[10001];
    address_fallback_key("A..B@Example.com", out, sizeof out);
    assert_string_equal(out, "a..b@example.com");
    address_fallback_key("", out, sizeof out);
    assert_string_equal(out, "");

    memset(giant, 'A', sizeof giant - 1);
    giant[sizeof giant - 1] = '\0';
    giant[ADDRESS_MAX] = '\0';
    address_fallback_key(giant, out, sizeof out);
    assert_int_equal(strlen(out), ADDRESS_MAX);
    assert_null(strchr(out, '#'));
    giant[ADDRESS_MAX] = 'A';
    address_fallback_key(giant, out, sizeof out);
    assert_int_equal(strlen(out), ADDRESS_MAX);
    assert_memory_equal(out, "aaaaaaaa", 8);
    assert_int_equal(out[ADDRESS_MAX - 17], '#');
    giant[9999] = 'b';
    address_fallback_key(giant, other, sizeof other);
    assert_string_not_equal(out, other);
    giant[9999] = 'B';
    address_fallback_key(giant, out, sizeof out);
    assert_string_equal(out, other);
    address_fallback_key(giant, small, sizeof small);
    assert_int_equal(strlen(small), sizeof small - 1);
    assert_int_equal(small[0], '#');
    address_fallback_key("ab>", small, sizeof small);
    assert_string_equal(small, "ab>");
    address_fallback_key("abcdefg", small, sizeof small);
    assert_string_equal(small, "abcdefg");
    char edge[ADDRESS_MAX], whole[ADDRESS_MAX + 1] = "";
    memset(whole, 'x', ADDRESS_MAX);
    address_fallback_key(whole, edge, sizeof edge);
    assert_int_equal(strlen(edge), ADDRESS_MAX - 1);
    assert_non_null(strchr(edge, '#'));
    char bracketed[ADDRESS_MAX + 10], bare[sizeof edge];
    snprintf(bracketed, sizeof bracketed, "<%s>", whole);
    address_fallback_key(bracketed, bare, sizeof bare);
    assert_string_equal(bare, edge);
    address_fallback_key("<>", small, sizeof small);
    assert_string_equal(small, "");
    address_fallback_key("abc", small, 1);
    assert_string_equal(small, "");
}

/* The first and the last character of each row of RFC 3629 4; none of them with a byte less, or the one before or behind. */
static void test_utf8(void **state)
{
    static const char *const good[] = {
        "\xc2\x80",         "\xdf\xbf",         "\xe0\xa0\x80",     "\xe0\xbf\xbf",
        "\xe1\x80\x80",     "\xec\xbf\xbf",     "\xed\x80\x80",     "\xed\x9f\xbf",
        "\xee\x80\x80",     "\xef\xbf\xbf",     "\xf0\x90\x80\x80", "\xf0\xbf\xbf\xbf",
        "\xf1\x80\x80\x80", "\xf3\xbf\xbf\xbf", "\xf4\x80\x80\x80", "\xf4\x8f\xbf\xbf",
    };
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc1\xbf",
        "\xc2\x7f",
        "\xc2\xc0",
        "\xe0\x9f\x80",
        "\xe1\x80\x7f",
        "\xe1\x80\xc0",
        "\xed\xa0\x80",
        "\xf0\x8f\x80\x80",
        "\xf1\x80\x80\x7f",
        "\xf1\x80\xc0\x80",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
    };
    char raw[32];
    struct address got;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(raw, sizeof raw, "%s@example.com", good[i]);
        assert_int_equal(address_parse(raw, "+", &got, NULL), ADDRESS_MAILBOX);
        assert_string_equal(got.full, raw);
        snprintf(raw, sizeof raw, "%.*s@example.com", (int)strlen(good[i]) - 1, good[i]);
        assert_int_equal(address_parse(raw, "+", &got, NULL), ADDRESS_INVALID);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(raw, sizeof raw, "%s@example.com", bad[i]);
        assert_int_equal(address_parse(raw, "+", &got, NULL), ADDRESS_INVALID);
    }
}

/* ---- random input ---- */

static unsigned seed = 20240607;
static unsigned part = 1; /* of the rounds only one in so many */

static unsigned below(unsigned n)
{
    return (unsigned)rand_r(&seed) % n;
}

static void test_random_bytes(void **state)
{
    (void)state;
    for (int round = 0; round < 100000 / (int)part; round++) {
        char raw[80];
        const unsigned n = below(sizeof raw);
        for (unsigned i = 0; i < n; i++)
            raw[i] = (char)(1 + below(255));
        raw[n] = '\0';
        check_properties(raw, "+");
    }
}

/* Pieces that mean something, in an order that means nothing. */
static void test_random_pieces(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "a",
        "B",
        "user",
        ".",
        "@",
        "@",
        "\"",
        "\"",
        "\\",
        "(",
        ")",
        "<",
        ">",
        "+",
        " ",
        ",",
        ":",
        "%",
        "!",
        "[",
        "]",
        "-",
        "_",
        "\t",
        "{",
        "}",
        "xn--",
        "example",
        ".com",
        "\1",
        "..",
        "\xff",
        "\xc3\xbc",
        "\xcc\x88",
        "@r.example:",
        "IPv6:::1",
        "\"a b\"",
        "[192.0.2.7]",
        "\xe3\x80\x82",
        "xn--mnchen-3ya",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    unsigned valid = 0;
    for (int round = 0; round < 200000 / (int)part; round++) {
        char raw[1000];
        struct address got;
        size_t len = 0;
        raw[0] = '\0';
        for (unsigned i = 1 + below(round % 3 == 0 ? 20 : 7); i > 0; i--) {
            const char *piece = pieces[below(sizeof pieces / sizeof pieces[0])];
            const size_t n = strlen(piece);
            memcpy(raw + len, piece, n + 1);
            len += n;
        }
        if (round % 2 == 0)
            memcpy(raw + len, "@example.com", sizeof "@example.com");
        valid += address_parse(raw, "+", &got, NULL) == ADDRESS_MAILBOX;
        check_properties(raw, round % 4 < 2 ? "+" : "+-.");
    }
    assert_true(part * valid > 5000); /* or the loop proves nothing */
}

/* What is usual, nearly usual, and at its lengths: labels of all lengths, dots and separators in between. */
static void test_random_usual(void **state)
{
    (void)state;
    static const char bytes[] = "abzABZ019-_..+@=%<>!\"";
    static const char *const separators[] = {"", "+", "+-", "-_", ".", "a", "Z="};
    unsigned valid = 0, usual = 0;
    for (int round = 0; round < 200000 / (int)part; round++) {
        char raw[600];
        struct address got;
        size_t len = 0;
        const unsigned odd = below(4) == 0 ? sizeof bytes - 1 : 13; /* or as it should be */
        const unsigned long_local = below(8), long_domain = below(8);
        if (below(2) == 0)
            raw[len++] = '<';
        for (unsigned n = long_local == 0 ? 60 + below(8) : 1 + below(12); n > 0; n--)
            raw[len++] = bytes[below(odd)];
        raw[len++] = '@';
        for (unsigned n = long_domain == 0 ? 170 + below(100) : 1 + below(20); n > 0; n--)
            raw[len++] = below(long_domain == 0 ? 40 : 8) == 0 ? '.' : bytes[below(below(60) == 0 ? odd : 9)];
        if (raw[0] == '<' && below(10) > 0)
            raw[len++] = '>';
        raw[len] = '\0';
        const char *separator = separators[below(sizeof separators / sizeof separators[0])];
        valid += address_parse(raw, separator, &got, NULL) == ADDRESS_MAILBOX;
        usual += got.usual;
        check_properties(raw, separator);
    }
    assert_true(part * valid > 30000 && part * valid < 190000 && part * usual > 10000 && usual < valid);
}

/* test_policy_address [PART] */
int main(int argc, char **argv)
{
    part = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_percent_or_bang),
        cmocka_unit_test(test_separators),
        cmocka_unit_test(test_batv),
        cmocka_unit_test(test_srs),
        cmocka_unit_test(test_locals),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_domain),
        cmocka_unit_test(test_domain_unicode),
        cmocka_unit_test(test_fallback_key),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_random_pieces),
        cmocka_unit_test(test_random_usual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
