/* socketmap: owns a server, and for each connection the bytes of one question and the pool of its answer. A client that
 * stands still in the middle of a question, or does not read, is sent away after REQUEST_MS, one that asks nothing
 * after IDLE_MS; Postfix then connects anew. */
#include "sys/socketmap.h"

#include "base/clock.h"
#include "sys/server.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    REQUEST_MS = 5000,
    IDLE_MS = 30000, /* three times what Postfix keeps a connection without a question */
    STOP_MS = 2000,
    STACK_BYTES = 256 << 10, /* as of a milter thread, which makes the same decision */
    DIGITS = 5,              /* of the length of a question */
    BUFFER = DIGITS + 1 + SOCKETMAP_QUESTION_MAX + 1,
};

struct socketmap {
    struct server *server;
    socketmap_lookup_fn *lookup;
    void *arg;
};

struct conversation {
    struct socketmap *socketmap;
    int fd, stop_fd;
    size_t n; /* bytes of the next question, or more, that have come */
    struct pool pool;
    char bytes[BUFFER + 1];
};

enum parsed { PARSED_NOTHING, PARSED_PART, PARSED_QUESTION };

/* "12:aliases a@b.c,": where its text begins and ends. */
static enum parsed parse(const struct conversation *c, size_t *begin, size_t *end)
{
    size_t length = 0, i = 0;
    for (; i < c->n && i < DIGITS && c->bytes[i] >= '0' && c->bytes[i] <= '9'; i++)
        length = length * 10 + (size_t)(c->bytes[i] - '0');
    if (i == c->n && i < DIGITS)
        return PARSED_PART;
    if (i == 0 || (i < c->n && c->bytes[i] != ':') || length > SOCKETMAP_QUESTION_MAX)
        return PARSED_NOTHING;
    *begin = i + 1;
    *end = *begin + length;
    if (c->n <= *end)
        return PARSED_PART;
    return c->bytes[*end] == ',' ? PARSED_QUESTION : PARSED_NOTHING;
}

/* Until there is a whole question. The first byte may take its time, the others not. */
static bool read_question(struct conversation *c, size_t *begin, size_t *end)
{
    int64_t deadline = clock_monotonic_ms() + (c->n == 0 ? IDLE_MS : REQUEST_MS);
    for (;;) {
        enum parsed parsed = parse(c, begin, end);
        if (parsed != PARSED_PART)
            return parsed == PARSED_QUESTION;
        if (!server_wait(c->fd, POLLIN, c->stop_fd, deadline))
            return false;
        ssize_t got = recv(c->fd, c->bytes + c->n, BUFFER - c->n, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        if (got > 0 && c->n == 0)
            deadline = clock_monotonic_ms() + REQUEST_MS;
        c->n += got > 0 ? (size_t)got : 0;
    }
}

static bool send_all(const struct conversation *c, const char *text, size_t n)
{
    int64_t deadline = clock_monotonic_ms() + REQUEST_MS;
    while (n > 0) {
        ssize_t sent = send(c->fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            text += sent;
            n -= (size_t)sent;
        } else if ((sent < 0 && errno != EAGAIN && errno != EINTR) ||
                   !server_wait(c->fd, POLLOUT, c->stop_fd, deadline)) {
            return false;
        }
    }
    return true;
}

static bool send_answer(struct conversation *c, enum socketmap_answer answer, const char *text)
{
    static const char *const words[] = {
        [SOCKETMAP_TEMP] = "TEMP ", [SOCKETMAP_FOUND] = "OK ", [SOCKETMAP_ABSENT] = "NOTFOUND "};
    if (text == NULL && answer != SOCKETMAP_ABSENT) {
        answer = SOCKETMAP_TEMP;
        text = "out of memory";
    } else if (answer == SOCKETMAP_ABSENT) {
        text = "";
    } else if (strlen(text) > SOCKETMAP_VALUE_MAX) {
        answer = SOCKETMAP_TEMP;
        text = "the value is too long for Postfix";
    }
    size_t length = strlen(words[answer]) + strlen(text);
    const char *line = pool_printf(&c->pool, "%zu:%s%s,", length, words[answer], text);
    return line != NULL && send_all(c, line, strlen(line));
}

/* A name without a key is a question for nothing; a NUL ends what it stands in. */
static bool answer_question(struct conversation *c, char *question)
{
    const char *text = NULL;
    char *key = strchr(question, ' ');
    if (key == NULL)
        return false;
    *key++ = '\0';
    enum socketmap_answer answer = c->socketmap->lookup(c->socketmap->arg, question, key, &c->pool, &text);
    bool sent = send_answer(c, answer, text);
    pool_reset(&c->pool);
    return sent;
}

static void converse(void *arg, int fd, int stop_fd)
{
    size_t begin = 0, end = 0;
    struct conversation *c = malloc(sizeof *c);
    if (c == NULL)
        return;
    c->socketmap = arg;
    c->fd = fd;
    c->stop_fd = stop_fd;
    c->n = 0;
    c->pool = (struct pool){0};
    while (read_question(c, &begin, &end)) {
        c->bytes[end] = '\0'; /* the comma */
        if (!answer_question(c, c->bytes + begin))
            break;
        c->n -= end + 1;
        memmove(c->bytes, c->bytes + end + 1, c->n);
    }
    pool_done(&c->pool);
    free(c);
}

struct socketmap *socketmap_start(int fd, socketmap_lookup_fn *lookup, void *arg, struct error *err)
{
    struct socketmap *socketmap = malloc(sizeof *socketmap);
    if (socketmap == NULL) {
        error_set(err, "out of memory for the map socket");
        return NULL;
    }
    *socketmap = (struct socketmap){.lookup = lookup, .arg = arg};
    const struct server_config config = {.name = "maps",
                                         .fd = fd,
                                         .clients = SOCKETMAP_CLIENTS,
                                         .stack_bytes = STACK_BYTES,
                                         .serve = converse,
                                         .arg = socketmap};
    socketmap->server = server_start(&config, err);
    if (socketmap->server != NULL)
        return socketmap;
    free(socketmap);
    return NULL;
}

bool socketmap_stop(struct socketmap *socketmap)
{
    if (socketmap == NULL)
        return true;
    bool alone = server_stop(socketmap->server, STOP_MS);
    if (alone)
        free(socketmap);
    return alone;
}
