/* A real redis-server for tests: private, in a temporary directory, on a unix socket and a free loopback
 * port. Ends with the test program, whatever happens. */
#ifndef RCPTGATE_TEST_REDIS_SERVER_H
#define RCPTGATE_TEST_REDIS_SERVER_H

#include "patience.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct redis_server {
    pid_t pid;
    int port;
    char dir[64], socket[80];
    const char *password; /* of the default user, for the test's own connection */
};

static inline int server_free_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (void *)&addr, sizeof addr) != 0 || getsockname(fd, (void *)&addr, &len) != 0)
        abort();
    close(fd);
    return ntohs(addr.sin_port);
}

/* The test's own connection, apart from the client under test; NULL while nobody listens. */
static inline redisContext *server_connect(const struct redis_server *server)
{
    redisContext *context = redisConnectUnix(server->socket);
    if (context == NULL || context->err != 0) {
        if (context != NULL)
            redisFree(context);
        return NULL;
    }
    if (server->password != NULL)
        freeReplyObject(redisCommand(context, "AUTH %s", server->password));
    return context;
}

static inline bool server_answers(const struct redis_server *server)
{
    redisContext *context = server_connect(server);
    if (context == NULL)
        return false;
    redisReply *reply = redisCommand(context, "PING");
    bool pong = reply != NULL && reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);
    redisFree(context);
    return pong;
}

/* One command, as redisCommand() formats it; its answer is thrown away. */
#define server_do(server, ...)                                                                               \
    do {                                                                                                     \
        redisContext *context_ = server_connect(server);                                                     \
        if (context_ == NULL)                                                                                \
            abort();                                                                                         \
        redisReply *reply_ = redisCommand(context_, __VA_ARGS__);                                            \
        if (reply_ == NULL || reply_->type == REDIS_REPLY_ERROR) {                                           \
            fprintf(stderr, "%s\n", reply_ != NULL ? reply_->str : context_->errstr);                        \
            abort();                                                                                         \
        }                                                                                                    \
        freeReplyObject(reply_);                                                                             \
        redisFree(context_);                                                                                 \
    } while (0)

/* Starts it again where it was, empty. */
static inline void server_launch(struct redis_server *server)
{
    char port[16];
    snprintf(port, sizeof port, "%d", server->port);
    pid_t parent = getpid();
    server->pid = fork();
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        char *log = NULL;
        if (asprintf(&log, "%s/log", server->dir) < 0)
            _exit(1);
        const char *program = getenv("REDIS_SERVER"); /* valkey-server */
        program = program != NULL && program[0] != '\0' ? program : "redis-server";
        execlp(program, program, "--bind", "127.0.0.1", "--port", port, "--unixsocket",
               server->socket, "--dir", server->dir, "--logfile", log, "--save", "", "--appendonly", "no",
               "--daemonize", "no", "--enable-debug-command", "yes", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && !server_answers(server); i++)
        nap(20);
    if (!server_answers(server))
        abort();
}

static inline void server_start(struct redis_server *server)
{
    *server = (struct redis_server){.port = server_free_port()};
    snprintf(server->dir, sizeof server->dir, "/tmp/rcptgate-redis-XXXXXX");
    if (mkdtemp(server->dir) == NULL)
        abort();
    snprintf(server->socket, sizeof server->socket, "%s/s", server->dir);
    server_launch(server);
}

static inline void server_kill(struct redis_server *server)
{
    if (server->pid <= 0)
        return;
    kill(server->pid, SIGKILL);
    while (waitpid(server->pid, NULL, 0) < 0)
        ;
    server->pid = 0;
}

static inline void server_remove(struct redis_server *server)
{
    static const char *const files[] = {"s", "log", "dump.rdb", "password"};
    server_kill(server);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", server->dir, files[i]);
        (void)unlink(path); /* not all of them exist */
    }
    rmdir(server->dir);
}

#endif
