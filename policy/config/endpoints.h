/* endpoints: parsers of where the gate listens, what it asks, and whom it exempts. */
#ifndef RCPTGATE_CONFIG_ENDPOINTS_H
#define RCPTGATE_CONFIG_ENDPOINTS_H

#include "loader.h"

enum { SOCKET_PATH_MAX = 107 }; /* sun_path less its NUL, unix(7) */

key_parser endpoints_socket, endpoints_maps, endpoints_mailbox, endpoints_listen, endpoints_command,
    endpoints_networks, endpoints_patterns, endpoints_hosts;

/* A host name, or an IP address without brackets? */
bool endpoints_is_host(const char *at, size_t n);
bool endpoints_is_socket_path(const char *path);
bool endpoints_read_port(const char *at, size_t n, int *out); /* 1 to 65535, in digits */

#endif
