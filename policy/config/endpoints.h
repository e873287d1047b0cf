/* endpoints: parsers of where the gate listens, what it asks, and whom it exempts. */
#ifndef RCPTGATE_CONFIG_ENDPOINTS_H
#define RCPTGATE_CONFIG_ENDPOINTS_H

#include "loader.h"

extern const char endpoints_url_instead[]; /* what is used for a counters.url that cannot be */

key_parser endpoints_socket, endpoints_maps, endpoints_mailbox, endpoints_url, endpoints_listen,
    endpoints_command, endpoints_networks, endpoints_patterns, endpoints_hosts;

#endif
