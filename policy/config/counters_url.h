/* counters_url: the parser of counters.url, and of what goes with it. */
#ifndef RCPTGATE_CONFIG_COUNTERS_URL_H
#define RCPTGATE_CONFIG_COUNTERS_URL_H

#include "loader.h"

extern const char counters_url_instead[]; /* what is used for a URL that cannot be */

key_parser counters_url, counters_url_tls_name;

#endif
