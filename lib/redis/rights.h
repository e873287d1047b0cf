/* rights: which command a refusal of Redis' ACL is about. Since 7.2 Redis says it. Redis 6 and 7.0 say it outside of scripts
 * alone; within one they name the script and the line. */
#ifndef RCPTGATE_REDIS_RIGHTS_H
#define RCPTGATE_REDIS_RIGHTS_H

#include <stdbool.h>
#include <stddef.h>

/* text: an error reply. out gets the command in lower case, as ACL SETUSER takes it behind "+". False (out untouched): the text is
 * about no command, or does not tell which. */
bool rights_find(const char *text, char *out, size_t size);

#endif
