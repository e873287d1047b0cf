/* pool: connections to one file of alias rules, shared by all threads: the callbacks of one session hop threads.
 *
 * A checkout is a connection that was taken out of the pool, with a read transaction open: all that is read in it is of
 * one moment. A file that is replaced, cut or cannot be read begins a new epoch: connections of an earlier one are closed
 * as they come back. Files are opened, looked at and read outside of the lock, so that a slow disk delays only who needs
 * it. */
#ifndef RCPTGATE_ALIASES_POOL_H
#define RCPTGATE_ALIASES_POOL_H

#include "base/error.h"
#include "connection.h"

#include <stdbool.h>
#include <stdint.h>

struct aliases_pool;

struct aliases_checkout {
    struct aliases_pool *pool;
    struct aliases_connection *connection;
    struct aliases_checkout *next;       /* in the list of idle ones */
    uint64_t generation;                 /* of the data, see aliases_pool_generation() */
    unsigned epoch;                      /* of the file that it has open */
    enum aliases_connection_fault fault; /* BUSY or BROKEN: nothing more is asked in this transaction */
};

/* immutable: the file is only ever replaced. Never creates a file; one that cannot be used is not an error
 * here. NULL: out of memory. */
struct aliases_pool *aliases_pool_new(const char *path, bool immutable);
void aliases_pool_free(struct aliases_pool *pool); /* all checkouts are back */

/* NULL: nothing can be read now, aliases_pool_condition() says why. Waits 100 ms at most, while all connections are out. */
struct aliases_checkout *aliases_pool_take(struct aliases_pool *pool);
void aliases_pool_give(struct aliases_checkout *checkout);

/* The same, but the transaction may stay open for who comes next, until aliases_pool_look(). */
void aliases_pool_rest(struct aliases_checkout *checkout);

/* For who keeps a checkout: ends its transaction, and begins another. *changed: the data may have changed in between. */
enum aliases_connection_fault aliases_pool_checkout_begin(struct aliases_checkout *checkout, bool *changed);
enum aliases_connection_fault aliases_pool_checkout_end(struct aliases_checkout *checkout);
bool aliases_pool_checkout_is_current(const struct aliases_checkout *checkout);

/* Notes what came of a look-up: true when it has an answer, and false when nothing that it gave may be believed. */
bool aliases_pool_checkout_settle(struct aliases_checkout *checkout, enum aliases_connection_fault fault);
bool aliases_pool_checkout_can_read(const struct aliases_checkout *checkout); /* NULL: no */

/* Counts the files that stood under the path; never 0. */
unsigned aliases_pool_epoch(struct aliases_pool *pool);

/* Looks at what stands under the path now, and ends the transactions that rest; every half second it is done by
 * aliases_pool_take(). */
void aliases_pool_look(struct aliases_pool *pool);

/* Begins a new epoch for the same file, and returns it: what connections have in memory may not be what the file holds. */
unsigned aliases_pool_renew(struct aliases_pool *pool);

/* A new number, which no checkout ever had or will have. Checkouts with the same generation read the same data. */
uint64_t aliases_pool_generation(struct aliases_pool *pool);

/* "" while well, else what is wrong with the file and what to do; rows that cannot be read count too. */
void aliases_pool_condition(struct aliases_pool *pool, struct error *out);

#endif
