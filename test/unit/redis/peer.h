/* A scripted peer on a unix socket: speaks enough of Redis to be connected to and probed, and answers ECHO in
 * all the ways in which a real server does not. */
#ifndef RCPTGATE_TEST_PEER_H
#define RCPTGATE_TEST_PEER_H

#include "patience.h"

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum peer_mode {
    PEER_WELL,       /* the right answer */
    PEER_DRIP,       /* the right answer, a byte every 20 ms */
    PEER_LATE,       /* the right answer, when it is held no longer */
    PEER_SILENT,     /* no answer */
    PEER_HANGUP,     /* reads the command and closes */
    PEER_HALF,       /* closes its writing half instead of an answer, and goes on reading */
    PEER_TRUNCATE,   /* half an answer, then closes */
    PEER_GARBAGE,    /* an HTTP answer */
    PEER_HUGE_BULK,  /* announces 500 MB and sends without end */
    PEER_HUGE_ARRAY, /* announces 2,000 million elements */
    PEER_DEEP,       /* an array in an array in an array ... */
    PEER_TWICE,      /* answers twice */
    PEER_ERROR,      /* the error in peer.error */
};

enum { PEER_CONNECTIONS = 256 };

struct peer {
    char dir[64], path[80];
    int listener;
    pthread_t thread;
    _Atomic enum peer_mode mode;
    atomic_bool held;
    atomic_bool mute;                  /* reads, and answers nothing at all */
    atomic_int accepted, commands;     /* commands: ECHOs read */
    atomic_int probes;                 /* EVALs read */
    _Atomic(const char *) error;       /* to ECHO */
    _Atomic(const char *) probe_error; /* to EVAL; NULL: well */
    _Atomic(const char *) greeting;    /* sent to each new connection, which is then closed; NULL: none */
    pthread_mutex_t mutex;
    int n;
    struct peer_connection {
        struct peer *peer;
        int fd;
        pthread_t thread;
    } connections[PEER_CONNECTIONS];
};

