/* script: a Lua script and the name by which Redis knows it. */
#ifndef RCPTGATE_REDIS_SCRIPT_H
#define RCPTGATE_REDIS_SCRIPT_H

struct redis_script {
    const char *source; /* borrowed */
    char sha[41];       /* its SHA1, in hexadecimal digits */
};

void redis_script_init(struct redis_script *script, const char *source);

#endif
