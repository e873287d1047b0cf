/* maillog: real lines of Postfix 3.7 and of rcptgate, what is no line, and every cut of a line. */
#include "maillog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const kinds[] = {
    [MAILLOG_OTHER] = "other",       [MAILLOG_CLIENT] = "client",
    [MAILLOG_PROXIED] = "proxied",   [MAILLOG_PROXY_ACCEPT] = "proxy-accept",
    [MAILLOG_REFUSED] = "refused",   [MAILLOG_MILTER_REFUSED] = "milter-refused",
    [MAILLOG_QUEUED] = "queued",     [MAILLOG_ABORTED] = "aborted",
    [MAILLOG_DELIVERY] = "delivery", [MAILLOG_REMOVED] = "removed",
    [MAILLOG_DECISION] = "decision", [MAILLOG_OUR_END] = "our-end",
    [MAILLOG_DROPPED] = "dropped",   [MAILLOG_TURNED_AWAY] = "turned-away",
};

static const char *const names[] = {
    [MAILLOG_HOST] = NULL,
    [MAILLOG_PID] = "pid",
    [MAILLOG_QUEUE] = "queue",
    [MAILLOG_CLIENT_ADDRESS] = "client",
    [MAILLOG_USER] = "user",
    [MAILLOG_FROM] = "from",
    [MAILLOG_TO] = "to",
    [MAILLOG_ORIGIN] = "origin",
    [MAILLOG_QUEUED_AS] = "queued-as",
};

static struct frame_reader *reader;

static void describe(const struct maillog_line *line, char *out, size_t room)
{
    size_t n = (size_t)snprintf(out, room, "%s", kinds[line->kind]);
    for (int i = 0; i < MAILLOG_TEXTS; i++)
        if (names[i] != NULL && line->text[i].at != NULL && (line->text[i].n > 0 || i == MAILLOG_FROM))
            n += (size_t)snprintf(out + n, room - n, " %s=%.*s", names[i], (int)line->text[i].n,
                                  line->text[i].at);
    if (line->size >= 0)
        n += (size_t)snprintf(out + n, room - n, " size=%lld", (long long)line->size);
    if (line->action != ACTION_NONE)
        n += (size_t)snprintf(out + n, room - n, " action=%s", action_name(line->action));
    if (line->through && line->kind == MAILLOG_OUR_END)
        n += (size_t)snprintf(out + n, room - n, " through");
    if (line->forwarded)
        n += (size_t)snprintf(out + n, room - n, " forwarded");
    if (line->repeats != 1)
        snprintf(out + n, room - n, " times=%u", line->repeats);
}

/* "kind queue=… client=… …" */
static void render(const char *line, size_t length, char *out, size_t room)
{
    struct frame frame;
    struct maillog_line parsed;
    char *exact = malloc(length); /* of its own size, so that a read beyond its end is seen */
    assert_non_null(exact);
    memcpy(exact, line, length);
    enum frame_kind kind = frame_read(reader, (struct span){exact, length}, &frame);
    snprintf(out, room, "%s", kind == FRAME_NOTHING || kind == FRAME_EMPTY ? "garbage" : "other");
    if (kind == FRAME_LINE) {
        maillog_parse(&frame, &parsed);
        describe(&parsed, out, room);
    }
    free(exact);
}

#define P "Nov 23 02:08:24 mx postfix/"
#define G "Nov 23 02:08:24 mx rcptgate[77]: "

