/* Scripted nodes of a cluster, each on a port of its own on loopback, of which one (`master`) has all slots; the others say so. One thread
 * serves them all. */
#ifndef RCPTGATE_TEST_SHARDS_H
#define RCPTGATE_TEST_SHARDS_H

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SHARDS_MOST = 400, SHARDS_CONNECTIONS = 4096 };

struct shards_connection {
    int node;
    redisReader *reader;
};

struct shards {
    int n; /* nodes; their listeners are the first descriptors */
    int port[SHARDS_MOST];
    atomic_int master;
    atomic_int open[SHARDS_MOST]; /* connections to each */
    _Atomic(const char *) slots;  /* the answer to CLUSTER SLOTS; NULL: the master has all */
    atomic_bool stop;
    pthread_t thread;
    int n_fds;
    struct pollfd fds[SHARDS_MOST + SHARDS_CONNECTIONS];
    struct shards_connection connections[SHARDS_MOST + SHARDS_CONNECTIONS];
};

static inline int shards_answer(const struct shards *shards, int node, const redisReply *command, char *out,
                                size_t size)
{
    const char *name = command->element[0]->str,
               *what = command->elements > 1 ? command->element[1]->str : "";
    const char *slots = atomic_load(&shards->slots);
    int port = shards->port[atomic_load(&shards->master)];
    char text[128];
    if (strcmp(name, "CLUSTER") == 0 && strcmp(what, "INFO") == 0)
        return snprintf(out, size, "$43\r\ncluster_state:ok\r\ncluster_current_epoch:1\r\n\r\n");
    if (strcmp(name, "CLUSTER") == 0 && slots != NULL)
        return snprintf(out, size, "%s", slots);
    if (strcmp(name, "CLUSTER") == 0)
        return snprintf(out, size,
                        "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$40\r\n%040d\r\n", port,
                        port);
    if (strcmp(name, "GET") == 0 && shards->port[node] == port)
        return snprintf(out, size, ":%d\r\n", node);
    if (strcmp(name, "GET") == 0)
        return snprintf(out, size, "-MOVED 1 127.0.0.1:%d\r\n", port);
    if (strcmp(name, "INFO") == 0) {
        int n = snprintf(text, sizeof text, "run_id:%040d\r\nmaxmemory_policy:noeviction\r\n",
                         shards->port[node]);
        return snprintf(out, size, "$%d\r\n%s\r\n", n, text);
    }
    return snprintf(out, size, strcmp(name, "EVALSHA") == 0 ? "-NOSCRIPT\r\n" : "+OK\r\n");
}

/* False: it has closed. */
static inline bool shards_serve(const struct shards *shards, int fd,
                                const struct shards_connection *connection)
{
    char bytes[4096], answer[512];
    void *command = NULL;
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0 || redisReaderFeed(connection->reader, bytes, (size_t)n) != REDIS_OK)
        return false;
    while (redisReaderGetReply(connection->reader, &command) == REDIS_OK && command != NULL) {
        int size = shards_answer(shards, connection->node, command, answer, sizeof answer);
        freeReplyObject(command);
        if (send(fd, answer, (size_t)size, MSG_NOSIGNAL) != size)
            return false;
    }
    return true;
}

static inline void shards_accept(struct shards *shards, int node)
{
    int fd = accept4(shards->fds[node].fd, NULL, NULL, SOCK_CLOEXEC), at = shards->n_fds;
    const int on = 1;
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof on); /* else each answer waits for the one before it */
    if (at == SHARDS_MOST + SHARDS_CONNECTIONS)
        abort();
    shards->fds[at] = (struct pollfd){.fd = fd, .events = POLLIN};
    shards->connections[at] = (struct shards_connection){node, redisReaderCreate()};
    atomic_fetch_add(&shards->open[node], 1);
    shards->n_fds++;
}

static inline void shards_close(struct shards *shards, int at)
{
    close(shards->fds[at].fd);
    redisReaderFree(shards->connections[at].reader);
    atomic_fetch_sub(&shards->open[shards->connections[at].node], 1);
    shards->n_fds--;
    shards->fds[at] = shards->fds[shards->n_fds];
    shards->connections[at] = shards->connections[shards->n_fds];
}

static inline void *shards_main(void *arg)
{
    struct shards *shards = arg;
    while (!atomic_load(&shards->stop)) {
        if (poll(shards->fds, (nfds_t)shards->n_fds, 20) <= 0)
            continue;
        for (int i = shards->n_fds - 1; i >= shards->n; i--)
            if (shards->fds[i].revents != 0 &&
                !shards_serve(shards, shards->fds[i].fd, &shards->connections[i]))
                shards_close(shards, i);
        for (int i = 0; i < shards->n; i++)
            if (shards->fds[i].revents != 0)
                shards_accept(shards, i);
    }
    return NULL;
}

static inline void shards_start(struct shards *shards, int n)
{
    struct rlimit files;
    memset(shards, 0, sizeof *shards);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* both ends of each connection are ours */
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    for (int i = 0; i < n; i++) {
        struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof addr;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (void *)&addr, len) != 0 || listen(fd, 64) != 0 ||
            getsockname(fd, (void *)&addr, &len) != 0)
            abort();
        shards->fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
        shards->port[i] = ntohs(addr.sin_port);
    }
    shards->n = shards->n_fds = n;
    if (pthread_create(&shards->thread, NULL, shards_main, shards) != 0)
        abort();
}

static inline void shards_stop(struct shards *shards)
{
    atomic_store(&shards->stop, true);
    pthread_join(shards->thread, NULL);
    while (shards->n_fds > shards->n)
        shards_close(shards, shards->n_fds - 1);
    for (int i = 0; i < shards->n; i++)
        close(shards->fds[i].fd);
}

#endif