static inline bool peer_write(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static inline bool peer_say(int fd, const char *text)
{
    return peer_write(fd, text, strlen(text));
}

/* false: close the connection. */
static inline bool peer_repeat(struct peer *peer, int fd, const redisReply *arg)
{
    char answer[256];
    snprintf(answer, sizeof answer, "$%zu\r\n%s\r\n", arg->len, arg->str);
    atomic_fetch_add(&peer->commands, 1);
    switch (atomic_load(&peer->mode)) {
    case PEER_WELL:
        return peer_say(fd, answer);
    case PEER_DRIP:
        for (const char *at = answer; *at != '\0'; at++) {
            if (!peer_write(fd, at, 1))
                return false;
            nap(20);
        }
        return true;
    case PEER_LATE:
        while (atomic_load(&peer->held))
            nap(1);
        return peer_say(fd, answer);
    case PEER_SILENT:
        return true;
    case PEER_HANGUP:
        return false;
    case PEER_HALF:
        return shutdown(fd, SHUT_WR) == 0;
    case PEER_TRUNCATE:
        (void)peer_write(fd, answer, strlen(answer) / 2);
        return false;
    case PEER_GARBAGE:
        return peer_say(fd, "HTTP/1.1 400 Bad Request\r\n\r\n");
    case PEER_HUGE_BULK:
        if (!peer_say(fd, "$500000000\r\n"))
            return false;
        memset(answer, 'x', sizeof answer);
        while (peer_write(fd, answer, sizeof answer))
            ;
        return false;
    case PEER_HUGE_ARRAY:
        return peer_say(fd, "*2000000000\r\n$1\r\na\r\n");
    case PEER_DEEP:
        for (int i = 0; i < 100000; i++)
            if (!peer_say(fd, "*1\r\n"))
                return false;
        return true;
    case PEER_TWICE:
        return peer_say(fd, answer) && peer_say(fd, answer);
    case PEER_ERROR:
        snprintf(answer, sizeof answer, "-%s\r\n", atomic_load(&peer->error));
        return peer_say(fd, answer);
    }
    return false;
}

static inline bool peer_answer(struct peer *peer, int fd, const redisReply *command)
{
    const char *name = command->element[0]->str;
    if (atomic_load(&peer->mute))
        return true;
    if (strcmp(name, "ECHO") == 0)
        return peer_repeat(peer, fd, command->element[1]);
    if (strcmp(name, "EVALSHA") == 0)
        return peer_say(fd, "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    if (strcmp(name, "INFO") == 0)
        return peer_say(fd, "$48\r\nrun_id:1234567890\r\nmaxmemory_policy:noeviction\r\n\r\n");
    if (strcmp(name, "EVAL") == 0) {
        atomic_fetch_add(&peer->probes, 1);
        const char *error = atomic_load(&peer->probe_error);
        char line[256];
        snprintf(line, sizeof line, "-%s\r\n", error != NULL ? error : "");
        return peer_say(fd, error != NULL ? line : ":0\r\n");
    }
    return peer_say(fd, "+OK\r\n");
}

static inline void *peer_serve(void *arg)
{
    struct peer_connection *connection = arg;
    struct peer *peer = connection->peer;
    redisReader *reader = redisReaderCreate();
    bool on = true;
    const char *greeting = atomic_load(&peer->greeting);
    if (greeting != NULL) {
        (void)peer_say(connection->fd, greeting); /* it may be gone */
        on = false;
    }
    while (on) {
        char bytes[4096];
        ssize_t n = recv(connection->fd, bytes, sizeof bytes, 0);
        if (n <= 0 || redisReaderFeed(reader, bytes, (size_t)n) != REDIS_OK)
            break;
        void *command = NULL;
        while (on && redisReaderGetReply(reader, &command) == REDIS_OK && command != NULL) {
            on = peer_answer(peer, connection->fd, command);
            freeReplyObject(command);
        }
    }
    shutdown(connection->fd, SHUT_RDWR); /* closed when the peer ends, so that no number is used twice */
    redisReaderFree(reader);
    return NULL;
}

static inline void *peer_accept(void *arg)
{
    struct peer *peer = arg;
    for (;;) {
        int fd = accept4(peer->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        atomic_fetch_add(&peer->accepted, 1);
        pthread_mutex_lock(&peer->mutex);
        if (peer->n == PEER_CONNECTIONS)
            abort();
        struct peer_connection *connection = &peer->connections[peer->n++];
        connection->peer = peer;
        connection->fd = fd;
        if (pthread_create(&connection->thread, NULL, peer_serve, connection) != 0)
            abort();
        pthread_mutex_unlock(&peer->mutex);
    }
}

/* Closes all connections there are, as an idle timeout does. */
static inline void peer_disconnect(struct peer *peer)
{
    pthread_mutex_lock(&peer->mutex);
    for (int i = 0; i < peer->n; i++)
        shutdown(peer->connections[i].fd, SHUT_RDWR);
    pthread_mutex_unlock(&peer->mutex);
}

static inline void peer_start(struct peer *peer)
{
    memset(peer, 0, sizeof *peer);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    pthread_mutex_init(&peer->mutex, NULL);
    snprintf(peer->dir, sizeof peer->dir, "/tmp/rcptgate-peer-XXXXXX");
    if (mkdtemp(peer->dir) == NULL)
        abort();
    snprintf(peer->path, sizeof peer->path, "%s/s", peer->dir);
    memcpy(addr.sun_path, peer->path, strlen(peer->path) + 1);
    peer->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer->listener < 0 || bind(peer->listener, (void *)&addr, sizeof addr) != 0 ||
        listen(peer->listener, 64) != 0 || pthread_create(&peer->thread, NULL, peer_accept, peer) != 0)
        abort();
}

static inline void peer_stop(struct peer *peer)
{
    shutdown(peer->listener, SHUT_RDWR);
    pthread_join(peer->thread, NULL);
    peer_disconnect(peer);
    for (int i = 0; i < peer->n; i++) {
        pthread_join(peer->connections[i].thread, NULL);
        close(peer->connections[i].fd);
    }
    close(peer->listener);
    unlink(peer->path);
    rmdir(peer->dir);
    pthread_mutex_destroy(&peer->mutex);
}

#endif
