/* thread_room: reads the limit of the process and, in /proc and /sys, that of its control group. What cannot be read
 * bounds nothing. */
#include "sys/thread_room.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The first line of the file that begins so, without its newline; false: there is none. */
static bool read_line(const char *path, const char *begin, char *line, int size)
{
    FILE *in = fopen(path, "re");
    bool found = false;
    while (in != NULL && !found && fgets(line, size, in) != NULL)
        found = strncmp(line, begin, strlen(begin)) == 0;
    if (in != NULL)
        (void)fclose(in); /* only read */
    line[found ? strcspn(line, "\n") : 0] = '\0';
    return found;
}

/* pids.max of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst): a number, or "max". */
static long group_room(void)
{
    char group[PATH_MAX], path[PATH_MAX + 64], text[32];
    if (!read_line("/proc/self/cgroup", "0::", group, sizeof group))
        return LONG_MAX;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/pids.max", group + strlen("0::"));
    if (!read_line(path, "", text, sizeof text) || strcmp(text, "max") == 0)
        return LONG_MAX;
    long room = strtol(text, NULL, 10);
    return room > 0 ? room : LONG_MAX;
}

long thread_room(void)
{
    struct rlimit limit;
    long room = group_room();
    if (getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < (rlim_t)room)
        room = (long)limit.rlim_cur;
    return room;
}
