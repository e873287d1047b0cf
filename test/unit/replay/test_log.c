/* replay_log: logs as the RCPTs that come out, in their order: which lines count, which source, dates without
 * a year, late lines. */
#include "replay/log.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct seen {
    char text[8192];
    size_t n;
    int64_t last_ms;
    struct { /* the same events, as lines to be dated later */
        int64_t ms;
        char text[256];
    } events[256];
    size_t n_events;
    int64_t shift_ms;
    char shown[8192];
};

static bool note(void *arg, const struct replay_event *event)
{
    static const char *const what[] = {"rcpt", "end", "abort", "free"};
    struct seen *seen = arg;
    const struct replay_message *m = event->message;
    char client[NETWORK_TEXT];
    time_t at = (time_t)(event->time_ms / 1000);
    struct tm tm;
    assert_true(event->time_ms >= seen->last_ms || event->what == REPLAY_FREE);
    seen->last_ms = event->time_ms;
    if (event->what == REPLAY_FREE || gmtime_r(&at, &tm) == NULL)
        return true;
    seen->n += strftime(seen->text + seen->n, 40, "%m%d-%H%M%S ", &tm);
    seen->n += (size_t)snprintf(seen->text + seen->n, sizeof seen->text - seen->n, "%s %u", what[event->what],
                                (unsigned)m->number);
    if (event->what == REPLAY_RCPT)
        seen->n += (size_t)snprintf(seen->text + seen->n, sizeof seen->text - seen->n, " %s %s>%s%s%s",
                                    network_format(&m->client, client), m->sender != NULL ? m->sender : "?",
                                    event->recipient, m->user != NULL ? " user=" : "",
                                    m->user != NULL ? m->user : "");
    if (event->what == REPLAY_END)
        seen->n +=
            (size_t)snprintf(seen->text + seen->n, sizeof seen->text - seen->n, " %lld", (long long)m->size);
    seen->n += (size_t)snprintf(seen->text + seen->n, sizeof seen->text - seen->n, "\n");
    if (event->what == REPLAY_RCPT && seen->n_events < 256) {
        seen->events[seen->n_events].ms = event->time_ms;
        snprintf(seen->events[seen->n_events++].text, sizeof seen->events[0].text, "%s %s>%s%s%s%s",
                 network_format(&m->client, client), m->sender != NULL ? m->sender : "?", event->recipient,
                 m->user != NULL ? " user=" : "", m->user != NULL ? m->user : "",
                 m->sender_queued ? " queued" : "");
    }
    return true;
}

/* The RCPTs with the dates that people are shown. */
static void show(struct seen *seen)
{
    size_t n = 0;
    for (size_t i = 0; i < seen->n_events; i++) {
        time_t at = (time_t)((seen->events[i].ms - seen->shift_ms) / 1000);
        struct tm tm;
        assert_non_null(gmtime_r(&at, &tm));
        n += strftime(seen->shown + n, 64, "%Y-%m-%dT%H:%M:%SZ ", &tm);
        n += (size_t)snprintf(seen->shown + n, sizeof seen->shown - n, "%s\n", seen->events[i].text);
    }
}

/* Plays a log (lines; '=' alone on one begins another file), and compares what comes out. */
static void play(const char *log, int64_t modified_s, const char *want, struct replay_numbers *numbers)
{
    struct seen seen = {.n = 0};
    struct replay_log *replay = replay_log_new(note, &seen);
    assert_non_null(replay);
    replay_log_file(replay, modified_s);
    for (const char *line = log; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        if (n == 1 && *line == '=')
            replay_log_file(replay, modified_s);
        else
            assert_true(replay_log_line(replay, line, n));
        line += n + (line[n] == '\n');
    }
    assert_true(replay_log_end(replay));
    if (strcmp(seen.text, want) != 0)
        fail_msg("got\n%swant\n%s", seen.text, want);
    if (numbers != NULL)
        *numbers = *replay_log_numbers(replay);
    replay_log_free(replay);
}

