/* versions: what the database held before the last installs, for a rollback: sealed copies beside it, in its directory, with the
 * same rights. Numbered by the generation of the data (serials.h), so that nobody has to write down which are there. */
#ifndef RCPTGATE_ALIASES_VERSIONS_H
#define RCPTGATE_ALIASES_VERSIONS_H

#include "base/error.h"

#include <limits.h>
#include <stdint.h>

enum { VERSIONS_KEPT = 3 };

/* "aliases.db.version-7"; returns path, "" where that is too long. */
const char *aliases_versions_path(const char *database, int64_t generation, char path[PATH_MAX]);

/* Copies what the database holds now, page by page, and seals it with this serial. -1: nothing is left of it. */
int aliases_versions_keep(const char *database, int64_t generation, int64_t serial, struct error *err);

/* The last generation before this one that is kept, -1: none. */
int64_t aliases_versions_last(const char *database, int64_t generation);

/* Removes from..to, where they are. */
void aliases_versions_remove(const char *database, int64_t from, int64_t to);

#endif
