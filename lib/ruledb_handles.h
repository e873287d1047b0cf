/* ruledb_handles: a pool of handles on one file of alias rules, shared by all threads: the callbacks of one
 * session hop threads.
 *
 * A lease is a borrowed handle with a read transaction open: all that is read in it is of one moment. A file
 * that is replaced, cut or cannot be read begins a new epoch: handles of an earlier one are closed as they
 * come back. Files are opened, looked at and read outside of the lock, so that a slow disk delays only who
 * needs it. */
#ifndef RCPTGATE_RULEDB_HANDLES_H
#define RCPTGATE_RULEDB_HANDLES_H

#include "error.h"
#include "ruledb_handle.h"

#include <stdbool.h>
#include <stdint.h>

struct handles;

struct lease {
    struct handles *handles;
    struct handle *handle;
    struct lease *next;      /* in the list of idle ones */
    uint64_t generation;     /* of the data, see handles_generation() */
    unsigned epoch;          /* of the file that the handle has open */
    enum handle_fault fault; /* BUSY or BROKEN: nothing more is asked in this transaction */
};

/* immutable: the file is only ever replaced. Never creates a file; one that cannot be used is not an error
 * here. NULL: out of memory. */
struct handles *handles_new(const char *path, bool immutable);
void handles_free(struct handles *handles); /* all leases are back */

/* NULL: nothing can be read now, handles_trouble() says why. Waits 100 ms at most, while all handles are out. */
struct lease *handles_take(struct handles *handles);
void handles_give(struct lease *lease);

/* For who keeps a lease: ends its transaction, and begins another. *changed: the data may have changed in between. */
enum handle_fault lease_begin(struct lease *lease, bool *changed);
enum handle_fault lease_end(struct lease *lease);
bool lease_is_current(const struct lease *lease);

/* Notes what came of a look-up: true when it has an answer, and false when nothing that it gave may be believed. */
bool lease_settle(struct lease *lease, enum handle_fault fault);
bool lease_can_read(const struct lease *lease); /* NULL: no */

/* Counts the files that stood under the path; never 0. */
unsigned handles_epoch(struct handles *handles);

/* Looks at what stands under the path now; every half second it is done by handles_take(). */
void handles_look(struct handles *handles);

/* Begins a new epoch for the same file, and returns it: what handles have in memory may not be what the file holds. */
unsigned handles_renew(struct handles *handles);

/* A new number, which no lease ever had or will have. Leases with the same generation read the same data. */
uint64_t handles_generation(struct handles *handles);

/* "" while well, else what is wrong with the file and what to do; rows that cannot be read count too. */
void handles_trouble(struct handles *handles, struct error *out);

#endif