#define T "2026-11-23T02:08:2"
#define P "Z mx postfix/"

static void postfix_lines(void **state)
{
    (void)state;
    struct replay_numbers numbers;
    play(T "0" P "smtpd[1]: AAAAA1: client=unknown[192.0.2.1]\n" T "1" P
           "smtpd[1]: AAAAA1: milter-reject: RCPT from unknown[192.0.2.1]: 550 5.1.1 no; from=<s@x.example> "
           "to=<no@example.com> proto=ESMTP helo=<x>\n" T "2" P
           "qmgr[1]: AAAAA1: from=<s@x.example>, size=363, nrcpt=3 (queue active)\n" T "2" P
           "smtpd[2]: BBBBB2: client=unknown[2001:db8::7], sasl_method=PLAIN, sasl_username=ann\n" T "3" P
           "qmgr[1]: BBBBB2: from=<>, size=5, nrcpt=1 (queue active)\n" T "3" P
           "smtp[1]: BBBBB2: to=<j@m.example>, orig_to=<two@example.com>, relay=none, delay=1, dsn=4.0.0, "
           "status=deferred (x)\n" T "4" P "lmtp[1]: AAAAA1: to=<j@m.example>, orig_to=<one@example.com>, "
           "relay=x, delay=1, dsn=2.0.0, status=sent (x)\n" T "4" P
           "lmtp[1]: AAAAA1: to=<k@m.example>, orig_to=<one@example.com>, relay=x, delay=1, dsn=2.0.0, "
           "status=sent (x)\n" T "4" P
           "lmtp[1]: AAAAA1: to=<plain@example.com>, relay=x, delay=1, dsn=2.0.0, status=sent (x)\n" T "5" P
           "qmgr[1]: AAAAA1: removed\n" T "6" P "qmgr[1]: BBBBB2: from=<>, size=5, nrcpt=1 (queue active)\n" T
           "7" P "smtp[1]: BBBBB2: to=<j@m.example>, orig_to=<two@example.com>, relay=x, delay=5, dsn=2.0.0, "
           "status=sent (x)\n" T "8" P "smtpd[1]: NOQUEUE: reject: RCPT from unknown[192.0.2.66]: 554 "
           "5.7.1 no; from=<a> to=<b> proto=SMTP helo=<x>\n" T "8" P
           "pickup[1]: CCCCC3: uid=0 from=<root>\n" T "8" P
           "local[1]: CCCCC3: to=<root@mx>, relay=local, delay=1, dsn=2.0.0, status=sent (x)\n" T "8" P
           "smtpd[1]: DDDDD4: client=localhost[127.0.0.1], orig_queue_id=AAAAA1, "
           "orig_client=unknown[192.0.2.1]\n" T "8" P
           "lmtp[1]: DDDDD4: to=<one@example.com>, relay=x, delay=1, dsn=2.0.0, status=sent (x)\n" T "9" P
           "smtpd[1]: NOQUEUE: milter-reject: RCPT from unknown[192.0.2.9]: 450 4.2.1 no; from=<> "
           "to=<one@example.com> proto=ESMTP helo=<x>\n"
           "garbage\n",
         0,
         "1123-020820 rcpt 0 192.0.2.1 s@x.example>one@example.com\n"
         "1123-020820 rcpt 0 192.0.2.1 s@x.example>plain@example.com\n"
         "1123-020821 rcpt 0 192.0.2.1 s@x.example>no@example.com\n"
         "1123-020822 end 0 363\n"
         "1123-020822 rcpt 1 2001:db8::7 >two@example.com user=ann\n"
         "1123-020823 end 1 5\n"
         "1123-020829 rcpt 3 192.0.2.9 >one@example.com\n"
         "1123-020829 end 3 -1\n",
         &numbers);
    assert_int_equal(numbers.deliveries, 3);
    assert_int_equal(numbers.milter_refused, 2);
    assert_int_equal(numbers.refused, 1);
    assert_int_equal(numbers.unknown, 1);
    assert_int_equal(numbers.given_back, 1);
    assert_int_equal(numbers.garbage, 1);
    assert_int_equal(numbers.late, 0);
}

