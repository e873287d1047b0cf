/* socketmap: answers look-ups of Postfix (socketmap_table(5)), as sendmail invented them: netstrings of "MAP KEY" one way,
 * of "OK VALUE", "NOTFOUND " or "TEMP REASON" the other. What the maps hold is the caller's business.
 *
 * A connection is one Postfix process, which asks again and again, and leaves after 10 s without a question. Each has a
 * thread of its own, SOCKETMAP_CLIENTS at most: who comes then waits. What is no question ends the connection. */
#ifndef RCPTGATE_SYS_SOCKETMAP_H
#define RCPTGATE_SYS_SOCKETMAP_H

#include "base/error.h"
#include "base/pool.h"

#include <stdbool.h>

enum {
    SOCKETMAP_CLIENTS = 1000,
    SOCKETMAP_QUESTION_MAX = 8192, /* bytes of a map's name and a key */
    SOCKETMAP_VALUE_MAX = 90000,   /* Postfix takes 100,000 bytes for an answer; what is longer is TEMP */
};

enum socketmap_answer {
    SOCKETMAP_TEMP = 0, /* nobody can tell now */
    SOCKETMAP_FOUND,
    SOCKETMAP_ABSENT,
};

struct socketmap;

/* *text: the value of FOUND, the reason of TEMP; from the pool, or constant. NULL: memory ran out. Called by several
 * threads at once. */
typedef enum socketmap_answer socketmap_lookup_fn(void *arg, const char *map, const char *key,
                                                  struct pool *pool, const char **text);

/* fd: listening; stays the caller's. NULL with err set. */
struct socketmap *socketmap_start(int fd, socketmap_lookup_fn *lookup, void *arg, struct error *err);

/* False: a look-up is still under way, and uses what it was given. NULL is harmless. */
bool socketmap_stop(struct socketmap *socketmap);

#endif
