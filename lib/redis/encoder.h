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
    const char *head_in_resp; /* the same, made before; NULL: it was not */
    int n_keys; /* where there is a head: this number follows it, and as many keys come first in rest */
    const struct redis_command *rest; /* may be NULL */
};

/* May it be one call with others (redis_client_eval()); and with this one? */
bool redis_encoder_may_join(const struct redis_request *request);
bool redis_encoder_joins(const struct redis_request *a, const struct redis_request *b);

struct redis_encoder { /* zeroed: empty */
    char *bytes;
    size_t len, size;
    size_t sent; /* of len */
};

/* n requests, at least one, as one call: where there are several, all join. 0, or -1 when out of memory; then the encoder is as
 * before. */
int redis_encoder_add(struct redis_encoder *encoder, const struct redis_request *const *requests, int n);

/* The same for a command of a few strings; the list ends with NULL. */
int redis_encoder_add_strings(struct redis_encoder *encoder, const char *const *argv);

void redis_encoder_clear(struct redis_encoder *encoder); /* keeps a small amount of memory */
void redis_encoder_done(struct redis_encoder *encoder);  /* wipes it (passwords) and gives the memory back */

#endif