static void decision_lines(void **state)
{
    (void)state;
    struct replay_numbers numbers;
    play(
        T
        "0" P "smtpd[1]: AAAAA0: client=unknown[192.0.2.1]\n" /* before the gate was there */
        T "1Z mx rcptgate[7]: queue=- client=192.0.2.1 from=<s@x.example> to=<one@example.com> "
        "verdict=accept\n" T "1" P "smtpd[1]: AAAAA1: client=unknown[192.0.2.1]\n" T
        "2Z mx rcptgate[7]: queue=AAAAA1 client=192.0.2.1 from=<s@x.example> to=<no%20body@example.com> "
        "verdict=reject reply=\"550 5.1.1\" by=alias rule=example.com\n" T "2" P
        "smtpd[1]: AAAAA1: milter-reject: RCPT from unknown[192.0.2.1]: 550 5.1.1 no; from=<s@x.example> "
        "to=<no@example.com> proto=ESMTP helo=<x>\n" T
        "3Z mx rcptgate[7]: queue=- client=192.0.2.2 from=<> to=<one@example.com> user=a%20b verdict=defer "
        "reply=\"450 4.2.1\" by=limit\n" T "3" P
        "smtpd[1]: NOQUEUE: milter-reject: RCPT from unknown[192.0.2.2]: 450 4.2.1 no; from=<> "
        "to=<one@example.com> proto=ESMTP helo=<x>\n" T "4" P
        "qmgr[1]: AAAAA1: from=<s@x.example>, size=363, nrcpt=2 (queue active)\n" T "4" P
        "lmtp[1]: AAAAA1: to=<one@example.com>, relay=x, delay=1, dsn=2.0.0, status=sent (x)\n" T "5" P
        "lmtp[1]: AAAAA0: to=<old@example.com>, relay=x, delay=1, dsn=2.0.0, status=sent (x)\n" T
        "6Z mx rcptgate[7]: queue=- client=192.0.2.3 from=<q@x.example> to=<a@example.com> verdict=accept\n" T
        "6Z mx rcptgate[7]: queue=CCCCC3 client=192.0.2.3 from=<q@x.example> to=<b@example.com> "
        "verdict=accept\n" T "7" P
        "cleanup[1]: CCCCC3: milter-reject: END-OF-MESSAGE from unknown[192.0.2.3]: 5.7.1 spam; "
        "from=<q@x.example> to=<a@example.com> proto=ESMTP helo=<x>\n" T
        "8Z other postfix/smtpd[1]: AAAAA1: client=unknown[192.0.2.8]\n" /* a host without a gate, the same id */
        T "8Z other postfix/lmtp[1]: AAAAA1: to=<far@example.com>, relay=x, delay=1, dsn=2.0.0, status=sent "
        "(x)\n",
        0,
        "1123-020820 rcpt 0 192.0.2.1 ?>old@example.com\n"
        "1123-020821 rcpt 1 192.0.2.1 s@x.example>one@example.com\n"
        "1123-020822 rcpt 1 192.0.2.1 s@x.example>no body@example.com\n"
        "1123-020823 rcpt 3 192.0.2.2 >one@example.com user=a b\n"
        "1123-020823 end 3 -1\n"
        "1123-020824 end 1 363\n"
        "1123-020826 rcpt 4 192.0.2.3 q@x.example>a@example.com\n"
        "1123-020826 rcpt 4 192.0.2.3 q@x.example>b@example.com\n"
        "1123-020827 abort 4\n"
        "1123-020828 rcpt 6 192.0.2.8 ?>far@example.com\n",
        &numbers);
    assert_int_equal(numbers.decisions, 5);
    assert_int_equal(numbers.deliveries, 2);
    assert_int_equal(numbers.milter_refused, 0);
}

