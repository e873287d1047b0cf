/* script: a Lua script and the name by which Redis knows it. */
#ifndef RCPTGATE_REDIS_SCRIPT_H
#define RCPTGATE_REDIS_SCRIPT_H

struct redis_script {
    const char *source; /* borrowed for as long as the process runs */
    char sha[41];       /* its SHA1, in hexadecimal digits */
    char call[64];      /* "EVALSHA" and that, as the first words of a command in RESP */
};

void redis_script_init(struct redis_script *script, const char *source);

/* Where a line of a script that this process uses begins, the first being 1; NULL: no such script or line. sha: its name, whatever
 * follows. */
const char *redis_script_line(const char *sha, unsigned long line);

#endif
