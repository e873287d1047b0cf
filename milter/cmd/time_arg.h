/* time_arg: a moment as a person types it on a command line. */
#ifndef RCPTGATE_CMD_TIME_ARG_H
#define RCPTGATE_CMD_TIME_ARG_H

#include "base/error.h"

#include <stdint.h>

/* "90s" "5m" "1h" "30d" "2w", in seconds, at least 1. 0, or -1 with err set and *out untouched. */
int time_arg_duration(const char *text, int64_t *out, struct error *err);

/* Unix time ("1893456000"), a day in UTC ("2027-01-31", its beginning), RFC 3339 ("2027-01-31T12:00:00Z", "...+02:00"),
 * a duration from now_s on ("30d"), or "never", which is 0. 0, or -1 with err set and *out untouched. */
int time_arg_parse(const char *text, int64_t now_s, int64_t *out, struct error *err);

#endif