#define D " mx rcptgate[7]: queue=- client=192.0.2.1 from=<> to=<"
#define E "@example.com> verdict=accept\n"

#define GATE "Z mx rcptgate[7]: "
#define ACCEPTED(to, queue)                                                                                  \
    GATE "queue=" queue " client=192.0.2.1 from=<s@x.example> to=<" to "@example.com> verdict=accept\n"
#define ENDED(queue, more)                                                                                   \
    GATE "event=message queue=" queue " client=192.0.2.1 from=<s@x.example> to=<x@example.com> accepted=1 "  \
         "refused=0 discarded=0" more "\n"

/* A gate tells of the end of each message, and its size; what has none was given up. */
static void ends_of_messages(void **state)
{
    (void)state;
    struct replay_numbers numbers;
    play(
        T "0" ACCEPTED("lost", "-") T "0" P "smtpd[1]: AAAAA0: client=unknown[192.0.2.1]\n" /* never ends */
        T "3" P "smtpd[1]: AAAAA1: client=unknown[192.0.2.1]\n" /* Postfix may write first */
        T "3" ACCEPTED("one", "-") T "3" ACCEPTED("two", "AAAAA1") T "4" ENDED("AAAAA1", " size=77") T
        "4" P
        "qmgr[1]: AAAAA1: from=<s@x.example>, size=363, nrcpt=2 (queue active)\n" /* and what Postfix added */
        T "5" ACCEPTED("three", "-") T "5" ENDED("AAAAA2", " size=9 reply=\"452 4.2.2\"") /* full of bytes */
        T "6" GATE "queue=- client=192.0.2.1 from=<s@x.example> to=<four@example.com> verdict=reject "
          "mode=shadow\n"                     /* which refuses nothing */
        T "6" ENDED("AAAAA3", " mode=shadow") /* as here */
        T "9" ACCEPTED("five", "-") T
        "9" P "smtpd[1]: AAAAA0: client=unknown[192.0.2.1]\n" /* the id of the lost one */
        T "9" ENDED("AAAAA0", ""),
        0,
        "1123-020820 rcpt 0 192.0.2.1 s@x.example>lost@example.com\n"
        "1123-020820 abort 0\n"
        "1123-020823 rcpt 2 192.0.2.1 s@x.example>one@example.com\n"
        "1123-020823 rcpt 2 192.0.2.1 s@x.example>two@example.com\n"
        "1123-020824 end 2 77\n"
        "1123-020825 rcpt 4 192.0.2.1 s@x.example>three@example.com\n"
        "1123-020825 abort 4\n"
        "1123-020826 rcpt 6 192.0.2.1 s@x.example>four@example.com\n"
        "1123-020826 end 6 -1\n"
        "1123-020829 rcpt 8 192.0.2.1 s@x.example>five@example.com\n"
        "1123-020829 end 8 -1\n",
        &numbers);
    assert_int_equal(numbers.unended, 1);
    assert_int_equal(numbers.unfinished, 0);
}

/* What of a day is in no line of Postfix's. */
static void what_is_in_no_line(void **state)
{
    (void)state;
    struct replay_numbers numbers;
    play(
        T
        "0" P "smtpd[1]: NOQUEUE: milter-reject: CONNECT from unknown[192.0.2.66]: 554 5.7.1 no; "
        "proto=SMTP\n" T "1" P "smtpd[1]: AAAAA1: client=unknown[192.0.2.1]\n" /* lost */
        T "2" P "smtpd[1]: AAAAA2: client=unknown[192.0.2.1]\n" T "3" P
        "cleanup[1]: AAAAA2: milter-discard: END-OF-MESSAGE from unknown[192.0.2.1]: milter triggers DISCARD "
        "action; from=<s@x.example> to=<a@example.com> proto=ESMTP helo=<x>\n" T "4" P
        "smtpd[2]: NOQUEUE: client=unknown[192.0.2.2]\n" /* before a proxy, and lost */
        T "5" P "smtpd[1]: AAAAA3: client=unknown[192.0.2.1]\n" T "6" P
        "qmgr[1]: AAAAA3: from=<s@x.example>, size=363, nrcpt=1 (queue active)\n",
        0, "1123-020826 end 2 363\n", &numbers);
    assert_int_equal(numbers.turned_away, 1);
    assert_int_equal(numbers.dropped, 1);
    assert_int_equal(numbers.unfinished, 2);
}

