/* encoder: commands in the Redis protocol (RESP), on their way out. Grows, and is used again and again. */
#ifndef RCPTGATE_REDIS_ENCODER_H
#define RCPTGATE_REDIS_ENCODER_H

#include "redis/command.h"

#include <stdbool.h>
#include <stddef.h>

enum { REDIS_HEAD = 4 };

/* A command in two parts, so that EVALSHA, the SHA and the number of keys need no copy of the arguments. */
struct redis_request {
    bool asking; /* ASKING comes before it, with an answer of its own */
    int n_head;
    const char *head[REDIS_HEAD];
    const struct redis_command *rest; /* may be NULL */
};

struct redis_encoder { /* zeroed: empty */
    char *bytes;
    size_t len, size;
    size_t sent; /* of len */
};

/* 0, or -1 when out of memory; then the encoder is as before. */
int redis_encoder_add(struct redis_encoder *encoder, const struct redis_request *request);

/* The same for a command of a few strings; the list ends with NULL. */
int redis_encoder_add_strings(struct redis_encoder *encoder, const char *const *argv);

void redis_encoder_clear(struct redis_encoder *encoder); /* keeps a small amount of memory */
void redis_encoder_done(struct redis_encoder *encoder);  /* wipes it (passwords) and gives the memory back */

#endif
