/* rows: the alias rules as they were read, before anybody decided which of them counts.
 *
 * Filled by the rule database (lib/aliases.h), read by the core (policy/rules.h). Strings belong to the pool
 * that was passed to the look-up; a NULL column is a NULL pointer. */
#ifndef RCPTGATE_BASE_ROWS_H
#define RCPTGATE_BASE_ROWS_H

#include "base/action.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What stands behind the rows. Zeroed: nothing could be read. */
enum rows_state {
    ROWS_UNKNOWN = 0, /* neither the database nor a copy of it could answer */
    ROWS_LIVE,        /* the validated live database answered; or, asked for a second reading, its copy */
    ROWS_COPY,        /* the last good copy answered: presence counts, absence proves nothing */
};

enum { ROWS_FORMS = 2 }; /* a domain is looked up with A-labels, then (IDN only) with U-labels */

struct alias_query {
    const char *full[ROWS_FORMS];   /* address as it is; [1] NULL where the domain is no IDN */
    const char *bare[ROWS_FORMS];   /* without its subaddress; both NULL where it has none */
    const char *domain[ROWS_FORMS]; /* [0] never NULL */
    const char *local_full;         /* local part for globs, as it is and */
    const char *local_bare;         /* without its subaddress (NULL where it has none) */
};

struct alias_row {
    const char *key; /* address, or the glob; NULL: no such row */
    const char *mailbox, *owner, *class_name, *reply;
    enum action action;
    int64_t expires_at; /* Unix time in seconds; 0 is never */
};

struct domain_row {
    const char *domain; /* the key, ".example.com" for what is below; NULL: not ours */
    enum action action;
    enum action catch_all; /* ACTION_ACCEPT or ACTION_REJECT */
    const char *owner, *class_name, *reply;
};

struct alias_rows {
    enum rows_state state;
    struct domain_row domain;
    struct alias_row full, bare; /* exact rows */
    struct alias_row *globs;     /* all that match local_full or local_bare, in no order */
    size_t n_globs;
};

enum { SENDER_SCOPES = 16, SENDER_PATTERNS = 16 };

struct sender_query { /* each list from the most to the least specific */
    const char *scopes[SENDER_SCOPES];
    size_t n_scopes;
    const char *patterns[SENDER_PATTERNS];
    size_t n_patterns;
};

struct sender_row {
    const char *scope, *pattern; /* NULL: no such row */
    const char *reply;
    enum action action;
};

struct sender_rows {
    enum rows_state state;
    struct sender_row *rows; /* every row whose scope and pattern are both in the query, in no order */
    size_t n_rows;
};

struct client_row { /* the row with the longest prefix that is not expired */
    enum rows_state state;
    const char *network; /* NULL: no row matches */
    const char *reply;
    enum action action;
};

struct block_row { /* the block over the client that has not ended */
    const char *network;
    enum action action; /* ACTION_REJECT or ACTION_DEFER */
};

#endif
