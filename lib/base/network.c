/* network: see network.h. Owns nothing. Fails only where a text is no network. */
#include "base/network.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

enum { ALL_BITS = 128, IPV4_BASE = 96 };

static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b}; /* RFC 6052 2.1 */
static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool network_is_ipv4(const struct network *net)
{
    return net->set && net->bits >= IPV4_BASE && memcmp(net->addr, mapped, sizeof mapped) == 0;
}

/* A whole address behind NAT64 is that IPv4 address, as a mapped one is. A network of them stays what it is: as IPv4 it would be
 * all of it. */
static void fold_nat64(struct network *net)
{
    if (net->set && net->bits == ALL_BITS && memcmp(net->addr, nat64, sizeof nat64) == 0)
        memcpy(net->addr, mapped, sizeof mapped);
}

/* Zeroes what lies beyond the prefix; true where there was something. */
static bool cut_host_bits(struct network *net)
{
    bool found = false;
    for (unsigned i = net->bits / 8; i < sizeof net->addr; i++) {
        const unsigned keep = i == net->bits / 8 ? net->bits % 8 : 0;
        const uint8_t mask = (uint8_t)(0xff << (8 - keep));
        found = found || (net->addr[i] & ~mask) != 0;
        net->addr[i] &= mask;
    }
    return found;
}

/* An address without its prefix length; true where the text is one. *dotted: it was written as IPv4. */
static bool parse_address(const char *text, struct network *net, bool *dotted)
{
    char inner[NETWORK_TEXT];
    const size_t len = strlen(text);
    if (len >= sizeof inner)
        return false;
    memcpy(inner, text, len + 1);
    const char *at = inner;
    if (at[0] == '[') {
        if (inner[len - 1] != ']')
            return false;
        inner[len - 1] = '\0';
        at++;
    }
    *net = (struct network){.bits = ALL_BITS, .set = true};
    memcpy(net->addr, mapped, sizeof mapped);
    *dotted = inet_pton(AF_INET, at, net->addr + sizeof mapped) == 1;
    if (*dotted)
        return true;
    if (strncasecmp(at, "IPv6:", 5) == 0)
        at += 5;
    return inet_pton(AF_INET6, at, net->addr) == 1;
}

/* A decimal number up to max, without sign or leading zero; -1 where it is none. */
static int parse_bits(const char *text, int max)
{
    int n = 0;
    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return -1;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        n = 10 * n + (*text - '0');
        if (n > max)
            return -1;
    }
    return n;
}

int network_parse(const char *text, struct network *out, struct error *err)
{
    char address[NETWORK_TEXT];
    struct network net;
    bool dotted;
    const size_t len = strcspn(text, "/");
    if (len >= sizeof address) {
        error_set(err, "\"%.40s...\" is too long for an IP address", text);
        return -1;
    }
    memcpy(address, text, len);
    address[len] = '\0';
    if (!parse_address(address, &net, &dotted)) {
        error_set(err, "\"%s\" is no IP address; write it as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32",
                  address);
        return -1;
    }
    if (text[len] == '/') {
        const int max = dotted ? 32 : ALL_BITS;
        const int bits = parse_bits(text + len + 1, max);
        if (bits < 0) {
            error_set(err, "\"/%.16s\" is no prefix length of %s; write a number from 0 to %d",
                      text + len + 1, address, max);
            return -1;
        }
        net.bits = (uint8_t)(dotted ? IPV4_BASE + bits : bits);
    }
    if (cut_host_bits(&net)) {
        char meant[NETWORK_TEXT];
        error_set(err, "\"%s\" has bits set beyond its prefix; the network is probably %s", text,
                  network_format(&net, meant));
        return -1;
    }
    fold_nat64(&net);
    *out = net;
    return 0;
}

void network_from_sockaddr(const struct sockaddr *addr, struct network *out)
{
    struct network net = {.bits = ALL_BITS, .set = true};
    if (addr != NULL && addr->sa_family == AF_INET) {
        struct sockaddr_in in; /* copied: the caller's need not be aligned for it */
        memcpy(&in, addr, sizeof in);
        memcpy(net.addr, mapped, sizeof mapped);
        memcpy(net.addr + sizeof mapped, &in.sin_addr, sizeof in.sin_addr);
    } else if (addr != NULL && addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, addr, sizeof in6);
        memcpy(net.addr, &in6.sin6_addr, sizeof net.addr);
    } else {
        net = (struct network){0};
    }
    fold_nat64(&net);
    *out = net;
}

struct network network_mask(const struct network *client, unsigned ipv4_bits, unsigned ipv6_bits)
{
    struct network net = *client;
    if (!net.set)
        return net;
    const unsigned bits = network_is_ipv4(&net) ? IPV4_BASE + ipv4_bits : ipv6_bits;
    if (bits < net.bits) /* a network is never made smaller than it was */
        net.bits = (uint8_t)bits;
    cut_host_bits(&net);
    return net;
}

bool network_contains(const struct network *outer, const struct network *inner)
{
    /* ::/0 is all of IPv6: that IPv4 is kept inside of it here does not make it an IPv4 network. */
    if (!outer->set || !inner->set || outer->bits > inner->bits ||
        network_is_ipv4(outer) != network_is_ipv4(inner))
        return false;
    const unsigned whole = outer->bits / 8, rest = outer->bits % 8;
    if (memcmp(outer->addr, inner->addr, whole) != 0)
        return false;
    return rest == 0 || ((outer->addr[whole] ^ inner->addr[whole]) >> (8 - rest)) == 0;
}

bool network_equal(const struct network *a, const struct network *b)
{
    if (!a->set || !b->set)
        return a->set == b->set;
    return a->bits == b->bits && memcmp(a->addr, b->addr, sizeof a->addr) == 0;
}

/* In decimal; returns where it ends. */
static char *put_octet(char *to, unsigned octet)
{
    if (octet >= 100)
        *to++ = (char)('0' + octet / 100);
    if (octet >= 10)
        *to++ = (char)('0' + octet / 10 % 10);
    *to++ = (char)('0' + octet % 10);
    return to;
}

const char *network_format(const struct network *net, char buffer[NETWORK_TEXT])
{
    struct text text;
    char address[INET6_ADDRSTRLEN];
    const bool ipv4 = network_is_ipv4(net);
    text_init(&text, buffer, NETWORK_TEXT);
    if (!net->set) {
        text_add(&text, "unknown");
        return buffer;
    }
    if (ipv4) {
        char *end = put_octet(address, net->addr[sizeof mapped]);
        for (size_t i = sizeof mapped + 1; i < sizeof net->addr; i++) {
            *end++ = '.';
            end = put_octet(end, net->addr[i]);
        }
        text_add_bytes(&text, address, (size_t)(end - address));
    } else /* cannot fail: there is room */
        text_add(&text, inet_ntop(AF_INET6, net->addr, address, sizeof address));
    if (net->bits < ALL_BITS) {
        text_add(&text, "/");
        text_add_number(&text, ipv4 ? net->bits - IPV4_BASE : net->bits);
    }
    return buffer;
}
