/* Netstrings as Postfix sends them, and as it does not: whole, in pieces, several at once, too long, garbled. */
#include "sys/socketmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct {
    int listener;
    char path[64];
    struct socketmap *socketmap;
    atomic_uint asked;
} world = {.path = "/tmp/test_socketmap.XXXXXX"};

static enum socketmap_answer look_up(void *arg, const char *map, const char *key, struct pool *pool,
                                     const char **text)
{
    assert_ptr_equal(arg, &world);
    atomic_fetch_add(&world.asked, 1);
    if (strcmp(key, "absent") == 0)
        return SOCKETMAP_ABSENT;
    if (strcmp(key, "empty") == 0) /* as where memory ran out */
        return SOCKETMAP_FOUND;
    if (strcmp(key, "long") == 0) {
        char *value = pool_alloc(pool, SOCKETMAP_VALUE_MAX + 2);
        assert_non_null(value);
        *text = memset(value, 'x', SOCKETMAP_VALUE_MAX + 1);
        return SOCKETMAP_FOUND;
    }
    *text = pool_join(pool, map, "=", key);
    return strcmp(key, "later") == 0 ? SOCKETMAP_TEMP : SOCKETMAP_FOUND;
}

static int set_up(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = mkstemp(world.path);
    assert_true(fd >= 0);
    close(fd);
    unlink(world.path);
    memcpy(address.sun_path, world.path, sizeof world.path);
    world.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(world.listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(world.listener, 16), 0);
    struct error err = {0};
    world.socketmap = socketmap_start(world.listener, look_up, &world, &err);
    assert_string_equal(err.text, "");
    return world.socketmap != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    bool stopped = socketmap_stop(world.socketmap);
    close(world.listener);
    unlink(world.path);
    return stopped ? 0 : -1;
}

static int connect_client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, world.path, sizeof world.path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Until there are n bytes, or the end. */
static size_t receive(int fd, char *out, size_t n)
{
    size_t got = 0;
    ssize_t more;
    while (got < n && (more = recv(fd, out + got, n - got, 0)) > 0)
        got += (size_t)more;
    out[got] = '\0';
    return got;
}

static void expect(int fd, const char *bytes, const char *answer)
{
    char out[256];
    assert_int_equal(send(fd, bytes, strlen(bytes), 0), (ssize_t)strlen(bytes));
    receive(fd, out, strlen(answer));
    assert_string_equal(out, answer);
}

static void answers(void **state)
{
    (void)state;
    int fd = connect_client();
    expect(fd, "5:m key,", "8:OK m=key,");
    expect(fd, "9:m a  b c ,", "12:OK m=a  b c ,");
    expect(fd, "8:m absent,", "9:NOTFOUND ,");
    expect(fd, "7:m later,", "12:TEMP m=later,");
    expect(fd, "7:m empty,", "18:TEMP out of memory,");
    expect(fd, "6:m long,", "38:TEMP the value is too long for Postfix,");
    expect(fd, "2:m ,", "5:OK m=,");
    close(fd);
}

static void several_at_once(void **state)
{
    (void)state;
    int fd = connect_client();
    expect(fd, "3:m a,3:m b,3:m c,3:m", "6:OK m=a,6:OK m=b,6:OK m=c,");
    expect(fd, " d,", "6:OK m=d,");
    close(fd);
}

static void byte_by_byte(void **state)
{
    (void)state;
    int fd = connect_client();
    for (const char *at = "11:map the key,"; *at != '\0'; at++)
        assert_int_equal(send(fd, at, 1, 0), 1);
    expect(fd, "", "14:OK map=the key,");
    close(fd);
}

/* The longest question that is taken. */
static void long_questions(void **state)
{
    (void)state;
    static char question[SOCKETMAP_QUESTION_MAX + 16], out[SOCKETMAP_QUESTION_MAX + 64], expected[sizeof out];
    int n = snprintf(question, sizeof question, "%d:m ", SOCKETMAP_QUESTION_MAX);
    memset(question + n, 'k', SOCKETMAP_QUESTION_MAX - 2);
    question[n + SOCKETMAP_QUESTION_MAX - 2] = ',';
    int length = snprintf(expected, sizeof expected, "%d:OK m=%.*s,", SOCKETMAP_QUESTION_MAX + 3,
                          SOCKETMAP_QUESTION_MAX - 2, question + n);
    int fd = connect_client();
    assert_int_equal(send(fd, question, strlen(question), 0), (ssize_t)strlen(question));
    receive(fd, out, (size_t)length);
    assert_string_equal(out, expected);
    close(fd);
}

static void garbled(void **state)
{
    (void)state;
    static const char *const lines[] = {
        ":,",       "x",     "1,",      "0:,",        "1:m,",
        "5:m key;", "-1:a,", "99999:a", "123456:abc", "GET / HTTP/1.1\r\n\r\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char out[8];
        unsigned asked = atomic_load(&world.asked);
        int fd = connect_client();
        assert_int_equal(send(fd, lines[i], strlen(lines[i]), 0), (ssize_t)strlen(lines[i]));
        assert_int_equal(receive(fd, out, sizeof out - 1), 0);
        assert_int_equal(atomic_load(&world.asked), asked);
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers), cmocka_unit_test(several_at_once),
                                       cmocka_unit_test(byte_by_byte), cmocka_unit_test(long_questions),
                                       cmocka_unit_test(garbled)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
