/* password: one that stands in a file of its own. */
#ifndef RCPTGATE_REDIS_PASSWORD_H
#define RCPTGATE_REDIS_PASSWORD_H

#include "base/error.h"

enum { PASSWORD_MAX = 4096 };

/* The first line of the file, into out; to be wiped by the caller. key: of the policy, for err. 0, or -1 with err set. */
int redis_password_read(const char *file, const char *key, char out[PASSWORD_MAX], struct error *err);

#endif