static void dates(void **state)
{
    (void)state;
    struct replay_numbers numbers;
    setenv("TZ", "Europe/Berlin", 1);
    tzset();
    /* Local winter and summer time, a zone of their own, out of order. */
    play("Jan  3 12:00:00" D "a" E "Jul  3 12:00:00" D "b" E "2026-07-03T12:00:01+02:00" D "c" E
         "2026-07-03T09:59:59Z" D "d" E,
         1783100000 /* 2026-07-03T17:33 */,
         "0103-110000 rcpt 0 192.0.2.1 >a@example.com\n"
         "0703-095959 rcpt 1 192.0.2.1 >d@example.com\n"
         "0703-100000 rcpt 2 192.0.2.1 >b@example.com\n"
         "0703-100001 rcpt 3 192.0.2.1 >c@example.com\n",
         &numbers);
    assert_int_equal(numbers.first_ms / 1000, 1767438000); /* 2026 */
    setenv("TZ", "UTC", 1);
    tzset();
    /* Over the end of a year, with a line of the old year after the first of the new. */
    play("Dec 31 23:59:58" D "a" E "Jan  1 00:00:01" D "b" E "Dec 31 23:59:59" D "c" E,
         1767229200 /* 2026-01-01T01:00 */,
         "1231-235958 rcpt 0 192.0.2.1 >a@example.com\n"
         "1231-235959 rcpt 1 192.0.2.1 >c@example.com\n"
         "0101-000001 rcpt 2 192.0.2.1 >b@example.com\n",
         &numbers);
    assert_int_equal(numbers.first_ms / 1000, 1767225598); /* 2025-12-31 */
    assert_int_equal(numbers.last_ms / 1000, 1767225601);
    assert_false(numbers.backwards);
    /* Files in the wrong order are noticed, and their lines sorted all the same. */
    play("Dec 31 10:00:00" D "a" E "=\n"
         "Dec 30 10:00:00" D "b" E,
         1767229200,
         "1230-100000 rcpt 0 192.0.2.1 >b@example.com\n1231-100000 rcpt 1 192.0.2.1 >a@example.com\n",
         &numbers);
    assert_true(numbers.backwards);
}

/* --- test/data/maillogs: a file is a test ---
 *
 * Lines that begin with '#' are comments. "TZ=zone modified=date" sets the zone and the file's last change (UTC). Then the log; '=' alone
 * begins another file; behind "---" the events, and numbers ("given_back 1") that must be so. */

static int64_t date_s(const char *text)
{
    struct tm tm = {0};
    assert_non_null(strptime(text, "%Y-%m-%dT%H:%M:%S", &tm));
    return (int64_t)timegm(&tm);
}

static void shift_shown(const struct replay_log *replay, struct seen *seen)
{
    seen->shift_ms = -replay_log_shown(replay, 0);
}

static void expect_number(const struct replay_numbers *numbers, const char *name, long long want,
                          const char *file)
{
    const struct {
        const char *name;
        uint64_t got;
    } known[] = {
        {"garbage", numbers->garbage},
        {"undated", numbers->undated},
        {"repeated", numbers->repeated},
        {"twice", numbers->twice},
        {"skipped", numbers->skipped},
        {"back", numbers->back},
        {"given_back", numbers->given_back},
        {"unknown", numbers->unknown},
        {"forwarded", numbers->forwarded},
        {"this_host", numbers->this_host},
        {"late", numbers->late},
        {"other_zone", numbers->other_zone},
        {"decisions", numbers->decisions},
        {"no_sender", numbers->no_sender},
        {"no_client", numbers->no_client},
        {"repeats", numbers->repeats},
        {"years", (uint64_t)numbers->moved_years},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) != 0)
            continue;
        if ((long long)known[i].got != want)
            fail_msg("%s: %s is %llu, not %lld", file, name, (unsigned long long)known[i].got, want);
        return;
    }
    fail_msg("%s: no number %s", file, name);
}

