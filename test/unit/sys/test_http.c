/* Which Host headers are ours, and what a start that cannot succeed says and leaves alone. */
#include "sys/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <microhttpd.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void test_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *host, *address;
        bool ours;
    } rows[] = {
        {"127.0.0.1:9627", "127.0.0.1", true},
        {"localhost", "127.0.0.1", true},
        {"LocalHost.:1", "127.0.0.1", true},
        {"[::1]:9627", "127.0.0.1", true},
        {"[::1]", "::1", true},
        {"127.9.9.9:80", "127.9.9.9", true},
        {"[2001:db8::1]:9627", "2001:db8::1", true},
        {"192.0.2.1", "0.0.0.0", true},
        {"[2001:db8::1]", "::", true},
        {"127.9.9.9", "127.0.0.1", false},
        {"192.0.2.1", "127.0.0.1", false},
        {"evil.example", "127.0.0.1", false},
        {"evil.example", "0.0.0.0", false},
        {"localhost.evil.example", "127.0.0.1", false},
        {"localhost:80:80", "127.0.0.1", false},
        {"localhost:eighty", "127.0.0.1", false},
        {"127.0.0.1@evil.example", "127.0.0.1", false},
        {"[::1", "::1", false},
        {"[::1]x", "::1", false},
        {"::1", "::1", false},
        {":80", "127.0.0.1", false},
        {"", "127.0.0.1", false},
        {"", "0.0.0.0", false},
        {NULL, "127.0.0.1", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (http_host_is_ours(rows[i].host, rows[i].address) != rows[i].ours)
            fail_msg("\"%s\" at %s: %d is wanted", rows[i].host != NULL ? rows[i].host : "(none)",
                     rows[i].address, rows[i].ours);
    char longest[400];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_false(http_host_is_ours(longest, "0.0.0.0"));
}

static void no_answer(void *arg, const struct http_request *request, struct http_answer *out)
{
    (void)arg, (void)request, (void)out;
}

static const struct http_user nobody = {.answer = no_answer};

static void test_start(void **state)
{
    (void)state;
    struct error err = {0};
    struct http *first = http_start("127.0.0.1", 0, &nobody, &err);
    assert_non_null(first);
    assert_true(http_port(first) > 0);
    assert_null(http_start("127.0.0.1", http_port(first), &nobody, &err));
    assert_non_null(strstr(err.text, "in use"));
    int port = http_port(first);
    http_stop(first);
    struct http *again = http_start("127.0.0.1", port, &nobody, NULL);
    assert_non_null(again);
    http_stop(again);
    err = (struct error){0};
    assert_null(http_start("mx.example.com", 0, &nobody, &err));
    assert_non_null(strstr(err.text, "no address"));
    http_stop(NULL);
}

/* ---- a start without threads ---- */

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static bool no_threads;
static int taken = -1; /* what another thread opened under the number of a listener that was closed */

/* In the place of the C library's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    create_fn *real = (create_fn *)dlsym(RTLD_NEXT, "pthread_create");
    return no_threads ? EAGAIN : real(thread, attr, start, arg);
}

int close(int fd)
{
    int listens = 0;
    socklen_t n = sizeof listens;
    (void)getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n); /* of what is no socket nothing is known */
    int rc = (int)syscall(SYS_close, fd);
    if (no_threads && listens != 0 && taken < 0)
        taken = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return rc;
}

static void test_start_without_threads(void **state)
{
    (void)state;
    struct error err = {0};
    if (MHD_get_version()[0] != '0')
        skip(); /* libmicrohttpd 1.0 closes it twice by itself: nobody can help that */
    no_threads = true;
    struct http *http = http_start("127.0.0.1", 0, &nobody, &err);
    no_threads = false;
    assert_null(http);
    assert_non_null(strstr(err.text, "threads"));
    assert_true(taken >= 0);
    assert_int_not_equal(fcntl(taken, F_GETFD), -1); /* it is theirs */
    close(taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hosts), cmocka_unit_test(test_start),
                                       cmocka_unit_test(test_start_without_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
