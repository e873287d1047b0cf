/* address: one canonical form for every spelling of a mail address.
 *
 * RFC 5321 4.1.2 (Mailbox), 4.5.3.1 (lengths), RFC 6531 (UTF-8), RFC 5890 (A-labels, through libidn2 with
 * UTS #46 non-transitional processing; emoji, which RFC 5892 disallows, have the A-labels that they are registered with). Domain: lower case, A-labels, no trailing dot, address literals
 * kept in brackets. Local part: ASCII lower case, needless quotes and escapes removed (quotes stay where
 * RFC 5321 needs them). Source routes, angle brackets and comments are dropped. Pure; the result lives in
 * the caller's struct. */
#ifndef RCPTGATE_POLICY_ADDRESS_H
#define RCPTGATE_POLICY_ADDRESS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    ADDRESS_LOCAL_MAX = 64,   /* octets, RFC 5321 4.5.3.1.1, of the canonical form */
    ADDRESS_DOMAIN_MAX = 255, /* octets, 4.5.3.1.2 */
    ADDRESS_MAX = 254,        /* octets of local@domain (4.5.3.1.3 less the angle brackets) */
};

enum address_kind {
    ADDRESS_INVALID = 0, /* no address by RFC 5321; only domain may be filled (see address_parse) */
    ADDRESS_NULL,        /* <>, the null sender */
    ADDRESS_BARE,        /* no domain: "postmaster" */
    ADDRESS_MAILBOX,     /* local@domain */
};

struct address {
    enum address_kind kind;
    char full[ADDRESS_LOCAL_MAX + 1 + ADDRESS_DOMAIN_MAX + 1]; /* canonical, with its subaddress */
    char bare[ADDRESS_LOCAL_MAX + 1 + ADDRESS_DOMAIN_MAX + 1]; /* canonical, without; equals full if none.
                                                                  This is the key for counters */
    char local_full[ADDRESS_LOCAL_MAX + 1]; /* the local parts of the two; quoted where needed */
    char local_bare[ADDRESS_LOCAL_MAX + 1];
    char domain[ADDRESS_DOMAIN_MAX + 1]; /* A-labels; "" where there is none */
    bool percent_or_bang;                /* unquoted local part with '%' or '!': may be a route */
    bool usual;                          /* full is letters, digits, '-', '_', '.' and its '@' alone */
};

/* Parses what MAIL FROM or RCPT TO carried, with or without <>, or what the queue or a policy shows.
 * subaddress: the separator characters, e.g. "+" ("" for none); a local part that begins with one has no
 * subaddress. Where the result is ADDRESS_INVALID, err tells why, and domain is still filled when the text after
 * the last unquoted '@' is a domain, so that the caller can see whether it is one of ours. Never fails otherwise;
 * raw may be any bytes of any length. Returns out->kind.
 *
 * Some local parts have no subaddress whatever the separators are: SRS0=..., SRS1+... (a signed return path, whose separators are
 * its own), and as in Postfix mailer-daemon, double-bounce, and with '-' among the separators owner-x and x-request. */
enum address_kind address_parse(const char *raw, const char *subaddress, struct address *out,
                                struct error *err);

/* The same for who sent it: without a BATV tag ("prvs=TAG=user", draft-levine-smtp-batv; "btv1==TAG==user"), which is another
 * one every day. */
enum address_kind address_parse_sender(const char *raw, const char *subaddress, struct address *out,
                                       struct error *err);

/* Who sent it before a forwarder's SRS (libsrs2, postsrsd) rewrote the sender: "SRS0=hash=tt=domain=user@forwarder" was user@domain,
 * "SRS1=hash=first==hash=tt=domain=user@forwarder" was "SRS0=hash=tt=domain=user@first". The separator behind the digit may be '=',
 * '+' or '-'. forwarder gets the canonical domain that it was rewritten to. */
enum address_srs {
    ADDRESS_SRS_NONE = 0, /* no such sender; outputs untouched */
    ADDRESS_SRS_OPAQUE,   /* one that does not tell who it was: its forwarder keeps that in a database */
    ADDRESS_SRS_ORIGINAL,
};
enum address_srs address_srs(const char *raw, char *original, size_t size,
                             char forwarder[ADDRESS_DOMAIN_MAX + 1]);

/* A canonical domain from U- or A-labels, mixed case, trailing dot. out has room for
 * ADDRESS_DOMAIN_MAX + 1. 0, or -1 with err set and out untouched. */
int address_domain(const char *raw, char *out, struct error *err);

/* The U-label form of a canonical domain; false (out untouched) where it is the same. */
bool address_domain_unicode(const char *domain, char *out, size_t size);

/* A key for what is no valid address but must be counted: lower case, at most ADDRESS_MAX octets; longer
 * input keeps its beginning and gets a hash of the whole. */
void address_fallback_key(const char *raw, char *out, size_t size);

#endif
