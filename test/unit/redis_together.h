/* Calls that come together: each of a thread of its own, queued in a known order behind one that waits in Redis, so that all are written at once
 * when that one has its answer. Only for what joins (redis_client_eval()): all of that goes over one of the client's two pipelines. */
#ifndef RCPTGATE_TEST_REDIS_TOGETHER_H
#define RCPTGATE_TEST_REDIS_TOGETHER_H

#include "redis/client.h"
#include "redis_server.h"

#include <pthread.h>
#include <stdatomic.h>

enum { TOGETHER_MOST = 80 };

struct together_caller {
    void (*call)(void *arg);
    void *arg;
    atomic_int tid; /* 0: not there yet */
    atomic_bool ended;
    pthread_t thread;
};

struct together {
    struct redis_client *redis;
    redisContext *cli; /* of the test's own */
    struct together_caller first, second, callers[TOGETHER_MOST];
    size_t n;
    const char *also; /* a command that comes before them; NULL: none */
};

static inline void *together_main(void *arg)
{
    struct together_caller *self = arg;
    atomic_store(&self->tid, (int)gettid());
    self->call(self->arg);
    atomic_store(&self->ended, true);
    return NULL;
}

static inline bool together_sleeps(int tid)
{
    char path[64], stat[128] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t n = fread(stat, 1, sizeof stat - 1, file);
    (void)fclose(file);
    const char *state = n > 0 ? strrchr(stat, ')') : NULL;
    return state != NULL && state[2] == 'S';
}

/* Returns when the call sleeps, for Redis or in a queue, or has ended. */
static inline void together_start(struct together_caller *caller, void (*call)(void *arg), void *arg)
{
    *caller = (struct together_caller){.call = call, .arg = arg};
    if (pthread_create(&caller->thread, NULL, together_main, caller) != 0)
        abort();
    int tid;
    while (!atomic_load(&caller->ended) && ((tid = atomic_load(&caller->tid)) == 0 || !together_sleeps(tid)))
        nanosleep(&(struct timespec){.tv_nsec = 10000}, NULL);
}

static inline void together_wait(void *arg)
{
    struct together *together = arg;
    redisReply *reply = NULL;
    const struct redis_command command = {.argc = 3, .argv = (const char *const[]){"BLPOP", "together", "0"}};
    if (redis_client_call(together->redis, &command, &reply) != REDIS_ANSWERED ||
        reply->type != REDIS_REPLY_ARRAY)
        abort();
    freeReplyObject(reply);
}

/* From here on calls of this client wait, until together_go(). Its timeout must be long. */
static inline void together_begin(struct together *together, struct redis_client *redis, redisContext *cli)
{
    *together = (struct together){.redis = redis, .cli = cli};
    together_start(&together->first, together_wait, together); /* one in each pipeline */
    together_start(&together->second, together_wait, together);
}

/* The next one, in a thread of its own. */
static inline void together_call(struct together *together, void (*call)(void *arg), void *arg)
{
    if (together->n == TOGETHER_MOST)
        abort();
    together_start(&together->callers[together->n++], call, arg);
}

/* Until all have their answers. */
static inline void together_go(struct together *together)
{
    freeReplyObject(redisCommand(together->cli, "MULTI"));
    freeReplyObject(redisCommand(together->cli, "RPUSH together x x"));
    if (together->also != NULL)
        freeReplyObject(redisCommand(together->cli, together->also));
    freeReplyObject(redisCommand(together->cli, "EXEC"));
    pthread_join(together->first.thread, NULL);
    pthread_join(together->second.thread, NULL);
    for (size_t i = 0; i < together->n; i++)
        pthread_join(together->callers[i].thread, NULL);
}

#endif
