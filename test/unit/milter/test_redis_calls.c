/* Whole RCPTs on a real Redis, while every call in turn by which the gate speaks to it fails: sends and receives that break,
 * end, are cut off or bring other bytes. The answer is right, or 451. */
#include "config/config.h"
#include "milter/session.h"

#include "patience.h"
#include "redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { MAX = 2, LONGEST = 400 };

/* --- faults: the nth call fails --- */

enum fault {
    SEND_BREAKS,   /* ECONNRESET */
    SEND_HALF,     /* one byte goes: what is left must be sent as well */
    SEND_FULL,     /* EAGAIN: no room now */
    RECV_BREAKS,   /* ECONNRESET, after Redis has done it */
    RECV_ENDS,     /* the peer has closed */
    RECV_HALF,     /* one byte comes: what is left must be read as well */
    RECV_NOTHING,  /* EAGAIN, although it was said to be readable */
    RECV_GARBAGE,  /* other bytes */
    RECV_OTHER,    /* the answer to something else */
    CONNECT_FAILS, /* ECONNREFUSED */
    FAULTS
};

static atomic_int armed = FAULTS, countdown, failed;

static bool fails(enum fault fault)
{
    if (atomic_load(&armed) != (int)fault || atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    atomic_fetch_add(&failed, 1);
    return true;
}

static void fail_nth(enum fault fault, int n)
{
    atomic_store(&failed, 0);
    atomic_store(&countdown, n);
    atomic_store(&armed, (int)fault);
}

static void no_faults(void)
{
    atomic_store(&armed, FAULTS);
}

static ssize_t error_of(int error)
{
    errno = error;
    return -1;
}

ssize_t send(int fd, const void *bytes, size_t n, int flags) /* instead of libc's, as the next two */
{
    if (fails(SEND_BREAKS))
        return error_of(ECONNRESET);
    if (fails(SEND_FULL))
        return error_of(EAGAIN);
    return sendto(fd, bytes, fails(SEND_HALF) ? 1 : n, flags, NULL, 0);
}

ssize_t recv(int fd, void *bytes, size_t n, int flags)
{
    static const char garbage[] = "HTTP/1.1 400 Bad Request\r\n\r\n", other[] = ":7\r\n";
    if ((flags & MSG_PEEK) != 0)
        return recvfrom(fd, bytes, n, flags, NULL, NULL);
    if (fails(RECV_NOTHING))
        return error_of(EAGAIN);
    ssize_t got = recvfrom(fd, bytes, fails(RECV_HALF) && n > 0 ? 1 : n, flags, NULL, NULL);
    if (got <= 0)
        return got;
    if (fails(RECV_BREAKS))
        return error_of(ECONNRESET);
    if (fails(RECV_ENDS))
        return 0;
    const char *instead = fails(RECV_GARBAGE) ? garbage : fails(RECV_OTHER) ? other : NULL;
    if (instead == NULL || strlen(instead) > n)
        return got;
    memcpy(bytes, instead, strlen(instead));
    return (ssize_t)strlen(instead);
}

int connect(int fd, const struct sockaddr *to, socklen_t n)
{
    if (fails(CONNECT_FAILS))
        return (int)error_of(ECONNREFUSED);
    return (int)syscall(SYS_connect, fd, to, n);
}

/* --- the gate --- */

static struct redis_server server;

static struct {
    struct gate gate;
    struct session_list list;
    struct session *session;
} world;

/* A new one each time: the more often Redis was lost, the longer its client rests before it connects again. */
static void begin(void)
{
    char text[1024];
    struct problems problems = {0};
    struct error err = {0};
    struct network client;
    snprintf(text, sizeof text,
             "{\"state\": \"%s\", \"counters\": {\"url\": \"unix://%s\", \"when_down\": \"defer\", "
             "\"timeout\": \"5s\"},"
             "\"limits\": [{\"name\": \"hard\", \"per\": \"recipient\", \"max\": %d, \"window\": \"1d\", "
             "\"over\": \"reject\"},"
             "{\"name\": \"tries\", \"per\": \"sender\", \"count\": \"attempts\", \"max\": 100000, "
             "\"window\": \"1d\"}]}",
             server.dir, server.socket, MAX);
    const struct policy *policy = config_load(text, strlen(text), &problems);
    for (size_t i = 0; i < problems.n; i++)
        print_message("%s: %s\n", problems.at[i].pointer, problems.at[i].text);
    assert_int_equal(problems_status(&problems), 0);
    problems_done(&problems);
    assert_int_equal(gate_init(&world.gate, policy, NULL, &err), 0);
    session_list_init(&world.list, &world.gate);
    world.session = session_new(&world.list);
    assert_non_null(world.session);
    assert_int_equal(network_parse("192.0.2.7", &client, NULL), 0);
    session_connect(world.session, &client);
}

static void end(void)
{
    no_faults();
    session_free(world.session);
    gate_done(&world.gate);
}

/* A whole message; the code of the answer to its RCPT. */
static int mail(const char *to)
{
    struct outcome outcome;
    struct ending ending;
    session_mail(world.session, "<b@example.net>", NULL, NULL, -1);
    session_rcpt(world.session, to, NULL, &outcome);
    int code = outcome.line.code[0] == '\0' ? 250 : atoi(outcome.line.code);
    if (code == 250)
        message_end(&world.session->message, &ending);
    else
        message_abort(&world.session->message);
    return code;
}

/* Redis is asked again. */
static void wait_up(void)
{
    static int n;
    char somebody[64];
    no_faults();
    for (int waited = 0;; waited += 5) {
        snprintf(somebody, sizeof somebody, "<somebody%d@example.com>", ++n);
        if (mail(somebody) == 250)
            return;
        assert_true(waited < PATIENCE_MS);
        nap(5);
    }
}

/* A recipient whose allowance has been taken by messages that reached their end. */
static void fill(const char *to)
{
    wait_up();
    for (int i = 0; i < MAX; i++)
        assert_int_equal(mail(to), 250);
}

/* As many RCPTs as the limit lets through: each is 250 or 451, whatever was lost. And one more than was taken is refused,
 * for good or, where the word of a message's end was lost, for now; or nobody can tell. */
static void every_call(enum fault fault)
{
    char full[64];
    int n = 0, hits = 0, tempfail = 0;
    snprintf(full, sizeof full, "<full%d@example.com>", (int)fault);
    begin();
    fill(full);
    do {
        char fresh[64];
        snprintf(fresh, sizeof fresh, "<f%d-%d@example.com>", (int)fault, ++n);
        fail_nth(fault, n);
        for (int i = 0; i < MAX; i++) {
            int code = mail(fresh);
            tempfail += code == 451;
            if (code != 250 && code != 451)
                fail_msg("fault %d at call %d: RCPT %d of %d gets %d", (int)fault, n, i + 1, MAX, code);
        }
        int code = mail(full);
        if (code != 550 && code != 450 && code != 451)
            fail_msg("fault %d at call %d: what is full gets %d", (int)fault, n, code);
        hits += atomic_load(&failed);
        wait_up();
    } while (atomic_load(&failed) > 0 && n < LONGEST);
    print_message("fault %d: %d calls failed, %d answers were 451\n", (int)fault, hits, tempfail);
    assert_true(hits >= MAX); /* each RCPT sends and receives */
    assert_true(n < LONGEST); /* beyond the last call nothing fails */
    end();
}

static void sends_fail(void **state)
{
    (void)state;
    every_call(SEND_BREAKS);
    every_call(SEND_HALF);
    every_call(SEND_FULL);
}

static void receives_fail(void **state)
{
    (void)state;
    every_call(RECV_BREAKS);
    every_call(RECV_ENDS);
    every_call(RECV_HALF);
    every_call(RECV_NOTHING);
}

static void answers_are_others(void **state)
{
    (void)state;
    every_call(RECV_GARBAGE);
    every_call(RECV_OTHER);
}

/* The connection breaks, and then the nth call of coming back: connecting, the handshake, the first questions. */
static void coming_back_fails(void **state)
{
    (void)state;
    static const enum fault faults[] = {CONNECT_FAILS, SEND_BREAKS, RECV_BREAKS, RECV_GARBAGE};
    enum { CALLS = 3 };
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        for (int n = 1; n <= CALLS; n++) {
            char fresh[64];
            snprintf(fresh, sizeof fresh, "<back%zu-%d@example.com>", f, n);
            begin();
            wait_up();
            fail_nth(RECV_ENDS, 1);
            int first = mail(fresh);
            fail_nth(faults[f], n);
            for (int waited = 0; waited < 1000 && atomic_load(&failed) == 0; waited += 5) {
                redis_client_wait(world.gate.context.redis, 5);
                nap(5);
            }
            int second = mail(fresh);
            assert_true((first == 250 || first == 451) && (second == 250 || second == 451));
            wait_up();
            end();
        }
    }
}

static int start(void **state)
{
    (void)state;
    server_start(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server_remove(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_fail),
        cmocka_unit_test(receives_fail),
        cmocka_unit_test(answers_are_others),
        cmocka_unit_test(coming_back_fails),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
