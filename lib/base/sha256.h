/* sha256: the hash SHA-256 (FIPS 180-4), for files that travel: has it arrived as it was sent? Cannot fail. */
#ifndef RCPTGATE_BASE_SHA256_H
#define RCPTGATE_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_TEXT = 65 }; /* 64 hexadecimal digits and a NUL */

struct sha256 {
    uint32_t state[8];
    uint64_t n; /* bytes so far */
    unsigned char block[64];
};

void sha256_init(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *bytes, size_t n);

/* The hash of all that was added, as sha256sum(1) writes it; returns text. Ends the hash. */
const char *sha256_text(struct sha256 *hash, char text[SHA256_TEXT]);

#endif
