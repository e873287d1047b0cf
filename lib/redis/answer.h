/* answer: what is read in several places out of what Redis says of itself. Owns nothing. */
#ifndef RCPTGATE_REDIS_ANSWER_H
#define RCPTGATE_REDIS_ANSWER_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is it a string without a NUL in it? NULL: no. */
bool redis_answer_is_text(const redisReply *reply);

/* The value of "name:VALUE", a line of the answer to INFO or CLUSTER INFO, cut where it is longer than out; "" where there is none, or
 * another answer. Returns out. */
const char *redis_answer_field(const redisReply *reply, const char *name, char *out, size_t size);

/* The answer to TIME: Unix time in ms. False (out untouched): it is none. */
bool redis_answer_time(const redisReply *reply, int64_t *out);

#endif
