/* network: an IP address or network, IPv4 and IPv6 alike.
 *
 * IPv4 is kept as IPv4-mapped IPv6 (::ffff:0:0/96, RFC 4291 2.5.5.2), so that comparing is one piece of
 * code; an IPv4-mapped client is the IPv4 client, and so is a whole address of NAT64 (64:ff9b::/96, RFC 6052). Bits beyond the prefix are always zero. */
#ifndef RCPTGATE_BASE_NETWORK_H
#define RCPTGATE_BASE_NETWORK_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct network {
    uint8_t addr[16]; /* network byte order */
    uint8_t bits;     /* 0..128; an IPv4 /n has 96 + n */
    bool set;         /* false in a zeroed struct: no address is known (a client on a unix socket) */
};

enum { NETWORK_TEXT = 64 }; /* fits every network_format() */

bool network_is_ipv4(const struct network *net);

/* Parses "192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "[2001:db8::1]", "IPv6:2001:db8::1".
 * Host bits beyond the prefix are an error that names the network that was probably meant.
 * 0, or -1 with err set and *out untouched. */
int network_parse(const char *text, struct network *out, struct error *err);

/* AF_INET and AF_INET6; all else gives a network with set == false. */
void network_from_sockaddr(const struct sockaddr *addr, struct network *out);

/* The network of that client with these prefix lengths (ipv4 0..32, ipv6 0..128). */
struct network network_mask(const struct network *client, unsigned ipv4_bits, unsigned ipv6_bits);

bool network_contains(const struct network *outer, const struct network *inner);
bool network_equal(const struct network *a, const struct network *b);

/* Canonical text (RFC 5952): a whole address without a prefix length, all else with one.
 * "unknown" where set is false. Returns buffer. */
const char *network_format(const struct network *net, char buffer[NETWORK_TEXT]);

#endif