static void check_wanted(FILE *file, const char *name, const struct seen *seen,
                         const struct replay_numbers *numbers)
{
    char line[4096], word[64], want[8192] = "";
    long long value;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%63[a-z_] %lld", word, &value) == 2)
            expect_number(numbers, word, value, name);
        else
            strncat(want, line, sizeof want - strlen(want) - 1);
    }
    if (strcmp(seen->shown, want) != 0)
        fail_msg("%s\ngot\n%swant\n%s", name, seen->shown, want);
}

static void play_file(const char *name)
{
    char line[4096], modified[32];
    struct seen seen = {.n = 0};
    FILE *file = fopen(name, "r");
    struct replay_log *replay = replay_log_new(note, &seen);
    assert_non_null(file);
    assert_non_null(replay);
    int64_t modified_s = 0;
    while (fgets(line, sizeof line, file) != NULL && strcmp(line, "---\n") != 0) {
        char zone[64];
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#')
            continue;
        if (sscanf(line, "TZ=%63s modified=%31s", zone, modified) == 2) {
            setenv("TZ", zone, 1);
            tzset();
            modified_s = date_s(modified);
            replay_log_file(replay, modified_s);
        } else if (strcmp(line, "=") == 0) {
            replay_log_file(replay, modified_s);
        } else {
            assert_true(replay_log_line(replay, line, strlen(line)));
        }
    }
    assert_true(replay_log_end(replay));
    shift_shown(replay, &seen);
    show(&seen);
    check_wanted(file, name, &seen, replay_log_numbers(replay));
    replay_log_free(replay);
    assert_int_equal(fclose(file), 0);
}

static void files(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob(SOURCE_DIR "/test/data/maillogs/*", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        play_file(found.gl_pathv[i]);
    globfree(&found);
    setenv("TZ", "UTC", 1);
    tzset();
}

static bool count(void *arg, const struct replay_event *event)
{
    size_t *n = arg;
    *n += event->what == REPLAY_RCPT;
    return true;
}

/* More than is sorted and remembered at once: bounded, nothing is lost but what must be, and late ones are counted. */
static void bounds(void **state)
{
    (void)state;
    size_t n = 0;
    struct replay_log *replay = replay_log_new(count, &n);
    char line[256];
    assert_non_null(replay);
    replay_log_file(replay, 0);
    for (int i = 0; i < REPLAY_HELD + REPLAY_LINES + 1000; i++) {
        int length = snprintf(line, sizeof line,
                              "2026-11-23T%02d:%02d:%02dZ mx rcptgate[7]: queue=Q%08d client=192.0.2.1 "
                              "from=<> to=<a%d@example.com> verdict=accept",
                              i / 36000, i / 600 % 60, i / 10 % 60, i, i);
        assert_true(replay_log_line(replay, line, (size_t)length));
    }
    assert_int_equal(n, 1000);
    static const char late[] = "2026-11-22T00:00:00Z mx rcptgate[7]: queue=- client=192.0.2.1 from=<> "
                               "to=<b@example.com> verdict=accept";
    assert_true(replay_log_line(replay, late, sizeof late - 1));
    assert_true(replay_log_end(replay));
    assert_int_equal(n, REPLAY_HELD + REPLAY_LINES + 1001);
    assert_int_equal(replay_log_numbers(replay)->late, 1);
    replay_log_free(replay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(postfix_lines),
        cmocka_unit_test(decision_lines),
        cmocka_unit_test(ends_of_messages),
        cmocka_unit_test(what_is_in_no_line),
        cmocka_unit_test(dates),
        cmocka_unit_test(files),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