static const struct {
    const char *line, *want;
} lines[] = {
    {P "master[20731]: daemon started -- version 3.7.11, configuration /etc/postfix", "other"},
    {P "smtpd[20796]: connect from unknown[127.0.0.1]", "other"},
    {P "smtpd[20796]: lost connection after RCPT from unknown[2001:db8::7]", "other"},
    {P "smtpd[20796]: disconnect from unknown[192.0.2.1] ehlo=2 xclient=0/1 mail=6 commands=20/26", "other"},
    {P "smtpd[20796]: 6BBBEABCADB: client=unknown[192.0.2.1]", "client queue=6BBBEABCADB client=192.0.2.1"},
    {P "smtpd[1]: 4cXbKq1dWzz9sQd: client=mx.example.net[2001:db8::7]:40312",
     "client queue=4cXbKq1dWzz9sQd client=2001:db8::7"},
    {P "smtpd[20796]: 6F698ABCADE: client=unknown[2001:db8::7], sasl_method=XCLIENT, sasl_username=ann@login",
     "client queue=6F698ABCADE client=2001:db8::7 user=ann@login"},
    {P "submission/smtpd[9]: 6F698ABCADE: client=unknown[2001:db8::7], sasl_method=PLAIN, sasl_username=ann, "
       "sasl_sender=x@y.example",
     "client queue=6F698ABCADE client=2001:db8::7 user=ann"},
    {P "smtpd[9]: 6F698ABCADE: client=localhost[127.0.0.1], orig_queue_id=6BBBEABCADB, "
       "orig_client=unknown[192.0.2.1]",
     "client queue=6F698ABCADE client=192.0.2.1 origin=6BBBEABCADB forwarded"},
    {P "smtpd[9]: 6F698ABCADE: client=localhost[127.0.0.1], orig_client=mx.example[2001:db8::7]",
     "client queue=6F698ABCADE client=2001:db8::7 forwarded"},
    {P "smtpd[9]: NOQUEUE: client=unknown[192.0.2.1], sasl_method=PLAIN, sasl_username=ann",
     "proxied pid=9 client=192.0.2.1 user=ann"},
    {P "smtpd[9]: proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as 6F698ABCADE; from=<a@b.example> "
       "to=<one@example.com> proto=ESMTP helo=<x>",
     "proxy-accept pid=9 queued-as=6F698ABCADE"},
    {P "smtpd[9]: NOQUEUE: proxy-accept: END-OF-MESSAGE: 250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 "
       "2.0.0 Ok: "
       "queued as 4cXbKq1dWzz9sQd; from=<a@b.example> to=<one@example.com> proto=ESMTP helo=<x>",
     "proxy-accept pid=9 queued-as=4cXbKq1dWzz9sQd"},
    {P "smtpd[9]: NOQUEUE: proxy-reject: END-OF-MESSAGE: 554 5.7.0 Reject; from=<a@b.example> "
       "to=<one@example.com>",
     "other"},
    {P "smtp[7]: 72764ABCAE0: to=<j@m.example>, orig_to=<one@example.com>, relay=127.0.0.1[127.0.0.1]:10024, "
       "delay=1, "
       "delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: "
       "queued as "
       "6F698ABCADE)",
     "delivery queue=72764ABCAE0 to=one@example.com queued-as=6F698ABCADE"},
    {P "smtp[7]: 72764ABCAE0: to=<j@m.example>, relay=none, delay=1, dsn=4.0.0, status=deferred (host said: "
       "450 "
       "queued as 6F698ABCADE)",
     "delivery queue=72764ABCAE0 to=j@m.example"},
    {P "smtpd[20796]: message repeated 3 times: [ NOQUEUE: milter-reject: RCPT from unknown[192.0.2.1]: 450 "
       "4.2.1 no; "
       "from=<> to=<one@example.com> proto=ESMTP helo=<x>]",
     "milter-refused client=192.0.2.1 from= to=one@example.com times=3"},
    {P "smtpd[9]: 6F698ABCADE: client=unknown[unknown]", "client queue=6F698ABCADE client=unknown"},
    {P "smtpd[20796]: 6BBBEABCADB: milter-reject: RCPT from unknown[192.0.2.1]: 550 5.1.1 "
       "<nobody@example.com>: no such "
       "address; from=<bob@sender.example> to=<nobody@example.com> proto=ESMTP helo=<client.example.net>",
     "milter-refused queue=6BBBEABCADB client=192.0.2.1 from=bob@sender.example to=nobody@example.com"},
    {P "smtpd[20796]: NOQUEUE: milter-reject: RCPT from unknown[192.0.2.1]: 450 4.2.1 <one@example.com>: "
       "receiving mail "
       "too fast, try again in 66s; from=<> to=<one@example.com> proto=ESMTP helo=<client.example.net>",
     "milter-refused client=192.0.2.1 from= to=one@example.com"},
    {P
     "smtpd[20796]: NOQUEUE: milter-reject: RCPT from unknown[192.0.2.1]: 550 5.1.1 <\"odd "
     "name\"@example.com>: no such "
     "address; from=<bob@sender.example> to=<\"odd name\"@example.com> proto=ESMTP helo=<client.example.net>",
     "milter-refused client=192.0.2.1 from=bob@sender.example to=\"odd name\"@example.com"},
    {P "smtpd[20796]: 6F698ABCADE: milter-reject: RCPT from unknown[2001:db8::7]: 450 4.2.1 "
       "<one@example.com>: receiving "
       "mail too fast, try again in 66s; from=<bob@sender.example> to=<one@example.com> proto=ESMTP "
       "helo=<client.example.net> sasl_username=<ann@login>",
     "milter-refused queue=6F698ABCADE client=2001:db8::7 user=ann@login from=bob@sender.example "
     "to=one@example.com"},
    {P "smtpd[3]: NOQUEUE: reject: RCPT from unknown[192.0.2.66]: 554 5.7.1 <a@example.org>: Relay access "
       "denied; "
       "from=<x@y.example> to=<a@example.org> proto=SMTP helo=<spam>",
     "refused"},
    {P
     "postscreen[3]: NOQUEUE: reject: RCPT from [192.0.2.66]:5555: 550 5.7.1 Service unavailable; client "
     "[192.0.2.66] blocked using zen.example; from=<x@y.example>, to=<a@example.com>, proto=ESMTP, helo=<x>",
     "refused"},
    {P "smtpd[3]: NOQUEUE: reject_warning: RCPT from unknown[192.0.2.66]: 554 5.7.1 no; from=<a> to=<b> "
       "proto=SMTP",
     "other"},
    {P "smtpd[3]: NOQUEUE: milter-reject: CONNECT from unknown[192.0.2.66]: 554 5.7.1 no; proto=SMTP",
     "turned-away"},
    {P "smtpd[3]: NOQUEUE: reject: CONNECT from unknown[192.0.2.66]: 554 5.7.1 no; proto=SMTP", "other"},
    {P "cleanup[3]: 6F698ABCADE: milter-discard: END-OF-MESSAGE from unknown[192.0.2.66]: milter triggers "
       "DISCARD action; from=<a@b.example> to=<one@example.com> proto=ESMTP helo=<x>",
     "dropped queue=6F698ABCADE"},
    {P "smtpd[3]: NOQUEUE: reject: MAIL from unknown[192.0.2.66]: 452 4.3.1 full; from=<a> proto=SMTP",
     "other"},
    {P "cleanup[3]: 6F698ABCADE: milter-reject: END-OF-MESSAGE from unknown[192.0.2.66]: 5.7.1 spam; "
       "from=<a@b.example> "
       "to=<one@example.com> proto=ESMTP helo=<x>",
     "aborted queue=6F698ABCADE"},
    {P
     "smtpd[3]: 6F698ABCADE: reject: DATA from unknown[192.0.2.66]: 450 4.7.1 no; from=<a> to=<b> proto=SMTP",
     "aborted queue=6F698ABCADE"},
    {P "cleanup[20798]: 6BBBEABCADB: message-id=<20261123020824.6BBBEABCADB@mx.rcptgate.test>", "other"},
    {P "qmgr[20794]: 6BBBEABCADB: from=<bob@sender.example>, size=363, nrcpt=4 (queue active)",
     "queued queue=6BBBEABCADB from=bob@sender.example size=363"},
    {P "qmgr[20794]: 6D1C4ABCADC: from=<>, size=385, nrcpt=1 (queue active)",
     "queued queue=6D1C4ABCADC from= size=385"},
    {P "qmgr[20794]: 6D1C4ABCADC: from=<a@b.example>, status=expired, returned to sender", "other"},
    {P "pickup[1]: 6D1C4ABCADC: uid=0 from=<root>", "other"},
    {P "lmtp[20799]: 6BBBEABCADB: to=<ann@mailbox.example>, orig_to=<two+tag@example.com>, "
       "relay=mx.rcptgate.test[/run/sink.sock], delay=0.04, delays=0.01/0.02/0/0, dsn=2.0.0, status=sent "
       "(250 2.0.0 ok)",
     "delivery queue=6BBBEABCADB to=two+tag@example.com"},
    {P "lmtp[20801]: 72764ABCAE0: to=<fail@[1.2.3.4]>, relay=mx.rcptgate.test[/run/sink.sock], conn_use=2, "
       "delay=0.02, "
       "delays=0.01/0.01/0/0, dsn=2.0.0, status=sent (250 2.0.0 delivered)",
     "delivery queue=72764ABCAE0 to=fail@[1.2.3.4]"},
    {P "smtp[2]: 72764ABCAE0: to=<a@b.example>, orig_to=<c@example.com>, relay=none, delay=30, "
       "delays=0/0/30/0, "
       "dsn=4.4.1, status=deferred (connect to b.example[192.0.2.3]:25: Connection timed out)",
     "delivery queue=72764ABCAE0 to=c@example.com"},
    {P "error[2]: 72764ABCAE0: to=<a@b.example>, relay=none, delay=0, dsn=5.0.0, status=bounced (no)",
     "delivery queue=72764ABCAE0 to=a@b.example"},
    {P "virtual[2]: 72764ABCAE0: to=<\"odd name\"@b.example>, relay=virtual, delay=0, dsn=2.0.0, status=sent "
       "(delivered to maildir)",
     "delivery queue=72764ABCAE0 to=\"odd name\"@b.example"},
    {P "qmgr[20794]: 6BBBEABCADB: removed", "removed queue=6BBBEABCADB"},
    {"Nov 23 02:08:24 mx dovecot: lmtp(joe)<1><x>: msgid=<a@b>: saved mail to INBOX", "other"},
    {"Nov 23 02:08:24 mx kernel: [12.3] eth0: link up", "other"},
    {"Nov 23 02:08:24 mx last message repeated 3 times", "other"},
    {G "queue=- client=192.0.2.1 from=<bob@sender.example> to=<one@example.com> verdict=accept",
     "decision client=192.0.2.1 from=bob@sender.example to=one@example.com action=accept"},
    {G "queue=6F698ABCADE client=2001:db8::7 from=<bob@sender.example> to=<one@example.com> user=ann@login "
       "verdict=defer "
       "reply=\"450 4.2.1\" by=limit limit=three used=3 max=3 wait=66s",
     "decision queue=6F698ABCADE client=2001:db8::7 user=ann@login from=bob@sender.example "
     "to=one@example.com action=defer"},
    {G "queue=- client=192.0.2.1 from=<> to=<\"odd%20name\"@example.com> verdict=reject reply=\"550 5.1.1\" "
       "by=alias rule=example.com",
     "decision client=192.0.2.1 from= to=\"odd%20name\"@example.com action=reject"},
    {G "queue=- client=unknown from=<> to=<a@b.example> verdict=duplicate",
     "decision client=unknown from= to=a@b.example"},
    {G "client=192.0.2.1 verdict=reject by=client at=connect rule=192.0.2.0/24", "other"},
    {G "event=ready version=0.1.0 socket=unix:/run/x limits=1 mode=enforce", "other"},
    {G "event=message queue=6F698ABCADE client=192.0.2.1 from=<bob@sender.example> to=<one@example.com> "
       "user=ann accepted=1 refused=0 discarded=0 size=363",
     "our-end queue=6F698ABCADE client=192.0.2.1 user=ann from=bob@sender.example to=one@example.com "
     "size=363 through"},
    {G "event=message queue=6F698ABCADE client=192.0.2.1 from=<> accepted=1 refused=0 discarded=0 size=363 "
       "reply=\"452 4.2.2\"",
     "our-end queue=6F698ABCADE client=192.0.2.1 from= size=363"},
    {G "event=message queue=6F698ABCADE recipients=2", "other"},
    {"", "garbage"},
    {"-- Boot 5d1a --", "garbage"},
    {"Nov 23 02:08:24", "other"},
    {"Nov 23 02:08:24 ", "other"},
    {"Nov 32 02:08:24 mx x: y", "garbage"},
    {"Nov 23 25:08:24 mx x: y", "garbage"},
    {"Nuv 23 02:08:24 mx x: y", "garbage"},
    {"2026-13-23T02:08:24Z mx x: y", "garbage"},
    {"{\"MESSAGE\": \"x\"}", "garbage"},
};

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char got[1024];
        render(lines[i].line, strlen(lines[i].line), got, sizeof got);
        if (strcmp(got, lines[i].want) != 0)
            fail_msg("%s\n gave %s\n not  %s", lines[i].line, got, lines[i].want);
    }
}

/* A line that was cut anywhere is some line: nothing is read beyond its end. */
static void test_cuts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        for (size_t n = 0; n < strlen(lines[i].line); n++) {
            char got[1024];
            render(lines[i].line, n, got, sizeof got);
        }
}

static void test_decode(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {{"", ""},     {"a@b", "a@b"},     {"%3Ca%20b%3e", "<a b>"}, {"100%", "100%"},
                {"%2", "%2"}, {"%zz%41", "%zzA"}, {"%2541", "%41"}};
    char out[16];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(maillog_decode((struct span){rows[i].text, strlen(rows[i].text)}, out, sizeof out));
        assert_string_equal(out, rows[i].want);
    }
    assert_true(maillog_decode((struct span){"123456789012345", 15}, out, sizeof out));
    assert_false(maillog_decode((struct span){"1234567890123456", 16}, out, sizeof out));
    assert_false(maillog_decode((struct span){"a%00b", 5}, out, sizeof out));
    assert_string_equal(out, "");
}

static int set_up(void **state)
{
    (void)state;
    reader = frame_reader_new();
    return reader != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    frame_reader_free(reader);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_decode),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
