/* cut_map: survives that somebody cuts a file which this process has mapped.
 *
 * SQLite maps the -shm of a database in WAL mode. Whoever truncates that file sends a SIGBUS to everybody who
 * reads in the part that is gone. Here the missing page is replaced by an empty one of our own, so that the
 * read comes to its end; what came of it may be wrong, and must not be believed. Any other SIGBUS ends the
 * process as ever. */
#ifndef RCPTGATE_ALIASES_CUT_MAP_H
#define RCPTGATE_ALIASES_CUT_MAP_H

/* From the first call on, for the whole process; again is harmless. */
void cut_map_survive(void);

/* How often it happened. Where it was less before a file was mapped, what is read of the file is not to be believed. */
unsigned cut_map_count(void);

#endif
