/* seal: the last lines of a snapshot that travels between hosts: its serial, and the SHA-256 of all before.
 *
 *     rcptgate-snapshot 1
 *     serial 001764425000
 *     sha256 <64 digits>
 *
 * They stand behind the last page of an SQLite database, where SQLite does not look: sqlite3(1) opens the file as it is,
 * `tail -n 3` shows the serial, and `head -c -65 | sha256sum` the hash. Nothing of a sealed file can change, or be missing,
 * without the hash telling. */
#ifndef RCPTGATE_ALIASES_SEAL_H
#define RCPTGATE_ALIASES_SEAL_H

#include "base/error.h"

#include <stdint.h>

/* Seals what the descriptor has, from its first byte on; name is what err calls it. -1: it cannot be read or written. */
int aliases_seal_put(int fd, int64_t serial, const char *name, struct error *err);

enum seal_check {
    SEAL_WHOLE,      /* *serial is set */
    SEAL_BROKEN,     /* no snapshot, cut off, or changed: err says which */
    SEAL_UNREADABLE, /* err says why */
};

/* Looks at both ends of the file only: can it be one? Before it is copied to where others may read it. */
enum seal_check aliases_seal_look(int fd, const char *name, int64_t *serial, struct error *err);

/* Reads it all. */
enum seal_check aliases_seal_check(int fd, const char *name, int64_t *serial, struct error *err);

#endif
