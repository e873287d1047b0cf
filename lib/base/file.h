/* file: read whole and write whole, for files that fit into memory.
 *
 * What is written appears as a whole or not at all: it goes to a draft beside the file, which then takes its
 * name. Owns nothing. Two must not write the same file at once. */
#ifndef RCPTGATE_BASE_FILE_H
#define RCPTGATE_BASE_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <sys/types.h>

enum { FILE_READ_MAX = 16 * 1024 * 1024 }; /* bytes: more is not what anybody means to be read */

/* The bytes of a file, NUL-terminated (not counted in *n); the caller frees them. 0, or -1 with err set (file
 * and reason), outputs untouched. A pipe that is silent for 5 s, a directory, and a file beyond FILE_READ_MAX, are errors. */
int file_read(const char *path, char **bytes, size_t *n, struct error *err);

/* The same of what is open: -1 with errno set. */
int file_read_open(int fd, char **bytes, size_t *n);

/* Opens a file in a directory of ours, for who may not trust all that lies there: no link, no second name, no FIFO or
 * device, which could lead elsewhere or never answer. -1 with errno set; EPERM: it is one of these. */
int file_open_own(const char *path, int flags, mode_t mode);

/* Writes n bytes, with that mode (less the umask). 0: a start after a power cut finds it; -1 with errno set: the file is as it was. */
int file_write(const char *path, const char *bytes, size_t n, mode_t mode);

#endif
