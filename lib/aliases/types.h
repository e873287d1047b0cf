/* types: what the room aliases and whoever asks it how it is have in common: its configuration and its status. Data alone. */
#ifndef RCPTGATE_ALIASES_TYPES_H
#define RCPTGATE_ALIASES_TYPES_H

#include "base/error.h"

#include <stdint.h>

struct aliases_config { /* borrowed during aliases_new() only */
    const char *path;
    const char *copy_path; /* the last good copy, beside it ".new" and ".accept"; NULL: none is kept */
    int64_t max_stale_ms;  /* how long the copy answers after the file was last well */
    int max_shrink; /* percent of its rows that data may lose at once; below 100 rows: all of them are too many */
};

enum aliases_mode { ALIASES_NOTHING = 0, ALIASES_COPY, ALIASES_UNVERIFIED, ALIASES_LIVE };

struct aliases_status {
    enum aliases_mode mode;
    int64_t aliases, domains; /* rows in what was last taken as good; -1: not known */
    int64_t homeless;         /* of those, accepted without a mailbox; globs and catch-alls too */
    char homeless_name[128];  /* one of them */
    int64_t validated_age_ms; /* since the file was last well, all checks passed; -1: never */
    int64_t copy_age_ms;      /* since the copy was last known to be as the file; -1: there is none */
    int64_t round_ms;         /* what the last copy and check took; 0: there was none */
    struct error condition; /* the file cannot be read: what is wrong and what to do. Each is "" while well */
    struct error refused;   /* its data was not taken */
    struct error copy_condition; /* no copy can be kept */
};

#endif
