/* A client of Redis that asks nobody, in the place of lib/redis/client.c: one Redis, which is up, and answers what redis_fed_answer() of the
 * test says. What it is asked has keys, and lengths that are right. */
#ifndef RCPTGATE_TEST_REDIS_FED_H
#define RCPTGATE_TEST_REDIS_FED_H

#include "redis/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum redis_status redis_fed_answer(redisReply **out);

struct redis_client {
    int unused;
};

const char *redis_client_prefix(const struct redis_client *redis)
{
    (void)redis;
    return "test";
}

enum redis_status redis_client_call(struct redis_client *redis, const struct redis_command *command,
                                    redisReply **reply)
{
    (void)redis, (void)command;
    return redis_fed_answer(reply);
}

void redis_script_init(struct redis_script *script, const char *source)
{
    script->source = source;
}

enum redis_status redis_client_eval(struct redis_client *redis, const struct redis_script *script, int n_keys,
                                    const struct redis_command *args, redisReply **reply)
{
    (void)redis, (void)script;
    if (n_keys < 1 || args->argc < n_keys)
        abort();
    for (int i = 0; i < args->argc; i++)
        if (strnlen(args->argv[i], args->lens[i]) != args->lens[i])
            abort();
    return redis_fed_answer(reply);
}

bool redis_client_wait(struct redis_client *redis, int64_t timeout_ms)
{
    (void)redis, (void)timeout_ms;
    return true;
}

bool redis_client_slot_is_up(struct redis_client *redis, unsigned slot)
{
    (void)redis, (void)slot;
    return true;
}

unsigned redis_client_restarts(struct redis_client *redis, unsigned slot)
{
    (void)redis, (void)slot;
    return 0;
}

unsigned redis_client_slots(const struct redis_client *redis)
{
    (void)redis;
    return 1;
}

unsigned redis_client_slot(const struct redis_client *redis, const char *key)
{
    (void)redis, (void)key;
    return 0;
}

int redis_client_key_beside(const struct redis_client *redis, unsigned slot, const char *name, char *out,
                            size_t size)
{
    (void)redis, (void)slot;
    return snprintf(out, size, "test:%s", name);
}

size_t redis_client_nodes(struct redis_client *redis)
{
    (void)redis;
    return 1;
}

enum redis_status redis_client_call_node(struct redis_client *redis, size_t node,
                                         const struct redis_command *command, redisReply **reply)
{
    (void)node;
    return redis_client_call(redis, command, reply);
}

void redis_client_missing(struct redis_client *redis, struct error *out)
{
    (void)redis, (void)out;
}

void redis_client_condition(struct redis_client *redis, struct error *out)
{
    (void)redis, (void)out;
}

#endif
